"""Waits before further tries grow up to a bound."""

from __future__ import annotations

from engine.backoff import Backoff


def test_waits_are_doubled_up_to_the_longest():
    backoff = Backoff(0.5, 3.0)
    assert [backoff.next() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_the_next_wait_can_be_told_before_it_begins():
    backoff = Backoff(0.5, 3.0)
    backoff.next()
    assert backoff.seconds == backoff.next() == 1.0


def test_waits_begin_with_the_first_after_a_success():
    backoff = Backoff(0.5, 3.0)
    backoff.next()
    backoff.reset()
    assert backoff.next() == 0.5
