"""Whether the server answers, and whether it can draw."""

from __future__ import annotations

from flask import Response, jsonify
from marshmallow import Schema, fields

from fooocus_flask.pictures.storage import storage
from fooocus_flask.runner.runner import runner
from fooocus_flask.submission.parsing import Blueprint

blueprint = Blueprint("health", __name__, description="Whether the service is well.")


class LaneSchema(Schema):
    """One engine, which draws one task at a time."""

    lane = fields.String(metadata={"description": "Its number, from 0."})
    state = fields.String(
        metadata={"description": "ready; starting; stuck: it hung and is being replaced; or unusable as it is set up."}
    )
    drawing = fields.Boolean(metadata={"description": "Whether it draws a task now."})


class ReadySchema(Schema):
    """Whether the engine can draw."""

    ready = fields.Boolean(metadata={"description": "Whether an engine has loaded its libraries and takes tasks."})
    state = fields.String(
        metadata={
            "description": "ready, starting, stopping, stuck: the engine hung and is being replaced; unusable: nothing "
            "can be drawn as the settings have it; or storage: the bucket has not answered since the start."
        }
    )
    problem = fields.String(
        metadata={"description": "With unusable: the setting that makes it so, and what would work."}
    )
    lanes = fields.List(
        fields.Nested(LaneSchema),
        metadata={
            "description": "The engines; ready is whether any of them takes tasks. Empty until they are counted."
        },
    )


class HealthSchema(Schema):
    """Whether the process works."""

    status = fields.String(metadata={"description": "ok"})


@blueprint.get("/ping")
@blueprint.response(200, {"type": "string", "description": "pong"})
def ping() -> Response:
    """Answer, whatever the engine does."""
    return jsonify("pong")


@blueprint.get("/health")
@blueprint.response(200, HealthSchema)
def health() -> dict[str, str]:
    """Tell that this process works: restart it where this does not answer."""
    return {"status": "ok"}


@blueprint.get("/ready")
@blueprint.response(200, ReadySchema)
@blueprint.alt_response(503, description="The state tells why tasks wait.")
def ready() -> Response:
    """Tell whether tasks are taken now, and how each engine is."""
    now = runner.current()
    state = now.state if storage.current().ready else "storage"
    lanes = [  # without their names: a fleet's cards are called by their machines, and anybody may ask
        {"lane": str(number), "state": lane.state, "drawing": lane.task_id is not None}
        for number, lane in enumerate(now.lanes)
    ]
    told = {"ready": state == "ready", "state": state, "lanes": lanes}
    problem = {"problem": now.problem} if state == "unusable" else {}
    response = jsonify(ReadySchema().dump(told | problem))
    response.status_code = 200 if state == "ready" else 503
    return response
