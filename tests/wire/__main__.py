"""`python -m tests.wire --examples 100`: all of schemathesis's checks against a server with a real engine."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from tests.serving import ROOT, Server, engines
from tests.tool_models import tool_models
from tests.wire.hooks import INPUT, OUTPUT

KEY = "secret"
HERE = Path(__file__).parent


def main() -> None:
    """Start a server, have schemathesis ask it, and exit with what it found: 0 for nothing."""
    parser = argparse.ArgumentParser(prog="tests.wire", description=__doc__)
    parser.add_argument("--examples", type=int, default=100, help="requests made up for each operation and phase")
    parser.add_argument("--seed", type=int, default=1, help="decides which requests")
    parser.add_argument("--phases", default="examples,coverage,fuzzing,stateful", help="schemathesis's, with commas")
    parser.add_argument("--mode", default="all", choices=["all", "positive", "negative"], help="good requests or bad")
    parser.add_argument("--only", default="", metavar="REGEX", help="paths to ask; all")
    parser.add_argument("--without", default="", metavar="REGEX", help="paths not to ask; none")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        place(folder / "instance")
        server = Server(folder / "instance", tool_models(folder / "models"), FOOOCUS_API_KEY=KEY)
        try:
            server.ready()
            before = engines(server.process.pid)
            found = ask(server, folder, arguments)
            found += harm(server, before)
        finally:
            server.stop()
    raise SystemExit(found)


def place(instance: Path) -> None:
    """Put a result and an input where the requests for files look."""
    for path in (OUTPUT, INPUT):
        file = instance / path
        file.parent.mkdir(parents=True)
        Image.new("RGB", (16, 16), "red").save(file)


def ask(server: Server, folder: Path, arguments: argparse.Namespace) -> int:
    """Run schemathesis; its exit status."""
    document = folder / "openapi.json"
    document.write_text(json.dumps(strict(server.get("/openapi.json").json)))
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", HERE / "schemathesis.toml", "run", document]
    command += ["--url", f"http://127.0.0.1:{server.port}", "--header", f"X-API-KEY: {KEY}", "--checks", "all"]
    command += ["--phases", arguments.phases, "--mode", arguments.mode, "--max-examples", str(arguments.examples)]
    command += ["--seed", str(arguments.seed), "--generation-database", "none", "--request-timeout", "300"]
    command += ["--max-response-time", "300"]  # this is about answers, and the machine may be busy
    command += ["--continue-on-failure", "--no-color"]
    command += ["--include-path-regex", arguments.only] if arguments.only else []
    command += ["--exclude-path-regex", arguments.without] if arguments.without else []
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.wire.hooks", "PYTHONPATH": str(ROOT)}
    return subprocess.run(list(map(str, command)), cwd=folder, env=environment).returncode


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


def harm(server: Server, before: list[int]) -> int:
    """How much was broken meanwhile: the server, its engine, or something that the log tells of."""
    broken = [line for line in server.lines if " ERROR " in line or "Traceback" in line]
    if engines(server.process.pid) != before:
        broken.append("the engine was replaced\n")
    if server.get("/ping").status != 200 or server.draw(X_API_KEY=KEY).json["task_status"] != "finished":
        broken.append("nothing is drawn any more\n")
    print(*broken, sep="", end="", flush=True)
    return len(broken)


main()
