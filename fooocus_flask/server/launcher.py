"""`python wsgi.py …`: a gevent server as the command line has it."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import shlex
import signal
import socket as plain_socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import gevent
from flask import Flask
from gevent import socket
from gevent.event import Event
from gevent.pywsgi import WSGIServer
from werkzeug.wsgi import ClosingIterator

import fooocus_flask
from fooocus_flask import database
from fooocus_flask.access import callers, file_tokens
from fooocus_flask.errors import StartError
from fooocus_flask.following import webhooks
from fooocus_flask.model_files import presets
from fooocus_flask.server import garbage, heap
from fooocus_flask.server.command_line import api_port, legacy_ports, overrides, parser, webui_port
from fooocus_flask.server.http_requests import RequestHandler

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

WEBUI, WEBUI_PATH, WEBUI_MARK = "webui", "/ui/", "fooocus_flask.webui"
"""The blueprint of the web page, its place, and the word by which it hears that it is asked for at `/`."""
BACKLOG = 512
ANSWER_SECONDS = 15.0
"""Seconds that answers have to be written out at a stop; a busy machine needs some for the last event of a stream."""


def listener(host: str, port: int) -> socket.socket:
    """A listening socket whose connections send small writes at once.

    Without TCP_NODELAY every keep-alive request takes 40 ms: header and body leave in two sends.

    Raises:
        StartError: the address cannot be had.
    """
    try:
        family, kind, _, _, address = plain_socket.getaddrinfo(host, port, type=plain_socket.SOCK_STREAM)[0]
    except OSError as error:
        raise StartError(f"--listen is {host!r}, which is no address of this machine: {error.strerror}") from error
    opened = socket.socket(family, kind)
    opened.setsockopt(plain_socket.IPPROTO_TCP, plain_socket.TCP_NODELAY, 1)
    opened.setsockopt(plain_socket.SOL_SOCKET, plain_socket.SO_REUSEADDR, 1)
    try:
        opened.bind(address)
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        ways = "choose with --listen, and --port, API_PORT, --legacy-port or --nowebui"
        text = f"Cannot listen on {host} port {port}: {error.strerror}; {ways}"
        raise StartError(text) from error
    return opened


def is_public(host: str) -> bool:
    """Whether other machines may reach this address."""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def url_of(host: str, port: int) -> str:
    """The address at which this machine reaches a server that listens there."""
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{near}]:{port}" if ":" in near else f"http://{near}:{port}"


def greeting_text(host: str, port: int, legacy_port: int = 0, *, page: int | None = None, key: bool) -> str:
    """What the terminal shows: the addresses, and a command that draws; `page` is the port of the web page."""
    url = url_of(host, port)
    headers = ["Accept: image/png", "Content-Type: application/json"]
    if key:
        headers.append("X-API-KEY: YOUR-KEY")
    body = '{"prompt": "a cat", "aspect_ratios_selection": "512*512"}'
    command = ["curl", *(part for header in headers for part in ("-H", header)), "-d", body, "-o", "cat.png"]
    lines = [
        f"API            {url}",
        *([] if page is None else [f"Web page       {url_of(host, page)}"]),
        f"Documentation  {url}/docs",
        *([f"Fooocus-API    {url_of(host, legacy_port)}"] if legacy_port else []),
        "",
        f"Draw a cat:    {shlex.join([*command, f'{url}/v1/engine/generate/'])}",
    ]
    return "\n".join(lines)


def warning(host: str) -> str:
    """What a server is told that other machines can reach and that asks for no key."""
    lines = [
        f"WARNING: {host} can be reached by other machines, and no key is set.",
        "",
        "Anyone who reaches this server may draw, see what others drew, and delete it.",
        "Set a key:    python wsgi.py --apikey KEY, or FOOOCUS_API_KEY in the environment",
        "or make some: flask --app wsgi keys add NAME",
        "or listen on 127.0.0.1 only, behind a proxy that asks who is there.",
    ]
    width = max(map(len, lines))
    frame = "*" * (width + 6)
    return "\n".join([frame, *(f"*  {line.ljust(width)}  *" for line in lines), frame])


def open_hosts(app: Flask, hosts: Iterable[str]) -> list[str]:
    """Those of the addresses that other machines can reach, if the application asks for no key."""
    with app.app_context():
        return [] if callers.keys_on() else [host for host in hosts if is_public(host)]


class Answers:
    """An application whose answers are counted until they are written out."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app, self._open = app, 0
        self.written = Event()
        self.written.set()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self._count(1)
        try:
            return ClosingIterator(self._app(environ, start_response), partial(self._count, -1))
        except BaseException:
            self._count(-1)
            raise

    def _count(self, more: int) -> None:
        self._open += more
        (self.written.clear if self._open else self.written.set)()


