"""The application: Fooocus as a Flask service."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import flask_smorest
from flask import Blueprint, Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from fooocus_flask import database, environment, errors, logs, request_ids, settings
from fooocus_flask.access import commands, cors, scopes
from fooocus_flask.following import streams, task_events, waiters, webhooks
from fooocus_flask.model_files.checkout import checkout
from fooocus_flask.model_files.folders import folders
from fooocus_flask.pictures import removals, retention, storage_commands
from fooocus_flask.pictures.storage import storage
from fooocus_flask.runner.downloader import downloader
from fooocus_flask.runner.runner import runner
from fooocus_flask.server import descriptors, metrics, openapi
from fooocus_flask.server.form_parser import Request
from fooocus_flask.server.url_rules import LazyRule
from fooocus_flask.submission import request_notes
from fooocus_flask.tasks import history, history_limit, live

__all__ = ["close", "create_app", "start"]

PARTS = (
    *(request_ids, request_notes, metrics, logs, errors, checkout, folders, cors, scopes, database, commands),
    *(storage, storage_commands),
    *(webhooks.sender, retention.sweeper, downloader, runner),
)
RECEIVERS = (history, history_limit, live)
"""Modules that only listen to signals: importing them is what connects them."""
FOLDERS = ("OUTPUT_PATH", "INPUT_PATH", "MODELS_PATH")


def create_app(**overrides: Any) -> Flask:
    """The application, configured by `settings`, `instance/config.py`, FOOOCUS_… and these values, the later first.

    INSTANCE (or FOOOCUS_INSTANCE) is the folder of all state. Nothing is drawn before `start`, or a first request.
    """
    from blueprints import discover  # blueprints import this package

    instance = overrides.pop("INSTANCE", None) or os.environ.get("FOOOCUS_INSTANCE")
    instance_path = str(Path(instance).resolve()) if instance else None
    app = Flask(__name__, instance_path=instance_path, instance_relative_config=True, static_folder=None)
    app.request_class, app.url_rule_class = Request, LazyRule
    configure(app, overrides)
    for part in PARTS:
        part.init_app(app)
    api = openapi.init_app(app)
    for blueprint in chosen(app, discover):
        (api if isinstance(blueprint, flask_smorest.Blueprint) else app).register_blueprint(blueprint)
    return app


def chosen(app: Flask, discover: Callable[[Collection[str]], Iterator[Blueprint]]) -> list[Blueprint]:
    """The blueprints that BLUEPRINTS_OFF does not leave out.

    Raises:
        SettingError: it names one that does not exist.
    """
    try:
        return list(discover(environment.entries(app.config["BLUEPRINTS_OFF"])))
    except ValueError as error:
        raise environment.SettingError(f"BLUEPRINTS_OFF: {error}") from error


def configure(app: Flask, overrides: dict[str, Any]) -> None:
    """Put the layers of settings over one another."""
    app.config.from_object(settings)
    app.config.from_pyfile("config.py", silent=True)
    if address := os.environ.get("DATABASE_URL") or os.environ.get("FOOOCUS_DB_CONF"):
        app.config["SQLALCHEMY_DATABASE_URI"] = database.with_driver(address)
    environment.read(app)
    app.config.update(overrides)
    app.config["TRUSTED_HOSTS"] = environment.entries(app.config["TRUSTED_HOSTS"]) or None  # as Flask has it
    place_checkout(app)
    for name in FOLDERS:
        app.config[name] = str(Path(app.instance_path) / Path(app.config[name]).expanduser())
    proxies = int(app.config["TRUSTED_PROXIES"])
    if proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, proxies, proxies, proxies, x_prefix=proxies)  # type: ignore[method-assign]


def place_checkout(app: Flask) -> None:
    """Have the models folder be that of the Fooocus that draws, if one does.

    Raises:
        SettingError: another one is asked for, or none while there is a Python for it, or one of the two is no text.
    """
    for name, example in (("PATH", "/opt/Fooocus"), ("PYTHON", "/opt/Fooocus/venv/bin/python")):
        if not isinstance(app.config[name], str):
            raise environment.SettingError(f"FOOOCUS_{name} is {app.config[name]!r}; give a path, such as {example}")
    if not app.config["PATH"] and app.config["PYTHON"]:
        text = f"FOOOCUS_PYTHON is {app.config['PYTHON']!r}, and there is no Fooocus for it to run"
        raise environment.SettingError(f"{text}; give that one's folder as FOOOCUS_PATH, or leave both empty")
    if not app.config["PATH"]:
        return
    root = Path(app.instance_path) / Path(app.config["PATH"]).expanduser()
    if app.config["MODELS_PATH"] != settings.MODELS_PATH:
        text = f"MODELS_PATH is {app.config['MODELS_PATH']!r}, and FOOOCUS_PATH {app.config['PATH']!r}"
        raise environment.SettingError(f"{text}; give one: a Fooocus's own config.txt says where its models lie")
    app.config.update(PATH=str(root), MODELS_PATH=str(root / "models"))


def start(app: Flask) -> None:
    """Begin to serve: start the engine process, go on with the queue, its downloads and the webhooks still owed.

    Raises:
        StartError: another server does so, on the same database.
    """
    database.lock(app)
    storage.of(app).start()
    runner.of(app).start()
    with app.app_context():
        webhooks.sender.of(app).wake()
    downloader.of(app).wake()
    retention.sweeper.of(app).start()
    removals.worker.of(app).wake()
    descriptors.watch.of(app).start()
    metrics.counters.of(app).start()


def close(app: Flask) -> None:
    """End what `start` began: tasks under way may end in time; other clients are sent away, their tasks kept."""
    under_way = runner.of(app).task_ids
    streams.close(app, under_way)
    waiters.close(app, under_way)
    runner.of(app).drain(app.config["SHUTDOWN_DEADLINE"])
    streams.close(app)
    waiters.close(app)
    task_events.hub.of(app).close()
    webhooks.sender.of(app).close()
    downloader.of(app).close()
    retention.sweeper.of(app).close()
    removals.worker.of(app).close()
    metrics.counters.of(app).close()
    descriptors.watch.of(app).close()
    runner.of(app).close()
    storage.of(app).close()
    database.close(app)
