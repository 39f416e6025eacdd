"""AUTOMATIC1111's `/sdapi/v1`, for clients that know no other API of a server of one's own."""

from __future__ import annotations

from blueprints.sdapi import drawing, listings, options, pictures, progress
from blueprints.sdapi.group import blueprint

__all__ = ["blueprint", "drawing", "listings", "options", "pictures", "progress"]
