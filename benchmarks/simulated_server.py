"""The server with cards that only seem to draw: `wsgi.py` whose engines are `benchmarks.simulated_card`.

For `benchmarks.many_cards`, which puts the cards' arguments into SIMULATED_CARD.
"""

from gevent import monkey

monkey.patch_all()

import os
import shlex
import sys

from gevent import subprocess

from fooocus_flask import environment
from fooocus_flask.runner import engines, process
from fooocus_flask.server import launcher

CARD = "SIMULATED_CARD"


def started(far, arguments, environment):
    """A simulated card in place of an engine process."""
    command = [sys.executable, "-m", "benchmarks.simulated_card", str(far.fileno()), *shlex.split(os.environ[CARD])]
    return subprocess.Popen(command, pass_fds=[far.fileno()], stdin=subprocess.DEVNULL, cwd=process.ROOT)


if __name__ == "__main__":
    process.started = started
    engines.counted_cards = lambda app: 0
    environment.MOST_ENGINES = 10_000
    launcher.main()
