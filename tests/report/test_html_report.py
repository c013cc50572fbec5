"""``diffjscc report`` of a real run: what the page holds, and that it loads nothing."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import cli, make_photographs
from PIL import Image
from report_world import Parsed, delivered, made, parsed

import simulator
from simulator.errors import SettingsError
from simulator.images import load_image
from simulator.report import constellation, strips
from simulator.report.records import records_of
from simulator.report.sources import read_sources
from simulator.settings import make_settings
from simulator.watch.symbols import POINTS, Symbols


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three processes, two photographs, two channels and two SNRs; one file is no image."""
    base = tmp_path_factory.mktemp("report")
    for path in make_photographs(base / "photos", 2):
        with Image.open(path) as image:  # so that the copy which tx keeps is another file
            image.save(path.with_suffix(".bmp"))
        path.unlink()
    (base / "photos" / "broken.png").write_bytes(b"no image")
    given = {
        "tx.images": [str(base / "photos")], "out": str(base / "run"), "run": "report-test",
        "channel.kind": ["awgn", "rayleigh"], "channel.snr_db": [1.0, 10.0], "codec": "compact",
        "rx.lpips": False, "rx.refine": False, "model": "no/model",
    }  # fmt: skip
    simulator.simulate(make_settings(overrides=given))
    return base / "run"


def results_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]


def test_a_run_ends_with_a_report(run: Path) -> None:
    found = Parsed((run / "report.html").read_text(encoding="utf-8"))
    assert "8 of 12" in found.words and "frames delivered" in found.words
    sections_made = [f"#{a['id']}" for a in found.all("section") if "id" in a]
    assert [a["href"] for a in found.all("a")] == sections_made == [
        "#images", "#operating-points", "#curves", "#latency", "#constellation", "#failures",
        "#results", "#settings",
    ]  # fmt: skip


def test_the_table_holds_what_results_jsonl_holds(run: Path) -> None:
    shown, rows = parsed([run]).rows("run"), results_of(run)
    assert len(shown) == len(rows) == 12
    for told, row in zip(shown, rows, strict=True):
        assert told == {key: row[key] for key in told}
    assert {"image", "channel", "cbr", "snr_db", "status", "psnr_preview"} <= shown[0].keys()
    assert "lpips_preview" not in shown[0]  # nobody measured it


def test_nothing_is_loaded_from_anywhere(run: Path) -> None:
    text = (run / "report.html").read_text(encoding="utf-8")
    found = Parsed(text)
    for name in ("src", "href", "data", "action", "srcset", "poster", "xlink:href"):
        for _, attributes in found.elements:
            value = attributes.get(name) or "#"
            assert value.startswith(("data:", "#")), value
    assert "@import" not in text and "url(" not in text
    policy = next(a["content"] for a in found.all("meta") if a.get("http-equiv"))
    assert str(policy).startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in str(policy) and "connect-src" not in str(policy)
    assert not [a for _, a in found.elements if "style" in a or any(k[:2] == "on" for k in a)]


def test_every_picture_says_what_it_shows(run: Path) -> None:
    found = parsed([run])
    pictures = found.all("img")
    assert len(pictures) == 2 * (1 + 4)
    assert all(picture["alt"] and picture["width"] == "128" for picture in pictures)
    labels = [svg for svg in found.all("svg") if svg.get("role") == "img"]
    assert labels and all(svg["aria-label"] for svg in labels)
    buttons = [button for button in found.all("button") if button.get("class") == "zoom"]
    assert len(buttons) == len(pictures) and all(button["aria-label"] for button in buttons)


def test_pictures_are_copies_of_what_was_kept(run: Path) -> None:
    path = next((run / "images").glob("*.preview.png"))
    found = strips.encoded(path)
    assert found is not None and found[1:] == (128, 96)
    assert load_image(path).pixels.shape == (96, 128, 3)
    records = records_of(read_sources([run]))
    choice = strips.choose(records, lambda image: None, 1)
    assert (len(choice.strips), choice.images, choice.points) == (1, 2, 4)


def test_reasons_of_failures_are_told(run: Path) -> None:
    words = parsed([run]).words
    assert "4 of 12 frames failed: 4 refused" in words
    assert "broken.png" in words and "is not an image of a kind that can be read" in words


def test_settings_versions_and_hashes_are_told(run: Path) -> None:
    words = parsed([run]).words
    for text in ("report-test", "weights sha256", "adaptive-", "numpy", "rx.refine = false"):
        assert text in words


