"""simulator.images: what is loaded, what is noted, what is refused."""

import hashlib
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_world import encoded, gradient, refused
from PIL import Image, ImageCms

from simulator import images
from simulator.errors import ImageError
from simulator.images import Picture, file_sha256, find_images, load_image


def load(image: Image.Image, path: Path, **options: Any) -> Picture:
    image.save(path, **options)
    return load_image(path)


# Finding


def test_folders_are_searched_in_order_and_files_taken_as_given(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "sub/c.tiff", "notes.txt", ".hidden.png", ".git/d.png", "odd"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(encoded("PNG"))
    found = find_images([tmp_path / "in" / "odd", tmp_path / "in"])
    names = [path.relative_to(tmp_path / "in").as_posix() for path in found]
    assert names == ["odd", "a.JPG", "b.png", "sub/c.tiff"]


def test_missing_paths_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.png does not exist"):
        find_images([tmp_path / "gone.png"])
    with pytest.raises(ImageError, match=r"holds no image; looked for \.png \.apng \.jpg"):
        find_images([tmp_path])


def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: object) -> None:
        raise PermissionError(13, "Permission denied", os.fspath(tmp_path))

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(ImageError, match="cannot be read .Permission denied"):
        find_images([tmp_path])


# Loading


def test_plain_rgb_is_untouched(tmp_path: Path) -> None:
    path = tmp_path / "plain.png"
    picture = load(Image.fromarray(gradient()), path)
    assert np.array_equal(picture.pixels, gradient())
    assert picture.pixels.dtype == np.uint8 and picture.pixels.flags.c_contiguous
    assert picture.notes == ()
    assert picture.sha256 == file_sha256(path) == hashlib.sha256(path.read_bytes()).digest()


@pytest.mark.parametrize("suffix", images.SUFFIXES)
def test_every_listed_suffix_loads(tmp_path: Path, suffix: str) -> None:
    mode = {".pgm": "L", ".pbm": "1"}.get(suffix, "RGB")
    picture = load(Image.fromarray(gradient()).convert(mode), tmp_path / f"x{suffix}")
    assert picture.pixels.shape == (12, 20, 3)


def test_one_pixel(tmp_path: Path) -> None:
    picture = load(Image.new("RGB", (1, 1), (1, 2, 3)), tmp_path / "dot.png")
    assert picture.pixels.tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize(
    ("mode", "note"), [("L", "greyscale to RGB"), ("1", "black and white to RGB")]
)
def test_grey_becomes_rgb(tmp_path: Path, mode: str, note: str) -> None:
    picture = load(Image.fromarray(gradient()).convert(mode), tmp_path / "grey.png")
    assert picture.notes == (note,)
    assert (picture.pixels[..., 0] == picture.pixels[..., 2]).all()


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pgm"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    levels = np.array([[0, 128, 257, 32768, 65535]], dtype=np.uint16)
    picture = load(Image.fromarray(levels), tmp_path / f"deep{suffix}")
    assert picture.pixels[0, :, 0].tolist() == [0, 0, 1, 128, 255]
    note = "16-bit to 8-bit, samples from 0 to 65535, white at 65535"
    assert picture.notes == (note, "greyscale to RGB")


def test_sixteen_bit_grey_turned_by_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(np.array([[0, 65535]], dtype=np.uint16))
    picture = load(image, tmp_path / "deep.png", exif=exif)
    assert picture.pixels[:, 0, 0].tolist() == [0, 255]


def test_thirty_two_bit_integers_in_range_are_sixteen_bit(tmp_path: Path) -> None:
    levels = np.array([[0, 65535]], dtype=np.int32)
    assert load(Image.fromarray(levels), tmp_path / "i.tiff").pixels[0, :, 0].tolist() == [0, 255]
    Image.fromarray(levels * 2).save(tmp_path / "wide.tiff")
    refused(tmp_path / "wide.tiff", "samples from 0 to 131070", "0 to 65535")


