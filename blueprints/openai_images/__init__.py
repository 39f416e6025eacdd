"""OpenAI's Images API: pictures for the clients that know no other."""

from __future__ import annotations

from blueprints.openai_images import drawing, models
from blueprints.openai_images.group import blueprint

__all__ = ["blueprint", "drawing", "models"]
