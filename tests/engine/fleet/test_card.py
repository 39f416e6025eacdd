"""A card of the fleet, in a process of its own as on its machine, but called from there and not by Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from importlib.util import find_spec

import pytest

from tests.toy import toy_draw

pytestmark = pytest.mark.slow

PROGRAM = """
import json, sys
from engine.fleet.card import CardActor, CardStart
from engine.messages import Draw

task, builtin = json.load(sys.stdin)
card = CardActor(CardStart("card", ["--threads", "1", "--builtin", builtin], {}))
card.info()


class LosesSight:
    # What a task brings, whose driver loses sight of the card while it is laid out.
    def __iter__(self):
        card.drop()
        return iter(())

    items = __iter__


def outcome(pictures={}, files=()):
    return [*card.draw(Draw(**task), pictures, files)][-1].outcome


found = {"files": outcome(files=LosesSight()), "pictures": outcome(LosesSight()), "again": outcome()}
print(json.dumps(found))
"""


def test_a_task_is_dropped_while_it_is_laid_out_and_can_be_drawn_again(toy, tmp_path):
    if find_spec("ray") is None:
        pytest.skip("the fleet needs Ray: pip install 'fooocus-flask[ray]'")
    said = json.dumps([asdict(toy_draw(tmp_path)), str(toy)])
    environment = os.environ | {"FOOOCUS_MODELS_PATH": str(tmp_path)}
    found = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, input=said, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout) == {"files": "stopped", "pictures": "stopped", "again": "finished"}
