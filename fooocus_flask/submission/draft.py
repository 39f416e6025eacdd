"""A request that is being checked: its parameters, whose they are, and what was found."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from engine.modes import Modes, modes_of
from engine.params import GenerateParams
from fooocus_flask.model_files.awaited_file import Awaited
from schemas.faults import Fault


@dataclass
class Draft:
    """`params` are complete; only a file that nobody insists on may still be left out of them.

    `sent` names the members that the client sent, `asked` those of them that it insists on, `from_preset` those a
    preset set. `downloads` are the model files that must come before the task can be drawn.
    """

    params: GenerateParams
    asked: frozenset[str] = frozenset()
    from_preset: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)
    sent: frozenset[str] = frozenset()
    faults: list[Fault] = field(default_factory=list)
    downloads: list[Awaited] = field(default_factory=list)
    modes: Modes = field(init=False)

    def __post_init__(self) -> None:
        self.modes = modes_of(self.params)

    def leave_out(self, note: str, **changes: Any) -> None:
        """Change parameters so that a model file is not used, which changes no mode; the note says which and why."""
        self.params = replace(self.params, **changes)
        self.notes.append(note)

    def refuse(self, type: str, member: str, msg: str, **ctx: Any) -> None:
        """Record a fault of this member; at the preset, where that set its value."""
        place = "preset" if member in self.from_preset else member
        self.faults.append(Fault(type, msg, self.params.to_dict()[place], ctx, ("body", place)))
