"""Image files in, RGB arrays out: finding, loading and saving pictures.

Loading is the only place where a file becomes pixels, so every conversion is made here and is
written down in ``Picture.notes``. A file that cannot be shown faithfully is refused.
"""

import hashlib
import importlib.util
import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from simulator.errors import (
    ImageError,
    SettingsError,
    add_extra,
    missing_package,
)
from simulator.rgb import White, to_rgb

#: (H, W, 3) uint8 RGB.
Pixels = NDArray[np.uint8]
#: (H, W) in pixels.
Size = tuple[int, int]

#: Of one image, where nobody says otherwise.
MAX_PIXELS = 64_000_000

#: Of one image file that comes from elsewhere, as part of a stream or a request.
MAX_FILE_BYTES = 64 * 2**20

#: What a folder is searched for (any case). A file named on its own may have any suffix.
SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".dib"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".gif", ".avif"),
    *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
)
HEIF_SUFFIXES = (".heic", ".heif", ".hif")  # searched for where the extra is installed

#: A named list, because Pillow would otherwise also run Ghostscript on an EPS named ``.png``.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "PPM", "GIF", "AVIF", "JPEG2000")
_HEIF_HINT = add_extra("heif")
_TOLD_KINDS = 6  # of files that a search leaves out

#: The colour photographs in scikit-image's wheel (public domain or CC0).
_PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")

log = logging.getLogger("images")


@dataclass(frozen=True, eq=False)
class Picture:
    """One decoded image.

    ``pixels`` is (H, W, 3) uint8 RGB, C-contiguous; ``notes`` names every conversion that was
    made, in order; ``sha256`` is the 32-byte digest of the file as it lies on the disk.
    """

    pixels: NDArray[np.uint8]
    notes: tuple[str, ...]
    sha256: bytes


def check_pixels(pixels: Any) -> None:
    """Raises SettingsError for what is no (H, W, 3) uint8 array of ``MAX_PIXELS`` at most."""
    if not isinstance(pixels, np.ndarray):
        raise SettingsError(f"pixels are a {type(pixels).__name__}: give (H, W, 3) uint8 RGB.")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape or pixels.dtype != np.uint8:
        raise SettingsError(
            f"pixels of shape {pixels.shape} and type {pixels.dtype}: give (H, W, 3) uint8 RGB."
        )
    if pixels.size > 3 * MAX_PIXELS:
        raise SettingsError(
            f"pixels of shape {pixels.shape}: more than the limit of {MAX_PIXELS} pixels; make the "
            f"image smaller."
        )


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The image files that ``paths`` name: files as given, folders searched in sorted order.

    Folders are searched recursively for ``SUFFIXES``, linked folders too, but each once. What a
    folder holds besides, and hidden files, are left out, and a warning says how many of which
    kinds. Raises ImageError for a path that does not exist, a folder that cannot be read or has
    no image, and a file that is no image at all. A damaged one is found: ``load_image`` refuses
    it.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found.extend(_images_in(path))
        elif path.exists():
            if reason := _why_no_image(path):
                raise ImageError(reason)
            found.append(path)
        else:
            raise ImageError(f"{path} does not exist; name an image file or a folder of images.")
    return found


def load_image(path: Path | str, max_pixels: int = MAX_PIXELS, white: White = "full") -> Picture:
    """Decode one image file as ``decode_image`` does. Raises ImageError, also when the file cannot
    be read."""
    path = Path(path)
    return decode_image(_read(path), str(path), max_pixels, white)


def decode_image(
    data: bytes, name: str, max_pixels: int = MAX_PIXELS, white: White = "full"
) -> Picture:
    """Decode the bytes of one image file to 8-bit sRGB; ``name`` is what errors call it.

    - EXIF orientation is applied, of an animation or several pages the first is taken
    - samples of more bits are scaled to 8; float samples are 0...1, or 0...255 where any is
      above 1. ``white`` "largest" makes the largest sample white in place of the largest that
      there can be, for 12-bit data in a 16-bit file (grey and float only)
    - transparency is composited over white
    - an embedded colour profile is converted to sRGB; one that cannot be used is ignored

    The size is checked before pixels are decoded. Raises ImageError when the file is empty, is no
    image, is damaged, or has more than ``max_pixels`` pixels.
    """
    _refuse_empty(data, name)
    notes: list[str] = []
    # The list of warning filters belongs to the whole process: in 3.11 this is not thread-safe.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(BytesIO(data), formats=_formats(data))
            _check_size(name, image.size, max_pixels)
            pixels = np.array(to_rgb(image, data, white, notes), dtype=np.uint8, order="C")
        except ImageError:
            raise
        except UnidentifiedImageError as error:
            raise ImageError(_unknown_kind(name, data)) from error
        except Image.DecompressionBombError as error:
            message = f"{name} has more than {max_pixels} pixels; make it smaller or leave it out."
            raise ImageError(message) from error
        except Exception as error:  # decoders raise anything, from struct.error to SyntaxError
            reason = str(error).rstrip(".") or type(error).__name__
            message = f"{name} cannot be decoded ({reason}); replace it or leave it out."
            raise ImageError(message) from error
    return Picture(pixels, tuple(notes), hashlib.sha256(data).digest())


