"""Which colours the values of a file stand for, by its profile or its gamma, and their conversion to sRGB."""

import functools
import hashlib
import io
from typing import Any, NamedTuple, cast

import numpy as np
from PIL import ExifTags, Image, ImageCms

# Profiles by which no 8-bit value differs by more than this are sRGB, of which there are many versions.
SAME = 2
# The gamma of sRGB, 1 / 2.2, as a PNG has it. It may be rounded.
GAMMA, NEAR = 0.45455, 0.01
# Exif's number for colours that are not sRGB: those of Adobe RGB, from a camera.
UNCALIBRATED = 65535
INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC


class Space(NamedTuple):
    """What a file says of its colours, other than that they are sRGB. Equal spaces are equal tuples."""

    name: str
    digest: str = ""
    gamma: float = 0.0


def space_of(image: Image.Image) -> Space | None:
    """Return what a file says of its colours, or None if they are sRGB or if it says nothing."""
    profile = image.info.get("icc_profile")
    if profile:
        return space_of_profile(profile)
    gamma = image.info.get("gamma")
    if gamma and "srgb" not in image.info and abs(gamma - GAMMA) > NEAR:
        return Space(f"gamma {gamma:.5g}", gamma=gamma)
    exif: Any = image.getexif().get_ifd(ExifTags.IFD.Exif) if image.format == "JPEG" else {}
    if exif.get(ExifTags.Base.ColorSpace) == UNCALIBRATED:
        return Space("colours that are not sRGB by Exif, without a profile")
    return None


def space_of_profile(profile: bytes) -> Space | None:
    """Return what a profile says, or None if it is one of sRGB."""
    name, srgb = _described(profile)
    return None if srgb else Space(name, hashlib.sha256(profile).hexdigest())


def to_srgb(image: Image.Image, space: Space) -> Image.Image | None:
    """Convert 8-bit grey or colours, with transparency or without. Return None if this cannot be done."""
    colors = image.convert("RGB") if image.mode not in ("L", "CMYK") else image
    if space.gamma:
        return _with_alpha(colors.point(_curve(space.gamma) * len(colors.getbands())), image)
    try:
        transform = _transform(image.info["icc_profile"], colors.mode)
        if transform is None and colors.mode == "L":
            # Grey files often have a profile of colours.
            transform, colors = _transform(image.info["icc_profile"], "RGB"), colors.convert("RGB")
        if transform is None:
            return None
        return _with_alpha(transform.apply(colors), image)
    # A profile that is damaged, or Exif without a profile.
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, KeyError):
        return None


def _with_alpha(colors: Image.Image, image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        colors = colors.convert("RGB")
        colors.putalpha(image.convert("RGBA").getchannel("A"))
    return colors


def _curve(gamma: float) -> list[int]:
    """Return the 8-bit sRGB values of 8-bit values with this gamma."""
    light = (np.arange(256) / 255) ** (1 / gamma)
    values = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * values).astype(int).tolist()


@functools.lru_cache(maxsize=64)
def _described(profile: bytes) -> tuple[str, bool]:
    """Return the name of a profile, and whether it is sRGB."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(opened).strip() or "without a name"
        space = cast(Any, opened.profile).xcolor_space.strip()
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return "a profile that cannot be read", False
    mode = {"GRAY": "L", "RGB": "RGB"}.get(space)
    transform = _transform(profile, mode) if mode else None
    if transform is None or mode is None:
        return name, False
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    colors = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    sample = greys if mode == "L" else np.concatenate([greys, colors])
    image = Image.fromarray(sample[None]).convert(mode)
    found = np.asarray(transform.apply(image).convert("RGB"))
    return name, bool(np.abs(found.astype(int) - sample).max() <= SAME)


@functools.lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from a profile to sRGB, or None if the profile is not one of this mode."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        return ImageCms.ImageCmsTransform(opened, srgb, mode, "RGB", INTENT)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
