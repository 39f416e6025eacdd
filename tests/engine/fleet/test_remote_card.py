"""A card of the fleet as the driver sees it, where Ray does not find out what became of it."""

from threading import Event
from time import monotonic
from types import SimpleNamespace

import pytest

from engine.messages import Beat

ray = pytest.importorskip("ray", reason="the fleet needs Ray: pip install 'fooocus-flask[ray]'")
remote_card = pytest.importorskip("engine.fleet.remote_card")


@pytest.mark.parametrize(
    ("stages", "seconds", "ended"),
    [([], remote_card.MUTE, True), (["task", "step"], remote_card.MUTE, False), ([], remote_card.MUTE - 30, False)],
    ids=["draws nothing", "draws", "not for long"],
)
def test_a_card_that_draws_nothing_of_its_task_and_tells_no_end_of_it_is_replaced(monkeypatch, stages, seconds, ended):
    heard, killed = [], Event()
    monkeypatch.setattr(ray, "wait", lambda asked, timeout: (asked, []))
    monkeypatch.setattr(ray, "get", lambda asked: asked)
    monkeypatch.setattr(ray, "kill", lambda actor, no_restart: killed.set())
    actor = SimpleNamespace(beat=SimpleNamespace(remote=lambda: Beat(stages)))
    sender = SimpleNamespace(machine="far")
    card = remote_card.RemoteCard("far-0", lambda: actor, None, sender, lambda name, message: heard.append(message))
    card._info, card._waits_since = SimpleNamespace(), monotonic() - seconds
    card.pulse()
    card.pulse()
    assert heard == [Beat(stages)]
    assert killed.wait(5 if ended else 0.2) == ended
