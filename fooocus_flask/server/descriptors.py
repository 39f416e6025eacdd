"""File descriptors: each connection needs one, so the limit is raised at the start, and its nearness told."""

from __future__ import annotations

import logging
import os
import resource

import gevent
from flask import Flask

from fooocus_flask.extension import Extension

log = logging.getLogger(__name__)

FOLDER = "/proc/self/fd"
LOOK_EVERY = 10.0
NEAR, FAR = 0.8, 0.6
"""Parts of the limit: beyond the one its nearness is told, once until less than the other is used."""
MOST = 2**20
"""What the limit is raised to where there is none."""


class DescriptorWatch:
    """Looks at how many descriptors this process has, while its application serves."""

    def __init__(self, app: Flask) -> None:
        self.near = False
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        """Raise the limit, and begin to look."""
        if self._greenlet is None:
            raise_limit()
            self._greenlet = gevent.spawn(self._look_on)

    def close(self) -> None:
        """Look no more."""
        gevent.kill(self._greenlet) if self._greenlet else None
        self._greenlet = None

    def look(self, used: int, most: int) -> None:
        """Tell in the log once when few are left."""
        if used > NEAR * most and not self.near:
            log.warning(
                "%d of %d file descriptors are used; beyond, connections are refused. Raise the limit (LimitNOFILE of "
                "the systemd unit, ulimit -n), or lower KEEPALIVE_SECONDS",
                *(used, most),
            )
        self.near = used > (FAR if self.near else NEAR) * most

    def _look_on(self) -> None:
        while (used := count()) is not None:
            self.look(used, limit())
            gevent.sleep(LOOK_EVERY)


watch = Extension("fooocus-descriptors", DescriptorWatch)


def raise_limit() -> None:
    """Let this process, and those that it starts, have as many descriptors as the system lets it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, limit()), hard))
    except (OSError, ValueError):  # macOS says that there is no limit, and has one
        log.info("The limit of file descriptors stays at %d", limit())


def limit() -> int:
    """How many descriptors this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else soft


def count() -> int | None:
    """How many descriptors this process has; None where the system doesn't tell."""
    try:
        return len(gevent.get_hub().threadpool.apply(os.listdir, (FOLDER,)))
    except OSError:
        return None
