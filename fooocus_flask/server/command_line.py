"""The command line of FooocusAPI, of Fooocus-API and of our own, and the settings that it decides."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask

from fooocus_flask import environment
from fooocus_flask.errors import StartError
from fooocus_flask.version import VERSION

DEFAULT_WEBUI_PORT = "7865"
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
SWITCHES_WITHOUT_EFFECT = (
    *("--share", "--in-browser", "--disable-in-browser", "--disable-analytics", "--multi-user"),
    *("--disable-preset-selection", "--disable-enhance-output-sorting", "--enable-auto-describe-image"),
    *("--disable-header-check", "--disable-server-log", "--disable-server-info", "--debug-mode"),
    *("--is-windows-embedded-python", "--disable-preset-download"),
    "--always-download-new-model",
    *("--async-cuda-allocation", "--disable-async-cuda-allocation", "--disable-attention-upcast"),
    *("--clip-in-fp8-e4m3fn", "--clip-in-fp8-e5m2"),
    *("--disable-xformers", "--disable-ipex-hijack"),
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
    "--attention-quad": {"ATTENTION": "split"},
    "--attention-pytorch": {"ATTENTION": "pytorch"},
}
"""The settings that flags about number formats and attention decide, a later one's before an earlier one's. All but the
VAE goes into fp16: SDXL's leaves its range. Both ways of attention in pieces are one here, which takes less memory."""
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
    add("--fooocus", metavar="PATH", type=Path, help="an existing Fooocus, which draws in place of our engine")
    add("--fooocus-python", metavar="PATH", default="", help="the Python that runs it; its own, if it has one")
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
    add("--fleet", metavar="ADDRESS", default="", help="draw on all cards of the Ray cluster whose head is there")
    add("--gpu-device-id", type=int, metavar="N", help="the graphics card to draw with")
    add("--device", metavar="NAME", type=device, default="", help=f"what draws: {environment.DEVICES}")
    add("--always-cpu", type=int, metavar="THREADS", nargs="?", const=0, help="draw without a graphics card")
    for flag, mode, words in MEMORY_FLAGS:
        add(flag, action="store_const", const=mode, dest="memory_plan", default="", help=words)
    for flag, decided in FORMAT_FLAGS.items():
        told = ", ".join(f"{name} is {word}" for name, word in decided.items())
        add(flag, action="append_const", const=decided, dest="formats", default=[], help=told)
    _add_without_effect(parser)
    return parser


def _add_without_effect(parser: argparse.ArgumentParser) -> None:
    ignored = parser.add_argument_group("accepted without effect, so that the reference's command lines work")
    for flag in (*SWITCHES_WITHOUT_EFFECT, *LEGACY_SWITCHES):
        ignored.add_argument(flag, action="store_true")
    for flag, rules in VALUES_WITHOUT_EFFECT.items():
        ignored.add_argument(flag, **rules)


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
        StartError: no port has the number, or the routes that it is for are left out.
    """
    port = _port("LEGACY_PORT", str(app.config["LEGACY_PORT"]), 0)
    if port and "legacy" in environment.entries(app.config["BLUEPRINTS_OFF"]):
        raise StartError(
            f"LEGACY_PORT is {port}, but BLUEPRINTS_OFF leaves out legacy, whose routes it is for: give up one of them"
        )
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
        "FLEET": args.fleet,
        "PYTHON": args.fooocus_python,
        "ENGINE_THREADS": args.always_cpu,
        "DEVICE": args.device if args.always_cpu is None else "cpu",
        "MEMORY_PLAN": args.memory_plan,
        "REBUILD_HASH_CACHE": hash_threads(args.rebuild_hash_cache),
        "ENGINE_ENVIRONMENT": engine_environment(args),
    }
    for decided in args.formats:
        found |= decided
    if args.fooocus:
        found["PATH"] = str(args.fooocus.resolve())
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
