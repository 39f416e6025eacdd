"""A lane whose engine is a card of the fleet, on whatever machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from flask import Flask

from engine import messages
from engine.fleet.frames import CardFiles, CardLeaving, Follow
from fooocus_flask.following.audience import sees_previews
from fooocus_flask.runner.engine_supervisor import StartEngine
from fooocus_flask.runner.lane import Lane
from fooocus_flask.runner.worker import LEAVING
from fooocus_flask.tables import Task


class FleetLane(Lane):
    """The lane of one card. What is sent over the network is only what somebody sees: previews while they are seen."""

    def __init__(
        self,
        app: Flask,
        name: str,
        machine: str,
        start_engine: StartEngine,
        changed: Callable[[], object],
    ) -> None:
        super().__init__(app, name, start_engine, changed)
        self.machine = machine
        self._files: frozenset[str] = frozenset()
        self._leaving = False
        self._followed = False
        self._step, self._preview = 0, b""
        """The last step that the card reported of the picture under way, and its last preview."""

    @property
    def free(self) -> bool:
        """Whether it would draw a task at once."""
        return super().free and not self._leaving

    @property
    def activity(self) -> str:
        """The state of its worker; a card whose machine leaves may still draw."""
        return LEAVING if self._leaving else super().activity

    def has(self, checkpoint: str | None) -> bool:
        """Whether the card's machine has this checkpoint's file; any other file has to be sent there first."""
        return checkpoint is None or checkpoint in self._files

    def give(self, task: Task, draw: messages.Draw) -> None:
        """Have a task drawn; only a free lane may be given one."""
        followed = sees_previews(self.app, task.task_id)
        if followed:
            self.supervisor.send(Follow(task.task_id, followed))  # before the task, so that its first preview is sent
        self._followed = followed
        self._step, self._preview = 0, b""
        super().give(task, draw)

    def _take(self, message: messages.Message) -> None:
        if isinstance(message, CardFiles):
            self._files = frozenset(message.checkpoints)
        elif isinstance(message, CardLeaving):
            self._leaving = True
            self._changed()
        elif isinstance(message, messages.Progressed) and message.task_id == self.task_id:
            super()._take(self._with_preview(message))
            self._follow(message.task_id)
        else:
            super()._take(message)

    def _with_preview(self, progress: messages.Progressed) -> messages.Progressed:
        """The progress with its picture's last preview: a card sends fewer of them than steps, and of what reaches a
        client only the newest counts."""
        if not progress.step:
            return progress
        kept = self._preview if progress.step >= self._step else b""
        self._step, self._preview = progress.step, progress.preview or kept
        return replace(progress, preview=self._preview)

    def _follow(self, task_id: str) -> None:
        """Tell the card whether the task's previews are seen, when that changes."""
        followed = sees_previews(self.app, task_id)
        if followed != self._followed:
            self._followed = followed
            self.supervisor.send(Follow(task_id, followed))
