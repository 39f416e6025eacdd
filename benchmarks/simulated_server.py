"""The server with cards that only seem to draw: `wsgi.py` whose engines are `benchmarks.simulated_card`.

For `benchmarks.many_cards`, which puts the cards' arguments into SIMULATED_CARD.
"""

from gevent import monkey

monkey.patch_all()

import os
import shlex
from functools import partial

from fooocus_flask import environment
from fooocus_flask.runner import engines
from fooocus_flask.runner.process import EngineProcess, ours
from fooocus_flask.server import launcher

CARD = "SIMULATED_CARD"


def starter(app, start):
    """What starts a simulated card in place of an engine process."""
    return partial(EngineProcess, arguments=shlex.split(os.environ[CARD]), launch=ours("benchmarks.simulated_card"))


if __name__ == "__main__":
    engines.starter = starter
    engines.counted_cards = lambda app: 0
    environment.MOST_ENGINES = 10_000
    launcher.main()