class WebPage:
    """The same application on the page's port: `/` is the page there."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/":
            environ |= {"PATH_INFO": WEBUI_PATH, WEBUI_MARK: True}
        return self._app(environ, start_response)


def serve(app: Flask, socks: Sequence[socket.socket], greeting: str = "", page: socket.socket | None = None) -> None:
    """Draw and answer requests until SIGTERM or SIGINT; the greeting is printed once both would be heard.

    The API is served on the sockets, and the web page on `page`.
    """
    answers, stopped = Answers(app), Event()
    log = logging.getLogger("gevent.pywsgi")
    handler = partial(RequestHandler, idle=app.config["KEEPALIVE_SECONDS"])
    served: list[tuple[socket.socket, WSGIApplication]] = [(sock, answers) for sock in socks]
    if page is not None:
        served.append((page, WebPage(answers)))
    servers = [WSGIServer(sock, behind, log=None, error_log=log, handler_class=handler) for sock, behind in served]

    def stop() -> None:
        try:
            fooocus_flask.close(app)  # open streams would hold the stop
            for server in servers:
                server.stop_accepting()
            answers.written.wait(ANSWER_SECONDS)  # the servers themselves wait for nobody
        finally:  # whatever the database says
            stopped.set()

    handlers = [gevent.signal_handler(number, stop) for number in (signal.SIGTERM, signal.SIGINT)]
    garbage.settle()
    heap.keep_freed()
    for server in servers:
        server.start()
    fooocus_flask.start(app)
    print(greeting, flush=True)
    try:
        stopped.wait()
        for server in servers:
            server.stop()
    finally:
        for handler in handlers:
            handler.cancel()


def main(argv: Sequence[str] | None = None) -> None:
    """Start what the command line asks for, and serve until told to stop."""
    args = parser().parse_args(argv)
    with sentences():
        settings = overrides(args, os.environ)
        app = checked(fooocus_flask.create_app(**settings))
        database.lock(app)
        ports = [api_port(args.port, os.environ), *legacy_ports(app)]
        socks = [listener(args.listen, port) for port in dict.fromkeys(ports)]
        page = page_listener(app, args)
    for host in open_hosts(app, [args.listen]):
        print(warning(host), file=sys.stderr, flush=True)
    with app.app_context():
        key = callers.keys_on()
    ports = [sock.getsockname()[1] for sock in socks]
    shown = page and page.getsockname()[1]
    serve(app, socks, greeting_text(args.listen, *ports, page=shown, key=key), page)


def page_listener(app: Flask, args: argparse.Namespace) -> socket.socket | None:
    """The web page's listening socket; None where there is no page, or a port that nobody chose is taken.

    A server of the API, or Fooocus itself, may have had that port before there was a page.

    Raises:
        StartError: the address cannot be had.
    """
    if app.config["NOWEBUI"] or WEBUI not in app.blueprints:
        return None
    port, chosen = webui_port(args.port, os.environ), args.port is not None or os.environ.get("GRADIO_SERVER_PORT")
    try:
        return listener(args.listen, port)
    except StartError as error:
        if chosen:
            raise
        print(f"wsgi.py: {error}. The web page is at {WEBUI_PATH} of the API's port", file=sys.stderr, flush=True)
        return None


@contextmanager
def sentences(status: int = 2) -> Iterator[None]:
    """What keeps the server from starting ends the process with a sentence and this exit status."""
    try:
        yield
    except StartError as error:
        print(f"wsgi.py: {error}", file=sys.stderr, flush=True)
        raise SystemExit(status) from None


def checked(app: Flask) -> Flask:
    """The application, once it is sure that its preset, the addresses there and its secrets can be used.

    Raises:
        PresetError: the preset cannot; the text says why.
        SecretError: a secret cannot.
    """
    with app.app_context():
        file_tokens.secret.current()
        _ = webhooks.sender.current().signer
        presets.global_defaults()
        presets.standing_downloads()
    return app
