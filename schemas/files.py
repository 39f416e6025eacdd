"""How picture files are asked for."""

from __future__ import annotations

from schemas.fields import Choice, QuerySchema

THUMBNAIL_WIDTHS = (160, 320, 640)


class ThumbnailQuerySchema(QuerySchema):
    """How large a result is sent."""

    w = Choice(
        "Width in pixels of a small WebP of the picture, which is sent in its place; a picture that is narrower keeps "
        "its own width.",
        map(str, THUMBNAIL_WIDTHS),
        default=None,
    )
