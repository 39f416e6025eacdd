"""`python wsgi.py …`: the command line of FooocusAPI, and a gevent server behind it."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import shlex
import signal
import socket as plain_socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
from flask import Flask
from gevent import socket
from gevent.event import Event
from gevent.pywsgi import WSGIServer
from werkzeug.wsgi import ClosingIterator

import fooocus_flask
from fooocus_flask import database, environment
from fooocus_flask.access import callers, file_tokens
from fooocus_flask.errors import StartError
from fooocus_flask.following import webhooks
from fooocus_flask.model_files import presets
from fooocus_flask.server import garbage
from fooocus_flask.server.http_requests import RequestHandler
from fooocus_flask.version import VERSION

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

DEFAULT_WEBUI_PORT = "7865"
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
WEBUI, WEBUI_PATH, WEBUI_MARK = "webui", "/ui/", "fooocus_flask.webui"
"""The blueprint of the web page, its place, and the word by which it hears that it is asked for at `/`."""
BACKLOG = 512
ANSWER_SECONDS = 15.0
"""Seconds that answers have to be written out at a stop; a busy machine needs some for the last event of a stream."""

SWITCHES_WITHOUT_EFFECT = (
    *("--share", "--in-browser", "--disable-in-browser", "--disable-analytics", "--multi-user"),
    *("--disable-preset-selection", "--disable-enhance-output-sorting", "--enable-auto-describe-image"),
    *("--disable-header-check", "--disable-server-log", "--disable-server-info", "--debug-mode"),
    *("--is-windows-embedded-python", "--disable-preset-download"),
    "--always-download-new-model",
    *("--async-cuda-allocation", "--disable-async-cuda-allocation", "--disable-attention-upcast"),
    *("--clip-in-fp8-e4m3fn", "--clip-in-fp8-e5m2"),
    *("--attention-quad", "--disable-xformers", "--disable-ipex-hijack"),
    "--always-gpu",
    "--pytorch-deterministic",
)
LEGACY_SWITCHES = ("--persistent", "--skip-pip", "--preload-pipeline")
"""Fooocus-API's: its history always lasts here, and nothing is installed or loaded at the start."""
MEMORY_FLAGS = (
    ("--always-high-vram", "resident", "all of a model stays on the graphics card, whatever is free there"),
    ("--disable-offload-from-vram", "resident", "the same"),
    ("--always-normal-vram", "auto", "as much of a model stays on the graphics card as there is room for"),
    ("--always-offload-from-vram", "turns", "text encoders leave the graphics card when they are not needed"),
    ("--always-low-vram", "alone", "each part of a model is on the graphics card only while it is needed"),
    ("--always-no-vram", "streamed", "the UNet comes to the graphics card block by block, too"),
)
FORMAT_FLAGS = {
    "--all-in-fp32": {"UNET_STORAGE": "fp32", "VAE_FORMAT": "fp32", "TEXT_STORAGE": "fp32"},
    "--all-in-fp16": {"UNET_STORAGE": "fp16", "TEXT_STORAGE": "fp16"},
    "--unet-in-bf16": {"UNET_STORAGE": "bf16"},
    "--unet-in-fp16": {"UNET_STORAGE": "fp16"},
    "--unet-in-fp8-e4m3fn": {"UNET_STORAGE": "fp8_e4m3fn"},
    "--unet-in-fp8-e5m2": {"UNET_STORAGE": "fp8_e5m2"},
    "--vae-in-fp16": {"VAE_FORMAT": "fp16"},
    "--vae-in-fp32": {"VAE_FORMAT": "fp32"},
    "--vae-in-bf16": {"VAE_FORMAT": "bf16"},
    "--vae-in-cpu": {"VAE_FORMAT": "cpu"},
    "--clip-in-fp16": {"TEXT_STORAGE": "fp16"},
    "--clip-in-fp32": {"TEXT_STORAGE": "fp32"},
    "--attention-split": {"ATTENTION": "split"},
    "--attention-pytorch": {"ATTENTION": "pytorch"},
}
"""The settings that flags about number formats and attention decide, a later one's before an earlier one's. All but the
VAE goes into fp16: SDXL's leaves its range."""
VALUES_WITHOUT_EFFECT: dict[str, dict[str, Any]] = {
    "--temp-path": {"metavar": "PATH"},
    "--cache-path": {"metavar": "PATH"},
    "--external-working-path": {"metavar": "PATH"},
    "--language": {"metavar": "NAME"},
    "--theme": {"metavar": "NAME"},
    "--web-upload-size": {"metavar": "MB", "type": float},
    "--directml": {"metavar": "N", "type": int, "nargs": "?", "const": -1},
    "--preview-option": {"choices": ("none", "auto", "fast", "taesd")},
}


