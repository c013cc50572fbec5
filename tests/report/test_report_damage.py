"""The report survives what is missing, damaged or hostile, and says what it could not read."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from report_world import HOSTILE, Parsed, delivered, grey, made, parsed, sweep_folder

from simulator.errors import SettingsError, StorageError
from simulator.link.ledger import TxLedger
from simulator.report import frames, strips
from simulator.report.html import closing_report, write_report
from simulator.report.results import write_results
from simulator.report.sources import read_sources


def test_an_empty_run(tmp_path: Path) -> None:
    found = parsed([made(tmp_path / "run", [])])
    assert "nothing was sent yet" in found.words and "There are no rows yet." in found.words
    assert not found.blocks


def test_a_run_that_was_cut_short_is_read_from_its_ledger(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ledger = TxLedger(folder / "tx.db")
    with closing(ledger):
        ledger.store([(bytes(15) + bytes([i]), "delivered", delivered(i)) for i in range(3)])
        found = parsed([folder])
        assert len(found.rows("run")) == 3 and "not finished" in found.words
        assert "delivered so far" in found.words
    write_results(folder, [delivered(i) for i in range(3)])
    assert "not finished" not in parsed([folder]).words


def test_missing_and_damaged_images_are_told(tmp_path: Path) -> None:
    rows = [
        delivered(0, preview_file="images/0.png", refined_file="images/gone.png"),
        delivered(0, frame_id="b", snr_db=1.0, preview_file="images/broken.png"),
    ]
    folder = made(tmp_path / "run", rows)
    grey(folder / "images" / "0.png")
    (folder / "images" / "broken.png").write_bytes(b"no image")
    found = parsed([folder])
    assert len(found.all("img")) == 1
    assert found.words.count("not in these folders") == 2  # the original and the refined
    assert found.words.count("this file cannot be shown") == 1


def test_long_pictures_are_shown_smaller(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [delivered(0, preview_file="images/0.png")])
    grey(folder / "images" / "0.png", size=(8, 2000))
    assert "shown at 1280 pixels, of 2000" in parsed([folder]).words
    found = strips.encoded(folder / "images" / "0.png")
    assert found is not None and found[1:] == (2000, 8)


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "images/../../secret.png", "a\0b.png", "x" * 5000, ""]
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    grey(tmp_path / "secret.png")
    folder = made(tmp_path / "run", [delivered(0, preview_file=name)])
    assert not parsed([folder]).all("img")


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    rows = [
        delivered(0, caption=HOSTILE, preview_file="images/0.png", refined_file="images/0.png",
                  receiver=HOSTILE, channel=HOSTILE, cbr=HOSTILE),
        delivered(1, status="refused", reason=HOSTILE, image=f"in/{HOSTILE}.png", run=HOSTILE),
        delivered(2, snr_db=1.0, preview_file="images/0.png", image=f"{HOSTILE}\udce9\0"),
    ]  # fmt: skip
    folder = made(tmp_path / "run", rows)
    grey(folder / "images" / "0.png")
    (folder / "run.toml").write_text(f"run = {json.dumps(HOSTILE)}\nname = {json.dumps(HOSTILE)}\n")
    sweep = sweep_folder(tmp_path / "sweep", method=HOSTILE, image=HOSTILE)
    path = write_report([folder, sweep], images=9)
    found, plain = Parsed(path.read_text(encoding="utf-8")), parsed([made(tmp_path / "p", [])])
    assert {tag for tag, _ in found.elements} - {"polygon"} <= {
        *("html", "head", "meta", "title", "link", "style", "body", "header", "p", "h1", "nav"),
        *("a", "main", "ul", "li", "b", "span", "small", "section", "h2", "h3", "h4", "div"),
        *("figure", "img", "button", "figcaption", "i", "table", "thead", "tbody", "tr", "th"),
        *("td", "svg", "rect", "circle", "line", "text", "polyline", "path", "details", "summary"),
        *("article", "dl", "dt", "dd", "pre", "noscript", "script", "footer"),
    }
    assert found.scripts == plain.scripts and len(found.scripts) == 1
    assert not any(k.startswith("on") for _, attributes in found.elements for k in attributes)
    assert all(str(a["src"]).startswith("data:image/webp") for a in found.all("img"))
    assert HOSTILE in found.words
    assert any(row["caption"] == HOSTILE for row in found.rows("run"))


def test_values_of_other_types_do_no_harm(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [])
    row = delivered(0) | {
        "psnr_preview": HOSTILE, "snr_db": [1], "repeat": "x", "decode_s": 10**400, "k": True,
        "lpips_preview": float("nan"), "time_to_preview_s": {"a": 1}, "image": None, "channel": 7,
    }  # fmt: skip
    lines = f'{json.dumps(row)}\n{{"stranger": 1}}\n'
    (folder / "results.jsonl").write_text(lines)
    found = parsed([folder])
    assert [row["channel"] for row in found.rows("run")] == ["7", None]
    assert HOSTILE not in found.words


@pytest.mark.parametrize("line", ["{", "[1]", "3", '{"a": 1} x', "[" * 5000])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    folder = made(tmp_path / "run", [delivered(0)])
    with (folder / "results.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(SettingsError, match=r"line 2 of .*results\.jsonl is damaged"):
        read_sources([folder])


def test_folders_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "tx.db").write_bytes(b"no ledger" * 200)
    bad = made(tmp_path / "toml", [])
    (bad / "run.toml").write_text("run = ")
    cases = [
        (tmp_path / "gone", SettingsError, "is not a folder"),
        (tmp_path / "empty", SettingsError, "is no folder of a run or a sweep"),
        (tmp_path / "damaged", SettingsError, "tx.db cannot be read"),
        (bad, SettingsError, "not valid TOML"),
        (Path("x" * 5000), StorageError, "cannot be read"),
    ]
    for folder, kind, words in cases:
        with pytest.raises(kind, match=words):
            read_sources([folder])


def test_what_cannot_be_read_or_written_is_said(tmp_path: Path, monkeypatch) -> None:
    folder = made(tmp_path / "run", [delivered(0)])
    with pytest.raises(StorageError, match=r"x\.html cannot be written: No such file"):
        write_report([folder], tmp_path / "gone" / "x.html")

    def refuse(self: Path, *args: Any, **named: Any) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StorageError, match=r"results\.jsonl cannot be read: Permission denied"):
        read_sources([folder])


def test_a_report_that_fails_fails_no_run(tmp_path: Path, monkeypatch, caplog) -> None:
    folder = made(tmp_path / "run", [delivered(0)])
    closing_report(folder)
    assert (folder / "report.html").is_file() and not caplog.records
    monkeypatch.setattr(frames, "waterfall", lambda rows: 1 / 0)
    closing_report(folder)
    (record,) = caplog.records
    assert record.getMessage() == (
        "report.html was not made (division by zero); the results are complete."
    )
    assert not (folder / "report.html").exists()
