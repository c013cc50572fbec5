"""What people read in reports and figures: labels, whole captions, and why nothing is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFont
from report_world import delivered, grey, made, parsed, sweep_folder

from channel.service import counts_text
from simulator.evaluation.experiment import Experiment
from simulator.evaluation.means import Means
from simulator.evaluation.plots import MAX_ACROSS, arranged, compose, styles
from simulator.metrics.interval import Estimate
from simulator.report.figures import Curve, curves, hidden, reach_of
from simulator.report.sections import spelt
from simulator.report.sheet import MAX_LINES, labelled, wrapped

# Labels


def test_labels_stand_for_internal_names_everywhere(tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path / "sweep")
    path = folder / "rows.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    names = {"digital": "diffjscc:guidance_scale=100", "bound": "hevc+ldpc"}
    labels = {"digital": "DiffJSCC, strong pull", "bound": "HEVC + LDPC"}
    told = [row | {"method": names[row["method"]], "label": labels[row["method"]]} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in told))
    found = parsed([folder])
    assert "diffjscc:guidance_scale" not in found.words and "hevc+ldpc" not in found.words
    assert "DiffJSCC, strong pull: 6 outages in 12 frames." in found.words
    assert {row["label"] for row in found.rows("sweep")} == set(labels.values())
    spoken = [a["aria-label"] for a in found.all("svg") if a.get("role") == "img"]
    assert spoken and all("hevc+ldpc" not in text for text in spoken)
    assert any("HEVC + LDPC" in text for text in spoken)


def test_two_methods_with_one_label_are_told_apart(tmp_path: Path) -> None:
    found = parsed([sweep_folder(tmp_path / "sweep", label="one name")])
    assert "one name (digital)" in found.words and "one name (bound)" in found.words


def test_rows_without_a_label_have_their_method(tmp_path: Path) -> None:
    found = parsed([sweep_folder(tmp_path / "sweep")])
    assert {row["label"] for row in found.rows("sweep")} == {"digital", "bound"}


def test_methods_stand_in_the_order_of_the_configuration(tmp_path: Path) -> None:
    """Not in the order in which several workers happened to finish."""
    folder = sweep_folder(tmp_path / "sweep")
    settings = 'name = "figure 4"\n[settings]\nmethods = ["bound", "digital"]\n'
    (folder / "sweep.toml").write_text(settings)
    found = parsed([folder])
    assert [row["label"] for row in found.rows("sweep")] == ["bound"] * 12 + ["digital"] * 12
    assert found.words.index("bound") < found.words.index("digital")
    assert "not as by default" not in found.words


def test_many_methods_do_not_burst_their_card(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    folder.mkdir()
    row = {"channel": "awgn", "cbr": "1/96", "snr_db": 1.0, "image": "a.png", "repeat": 0}
    rows = [row | {"method": f"m{i}", "label": f"Method {i}", "psnr": 20.0} for i in range(9)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    words = parsed([folder]).words
    assert "Method 3; and 5 more" in words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (["1/384", "1/96"], "1/384, 1/96"),
        ({"a": [1, 2], "b": True}, "a: 1, 2; b: true"),
        (None, "none"),
        ("", "none"),
        (False, "false"),
        (0.5, "0.5"),
    ],
)
def test_settings_are_spelt_as_people_write_them(value: Any, text: str) -> None:
    assert spelt(value) == text


def test_counts_of_a_log_line() -> None:
    assert counts_text({"bad-message": 3, "quota": 1}) == "3 bad-message, 1 quota"
    assert counts_text({}) == "none"


# Why nothing is there


def test_what_was_not_measured_has_no_column_and_no_bar(tmp_path: Path) -> None:
    run = made(tmp_path / "run", [delivered(i, restore_s=0.5, diffusion_s=0.0) for i in range(2)])
    words = parsed([run]).words
    assert "median ms" in words and "restore" in words and "diffusion" not in words
    assert "median ms" not in parsed([sweep_folder(tmp_path / "sweep")]).words


def test_pictures_that_are_elsewhere(tmp_path: Path) -> None:
    """Of a transmitter alone: the folder is full of originals."""
    run = made(tmp_path / "run", [delivered(0, preview_file="images/a.png")])
    grey(run / "images" / "original" / "photo0-00000000.png")
    words = parsed([run]).words
    assert "name 1 pictures of what arrived, and none of them is in these folders" in words


def test_pictures_that_nobody_kept(tmp_path: Path) -> None:
    run = made(tmp_path / "run", [delivered(0, preview_file=None)])
    assert "the receiver had save_images off" in parsed([run]).words
    sweep = sweep_folder(tmp_path / "sweep", file=None)
    assert "pictures = 0" in parsed([sweep]).words


def test_the_hint_for_more_images_is_a_command(tmp_path: Path) -> None:
    words = parsed([sweep_folder(tmp_path / "sweep")], images=1).words
    assert "diffjscc report --images 3 shows all." in words


# The sheet


@pytest.mark.parametrize("size", [(8, 256), (60, 256), (256, 256), (900, 100)])
def test_a_caption_is_whole_below_its_tile(size: tuple[int, int]) -> None:
    caption = "a long caption of many words that BLIP-2 has made of it"
    width, height = size
    tile = labelled(Image.new("RGB", size, "grey"), ["1/384 awgn 10 dB: 20.0 dB", caption])
    assert tile.width >= width and tile.height > height
    font = ImageFont.load_default(12)
    lines = wrapped(caption, tile.width - 4, font)
    assert " ".join(lines) == caption
    assert all(font.getlength(line) <= tile.width - 4 for line in lines)
    # The last rows are of the label: no line was drawn beyond.
    assert np.asarray(tile)[-3:].min() == 255


def test_a_caption_without_an_end_is_cut_with_dots() -> None:
    font = ImageFont.load_default(12)
    for text in ("word " * 500, "x" * 500):
        lines = wrapped(text, 200, font)
        assert len(lines) == MAX_LINES and lines[-1].endswith("...")
        assert all(font.getlength(line) <= 200 for line in lines)
    assert wrapped("", 100, font) == []


# Figures


@pytest.mark.parametrize("rows", [1, 2, 3, 6])
@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 7])
def test_every_panel_has_a_place_and_figures_fit_a_page(rows: int, columns: int) -> None:
    places = arranged(rows, columns)
    assert len(places) == len(set(places.values())) == rows * columns
    across = 1 + max(column for _, column in places.values())
    assert across <= max(MAX_ACROSS, min(rows, columns))


def lines_of(methods: list[str], metrics: list[str]) -> list[Means]:
    return [
        Means(
            method, f"A method with a long name, number {i}", "awgn", cbr, snr_db,
            asked=3, images=3, repeats=1, sent=3, outage=0.0, refused=0, perfect=0, seconds=0.1,
            means={key: Estimate(20.0 + snr_db, 1.0, 3) for key in metrics},
        )
        for i, method in enumerate(methods)
        for cbr in ("1/384", "1/96")
        for snr_db in (1.0, 10.0)
    ]  # fmt: skip


def test_a_legend_of_many_has_lines(tmp_path: Path) -> None:
    metrics = ["psnr", "ms_ssim", "lpips", "fd_effnet"]
    methods = ["jscc", *(f"diffjscc:guidance_scale={i}" for i in range(8))]
    figure = compose(Experiment(methods=methods), lines_of(methods, metrics), metrics)
    figure.savefig(tmp_path / "a.png", dpi=100, bbox_inches="tight")
    with Image.open(tmp_path / "a.png") as image:
        assert image.width <= 1000
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 9


def test_curves_on_one_another_are_drawn_so_that_each_shows() -> None:
    one = [(1.0, 20.0), (10.0, 25.0)]
    near = [(1.0, 20.01), (10.0, 25.01)]
    other = [(1.0, 22.0), (10.0, 25.0)]
    assert hidden([one, near, other, one], 5.0) == [2, 1, 0, 0]
    assert hidden([[(1.0, 3.0)], [(2.0, 3.0)]], 1.0) == [0, 0]


@pytest.mark.parametrize(("count", "banded"), [(4, True), (5, False)])
def test_bands_do_not_hide_many_curves(count: int, banded: bool) -> None:
    points = [(x, Estimate(20.0 + x, 9.0, 3)) for x in (1.0, 2.0)]
    lines = [Curve(f"m{i}", i, points) for i in range(count)]
    drawn = curves("PSNR, dB", "SNR, dB", lines, [(1.0, "1"), (2.0, "2")], 2)
    assert str(drawn).count('class="band') == (count if banded else 0)
    # Without bands the axis is that of the means.
    assert (">20<" in str(drawn)) is banded


@pytest.mark.parametrize("count", [3, 7, 12])
def test_every_method_looks_different(count: int) -> None:
    methods = [f"diffjscc:guidance_scale={i}" for i in range(count)]
    looks = [tuple(map(str, style.values())) for style in styles(methods).values()]
    assert len(set(looks)) == count


def test_the_axis_of_a_flat_curve_has_short_labels() -> None:
    low, high = reach_of([Estimate(0.0, None, 3), Estimate(0.0, None, 3)])
    assert low <= -0.005 and high >= 0.005
