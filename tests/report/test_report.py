"""What people and scripts read of a run: rows, summary, tables, trace, contact sheet."""

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from rich.table import Table

from simulator.images import file_sha256
from simulator.link.rows import ANCHORS, ROW_KEYS, by_point, make_row
from simulator.png import save_png
from simulator.report import trace
from simulator.report.results import p95, summarise, write_results
from simulator.report.sheet import (
    HEIGHT_PX,
    LINE_PX,
    MAX_IMAGES,
    MAX_POINTS,
    MAX_WIDTH_PX,
    MIN_WIDTH_PX,
    write_sheet,
)
from simulator.report.tables import MANY_ROWS, closing_table, markdown_of_points
from simulator.report.trace import chrome_trace
from simulator.runfolder import find_original


def row(i: int = 0, **values: Any) -> dict[str, Any]:
    base = {
        "run": "run", "frame_id": f"{i:032x}", "status": "delivered", "image": f"in/photo{i}.png",
        "repeat": 0, "channel": "awgn", "cbr": "1/384", "snr_db": 10.0, "receiver": "rx",
    }  # fmt: skip
    return make_row(**(base | values))


def drawn(table: Table) -> str:
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


# Rows and summary


def test_a_row_has_every_key_and_no_stranger() -> None:
    assert tuple(make_row()) == (*ROW_KEYS, *ANCHORS)
    assert set(make_row().values()) == {None}
    assert len(set(ROW_KEYS)) == len(ROW_KEYS)
    with pytest.raises(KeyError, match="psnr_previw"):
        make_row(psnr_previw=1)


def test_files_have_the_keys_of_a_row_in_order(tmp_path: Path) -> None:
    rows = [
        row(0, psnr_preview=30.5, tx_at_s=1.0, caption='a "cat", sleeping\nwell'),
        row(1, status="refused", reason="in/größe.png is empty", psnr_preview=None),
        row(2, reason="caf\udce9.png cannot be decoded"),  # a name that is not UTF-8
    ]
    write_results(tmp_path, rows)
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    assert [tuple(each) for each in told] == [ROW_KEYS] * 3
    expected = [{key: each[key] for key in ROW_KEYS} for each in rows]
    expected[2]["reason"] = "caf\\xe9.png cannot be decoded"
    assert told == expected
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [tuple(each) for each in table] == [ROW_KEYS] * 3
    assert (table[0]["psnr_preview"], table[1]["psnr_preview"]) == ("30.5", "")
    assert table[0]["caption"] == rows[0]["caption"]
    assert table[1]["reason"] == "in/größe.png is empty"
    assert table[2]["reason"] == expected[2]["reason"]
    assert json.loads((tmp_path / "summary.json").read_text())["frames"] == 3
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"] == []


def test_a_run_without_rows(tmp_path: Path) -> None:
    write_results(tmp_path, [])
    assert json.loads((tmp_path / "summary.json").read_text()) == {
        "images": 0, "frames": 0, "refused": 0, "dropped": 0, "status": {}, "points": []
    }  # fmt: skip
    assert (tmp_path / "results.jsonl").read_text() == ""
    assert write_sheet(tmp_path, []) is None
    assert "image" in drawn(closing_table([]))


def test_means_are_over_the_values_that_there_are() -> None:
    rows = [
        row(0, psnr_preview=30.0, ssim_preview=None),
        row(1, psnr_preview=20.0, ssim_preview=None),
        row(2, psnr_preview=None, ssim_preview=None, status="dead"),
    ]
    summary = summarise(rows)
    assert (summary["frames"], summary["status"]) == (3, {"delivered": 2, "dead": 1})
    (point,) = summary["points"]
    assert (point["channel"], point["cbr"], point["snr_db"]) == ("awgn", "1/384", 10.0)
    assert point["images"] == 3
    assert point["psnr_preview"] == {"mean": 25.0, "n": 2}
    assert "ssim_preview" not in point


def test_repeats_are_averaged_before_images() -> None:
    """Of an image that arrived once and one that arrived three times, each counts as one."""
    rows = [row(0, image="a", psnr_preview=10.0)]
    rows += [row(i, image="b", repeat=i, psnr_preview=20.0) for i in range(1, 4)]
    (point,) = summarise(rows)["points"]
    assert point["psnr_preview"] == {"mean": 15.0, "n": 4}
    assert "| 15.00 |" in markdown_of_points(rows)


def test_infinity_and_nan_of_other_versions_are_left_out() -> None:
    rows = [row(i, psnr_preview=value) for i, value in enumerate((float("inf"), float("nan"), 1))]
    assert summarise(rows)["points"][0]["psnr_preview"] == {"mean": 1.0, "n": 1}


