"""The engine process over a checkout: `python engine/checkout/__main__.py FD` in the checkout's folder.

It speaks the same frames as `engine.process`. That folder's Python may be another one than the server's, whose other
packages do not fit it; so this file is run by its path, and only the package `engine` is found from here.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MARK = "--"


def find_engine() -> None:
    """Have `engine` imported from beside this file, and all else as the checkout itself would."""
    folder = HERE.parent
    spec = importlib.util.spec_from_file_location("engine", folder / "__init__.py")
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["engine"] = package
    spec.loader.exec_module(package)
    sys.path[:] = [str(Path.cwd()), *(place for place in sys.path if Path(place or ".").resolve() != HERE)]


def parse(words: list[str]) -> argparse.Namespace:
    """The command line; what follows `--` is for the checkout's own."""
    mark = words.index(MARK) if MARK in words else len(words)
    parser = argparse.ArgumentParser(prog="engine.checkout", description="The engine process over a Fooocus.")
    parser.add_argument("fd", type=int, help="the inherited socket to the web process")
    parser.add_argument("--beat", type=float, default=5.0, help="seconds between signs of life")
    parser.add_argument("--scratch", type=Path, required=True, help="folder that pictures are drawn into")
    parsed = parser.parse_args(words[:mark])
    parsed.flags = words[mark + 1 :]
    return parsed


def main() -> None:
    """Serve until the web process is gone."""
    from engine.checkout.drawing_thread import DrawingThread
    from engine.checkout.program import Program
    from engine.process.serving import serve

    arguments = parse(sys.argv[1:])
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    serve(
        arguments.fd,
        arguments.beat,
        lambda send, heartbeat, log_context: DrawingThread(
            lambda: Program(arguments.flags, arguments.scratch), send, heartbeat, log_context
        ),
    )


if __name__ == "__main__":
    find_engine()
    main()