def parser() -> argparse.ArgumentParser:
    """The command line: every flag of FooocusAPI and of Fooocus-API, and some of our own."""
    parser = argparse.ArgumentParser(
        prog="wsgi.py", description="Serve fooocus-flask: the web page on port 7865, the API on the next one: 7866."
    )
    add = parser.add_argument
    add("--version", action="version", version=f"fooocus-flask {VERSION}")
    every = "address; bare: all of them"
    add("--listen", "--host", metavar="IP", nargs="?", default="127.0.0.1", const="0.0.0.0", help=every)
    add(
        "--port", type=int, metavar="N", help="the web page's port, the API takes the next one; API_PORT goes before it"
    )
    add("--nowebui", action="store_true", help="serve the API alone, without the web page and its port")
    add("--legacy-port", type=int, metavar="N", help="a second port: 8888, for clients of Fooocus-API")
    add("--apikey", metavar="KEY", default="", help="the key requests must carry in the header X-API-KEY")
    add("--base-url", metavar="URL", default="", help="start of the URLs handed out: a URL, host:port or a host")
    add("--webhook-url", metavar="URL", default="", help="where finished tasks go whose request names no webhook")
    add("--preset", metavar="NAME", default="", help="preset whose values become the defaults")
    add("--output-path", metavar="PATH", type=Path, help="folder of the pictures")
    add("--models", metavar="PATH", type=Path, help="folder of the models, laid out like Fooocus's models/")
    add("--instance", metavar="PATH", type=Path, help="folder of all state (environment: FOOOCUS_INSTANCE)")
    add("--disable-metadata", action="store_true", help="write no parameters into pictures")
    add("--disable-image-log", action="store_true", help="keep no log.html beside the pictures")
    add("--rebuild-hash-cache", type=int, metavar="N", nargs="?", const=-1, help="hash all models now, N at a time")
    add("--allow-downloads", action="store_true", help="fetch model files that requests need, where their URL is known")
    add("--hf-mirror", metavar="URL", default="", help="stands in for https://huggingface.co when files are fetched")
    add("--queue-size", type=int, metavar="N", help="tasks that may wait; 0: any number")
    add("--queue-history", type=int, metavar="N", help="ended tasks that are kept; 0: all")
    add("--log-level", type=str.upper, choices=LOG_LEVELS, default="", help="what is logged")
    add("--standby", action="store_true", help="wait for the end of another server on the same database")
    add("--engines", metavar="N", type=engines, help="tasks drawn at once, or auto: one on each card")
    add("--gpu-device-id", type=int, metavar="N", help="the graphics card to draw with")
    add("--device", metavar="NAME", type=device, default="", help=f"what draws: {environment.DEVICES}")
    add("--always-cpu", type=int, metavar="THREADS", nargs="?", const=0, help="draw without a graphics card")
    for flag, mode, words in MEMORY_FLAGS:
        add(flag, action="store_const", const=mode, dest="memory_plan", default="", help=words)
    for flag, decided in FORMAT_FLAGS.items():
        told = ", ".join(f"{name} is {word}" for name, word in decided.items())
        add(flag, action="append_const", const=decided, dest="formats", default=[], help=told)
    ignored = parser.add_argument_group("accepted without effect, so that the reference's command lines work")
    for flag in (*SWITCHES_WITHOUT_EFFECT, *LEGACY_SWITCHES):
        ignored.add_argument(flag, action="store_true")
    for flag, rules in VALUES_WITHOUT_EFFECT.items():
        ignored.add_argument(flag, **rules)
    return parser


def api_port(port: int | None, environ: Mapping[str, str]) -> int:
    """The API's port: API_PORT, else the one after --port, else the one after GRADIO_SERVER_PORT or 7865.

    Raises:
        StartError: the number is none, or no port has it.
    """
    if environ.get("API_PORT"):
        return _port("API_PORT", environ["API_PORT"], 0)
    if port is not None:
        return _port("--port", str(port), 1)
    return _port("GRADIO_SERVER_PORT", environ.get("GRADIO_SERVER_PORT") or DEFAULT_WEBUI_PORT, 1)


def webui_port(port: int | None, environ: Mapping[str, str]) -> int:
    """The web page's port: --port, else GRADIO_SERVER_PORT or 7865; like the API any free one where API_PORT is 0.

    Raises:
        StartError: the number is none, or is no port.
    """
    if port is not None:
        return _port("--port", str(port), 0)
    if environ.get("API_PORT") == "0":
        return 0
    return _port("GRADIO_SERVER_PORT", environ.get("GRADIO_SERVER_PORT") or DEFAULT_WEBUI_PORT, 0)