def test_times_are_medians_and_percentiles() -> None:
    rows = [row(i, decode_s=float(i + 1)) for i in range(101)]
    (point,) = summarise(rows)["points"]
    assert point["decode_s"] == {"median": 51.0, "p95": pytest.approx(96.0), "n": 101}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
def test_a_percentile_is_within_what_was_measured(count: int) -> None:
    values = list(np.random.default_rng(count).exponential(size=count))
    assert min(values) <= p95(values) <= max(values)
    assert p95(values) == pytest.approx(np.percentile(values, 95))


def test_points_are_in_the_order_of_their_first_row() -> None:
    snrs = [13.0, 1.0, 13.0, None, 1.0, None]
    groups = by_point(row(i, snr_db=snr_db) for i, snr_db in enumerate(snrs))
    assert [(point[2], len(group)) for point, group in groups.items()] == [
        (13.0, 2), (1.0, 2), (None, 2),
    ]  # fmt: skip


# Tables


def test_few_rows_are_told_one_by_one() -> None:
    rows = [
        row(0, psnr_preview=30.123, ms_ssim_preview=0.9, time_to_preview_s=0.1234),
        row(1, status="refused", reason="empty"),
    ]
    text = drawn(closing_table(rows))
    assert "channel awgn, CBR 1/384, SNR dB 10; times in ms" in text
    for words in ("photo0.png", "30.12", "0.900", "123", "photo1.png", "refused"):
        assert words in text
    assert "in/" not in text


def test_captions_have_a_column_where_there_are_some() -> None:
    refined = {"time_to_refined_s": 0.5, "psnr_refined": 25.0}
    with_one = [row(0, caption="a cat", **refined), row(1, **refined)]
    text = drawn(closing_table(with_one))
    assert "caption" in text and "a cat" in text
    assert "caption" not in drawn(closing_table([row(0, **refined), row(1, caption="", **refined)]))


def test_what_differs_gets_a_column() -> None:
    text = drawn(closing_table([row(0), row(1, snr_db=None, cbr="1/96")]))
    title, head = text.splitlines()[0], text.splitlines()[2]
    assert "channel awgn" in title and "CBR" not in title
    assert "CBR" in head and "SNR dB" in head and "channel" not in head
    assert "trace" in text and "1/96" in text


def test_names_that_look_like_markup_are_told_as_they_are() -> None:
    assert "[bold]a[0].png" in drawn(closing_table([row(0, image="in/[bold]a[0].png")]))


def test_many_rows_are_told_by_point() -> None:
    rows = [row(i, snr_db=float(i % 2), psnr_preview=float(i)) for i in range(MANY_ROWS + 2)]
    lines = drawn(closing_table(rows)).splitlines()
    assert "means over 9 images" in lines[0]
    cells = [line.split() for line in lines if "awgn" in line]
    assert [each[:5] for each in cells] == [
        ["awgn", "1/384", "0", "8.00", "-"], ["awgn", "1/384", "1", "9.00", "-"]
    ]  # fmt: skip


def test_markdown_has_as_many_cells_in_each_line() -> None:
    rows = [
        row(0, psnr_preview=30.0, time_to_preview_s=0.2),
        row(1, psnr_preview=20.0, time_to_preview_s=0.4),
        row(2, snr_db=None, status="dead"),
    ]
    lines = markdown_of_points(rows).splitlines()
    assert lines[2:] == [
        "| awgn | 1/384 | 10 | - | 2 | 2 | 0 | 25.00 | - | - | 300 |",
        "| awgn | 1/384 | trace | - | 1 | 1 | 1 | - | - | - | - |",
    ]
    assert len({line.count("|") for line in lines}) == 1


def refined(i: int = 0, **values: Any) -> dict[str, Any]:
    quality = {"psnr_preview": 22.0, "psnr_refined": 20.5, "lpips_preview": 0.7}
    quality |= {"lpips_refined": 0.4, "time_to_preview_s": 0.1, "time_to_refined_s": 4.5}
    return row(i, caption="seashore, [boat]house", **quality, **values)


def test_preview_and_refined_stand_side_by_side() -> None:
    text = drawn(closing_table([refined(0), row(1, status="dead")]))
    assert "preview / refined" in text
    for words in ("22.00 / 20.50", "0.700 / 0.400", "100 / 4500", "seashore, [boat]house", "dead"):
        assert words in text


def test_a_line_with_both_and_a_caption_fits_on_a_screen() -> None:
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(closing_table([refined(0, image="a-rather-long-name.png")]))
    text = capture.get()
    for words in ("22.00 / 20.50", "0.700 / 0.400", "100 / 4500", "seashore"):
        assert words in text