def test_the_command(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = cli("report", run, "--out", out, "--images", 1)
    assert done.returncode == 0 and done.stdout == f"report: {out}\n"
    assert "1 of 2 images are shown" in Parsed(out.read_text(encoding="utf-8")).words
    failed = cli("report", tmp_path)
    assert failed.returncode == 3 and failed.stderr.strip().count("\n") == 0
    assert failed.stderr.strip().startswith("error: ") and "no folder of a run" in failed.stderr


# Constellation


def test_symbols_are_those_of_the_frame(run: Path) -> None:
    """What the page draws is what the three processes sent and received."""
    sources = read_sources([run])
    rows = [row for row in sources.rows if row["status"] == "delivered"]
    assert len(rows) == 8
    for row in rows:
        found = constellation.constellation_of(row, sources)
        assert isinstance(found, constellation.Constellation) and found.exact
        assert found.received_snr_db == pytest.approx(row["received_snr_db"], abs=1e-3)
        assert np.mean(np.abs(found.h) ** 2) == pytest.approx(row["h_abs2"], rel=1e-5)
        assert len(found.sent) == row["k"]
        noise = found.received - found.h[0] * found.sent
        assert np.allclose(found.equalised - found.sent, noise / found.h[0], atol=1e-4)
    assert "This frame's own symbols" in parsed([run]).words


def test_other_draws_are_named_so_where_the_source_is_gone(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    lines = (copy / "results.jsonl").read_text().replace(str(run.parent / "photos"), "/gone")
    (copy / "results.jsonl").write_text(lines)
    sources = read_sources([copy])
    row = next(row for row in sources.rows if row["status"] == "delivered")
    found = constellation.constellation_of(row, sources)
    assert isinstance(found, constellation.Constellation) and not found.exact
    assert "not this frame's own draws" in parsed([copy]).words


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda row, folder: row.update(codec="adaptive-000000000000"), "the run used codec"),
        (lambda row, folder: shutil.rmtree(folder / "images"), "the original image is not here"),
        (lambda row, folder: (folder / "run.toml").write_text(""), "no run.toml"),
        (lambda row, folder: row.update(cbr="1/5"), "1/5"),
    ],
)
def test_why_there_is_no_constellation(run: Path, tmp_path: Path, change, sentence) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    row = dict(next(r for r in read_sources([folder]).rows if r["status"] == "delivered"))
    change(row, folder)
    found = constellation.constellation_of(row, read_sources([folder]))
    assert isinstance(found, str) and sentence in found


def test_pilots_and_mmse_are_drawn_as_rx_sees_them(run: Path, tmp_path: Path) -> None:
    """Estimated CSIR, fading within the image: the settings decide, not the drawing."""
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    text = (folder / "run.toml").read_text()
    for old, new in (
        ('csir = "perfect"', 'csir = "estimated"'),
        ("coherence_time = 0", "coherence_time = 20"),
        ('csit = "perfect"', 'csit = "average"'),
        ('equalizer = "zero-forcing"', 'equalizer = "mmse"'),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "run.toml").write_text(text)
    sources = read_sources([folder])
    row = next(r for r in sources.rows if r["channel"] == "rayleigh" and r["snr_db"] == 10
               and r["status"] == "delivered")  # fmt: skip
    found = constellation.constellation_of(row, sources)
    assert isinstance(found, constellation.Constellation)
    assert len(found.h) == -(-row["k"] // 4) and not found.exact
    assert np.abs(found.equalised).max() < np.abs(found.received).max() * 50


# Several folders


def test_folders_of_two_machines_are_one_run(run: Path, tmp_path: Path) -> None:
    """Originals and rows at tx, images at rx, as three machines leave them."""
    tx, rx = tmp_path / "tx", tmp_path / "rx"
    shutil.copytree(run, tx, ignore=shutil.ignore_patterns("rx-*.db", "*.preview.png"))
    (rx / "images").mkdir(parents=True)
    for file in (run / "images").glob("*.preview.png"):
        shutil.copy(file, rx / "images")
    shutil.copy(run / "rx-rx.db", rx)
    alone, both = parsed([tx]), parsed([tx, rx])
    assert not alone.all("img") and "none of them is in these folders" in alone.words
    assert len(both.all("img")) == 10 and "2 folders" in both.words
    assert both.rows("run") == alone.rows("run") == parsed([rx, tx]).rows("run")
    with pytest.raises(SettingsError, match="transmitter alone"):
        read_sources([rx])


def test_a_frame_in_two_folders_is_one_row(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    other = made(tmp_path / "other", [delivered(1), delivered(2)])
    merged = parsed([run, copy, other])
    assert len(merged.rows("run")) == 12 + 2
    assert {row["run"] for row in merged.rows("run")} == {"report-test", "made"}


def test_the_live_page_shows_the_symbols_of_a_frame(run: Path) -> None:
    symbols = Symbols([run])
    rows = [row for row in read_sources([run]).rows if row["status"] == "delivered"]
    found = symbols.of(rows[0], len(rows))
    assert set(found["clouds"]) == {"sent", "received", "equalised"}
    for points in found["clouds"].values():
        assert 20 < len(points) <= POINTS and all(len(point) == 2 for point in points)
    assert "This frame's own symbols" in found["told"] and found["levels"] == []
    json.dumps(found, allow_nan=False)
    assert symbols.of(rows[0], len(rows)) is found  # computed once
    lost = {**rows[0], "status": "dropped", "frame_id": "0" * 32}
    assert symbols.of(lost, 1) == {"why": "this frame has not arrived"}
    gone = {**rows[0], "image": "nowhere.png", "frame_id": "1" * 32}
    assert symbols.of(gone, 1) == {"why": "the original image is not here"}
