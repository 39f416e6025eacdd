"""Events on their way from a card: of progress only the newest, of previews few, of the rest everything in order."""

import pytest

from engine.fleet.outlet import PREVIEW_GAP, Outlet
from engine.messages import Ended, PictureDone, Progressed


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def outlet(clock):
    return Outlet(clock)


def step(number, preview=b""):
    return Progressed("t", number, f"step {number}", preview)


END = Ended("t", "finished")
DONE = PictureDone("t", 0, "a.png", 1, 8, 8)


def test_newer_progress_replaces_what_was_not_taken(outlet):
    for event in (step(1), step(2), DONE, step(3), step(4), END):
        outlet.put(event)
    assert [*outlet] == [step(2), DONE, step(4), END]


def test_nobody_gets_previews_who_does_not_follow(outlet):
    outlet.put(step(1, b"png"))
    outlet.put(END)
    assert [*outlet] == [step(1), END]


def test_previews_are_a_while_apart_and_one_that_waits_is_kept(outlet, clock):
    outlet.followed = True
    outlet.put(step(1, b"first"))
    outlet.put(step(2, b"too soon"))
    outlet.put(DONE)
    clock.now = PREVIEW_GAP
    outlet.put(step(3, b"second"))
    outlet.put(END)
    assert [*outlet] == [step(2, b"first"), DONE, step(3, b"second"), END]
