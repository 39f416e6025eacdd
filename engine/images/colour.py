"""Colours as a screen shows them: pictures that carry an ICC profile, in sRGB."""

from __future__ import annotations

import io
from typing import cast

from PIL import Image, ImageCms

SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
"""The modes that profiles are about, and the colour space that a profile for one names."""
PROFILE, CLEAR_COLOUR = "icc_profile", "transparency"


def to_srgb(image: Image.Image) -> Image.Image:
    """The picture in sRGB, without a profile; as it is if it has none, one that does not fit it, or sRGB's own.

    Alpha stays as it is.
    """
    data = image.info.get(PROFILE)
    if not data:
        return image
    plain = _plain(image)
    alpha = plain.getchannel("A") if plain.mode in ("RGBA", "LA") else None
    shown = _converted(plain.convert(plain.mode.removesuffix("A")) if alpha else plain, data)
    if shown is None:
        return image
    if alpha:
        shown.putalpha(alpha)
    shown.info = {key: value for key, value in image.info.items() if key not in (PROFILE, CLEAR_COLOUR)}
    return shown


def _plain(image: Image.Image) -> Image.Image:
    """The picture with its colours in its channels: without a palette, and alpha in place of a clear colour."""
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode in ("RGB", "L") and image.has_transparency_data:
        return image.convert(f"{image.mode}A")
    return image


def _converted(image: Image.Image, data: bytes) -> Image.Image | None:
    """The picture in sRGB; None if the profile is sRGB already, broken, or about another kind of picture."""
    try:
        profile = ImageCms.getOpenProfile(io.BytesIO(data))
        space = profile.profile.xcolor_space.strip()
        if space != SPACES.get(image.mode) or "srgb" in ImageCms.getProfileDescription(profile).casefold():
            return None
        screen = ImageCms.createProfile("sRGB")
        return cast(Image.Image, ImageCms.profileToProfile(image, profile, screen, outputMode="RGB"))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
