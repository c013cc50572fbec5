"""What Pillow has opened as 8-bit sRGB; every conversion is written down in ``notes``.

opened -> turned upright -> 8 bits -> no transparency -> sRGB -> RGB
"""

from __future__ import annotations

from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps

#: What becomes white of samples that have more than 8 bits: the largest that there can be, or
#: the largest that is there.
White = Literal["full", "largest"]

_EXIF_ORIENTATION = 0x0112
_BITS_PER_SAMPLE = 258  # TIFF
_SIZ = b"\xff\x4f\xff\x51"  # the first markers of a JPEG 2000 codestream


def to_rgb(opened: ImageFile.ImageFile, data: bytes, white: White, notes: list[str]) -> Image.Image:
    """Decode ``opened``, which was opened from ``data``. Raises what decoders raise, and
    ``ValueError`` for samples that cannot be shown faithfully."""
    frames = getattr(opened, "n_frames", 1)
    if frames > 1:
        notes.append(f"first frame of {frames}")
    narrowed, bits = _narrowed_by_pillow(opened), _coded_bits(opened, data)
    full = _full_scale(opened)
    opened.load()
    if narrowed:
        _note_narrowed(opened, white, notes)
    elif bits > 8 and not opened.mode.startswith("I"):
        notes.append(f"{bits}-bit to 8-bit")
    profile = opened.info.get("icc_profile")
    image = _upright(opened, notes)
    image = _eight_bit(image, full, white, notes)
    image = _opaque(image, notes)
    if profile:
        image = _to_srgb(image, profile, notes)
    if image.mode != "RGB":
        names = {"1": "black and white", "L": "greyscale"}
        notes.append(f"{names.get(image.mode, image.mode)} to RGB")
    return image.convert("RGB")


def _narrowed_by_pillow(image: ImageFile.ImageFile) -> bool:
    """Whether 16-bit colour is about to lose its low bytes: Pillow has no such mode to keep it."""
    if image.mode.startswith("I") or not image.tile:
        return False
    codec, arguments = image.tile[0].codec_name, image.tile[0].args
    rawmode, *rest = [arguments] if isinstance(arguments, str) else list(arguments or [""])
    if codec in ("ppm", "ppm_plain"):
        return bool(rest) and int(rest[0]) > 255
    # BGR;16 packs a whole 5-6-5 pixel into 16 bits.
    return ";16" in str(rawmode) and not str(rawmode).startswith("BGR")


def _upright(image: Image.Image, notes: list[str]) -> Image.Image:
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
        turned = ImageOps.exif_transpose(image)
    except Exception:  # metadata is read by the same kind of parsers as pixels
        notes.append("unreadable EXIF ignored")
        return image
    if orientation in range(2, 9):
        notes.append(f"EXIF orientation {orientation} applied")
    return turned


def _note_narrowed(image: Image.Image, white: White, notes: list[str]) -> None:
    colours = np.asarray(image)[..., :-1] if image.mode.endswith("A") else np.asarray(image)
    largest = int(colours.max())
    if white == "largest":
        raise ValueError(
            "its 16-bit colours cannot be scaled by the largest sample; save it with 8 bits, or "
            "in grey"
        )
    notes.append(f"16-bit to 8-bit, samples below {256 * (largest + 1)} of 65536")


def _coded_bits(image: Image.Image, data: bytes) -> int:
    """Bits of a sample in a file whose decoder gives 8 whatever there are; 0: not known."""
    if image.format == "JPEG2000":
        # SIZ: its length, 17 numbers of the grid in 36 bytes, then the first component's bits.
        at = data.find(_SIZ) + len(_SIZ) + 38
        return (data[at] & 0x7F) + 1 if at < len(data) else 0
    if image.format == "AVIF":
        flags = data[data.find(b"av1C") + 6] if b"av1C" in data else 0
        return 12 if flags & 0x20 else 10 if flags & 0x40 else 8
    return int(image.info.get("bit_depth") or 0)  # HEIC


def _full_scale(image: Image.Image) -> float:
    """White of integer samples that are wider than 8 bits."""
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, ())
    return 4095.0 if image.mode.startswith("I") and tuple(bits) == (12,) else 65535.0


def _eight_bit(image: Image.Image, full: float, white: White, notes: list[str]) -> Image.Image:
    """Modes I, I;16 and F, whose white Pillow would put at 255, to mode L."""
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if image.mode == "F":
        full, name = (1.0 if high <= 1 else 255.0), "float"
    else:
        name = "12-bit" if full == 4095 else "16-bit"
    top = high if white == "largest" and 0 < high < np.inf else full
    if not (low >= 0 and high <= top):  # also true of a NaN
        raise ValueError(f"samples from {low:g} to {high:g} where 0 to {top:g} is expected")
    notes.append(f"{name} to 8-bit, samples from {low:g} to {high:g}, white at {top:g}")
    if image.has_transparency_data:
        notes.append("transparent colour ignored")
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))


def _opaque(image: Image.Image, notes: list[str]) -> Image.Image:
    if not image.has_transparency_data:
        if image.mode == "P":
            notes.append("palette to RGB")
            return image.convert("RGB")
        return image
    names = {"P": "palette", "PA": "palette", "L": "greyscale", "LA": "greyscale"}
    if image.mode in names:
        notes.append(f"{names[image.mode]} to RGB")
    picture = image.convert("RGBA")
    if picture.getchannel("A").getextrema() == (255, 255):
        notes.append("opaque alpha dropped")
        return picture.convert("RGB")
    notes.append("alpha composited over white")
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture)
    return ground.convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes, notes: list[str]) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        name = ImageCms.getProfileDescription(source).strip()
        if image.mode == "RGB" and "sRGB" in name:
            return image
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, ImportError, OSError, TypeError, ValueError):
        converted = None
    if converted is None:
        notes.append("unusable colour profile ignored")
        return image
    notes.append(f"colour profile {name!r} to sRGB")
    return converted
