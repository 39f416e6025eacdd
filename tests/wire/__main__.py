"""`python -m tests.wire --examples 100`: all of schemathesis's checks against a server with a real engine."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.wire.running import arguments, look


def main() -> None:
    """Ask as the arguments say, and exit with 1 and what was found, if something was."""
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(look(Path(folder), arguments()) or None)


main()
