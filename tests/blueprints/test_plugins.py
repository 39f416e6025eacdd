"""Endpoints: found by place, or by the entry point of another package."""

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from pkgutil import iter_modules

import pytest

import blueprints
from fooocus_flask.environment import SettingError
from tests import postgresql
from tests.serving import ROOT

EXAMPLE = Path(__file__).with_name("example_blueprint")
PROGRAM = """
from fooocus_flask import create_app
app = create_app(API_KEY="secret")
client = app.test_client()
print(client.get("/hello").status_code, client.get("/hello", headers={"X-API-KEY": "secret"}).json)
"""


def test_every_module_adds_its_endpoints(app):
    assert {module.name for module in iter_modules(blueprints.__path__)} <= set(app.blueprints)


def test_every_group_of_endpoints_has_its_tests():
    names = {module.name for module in iter_modules(blueprints.__path__)}
    there = {path.stem.removeprefix("test_") for path in (ROOT / "tests").rglob("test_*.py")}
    assert names - {"docs"} <= there


def test_an_installed_package_adds_its_endpoints_behind_the_same_key(tmp_path, database):
    describe = [sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", str(tmp_path)]
    subprocess.run(describe, cwd=EXAMPLE, check=True, capture_output=True)
    path = os.pathsep.join([str(tmp_path), str(EXAMPLE), str(ROOT)])
    instance = tmp_path / "instance"
    environment = (
        os.environ | {"PYTHONPATH": path, "FOOOCUS_INSTANCE": str(instance)} | postgresql.environment(instance)
    )
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "403 {'hello': 'world'}"


def test_a_group_that_is_switched_off_is_not_served(make_app):
    app = make_app(BLUEPRINTS_OFF="metrics, tools")
    assert not {"metrics", "tools"} & set(app.blueprints) and "tasks" in app.blueprints
    with pytest.raises(SettingError, match="BLUEPRINTS_OFF: There is no blueprint metric; there are"):
        make_app(BLUEPRINTS_OFF="metric")


def test_an_entry_point_that_is_no_blueprint_fails_the_start(monkeypatch):
    wrong = EntryPoint("wrong", "os:sep", blueprints.ENTRY_POINTS)
    monkeypatch.setattr(blueprints, "plugins", lambda: [wrong])
    with pytest.raises(TypeError, match="wrong = os:sep"):
        list(blueprints.discover())
