"""Hosts of model files that could not be reached: for a while nobody waits for them again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from urllib.parse import urlsplit

from engine.backoff import Backoff

FIRST, MOST = 300.0, 3600.0
"""Seconds for which a host is left alone: at first, and at most; each time twice as long."""


@dataclass
class Hold:
    """A host is left alone until this moment of the clock, and then for as long as `backoff` says."""

    until: float
    backoff: Backoff


class Hosts:
    """Which hosts are left alone; `now` is a clock in seconds."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._holds: dict[str, Hold] = {}

    def failed(self, url: str) -> None:
        """An address's host could not be reached. What was on its way when it was found out tells nothing new."""
        hold = self._holds.setdefault(_host(url), Hold(self._now(), Backoff(FIRST, MOST)))
        if hold.until <= self._now():
            hold.until = self._now() + hold.backoff.next()

    def answered(self, url: str) -> None:
        """An address's host can be reached."""
        self._holds.pop(_host(url), None)

    def forget(self) -> None:
        """Ask all of them again."""
        self._holds.clear()

    def held(self, url: str) -> float | None:
        """Seconds for which an address's host is left alone; None if it is not."""
        hold = self._holds.get(_host(url))
        left = hold.until - self._now() if hold else 0.0
        return left if left > 0 else None

    def sentence(self, url: str, now: dt.datetime) -> str:
        """When an address's host is asked again, for people."""
        moment = now + dt.timedelta(seconds=self.held(url) or 0.0)
        return f"its host, {_host(url)}, is asked again from {moment:%Y-%m-%dT%H:%M:%SZ} on"


def _host(url: str) -> str:
    """The host with its port, without what the operator keeps secret."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()
