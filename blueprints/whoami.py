"""Who asks: the key at hand, and what it may do."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields

from fooocus_flask.access import callers, scopes
from fooocus_flask.access.keys import DRAW, READ
from fooocus_flask.errors import Forbidden
from fooocus_flask.submission.parsing import Blueprint

blueprint = Blueprint("whoami", __name__, description="Who asks.")


class WhoamiSchema(Schema):
    """The caller, as the server knows it."""

    name = fields.String(
        allow_none=True, metadata={"description": "Name of the key that was sent; null where none is needed."}
    )
    scopes = fields.List(
        fields.String(), metadata={"description": "What it may do: read, draw, admin. The last holds all."}
    )
    per_minute = fields.Integer(metadata={"description": "Requests that it may send a minute; 0: no limit."})
    queued = fields.Integer(metadata={"description": "Tasks that it may have waiting; 0: no limit."})


@blueprint.get("/whoami")
@blueprint.response(200, WhoamiSchema)
@scopes.needs(READ, DRAW)
def whoami() -> dict[str, Any]:
    """Tell whose key was sent, and what it may do."""
    caller = callers.current()
    if caller is None:
        raise Forbidden
    limits = {"per_minute": caller.per_minute, "queued": caller.queued}
    return {"name": caller.name, "scopes": sorted(caller.scopes), **limits}