def _port(source: str, text: str, step: int) -> int:
    try:
        port = int(text) + step
    except ValueError:
        raise StartError(f"{source} is {text!r}, which is no port number; give one, such as 7866") from None
    if not 0 <= port <= 65535:
        raise StartError(f"{source} is {text}: that would be port {port}, and ports end at 65535")
    return port


def legacy_ports(app: Flask) -> list[int]:
    """The port for clients of Fooocus-API, if there is to be one.

    Raises:
        StartError: no port has the number.
    """
    port = _port("LEGACY_PORT", str(app.config["LEGACY_PORT"]), 0)
    return [port] if port else []


def overrides(args: argparse.Namespace, environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings the command line decides; what it leaves open comes from environment and instance.

    Raises:
        StartError: a folder is not there and cannot be made, or something else cannot be.
    """
    environment_webhook = "" if environ.get("FOOOCUS_WEBHOOK_URL") else environ.get("WEBHOOK_URL", "")
    found: dict[str, Any] = {
        "API_KEY": args.apikey,
        "BASE_URL": args.base_url,
        "WEBHOOK_URL": args.webhook_url or environment_webhook,
        "PRESET": args.preset,
        "NOWEBUI": args.nowebui,
        "ALLOW_DOWNLOADS": args.allow_downloads,
        "HF_MIRROR": mirror(args.hf_mirror, environ),
        "STANDBY": args.standby,
        "LEGACY_PORT": args.legacy_port,
        "LOG_LEVEL": args.log_level,
        "DISABLE_METADATA": args.disable_metadata,
        "DISABLE_IMAGE_LOG": args.disable_image_log,
        "ENGINES": args.engines,
        "ENGINE_THREADS": args.always_cpu,
        "DEVICE": args.device if args.always_cpu is None else "cpu",
        "MEMORY_PLAN": args.memory_plan,
        "REBUILD_HASH_CACHE": hash_threads(args.rebuild_hash_cache),
        "ENGINE_ENVIRONMENT": engine_environment(args),
    }
    for decided in args.formats:
        found |= decided
    if args.models:
        if not args.models.is_dir():
            raise StartError(f"--models is {str(args.models)!r}, and there is no such folder")
        found["MODELS_PATH"] = str(args.models.resolve())
    for name, flag, folder in (
        ("OUTPUT_PATH", "--output-path", args.output_path),
        ("INSTANCE", "--instance", args.instance),
    ):
        if folder:
            found[name] = str(made(folder, flag))
    return {name: value for name, value in found.items() if value} | limits(args)


def limits(args: argparse.Namespace) -> dict[str, int]:
    """The limits the command line decides, where 0 is none.

    Raises:
        StartError: one is negative.
    """
    flags = {"QUEUE_LIMIT": ("--queue-size", args.queue_size), "HISTORY_LIMIT": ("--queue-history", args.queue_history)}
    found = {name: number for name, (_, number) in flags.items() if number is not None}
    for name in found:
        if found[name] < 0:
            raise StartError(f"{flags[name][0]} is {found[name]}; give a number of tasks, or 0 for no limit")
    return found


def mirror(flag: str, environ: Mapping[str, str]) -> str:
    """The hub's mirror: as the flag says, else the environment's HF_MIRROR.

    Raises:
        StartError: it is no URL.
    """
    url = flag or ("" if environ.get("FOOOCUS_HF_MIRROR") else environ.get("HF_MIRROR", ""))
    if url and not url.startswith(("https://", "http://")):
        raise StartError(f"--hf-mirror is {url!r}; give a URL, such as https://hub.example.org")
    return url


def engines(text: str) -> str:
    """How many engines a flag asks for.

    Raises:
        ArgumentTypeError: that is no number, or too large.
    """
    if environment.is_engines(text):
        return text
    wanted = f"give a number from 1 to {environment.MOST_ENGINES}, or {environment.ENGINES_AUTO}"
    raise argparse.ArgumentTypeError(f"{text!r} is no number of engines; {wanted}")


def device(text: str) -> str:
    """The device a flag asks for.

    Raises:
        ArgumentTypeError: that is none.
    """
    if environment.is_device(text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is no device; give {environment.DEVICES}")


def made(folder: Path, flag: str) -> Path:
    """The folder, made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"{flag} is {str(folder)!r}, which cannot be made: {error.strerror}") from error
    return folder.resolve()


def hash_threads(asked: int | None) -> int:
    """How many threads --rebuild-hash-cache asks for: without a number, one for each core."""
    if asked is None:
        return 0
    return asked if asked > 0 else os.cpu_count() or 1


def engine_environment(args: argparse.Namespace) -> dict[str, str]:
    """What the engine process must find in its environment."""
    if args.always_cpu is not None:
        return {"CUDA_VISIBLE_DEVICES": ""}
    return {} if args.gpu_device_id is None else {"CUDA_VISIBLE_DEVICES": str(args.gpu_device_id)}


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
