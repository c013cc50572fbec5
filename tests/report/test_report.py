"""What people and scripts read of a run: rows, summary, tables, trace, contact sheet."""

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_world import row
from rich.console import Console
from rich.table import Table

from simulator.link.rows import ANCHORS, ROW_KEYS, by_point, make_row
from simulator.report import trace
from simulator.report.results import p95, summarise, write_results
from simulator.report.sheet import (
    write_sheet,
)
from simulator.report.tables import MANY_ROWS, closing_table, markdown_of_points
from simulator.report.trace import chrome_trace


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
    assert (
        "PSNR preview | PSNR refined" in head
        and "median ms to preview | median ms to refined" in head
    )
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
