"""What people's folders hold: which files are sent, and what is said about the others."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from helpers import cli, make_photographs
from link_world import linked
from PIL import Image

from simulator import images
from simulator.errors import ImageError
from simulator.images import find_images, load_image
from simulator.report.sources import read_sources
from simulator.settings import make_settings
from tests.fuzz.brought.commands import invoke
from tx.source import build_manifest

HEIC = Path(__file__).parent / "data" / "gradient.heic"


def gradient(height: int = 24, width: int = 40) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    channels = (rows * 255 // (height - 1), columns * 255 // (width - 1), rows * 0 + 90)
    return np.stack(channels, axis=-1).astype(np.uint8)


def save(path: Path, kind: str = "PNG", **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(gradient()).save(path, format=kind, **options)  # type: ignore[arg-type]
    return path


def names_below(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_images([folder])]


# Kinds of files

KINDS = {
    "a.jfif": "JPEG",
    "a.jpe": "JPEG",
    "a.JPG": "JPEG",
    "a.mpo": "MPO",
    "a.avif": "AVIF",
    "a.jp2": "JPEG2000",
    "a.j2k": "JPEG2000",
    "a.dib": "DIB",
    "a.pnm": "PPM",
}


@pytest.mark.parametrize("name", KINDS)
def test_what_pillow_decodes_is_found_and_loaded(tmp_path: Path, name: str) -> None:
    save(tmp_path / name, KINDS[name])
    (path,) = find_images([tmp_path])
    picture = load_image(path)
    assert np.abs(picture.pixels.astype(int) - gradient()).mean() < 4


def test_two_pictures_in_one_mpo_give_the_first(tmp_path: Path) -> None:
    other = Image.new("RGB", (40, 24))
    save(tmp_path / "stereo.mpo", "MPO", save_all=True, append_images=[other])
    picture = load_image(tmp_path / "stereo.mpo")
    assert picture.notes == ("first frame of 2",)
    assert np.abs(picture.pixels.astype(int) - gradient()).mean() < 4


def jpeg2000(bits: int) -> bytes:
    """Grey, coded with that many bits a sample."""
    stream = BytesIO()
    levels = (gradient()[..., 1].astype(np.uint16) << 8) | 255
    Image.fromarray(levels).save(stream, format="JPEG2000", no_jp2=True)
    data = bytearray(stream.getvalue())
    assert data[42] == 15  # bits of the only component, less one
    data[42] = bits - 1
    return bytes(data)


def test_bits_that_a_decoder_drops_are_noted(tmp_path: Path) -> None:
    (tmp_path / "a.j2k").write_bytes(jpeg2000(16))
    assert load_image(tmp_path / "a.j2k").notes[0].startswith("16-bit to 8-bit")
    save(tmp_path / "a.avif", "AVIF")
    assert load_image(tmp_path / "a.avif").notes == ()
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "b.avif"), "w", format="avif") as file:
        stream = file.add_stream("libsvtav1", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        grey = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 120, np.uint8), format="rgb24")
        for frame in (grey, None):
            file.mux(stream.encode(frame))
    assert load_image(tmp_path / "b.avif").notes == ("10-bit to 8-bit",)


def test_heic_without_its_extra_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(images, "_heif_is_here", lambda: False)
    shutil.copy(HEIC, tmp_path / "a.heic")
    for attempt in (
        lambda: load_image(tmp_path / "a.heic"),
        lambda: find_images([tmp_path / "a.heic"]),
        lambda: find_images([tmp_path]),
    ):
        with pytest.raises(ImageError, match=r'pip install "diffjscc\[heif\]"'):
            attempt()
    save(tmp_path / "b.png")
    with caplog.at_level(logging.WARNING):
        assert names_below(tmp_path) == ["b.png"]
    assert '1 .heic (pip install "diffjscc[heif]"' in caplog.text


def test_heic_with_its_extra(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif")
    shutil.copy(HEIC, tmp_path / "a.HEIC")
    (path,) = find_images([tmp_path])
    assert np.abs(load_image(path).pixels.astype(int) - gradient()).max() <= 10


# Folders


def test_what_a_search_leaves_out_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "a.png")
    for name in ("b.cr2", "c.CR2", "sub/d.svg", "README", ".DS_Store", "._a.png", "e.psd"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with caplog.at_level(logging.WARNING):
        assert names_below(tmp_path) == ["a.png"]
    (line,) = caplog.messages
    assert line.startswith(f"{tmp_path}: left out: ")
    told = set(line.removeprefix(f"{tmp_path}: left out: ").split(", "))
    assert told == {"2 .cr2", "2 hidden", "1 .svg", "1 .psd", "1 without a suffix"}


def test_a_long_list_of_kinds_is_cut_and_counts_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "a.png")
    for index in range(50):
        (tmp_path / f"a.{index}").touch()
    with caplog.at_level(logging.WARNING):
        find_images([tmp_path])
    assert "44 of other kinds" in caplog.text


def test_nothing_left_out_is_nothing_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "sub" / "a.png")
    with caplog.at_level(logging.INFO):
        find_images([tmp_path])
    assert caplog.messages == []


def test_a_folder_of_other_kinds_alone_names_them(tmp_path: Path) -> None:
    (tmp_path / "a.cr2").touch()
    with pytest.raises(ImageError, match=r"holds no image.*it has 1 \.cr2"):
        find_images([tmp_path])


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    photos, elsewhere = tmp_path / "photos", tmp_path / "elsewhere"
    save(photos / "own" / "a.png")
    save(elsewhere / "b.png")
    save(elsewhere / "deep" / "c.png")
    (photos / "linked").symlink_to(elsewhere)
    (photos / "again").symlink_to(elsewhere)
    (photos / "a-loop").symlink_to(photos)
    (elsewhere / "back").symlink_to(photos / "own")
    assert names_below(photos) == ["again/b.png", "again/deep/c.png", "own/a.png"]
    # A link to a file is a file.
    (photos / "z.png").symlink_to(elsewhere / "b.png")
    assert "z.png" in names_below(photos)


# What cannot be an image

STRANGERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("hello\n", encoding="utf-8"),
    "video": lambda path: path.write_bytes(b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" * 9),
    "empty": lambda path: path.touch(),
    "PDF": lambda path: path.write_bytes(b"%PDF-1.7\n"),
    "PostScript": lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n"),
    "pipe": os.mkfifo,
}


@pytest.mark.parametrize("what", STRANGERS)
@pytest.mark.parametrize("name", ["film.mp4", "film.png", "film"])
def test_a_named_file_that_cannot_be_an_image_is_refused(
    tmp_path: Path, what: str, name: str
) -> None:
    STRANGERS[what](tmp_path / name)
    save(tmp_path / "a.png")
    with pytest.raises(ImageError) as caught:
        find_images([tmp_path / "a.png", tmp_path / name])
    assert str(tmp_path / name) in str(caught.value)


def test_a_folder_without_a_single_real_image_is_refused(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).write_text("renamed", encoding="utf-8")
    with pytest.raises(ImageError, match=r"none of the files .*/a\.png is not an image"):
        find_images([tmp_path])


def test_a_damaged_image_is_found(tmp_path: Path) -> None:
    """Its row says that it was refused; the others are sent."""
    data = save(tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    assert names_below(tmp_path) == ["a.png", "cut.png"]
    assert find_images([tmp_path / "cut.png"]) == [tmp_path / "cut.png"]


@pytest.mark.parametrize("command", ["simulate", "tx", "sweep", "train", "evaluate-reference"])
def test_commands_refuse_before_they_start_anything(tmp_path: Path, command: str) -> None:
    film, out = tmp_path / "film.mp4", tmp_path / "out"
    film.write_bytes(b"\0\0\0\x20ftypisom" * 9)
    make_photographs(tmp_path / "photos", 1)
    arguments: dict[str, list[object]] = {
        "simulate": ["simulate", film, "--out", out],
        "tx": ["tx", film, "--out", out],
        "sweep": ["sweep", "figure-5", "--images", film, "--out", out],
        "train": ["train", "codec", "--data", film, "--out", out, "--steps", 1],
        "evaluate-reference": [
            *("simulate", tmp_path / "photos", "--refine", "off", "--reference", film),
            *("--out", out),
        ],
    }
    result = invoke(*arguments[command])
    assert result.code == 3, result.err
    assert result.err.count("error: ") == 1 and "Traceback" not in result.err
    assert "film.mp4" in result.err
    assert not out.exists()


def test_a_run_says_what_it_leaves_out_and_sends_the_rest(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "run"
    make_photographs(photos, 1)
    save(photos / "b.avif", "AVIF")
    (photos / "c.cr2").touch()
    (photos / "d.cr2").touch()
    quick = ("--codec", "null", "--reference", "none")
    result = cli("simulate", photos, "--out", out, *quick)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("left out: 2 .cr2") == 1
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [Path(row["image"]).name for row in rows] == ["b.avif", "photo00.png"]


# Samples of more than 8 bits


def levels(top: int) -> np.ndarray:
    return np.linspace(0, top, 24 * 40).round().reshape(24, 40).astype(np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pgm"])
@pytest.mark.parametrize("top", [1023, 4095, 16383])
def test_the_range_is_noted_and_the_largest_can_be_white(
    tmp_path: Path, suffix: str, top: int
) -> None:
    """Cameras and microscopes put 10, 12 or 14 bits into files of 16."""
    path = tmp_path / f"deep{suffix}"
    Image.fromarray(levels(top)).save(path)
    picture = load_image(path)
    assert picture.notes[0] == f"16-bit to 8-bit, samples from 0 to {top}, white at 65535"
    assert picture.pixels.max() == round(top * 255 / 65535)
    picture = load_image(path, white="largest")
    assert picture.notes[0] == f"16-bit to 8-bit, samples from 0 to {top}, white at {top}"
    assert np.array_equal(picture.pixels[..., 0], np.rint(levels(top) * (255 / top)))


def test_a_file_that_says_twelve_bits_has_its_white_there(tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((1, 2), np.uint16))
    image.save(tmp_path / "a.tiff")
    data = (tmp_path / "a.tiff").read_bytes()
    with Image.open(tmp_path / "a.tiff") as opened:
        (at,) = opened.tag_v2[273]
    # BitsPerSample: tag 258, short, one value.
    sixteen, twelve = (b"\x02\x01\x03\0\x01\0\0\0" + bytes([b, 0]) for b in (16, 12))
    assert sixteen in data
    data = data.replace(sixteen, twelve)
    # Two samples in three bytes: 0x800 and 0xFFF.
    data = data[:at] + b"\x80\x0f\xff" + data[at + 3 :]
    (tmp_path / "b.tiff").write_bytes(data)
    picture = load_image(tmp_path / "b.tiff")
    assert picture.pixels[0, :, 0].tolist() == [128, 255]
    assert picture.notes[0] == "12-bit to 8-bit, samples from 2048 to 4095, white at 4095"


def test_sixteen_bit_colour_is_not_scaled_by_what_was_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.ppm"
    path.write_bytes(b"P6 1 1 65535\n" + bytes([1, 0, 2, 0, 3, 0]))
    assert load_image(path).notes == ("16-bit to 8-bit, samples below 1024 of 65536",)
    with pytest.raises(ImageError, match="cannot be scaled by the largest sample"):
        load_image(path, white="largest")


def test_black_stays_black(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "a.png")
    assert not load_image(tmp_path / "a.png", white="largest").pixels.any()


def test_the_option_reaches_run_sweep_and_reference(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(np.kron(levels(4095), np.ones((4, 4), np.uint16))).save(photos / "deep.png")
    for name in ("attached", str(photos)):
        options = {
            "tx.images": [str(photos)], "out": str(tmp_path / f"run-{len(name)}"),
            "rx.refine": False, "rx.lpips": False, "tx.bandwidth_ratio": "1/96",
            "tx.white": "largest", "rx.reference": name,
        }  # fmt: skip
        (row,) = linked(make_settings(overrides=options))
        assert "white at 4095" in row["notes"]
        assert row["psnr_preview"] > 15
    sweep = tmp_path / "sweep"
    result = invoke(
        *("sweep", "figure-5", "--images", photos, "--methods", "jscc", "--repeats", 1),
        *("--only", "cbr=1/96", "--only", "snr_db=10", "--metrics", "psnr", "--out", sweep),
        *("--set", "white=largest"),
    )
    assert result.code == 0, result.err
    (kept,) = (sweep / "images" / "original").iterdir()
    assert load_image(kept).pixels.max() == 255


def test_images_of_one_name_in_a_sweep_keep_their_own_originals(tmp_path: Path) -> None:
    for folder, path in zip("ab", make_photographs(tmp_path / "made", 2), strict=True):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        path.rename(tmp_path / "photos" / folder / "img.png")
    out = tmp_path / "sweep"
    result = invoke(
        *("sweep", "figure-5", "--images", tmp_path / "photos", "--methods", "jscc"),
        *("--repeats", 1, "--only", "cbr=1/96", "--only", "snr_db=10", "--metrics", "psnr"),
        *("--out", out),
    )
    assert result.code == 0, result.err
    sources = read_sources([out])
    for row in sources.sweep:
        kept = sources.sent_in_sweep(row["image"])
        assert kept is not None and kept.is_relative_to(out)
        assert np.array_equal(load_image(kept).pixels, load_image(Path(row["image"])).pixels)


def test_the_manifest_of_a_run_has_its_images_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "captions.json").write_text("{}", encoding="utf-8")
    settings = make_settings(overrides={"run": "x", "tx.images": [str(tmp_path)]})
    with caplog.at_level(logging.WARNING):
        assert len(build_manifest(settings)) == 1
    assert "1 .json" in caplog.text


def test_a_pipe_in_a_folder_is_left_out_and_never_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "in" / "a.png")
    os.mkfifo(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "c.png").symlink_to("/dev/zero")
    assert names_below(tmp_path / "in") == ["a.png"]
    assert "2 pipes or devices" in caplog.text
    for name in ("b.png", "c.png"):
        with pytest.raises(ImageError, match="is not a file"):
            find_images([tmp_path / "in" / name])
        with pytest.raises(ImageError, match="is not a file"):
            images.file_sha256(tmp_path / "in" / name)
    with pytest.raises(ImageError, match="2 pipes or devices"):
        (tmp_path / "in" / "a.png").unlink()
        find_images([tmp_path / "in"])
