"""What there is to choose from."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields


def names_of(description: str) -> dict[str, Any]:
    """The shape of an answer that is a list of names."""
    return {"type": "array", "items": {"type": "string"}, "description": description}


class AllModelsSchema(Schema):
    """The model files on this server."""

    model_filenames = fields.List(
        fields.String(),
        metadata={"description": "Checkpoints, among them the built-in one: values of base_model_name."},
    )
    lora_filenames = fields.List(fields.String(), metadata={"description": "LoRAs: values of a LoRA's model_name."})


class PerformanceModeSchema(Schema):
    """A performance mode."""

    name = fields.String(metadata={"description": "Value of performance_selection."})
    steps = fields.Integer(metadata={"description": "Sampling steps."})
    upscale_steps = fields.Integer(metadata={"description": "Sampling steps when upscaling."})
    lora = fields.String(
        allow_none=True, metadata={"description": "The LoRA file a full-size model needs for it; null: none."}
    )
    lora_url = fields.String(allow_none=True, metadata={"description": "Where that file comes from."})
