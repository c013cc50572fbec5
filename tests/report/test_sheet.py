"""The contact sheet of a run: its rows and columns, its bounds, and originals found again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_world import row

from simulator.images import file_sha256
from simulator.png import save_png
from simulator.report.sheet import (
    HEIGHT_PX,
    LINE_PX,
    MAX_IMAGES,
    MAX_POINTS,
    MAX_WIDTH_PX,
    MIN_WIDTH_PX,
    write_sheet,
)
from simulator.runfolder import find_original


class Folder:
    """A run folder with images of one grey each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "in").mkdir()
        (path / "images" / "original").mkdir(parents=True)

    def delivered(
        self, i: int, image: str, grey: int, size: tuple[int, int] = (40, 60), **values: Any
    ) -> dict[str, Any]:
        """A row, and the files that go with it."""
        path = self.path / image
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((*size, 3), grey, np.uint8)
        if not path.exists():
            save_png(pixels, path)
        kept = f"{path.stem}-{file_sha256(path).hex()[:8]}.png"
        save_png(pixels, self.path / "images" / "original" / kept)
        save_png(pixels, self.path / "images" / f"{i}.png")
        return row(i, image=str(path), preview_file=f"images/{i}.png", **values)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def sheet_of(folder: Folder, rows: list[dict[str, Any]]) -> np.ndarray:
    path = write_sheet(folder.path, rows)
    assert path == folder.path / "sheet.png"
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG" and image.mode == "RGB"
        return np.asarray(image)


def row_px(lines: int) -> int:
    """Height of an image's row in the sheet, with that many lines of label."""
    return HEIGHT_PX + LINE_PX * lines + 6 + 6


def test_one_line_an_image_one_column_a_point(folder: Folder) -> None:
    rows = [
        folder.delivered(10 * i + j, f"in/photo{i}.png", 50 * i, snr_db=snr_db, psnr_preview=20.0)
        for i in range(2)
        for j, snr_db in enumerate((1.0, 7.0, None))
    ]
    sheet = sheet_of(folder, rows)
    one = row_px(1)
    assert sheet.shape == (2 * one, 4 * (384 + 6), 3)
    for line in range(2):
        for column in range(4):  # what was sent, then three points
            middle = sheet[line * one + HEIGHT_PX // 2, column * 390 + 192]
            assert (middle == 50 * line).all()
        caption = sheet[line * one + HEIGHT_PX : (line + 1) * one - 6, :384]
        assert caption.min() < 100 and caption.max() == 255


def test_refined_images_stand_beside_their_previews(folder: Folder) -> None:
    made = folder.delivered(0, "in/photo.png", 50, psnr_refined=20.0, caption="a boat " * 40)
    save_png(np.full((40, 60, 3), 90, np.uint8), folder.path / "images" / "r.png")
    sheet = sheet_of(folder, [made | {"refined_file": "images/r.png", "time_to_refined_s": 4.0}])
    assert sheet.shape[1:] == (3 * (384 + 6), 3) and sheet.shape[0] >= row_px(4)
    assert [sheet[128, 390 * i + 192, 0] for i in range(3)] == [50, 50, 90]
    assert sheet[HEIGHT_PX + 18 :, 780 : 780 + 384].min() < 100  # the caption's line


def test_missing_files_are_left_out(folder: Folder) -> None:
    rows = [folder.delivered(i, f"in/photo{i}.png", 100) for i in range(4)]
    (folder.path / rows[0]["preview_file"]).unlink()
    rows[1]["preview_file"] = None
    for original in (folder.path / "images" / "original").glob("photo2-*"):
        original.unlink()
    (folder.path / "in" / "photo3.png").unlink()  # the run's own copy is there
    rows.append(row(9, status="refused", image="in/empty.png"))
    sheet = sheet_of(folder, rows)
    assert sheet.shape[:2] == (2 * row_px(1), 2 * 390)


def test_no_sheet_where_no_image_was_kept(folder: Folder) -> None:
    assert write_sheet(folder.path, [row(0), row(1, preview_file="images/gone.png")]) is None
    assert not (folder.path / "sheet.png").exists()


def test_repeats_are_not_shown(folder: Folder) -> None:
    rows = [folder.delivered(i, "in/photo.png", 100, repeat=i) for i in range(5)]
    assert sheet_of(folder, rows).shape[1] == 2 * 390


def test_a_sheet_has_its_bounds(folder: Folder) -> None:
    rows = [
        folder.delivered(100 * i + j, f"in/photo{i}.png", 100, (8, 8), snr_db=float(j))
        for i in range(MAX_IMAGES + 1)
        for j in range(MAX_POINTS + 1)
    ]
    width = (1 + MAX_POINTS) * (HEIGHT_PX + 6)
    assert sheet_of(folder, rows).shape[:2] == (MAX_IMAGES * row_px(1), width)


@pytest.mark.parametrize(("size", "width"), [((1, 4000), MAX_WIDTH_PX), ((4000, 1), MIN_WIDTH_PX)])
def test_very_long_images_stay_small(folder: Folder, size: tuple[int, int], width: int) -> None:
    sheet = sheet_of(folder, [folder.delivered(0, "in/long.png", 100, size)])
    assert sheet.shape[1] == 2 * (width + 6)


@pytest.mark.parametrize("name", ["photo[1].png", "a**b.png", "what?.png", "plain.png"])
def test_originals_are_found_whatever_their_names(folder: Folder, name: str) -> None:
    made = folder.delivered(0, f"in/{name}", 100)
    original = find_original(folder.path, made)
    assert original is not None and original.name.startswith(Path(name).stem)


def test_images_of_one_name_from_several_folders(folder: Folder) -> None:
    rows = [folder.delivered(i, f"in/{i}/photo.png", 60 * i) for i in range(3)]
    sheet = sheet_of(folder, rows)
    for line in range(3):
        assert (sheet[line * row_px(1) + 100, 100] == 60 * line).all()
    (folder.path / "in/1/photo.png").unlink()  # which one it was cannot be told any more
    assert find_original(folder.path, rows[1]) is None
