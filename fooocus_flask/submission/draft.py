"""A request on its way to the engine: its values, whose they are, and what came up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fooocus_flask.model_files.awaited_file import Awaited
from schemas.faults import Fault


@dataclass
class Draft:
    """`asked` names the members the client insists on, `from_preset` those a preset set.

    `downloads` are the model files that must come before it can be drawn.
    """

    values: dict[str, Any]
    asked: set[str]
    from_preset: set[str]
    notes: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    downloads: list[Awaited] = field(default_factory=list)

    def refuse(self, type: str, member: str, msg: str, **ctx: Any) -> None:
        """Note a fault; a value that a preset set is told at the preset."""
        place = "preset" if member in self.from_preset else member
        self.faults.append(Fault(type, msg, self.values[place], ctx, ("body", place)))
