"""Image files in, RGB arrays out: finding, loading and saving pictures.

Loading is the only place where a file becomes pixels, so every conversion is made here and is
written down in ``Picture.notes``. A file that cannot be shown faithfully is refused.
"""

import contextlib
import hashlib
import importlib.util
import os
import uuid
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError

from simulator.errors import ImageError, MissingPackageError, StorageError

#: (H, W, 3) uint8 RGB.
Pixels = NDArray[np.uint8]
#: (H, W) in pixels.
Size = tuple[int, int]

#: What a folder is searched for (any case). A file named on its own may have any suffix.
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")

#: A named list, because Pillow would otherwise also run Ghostscript on an EPS named ``.png``.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM", "GIF")

#: The colour photographs in scikit-image's wheel (public domain or CC0).
_PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")

_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True, eq=False)
class Picture:
    """One decoded image.

    ``pixels`` is (H, W, 3) uint8 RGB, C-contiguous; ``notes`` names every conversion that was
    made, in order; ``sha256`` is the 32-byte digest of the file as it lies on the disk.
    """

    pixels: NDArray[np.uint8]
    notes: tuple[str, ...]
    sha256: bytes


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The image files that ``paths`` name: files as given, folders searched in sorted order.

    Folders are searched recursively for ``SUFFIXES``; hidden files and folders are skipped, and
    links to folders are not followed. Raises ImageError for a path that does not exist, a folder
    that cannot be read and a folder without any image.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found.extend(_images_in(path))
        elif path.exists():
            found.append(path)
        else:
            raise ImageError(f"{path} does not exist; name an image file or a folder of images.")
    return found


def load_image(path: Path, max_pixels: int = 64_000_000) -> Picture:
    """Decode one image file to 8-bit sRGB.

    - EXIF orientation is applied, of an animation or several pages the first is taken
    - 16-bit samples are scaled to 8; float samples are 0...1, or 0...255 where any is above 1
    - transparency is composited over white
    - an embedded colour profile is converted to sRGB; one that cannot be used is ignored

    The size is checked before pixels are decoded. Raises ImageError when the file cannot be
    read, is empty, is no image, is damaged, or has more than ``max_pixels`` pixels.
    """
    data = _read(path)
    notes: list[str] = []
    # The list of warning filters belongs to the whole process: in 3.11 this is not thread-safe.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(BytesIO(data), formats=_FORMATS)
            _check_size(path, image.size, max_pixels)
            pixels = np.array(_to_rgb(image, notes), dtype=np.uint8, order="C")
        except ImageError:
            raise
        except UnidentifiedImageError as error:
            kinds = ", ".join(_FORMATS)
            message = f"{path} is not an image of a kind that can be read ({kinds}); leave it out."
            raise ImageError(message) from error
        except Image.DecompressionBombError as error:
            message = f"{path} has more than {max_pixels} pixels; make it smaller or leave it out."
            raise ImageError(message) from error
        except Exception as error:  # decoders raise anything, from struct.error to SyntaxError
            reason = str(error).rstrip(".") or type(error).__name__
            message = f"{path} cannot be decoded ({reason}); replace it or leave it out."
            raise ImageError(message) from error
    return Picture(pixels, tuple(notes), hashlib.sha256(data).digest())


def save_png(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write (H, W, 3) uint8 RGB as PNG; readers see the whole file or none.

    Compression is light (level 1), because saving is on the way of every image. Raises
    StorageError when the folder cannot be written.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        Image.fromarray(pixels).save(temporary, format="PNG", compress_level=1)
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"{path} cannot be written ({reason}); free some space or name another folder."
        raise StorageError(message) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def file_sha256(path: Path) -> bytes:
    """The 32-byte SHA-256 digest of a file. Raises ImageError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise _unreadable(path, error) from error


def sample_photographs() -> list[Path]:
    """The colour photographs that an installed scikit-image carries, without importing it.

    Raises MissingPackageError when there are none.
    """
    spec = importlib.util.find_spec("skimage")
    roots = spec.submodule_search_locations if spec else None
    candidates = [Path(root) / "data" / name for root in roots or () for name in _PHOTOGRAPHS]
    found = [path for path in candidates if path.is_file()]
    if not found:
        raise MissingPackageError(
            "The sample photographs come with scikit-image, which is not installed; run"
            ' pip install ".[demo]" in the project folder or name images of your own.'
        )
    return found


def _images_in(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise _unreadable(Path(error.filename), error) from error

    found: list[Path] = []
    for parent, children, names in os.walk(folder, onerror=refuse):
        children[:] = [name for name in children if not name.startswith(".")]
        visible = (Path(parent) / name for name in names if not name.startswith("."))
        found.extend(path for path in visible if path.suffix.lower() in SUFFIXES)
    if not found:
        suffixes = " ".join(SUFFIXES)
        raise ImageError(f"{folder} holds no image; looked for {suffixes}, also in its folders.")
    return sorted(found)


def _read(path: Path) -> bytes:
    # A pipe or a device would never end.
    if path.exists() and not path.is_file():
        raise ImageError(f"{path} is not a file; name an image file.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    if not data:
        raise ImageError(f"{path} is empty; replace it or leave it out.")
    return data


def _unreadable(path: Path, error: OSError) -> ImageError:
    return ImageError(f"{path} cannot be read ({error.strerror}); check its name and permissions.")


def _check_size(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            f"{path} has {width} x {height} = {width * height} pixels, more than the limit of"
            f" {max_pixels}; make it smaller or leave it out."
        )
    if width * height == 0:
        raise ImageError(f"{path} is {width} x {height}, without any pixel; leave it out.")


def _to_rgb(opened: ImageFile.ImageFile, notes: list[str]) -> Image.Image:
    frames = getattr(opened, "n_frames", 1)
    if frames > 1:
        notes.append(f"first frame of {frames}")
    if _narrowed_by_pillow(opened):
        notes.append("16-bit to 8-bit")
    opened.load()
    profile = opened.info.get("icc_profile")
    image = _upright(opened, notes)
    image = _eight_bit(image, notes)
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


def _eight_bit(image: Image.Image, notes: list[str]) -> Image.Image:
    """Modes I, I;16 and F, whose white Pillow would put at 255, to mode L."""
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if image.mode == "F":
        white, name = (1.0 if high <= 1 else 255.0), "float"
    else:
        white, name = 65535.0, "16-bit"
    if not (low >= 0 and high <= white):  # also true of a NaN
        raise ValueError(f"samples from {low:g} to {high:g} where 0 to {white:g} is expected")
    notes.append(f"{name} to 8-bit, white at {white:g}" if name == "float" else "16-bit to 8-bit")
    if image.has_transparency_data:
        notes.append("transparent colour ignored")
    return Image.fromarray(np.rint(values * (255 / white)).astype(np.uint8))


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
