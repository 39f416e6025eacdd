"""Time budgets: how far a stage has come, when to log and to save, and a clean end on SIGTERM."""

import logging
import math
import signal
import time

log = logging.getLogger("training")


class Stopped(Exception):
    """SIGTERM came: write what there is and end."""


class Clock:
    """One stage's budget in seconds, or a fixed number of steps when smoking."""

    stopping = False

    def __init__(self, name: str, seconds: float, steps: int | None = None) -> None:
        self.name, self.seconds, self.steps = name, seconds, steps
        self.started, self.done, self.samples, self.logged = time.monotonic(), 0, 0, time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the stage began."""
        return time.monotonic() - self.started

    @property
    def share(self) -> float:
        """How much of the stage is over, 0..1."""
        return min(1.0, self.done / self.steps if self.steps else self.elapsed / self.seconds)

    def running(self) -> bool:
        """Whether another step fits."""
        return self.share < 1 and not Clock.stopping

    def tick(self, samples: int) -> bool:
        """Count a step; True when a log line is due (every 10 s, or every step when smoking)."""
        self.done += 1
        self.samples += samples
        due = time.monotonic() - self.logged > 10 or self.steps is not None
        if due:
            self.logged = time.monotonic()
        return due

    def report(self, loss: float, more: str = "") -> None:
        """One line of progress."""
        log.info(
            "%s step %d loss %.4f %.0f samples/s %.0f s %s",
            self.name,
            self.done,
            loss,
            self.samples / max(1e-3, self.elapsed),
            self.elapsed,
            more,
        )


def end_on_sigterm() -> None:
    """Let every stage stop at its next step when SIGTERM arrives."""
    signal.signal(signal.SIGTERM, lambda *_: setattr(Clock, "stopping", True))


def cosine(share: float, warm: float = 0.03, floor: float = 0.02) -> float:
    """Learning-rate factor: linear warm-up, then half a cosine down to `floor`."""
    if share < warm:
        return max(0.02, share / warm)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (share - warm) / (1 - warm)))