def sixteen_bit_png(colour_type: int, samples: list[int]) -> bytes:
    """One pixel. Pillow reads 16-bit colour, but cannot write it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 1, 1, 16, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"\0" + struct.pack(f">{len(samples)}H", *samples))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_sixteen_bit_colour_png(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    path.write_bytes(sixteen_bit_png(2, [0x1234, 0x8000, 0xFFFF]))
    picture = load_image(path)
    assert picture.pixels[0, 0].tolist() == [0x12, 0x80, 0xFF]
    assert picture.notes == ("16-bit to 8-bit, samples below 65536 of 65536",)
    path.write_bytes(sixteen_bit_png(6, [0x0234, 0x0000, 0x0FFF, 0xFFFF]))
    notes = ("16-bit to 8-bit, samples below 4096 of 65536", "opaque alpha dropped")
    assert load_image(path).notes == notes


def test_sixteen_bit_ppm(tmp_path: Path) -> None:
    path = tmp_path / "deep.ppm"
    path.write_bytes(b"P6 1 1 65535\n" + struct.pack(">3H", 0, 32768, 65535))
    picture = load_image(path)
    assert picture.pixels[0, 0].tolist() == [0, 128, 255]
    assert picture.notes == ("16-bit to 8-bit, samples below 65536 of 65536",)


def test_packed_sixteen_bit_pixels_are_not_sixteen_bit_samples(tmp_path: Path) -> None:
    path = tmp_path / "packed.bmp"
    header = struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, 16, 0, 4, 0, 0, 0, 0)
    path.write_bytes(b"BM" + struct.pack("<IHHI", 58, 0, 0, 54) + header + b"\xff\x7f\0\0")
    picture = load_image(path)
    assert picture.pixels[0, 0].tolist() == [255, 255, 255] and picture.notes == ()


@pytest.mark.parametrize("white", [1.0, 255.0])
def test_float_tiff(tmp_path: Path, white: float) -> None:
    levels = np.array([[0, white / 2, white]], dtype=np.float32)
    picture = load(Image.fromarray(levels), tmp_path / "float.tiff")
    assert picture.pixels[0, :, 0].tolist() == [0, 128, 255]
    note = f"float to 8-bit, samples from 0 to {white:g}, white at {white:g}"
    assert picture.notes == (note, "greyscale to RGB")


@pytest.mark.parametrize("level", [-0.5, 1000.0, float("nan"), float("inf")])
def test_float_without_a_known_white_is_refused(tmp_path: Path, level: float) -> None:
    Image.fromarray(np.array([[0, level]], dtype=np.float32)).save(tmp_path / "float.tiff")
    refused(tmp_path / "float.tiff", "is expected")


def test_palette(tmp_path: Path) -> None:
    image = Image.fromarray(gradient()).quantize(8)
    picture = load(image, tmp_path / "p.png")
    assert np.array_equal(picture.pixels, np.asarray(image.convert("RGB")))
    assert picture.notes == ("palette to RGB",)
    transparent = load(image, tmp_path / "t.png", transparency=image.getpixel((0, 0)))
    assert transparent.notes == ("palette to RGB", "alpha composited over white")
    assert transparent.pixels[0, 0].tolist() == [255, 255, 255]


def test_alpha_is_composited_over_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (2, 1), (10, 20, 30, 255))
    assert load(image, tmp_path / "a.png").notes == ("opaque alpha dropped",)
    image.putpixel((1, 0), (10, 20, 30, 0))
    picture = load(image, tmp_path / "a.png")
    assert picture.pixels.tolist() == [[[10, 20, 30], [255, 255, 255]]]
    assert picture.notes == ("alpha composited over white",)


def test_grey_with_alpha(tmp_path: Path) -> None:
    picture = load(Image.new("LA", (1, 1), (100, 0)), tmp_path / "la.png")
    assert picture.pixels.tolist() == [[[255, 255, 255]]]
    assert picture.notes == ("greyscale to RGB", "alpha composited over white")


def test_cmyk_jpeg_in_adobe_polarity(tmp_path: Path) -> None:
    path = tmp_path / "cmyk.jpg"
    picture = load(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), path, quality=95)
    assert b"Adobe" in path.read_bytes()  # the marker that says: inks are stored inverted
    assert np.abs(picture.pixels[8, 8].astype(int) - [0, 255, 255]).max() < 8
    assert picture.notes == ("CMYK to RGB",)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = load(Image.fromarray(gradient()), tmp_path / "turned.png", exif=exif)
    expected = {
        1: gradient(),
        2: gradient()[:, ::-1],
        3: gradient()[::-1, ::-1],
        4: gradient()[::-1],
        5: gradient().transpose(1, 0, 2),
        6: np.rot90(gradient(), -1),
        7: gradient()[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(gradient()),
    }
    assert np.array_equal(picture.pixels, expected[orientation])
    assert picture.pixels.flags.c_contiguous
    assert picture.notes == ((f"EXIF orientation {orientation} applied",) * (orientation > 1))


def test_broken_exif_does_not_cost_the_image(tmp_path: Path) -> None:
    picture = load(Image.fromarray(gradient()), tmp_path / "x.png", exif=b"Exif\0\0nonsense")
    assert picture.notes == ("unreadable EXIF ignored",)


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), (level, 0, 0)) for level in (255, 120, 0)]
    path = tmp_path / "moving.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    picture = load_image(path)
    assert picture.notes[0] == "first frame of 3"
    assert picture.pixels[0, 0].tolist() == [255, 0, 0]


def test_colour_profile(tmp_path: Path) -> None:
    image = Image.fromarray(gradient())
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = load(image, tmp_path / "srgb.png", icc_profile=srgb)
    assert picture.notes == () and np.array_equal(picture.pixels, gradient())

    swapped = swap_red_and_blue(srgb)
    picture = load(image, tmp_path / "other.png", icc_profile=swapped)
    assert picture.notes == ("colour profile 'xRGB built-in' to sRGB",)
    assert np.abs(picture.pixels.astype(int) - gradient()[..., ::-1]).max() <= 2

    picture = load(image, tmp_path / "broken.png", icc_profile=b"nonsense" * 40)
    assert picture.notes == ("unusable colour profile ignored",)
    assert np.array_equal(picture.pixels, gradient())


def swap_red_and_blue(profile: bytes) -> bytes:
    """A profile of another name whose red primary is the blue one, and the reverse."""
    profile = profile.replace(b"rXYZ", b"tttt").replace(b"bXYZ", b"rXYZ").replace(b"tttt", b"bXYZ")
    return profile.replace("sRGB".encode("utf-16-be"), "xRGB".encode("utf-16-be"))


def test_profile_of_other_channels_is_ignored(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = load(Image.new("L", (3, 3), 77), tmp_path / "l.png", icc_profile=srgb)
    assert picture.notes == ("unusable colour profile ignored", "greyscale to RGB")
