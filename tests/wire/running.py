"""Has schemathesis ask a server with a real engine, and looks at what it left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.serving import ROOT, Server, engines
from tests.tool_models import tool_models
from tests.toy import pack_toy
from tests.wire.files import place

KEY = "secret"
HERE = Path(__file__).parent


def arguments(words: Sequence[str] | None = None) -> Namespace:
    """What these words ask for; those of the command line."""
    parser = ArgumentParser(prog="tests.wire", description=__doc__)
    parser.add_argument("--examples", type=int, default=100, help="requests made up for each operation and phase")
    parser.add_argument("--seed", type=int, default=1, help="decides which requests")
    parser.add_argument("--phases", default="examples,coverage,fuzzing,stateful", help="schemathesis's, with commas")
    parser.add_argument("--mode", default="all", choices=["all", "positive", "negative"], help="good requests or bad")
    parser.add_argument("--only", default="", metavar="REGEX", help="paths to ask; all")
    parser.add_argument("--without", default="", metavar="REGEX", help="paths not to ask; none")
    return parser.parse_args(words)


def look(folder: Path, asked: Namespace) -> str:
    """Start a server and have schemathesis ask it what the program's arguments say; what was found, empty for nothing.

    All of it is below this folder.
    """
    place(folder / "instance")
    models = tool_models(folder / "models")
    pack_toy(models / "checkpoints" / "toy.safetensors", most_pixels=64 * 64)  # it samples large pictures as small ones
    server = Server(folder / "instance", models, FOOOCUS_API_KEY=KEY)
    try:
        server.ready()
        before = engines(server.process.pid)
        return ask(server, folder, asked) + "".join(harm(server, before))
    finally:
        server.stop()


def ask(server: Server, folder: Path, asked: Namespace) -> str:
    """Run schemathesis, which prints as it goes; the end of it if it found something."""
    document = folder / "openapi.json"
    document.write_text(json.dumps(strict(server.get("/openapi.json").json)))
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", HERE / "schemathesis.toml", "run", document]
    command += ["--url", f"http://127.0.0.1:{server.port}", "--header", f"X-API-KEY: {KEY}", "--checks", "all"]
    command += ["--phases", asked.phases, "--mode", asked.mode, "--max-examples", str(asked.examples)]
    command += ["--seed", str(asked.seed), "--generation-database", "none", "--request-timeout", "300"]
    command += ["--max-response-time", "300"]  # this is about answers, and the machine may be busy
    command += ["--continue-on-failure", "--no-color"]
    command += ["--include-path-regex", asked.only] if asked.only else []
    command += ["--exclude-path-regex", asked.without] if asked.without else []
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.wire.hooks", "PYTHONPATH": str(ROOT)}
    status = subprocess.run(list(map(str, command)), cwd=folder, env=environment).returncode
    return f"schemathesis ended with {status}\n" if status else ""


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """The document without the catch-all for failures, so that a status it does not name is a finding.

    Without the stream that never ends, too.
    """
    del document["paths"]["/tasks/events"]
    for operations in document["paths"].values():
        for operation in operations.values():
            if isinstance(operation, dict):
                operation["responses"].pop("default", None)
    return document


def harm(server: Server, before: list[int]) -> list[str]:
    """What was broken meanwhile: the server, its engine, or something that the log tells of."""
    broken = [line for line in server.lines if " ERROR " in line or "Traceback" in line]
    if engines(server.process.pid) != before:
        broken.append("the engine was replaced\n")
    if server.get("/ping").status != 200 or server.draw(X_API_KEY=KEY).json["task_status"] != "finished":
        broken.append("nothing is drawn any more\n")
    return broken
