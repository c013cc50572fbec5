"""Images that are refused, those that ship, and how images are saved."""

import os
import random
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_world import encoded, gradient, refused
from PIL import Image

from simulator import images
from simulator.errors import ImageError, MissingPackageError, StorageError
from simulator.images import file_sha256, load_image
from simulator.png import save_png

# Refusing


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    refused(tmp_path / "text.png", "is not an image", "PNG, JPEG")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "is empty")
    (tmp_path / "folder.png").mkdir()
    refused(tmp_path / "folder.png", "is not a file")
    refused(tmp_path / "gone.png", "cannot be read", "No such file")
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "is not a file")


def test_postscript_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "program.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    refused(path, "is not an image")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, *arguments: object) -> bytes:
        raise PermissionError(13, "Permission denied", os.fspath(path))

    (tmp_path / "x.png").touch()
    monkeypatch.setattr(Path, "read_bytes", denied)
    monkeypatch.setattr(Path, "open", denied)
    refused(tmp_path / "x.png", "cannot be read (Permission denied)")
    with pytest.raises(ImageError, match="Permission denied"):
        file_sha256(tmp_path / "x.png")


def test_size_is_checked_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(gradient()).save(path)
    refused(path, "20 x 12 = 240 pixels", "limit of 239", max_pixels=239)
    assert load_image(path, max_pixels=240).notes == ()


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_decompression_bomb(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.pgm"  # 100 million pixels: Pillow warns; 3600 million: it raises
    path.write_bytes(b"P5 %d %d 255\n" % (side, side))
    refused(path, "64000000")


def test_image_without_pixels(tmp_path: Path) -> None:
    (tmp_path / "x.ppm").write_bytes(b"P6 0 4 255\n")
    refused(tmp_path / "x.ppm")


@pytest.mark.parametrize(
    "error", [OSError("x"), SyntaxError("x"), ValueError(), struct.error("x"), MemoryError()]
)
def test_any_failure_of_a_decoder_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    Image.fromarray(gradient()).save(tmp_path / "x.png")
    monkeypatch.setattr("simulator.rgb._upright", fail)
    refused(tmp_path / "x.png", "cannot be decoded")


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000"]
)
def test_cut_in_half_is_refused(tmp_path: Path, kind: str) -> None:
    data = encoded(kind)
    path = tmp_path / "half"
    path.write_bytes(data[: len(data) // 2])
    refused(path)


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000"]
)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_loads_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    whole = bytearray(encoded(kind))
    cut = data.draw(st.integers(0, len(whole)))
    flips = random.Random(data.draw(st.integers(0, 2**32)))
    for _ in range(data.draw(st.integers(0, 3))):
        whole[flips.randrange(len(whole))] = flips.randrange(256)
    path = tmp_path_factory.getbasetemp() / f"damaged-{kind}"
    path.write_bytes(whole[:cut])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            picture = load_image(path, max_pixels=1_000_000)
        except ImageError as error:
            assert str(path) in str(error)
        else:
            assert picture.pixels.ndim == 3 and picture.pixels.dtype == np.uint8


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_every_truncation_loads_whole_or_is_refused(tmp_path: Path, kind: str) -> None:
    whole = encoded(kind)
    path = tmp_path / "cut"
    path.write_bytes(whole)
    expected = load_image(path).pixels
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        try:
            picture = load_image(path)
        except ImageError:
            continue
        # Only bytes after the last pixel were lost.
        assert np.array_equal(picture.pixels, expected)


# Saving and samples


def test_save_png_is_exact_and_leaves_nothing_else(tmp_path: Path) -> None:
    save_png(gradient(), tmp_path / "out.png")
    assert np.array_equal(load_image(tmp_path / "out.png").pixels, gradient())
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_failed_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "out.png").write_bytes(b"old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match="No space left on device"):
        save_png(gradient(), tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_saving_under_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Not a directory"):
        save_png(gradient(), tmp_path / "file" / "out.png")


def test_sample_photographs_are_in_colour() -> None:
    pytest.importorskip("skimage")
    photographs = images.sample_photographs()
    assert len(photographs) == 5
    for path in photographs:
        pixels = load_image(path).pixels
        assert min(pixels.shape[:2]) >= 256
        assert not np.array_equal(pixels[..., 0], pixels[..., 2])


def test_sample_photographs_need_scikit_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r'pip install "diffjscc\[demo\]"'):
        images.sample_photographs()