def test_points_have_both_stages() -> None:
    rows = [refined(i) for i in range(MANY_ROWS + 2)]
    text = drawn(closing_table(rows))
    assert "means over 18 images, median time in ms; preview/refined" in text
    assert "22.00/20.50" in text and "100/4500" in text
    head, _, line = markdown_of_points(rows).splitlines()
    assert "PSNR preview | PSNR refined" in head and "to preview ms | to refined ms" in head
    assert line == (
        "| awgn | 1/384 | 10 | - | 18 | 18 | 0 | 22.00 | 20.50 | - | - | 0.700 | 0.400 "
        "| 100 | 4500 |"
    )
    (point,) = summarise(rows)["points"]
    assert point["psnr_refined"] == {"mean": pytest.approx(20.5), "n": 18}
    assert point["time_to_refined_s"]["median"] == 4.5


# Trace


def timed(i: int = 0) -> dict[str, Any]:
    """A frame as the ledger has it; anchors are by the channel's clock."""
    times = {
        "tx_at_s": 50.0 + i, "load_s": 0.1, "grant_wait_s": 0.2, "encode_s": 0.05,
        "channel_at_s": 50.4 + i, "airtime_observed_s": 0.05, "channel_queue_s": 0.02,
        "rx_at_s": 50.5 + i, "rx_queue_s": 0.01, "equalize_s": 0.001, "decode_s": 0.1,
        "score_s": 0.02, "save_s": 0.01,
    }  # fmt: skip
    return row(i, **times)


def traced(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return json.loads("".join(chrome_trace(rows)))


def test_a_trace_of_a_long_run_ends_where_viewers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "MAX_FRAMES", 2)
    frames = [
        event["args"]["frame"] for event in traced([timed(i) for i in range(5)])["traceEvents"]
    ]
    assert sorted(set(frames)) == [f"{i:032x}" for i in range(2)]
    assert traced([]) == {"displayTimeUnit": "ms", "traceEvents": []}


def test_spans_of_a_frame_follow_one_another_on_one_clock() -> None:
    rows = [timed(i) for i in range(3)]
    found = traced(rows)
    for each in rows:
        spans = [e for e in found["traceEvents"] if e["args"]["frame"] == each["frame_id"]]
        assert [span["name"] for span in spans] == [
            "load", "grant_wait", "encode", "airtime_observed", "channel_queue",
            "rx_queue", "equalize", "decode", "score", "save",
        ]  # fmt: skip
        for before, after in itertools.pairwise(spans):
            assert before["ts"] + before["dur"] <= after["ts"] + 1e-3
        assert {span["ph"] for span in spans} == {"X"}
        assert [spans[0]["ts"], spans[3]["ts"], spans[5]["ts"]] == [
            pytest.approx(1e6 * each[key]) for key in ("tx_at_s", "channel_at_s", "rx_at_s")
        ]
        assert spans[0]["args"]["image"] == each["image"]


@pytest.mark.parametrize(
    "seconds",
    [
        {"caption_s": 0.1, "text_s": 0.01, "diffusion_s": 3.0, "vae_s": 0.5},
        {"restore_s": 0.2, "caption_s": 0.1, "text_s": 0.01, "diffusion_s": 3.0, "vae_s": 0.3},
        {"restore_s": 3.61},
    ],
)
def test_refining_begins_with_its_batch(seconds: dict[str, float]) -> None:
    """Whichever steps a receiver has."""
    events = traced([timed() | seconds | {"refine_at_s": 60.0}])["traceEvents"]
    spans = [event for event in events if event["pid"] == "rx"]
    names = ["rx_queue", "equalize", "decode", *(key.removesuffix("_s") for key in seconds)]
    assert [span["name"] for span in spans] == [*names, "score", "save"]
    assert spans[3]["ts"] == pytest.approx(60e6)
    assert spans[-2]["ts"] == pytest.approx(63.61e6)


def test_each_receiver_has_its_own_line() -> None:
    events = traced([timed(), timed() | {"receiver": "rx2"}])["traceEvents"]
    assert {event["pid"] for event in events} == {"tx", "channel", "rx", "rx2"}


def test_what_was_not_measured_is_not_in_the_trace() -> None:
    half = timed() | {"tx_at_s": None, "channel_queue_s": None}
    events = traced([half, row(1, status="dead")])["traceEvents"]
    assert [event["name"] for event in events][:2] == ["airtime_observed", "rx_queue"]
    assert not [event for event in events if event["pid"] == "tx"]


# Contact sheet


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
    """Height of an image's row in the sheet, with so many lines of label."""
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