def file_sha256(path: Path) -> bytes:
    """The 32-byte SHA-256 digest of a file. Raises ImageError when it cannot be read."""
    _refuse_no_file(path)
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
        raise missing_package(
            "sending the sample photographs", "scikit-image", "demo", "name images of your own"
        )
    return found


def _images_in(folder: Path) -> list[Path]:
    """The images of a folder, sorted; says what it leaves out."""
    found: list[Path] = []
    others: Counter[str] = Counter()
    suffixes = SUFFIXES + HEIF_SUFFIXES if _heif_is_here() else SUFFIXES
    for path in _files_in(folder):
        kind = "hidden" if path.name.startswith(".") else path.suffix.lower() or "without a suffix"
        if kind in suffixes and _is_no_file(path):
            others["pipes or devices"] += 1
        elif kind in suffixes:
            found.append(path)
        else:
            others[kind] += 1
    left_out = _told_kinds(others)
    if not found:
        besides = f"; it has {left_out}" if left_out else ""
        raise ImageError(
            f"{folder} holds no image; looked for {' '.join(SUFFIXES)}, also in its "
            f"folders{besides}."
        )
    found.sort()
    if all(map(_why_no_image, found)):
        raise ImageError(f"none of the files in {folder} is an image: {_why_no_image(found[0])}")
    if left_out:
        log.warning("%s: left out: %s", folder, left_out)
    return found


def _files_in(folder: Path) -> Iterator[Path]:
    """Every file below a folder, hidden folders excepted; a linked folder once, and last."""

    def refuse(error: OSError) -> None:
        raise _unreadable(Path(error.filename), error) from error

    seen: set[tuple[int, int]] = set()
    roots = [folder]
    while roots:
        for parent, children, names in os.walk(roots.pop(0), onerror=refuse):
            status = Path(parent).stat()
            inside = [Path(parent) / name for name in sorted(children) if name[0] != "."]
            children.clear()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            roots += [path for path in inside if path.is_symlink()]
            children += [path.name for path in inside if not path.is_symlink()]
            yield from (Path(parent) / name for name in names)


def _told_kinds(others: Counter[str]) -> str:
    """``2 .heic (pip install ...), 1 .txt``; empty where there are none."""
    told = []
    for kind, count in others.most_common(_TOLD_KINDS):
        why = f" ({_HEIF_HINT} to read them)" if kind in HEIF_SUFFIXES else ""
        told.append(f"{count} {kind}{why}")
    rest = others.total() - sum(count for _, count in others.most_common(_TOLD_KINDS))
    return ", ".join([*told, f"{rest} of other kinds"] if rest else told)


def _why_no_image(path: Path) -> str:
    """A sentence about a file that cannot be an image; empty for one that may be damaged."""
    try:
        data = _head(path)
    except ImageError as error:
        return str(error)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with path.open("rb") as file:
                Image.open(file, formats=_formats(data))
        except UnidentifiedImageError:
            return _unknown_kind(path, data)
        except Exception:  # it is one, and how it is damaged will be said when it is loaded
            return ""
    return ""


def _head(path: Path) -> bytes:
    """The first bytes of an image file. Raises ImageError where it is not a file, or empty."""
    _refuse_no_file(path)
    try:
        with path.open("rb") as file:
            data = file.read(32)
    except OSError as error:
        raise _unreadable(path, error) from error
    _refuse_empty(data, path)
    return data


def _refuse_empty(data: bytes, name: Path | str) -> None:
    if not data:
        raise ImageError(f"{name} is empty; replace it or leave it out.")


def _refuse_no_file(path: Path) -> None:
    """A pipe or a device would never end."""
    if _is_no_file(path):
        raise ImageError(f"{path} is not a file; name an image file.")


def _is_no_file(path: Path) -> bool:
    """True for what is there, and neither a file nor a link to one."""
    return path.exists() and not path.is_file()


def _formats(data: bytes) -> tuple[str, ...]:
    """What Pillow may take a file for that begins with ``data``."""
    return (*_FORMATS, "HEIF") if _is_heif(data) and _heif_is_here() else _FORMATS


def _is_heif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"heim", b"heis", b"mif1")


@cache
def _heif_is_here() -> bool:
    """Whether Pillow can be taught to read HEIC, and teaches it."""
    try:
        import pi_heif
    except ImportError:
        return False
    pi_heif.register_heif_opener()
    return True


def _unknown_kind(name: Path | str, data: bytes) -> str:
    if _is_heif(data) and not _heif_is_here():
        return f"{name} is HEIC, which needs a decoder: {_HEIF_HINT}, or convert it."
    kinds = ", ".join(_FORMATS)
    return f"{name} is not an image of a kind that can be read ({kinds}); leave it out."


def _read(path: Path) -> bytes:
    _head(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ImageError:
    return ImageError(f"{path} cannot be read ({error.strerror}); check its name and permissions.")


def _check_size(name: str, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            f"{name} has {width} x {height} = {width * height} pixels, more than the limit of"
            f" {max_pixels}; make it smaller or leave it out."
        )
    if width * height == 0:
        raise ImageError(f"{name} is {width} x {height}, without any pixel; leave it out.")
