"""``diffjscc report``: what the page holds, what it never does, and whom it believes."""

import json
import shutil
import urllib.error
import urllib.request
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from helpers import cli, make_photographs
from PIL import Image

import simulator
from simulator.errors import AddressError, DiffJsccError, SettingsError, StorageError
from simulator.images import load_image
from simulator.link.ledger import TxLedger
from simulator.link.rows import make_row
from simulator.metrics.interval import Estimate
from simulator.png import save_png
from simulator.report import constellation, frames, strips
from simulator.report.figures import Curve, curves, reach_of, ticks_of
from simulator.report.html import closing_report, page, write_report
from simulator.report.markup import Html, compact_json, element, json_block
from simulator.report.records import records_of, spread
from simulator.report.results import write_results
from simulator.report.sources import read_sources
from simulator.report.watch import Live, make_server, watch
from simulator.settings import make_settings

HOSTILE = '</script><script>alert(1)</script><img src="http://evil.example/x" onerror="alert(2)">'
VOID = {"meta", "link", "img", "br", "input"}


class Parsed(HTMLParser):
    """A page as a strict reader sees it: every element closed by its own end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.blocks: dict[str, str] = {}
        self.scripts: list[str] = []
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), attrs
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        opened = self._open.pop()[0]
        assert opened.lower() == tag.lower(), f"<{opened}> ended by </{tag}>"

    def handle_data(self, data: str) -> None:
        tag, attributes = self._open[-1] if self._open else ("", {})
        if tag == "script" and attributes.get("type") == "application/json":
            self.blocks[str(attributes["id"])] = data
        elif tag == "script":
            self.scripts.append(data)
        elif tag != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The table's data as rows of the keys that it shows."""
        data = json.loads(self.blocks[f"{name}-rows"])
        keys = [column["key"] for column in data["columns"]]
        return [dict(zip(keys, row, strict=True)) for row in data["rows"]]


def parsed(folders: list[Path], **options: Any) -> Parsed:
    return Parsed(page(read_sources(folders), **options))


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


def delivered(i: int, **values: Any) -> dict[str, Any]:
    base = {
        "run": "made", "frame_id": f"{i:032x}", "status": "delivered", "image": f"in/photo{i}.png",
        "repeat": 0, "channel": "awgn", "cbr": "1/384", "snr_db": 10.0, "receiver": "rx",
        "psnr_preview": 20.0 + i, "decode_s": 0.01 * (i + 1), "time_to_preview_s": 0.1,
    }  # fmt: skip
    return make_row(**(base | values))


def made(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """A run folder of rows alone."""
    folder.mkdir(parents=True, exist_ok=True)
    write_results(folder, rows)
    (folder / "run.toml").write_text('run = "made"\n')
    return folder


def grey(path: Path, value: int = 90, size: tuple[int, int] = (24, 32)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(np.full((*size, 3), value, np.uint8), path)


# A real run


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


def test_reasons_of_failures_are_told(run: Path) -> None:
    words = parsed([run]).words
    assert "4 of 12 frames failed: 4 refused" in words
    assert "broken.png" in words and "is not an image of a kind that can be read" in words


def test_settings_versions_and_hashes_are_told(run: Path) -> None:
    words = parsed([run]).words
    for text in ("report-test", "weights sha256", "adaptive-", "numpy", "rx.refine = false"):
        assert text in words


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


def sweep_folder(folder: Path, **values: Any) -> Path:
    rows = [
        {"method": method, "channel": "awgn", "cbr": cbr, "snr_db": snr_db, "image": f"p{i}.png",
         "repeat": 0, "psnr": 20.0 + i + snr_db, "ms_ssim": 0.8, "lpips": 0.4,
         "outage": method == "digital" and snr_db == 1.0, "seconds": 0.5,
         "file": f"images/{method}/{i}.png"} | values
        for method in ("digital", "bound")
        for cbr in ("1/384", "1/96")
        for snr_db in (1.0, 10.0)
        for i in range(3)
    ]  # fmt: skip
    folder.mkdir()
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "sweep.toml").write_text('name = "figure 4"\n')
    for method in ("digital", "bound"):
        for i in range(3):
            grey(folder / "images" / method / f"{i}.png", 40 * i)
    return folder


def test_a_sweep(tmp_path: Path) -> None:
    found = parsed([sweep_folder(tmp_path / "sweep")])
    rows = found.rows("sweep")
    lines = (tmp_path / "sweep" / "rows.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    told = [row | {"label": row["method"]} for row in told]
    assert rows == [{key: row[key] for key in rows[0]} for row in told]
    assert "digital: 6 outages in 12 frames." in found.words
    assert "bound" in found.words and "22.00 ± 2.48" in found.words
    curves_drawn = [a for a in found.all("svg") if a.get("role") == "img"]
    assert len(curves_drawn) == 4 * 4  # two ratios and two SNRs; three metrics and outages
    assert "Latency" not in found.words and "Constellation" not in found.words


def test_distances_of_sets_stand_beside_the_means(tmp_path: Path) -> None:
    run = made(tmp_path / "run", [delivered(0), delivered(1)])
    (entry,) = json.loads((run / "summary.json").read_text())["points"]
    summary = {"points": [entry | {"fd_effnet_preview": 123.45, "fd_effnet_preview_ci95": 6.78,
                           "fd_effnet_refined": None, "miou_preview": 0.321}]}  # fmt: skip
    (run / "summary.json").write_text(json.dumps(summary))
    sweep = sweep_folder(tmp_path / "sweep")
    (sweep / "means.csv").write_text(
        "method,channel,cbr,snr_db,psnr,fid,fid_ci95\n"
        "digital,awgn,1/384,1.0,20,77.7,8.9\nbound,awgn,x,,,-,\n"
    )
    found = parsed([run, sweep])
    for words in ("FD-EffNet", "123.5 ± 6.8", "77.7 ± 8.9", "mIoU", "0.321"):
        assert words in found.words
    assert "123.5" not in parsed([run, shutil.copytree(run, tmp_path / "again")]).words
    (run / "summary.json").write_text('{"points": [3]}')
    with pytest.raises(SettingsError, match=r"summary\.json is damaged"):
        parsed([run])


def test_a_sweep_beside_a_run_shows_its_pictures_there(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [delivered(0, preview_file="images/a.png", image="/x/p0.png")])
    grey(folder / "images" / "a.png")
    found = parsed([folder, sweep_folder(tmp_path / "sweep")], images=1)
    labels = [button["data-label"] for button in found.all("button")]
    assert labels[:3] == [
        "preview, awgn, 1/384, 10 dB", "digital, awgn, 1/384, 10 dB", "bound, awgn, 1/384, 10 dB"
    ]  # fmt: skip
    assert {button["data-group"] for button in found.all("button")} == {"image-0"}
    assert "1 of 3 images are shown" in found.words and "--images 3 shows all" in found.words


# What is missing, damaged or hostile


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


def test_the_command(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = cli("report", run, "--out", out, "--images", 1)
    assert done.returncode == 0 and done.stdout == f"report: {out}\n"
    assert "1 of 2 images are shown" in Parsed(out.read_text(encoding="utf-8")).words
    failed = cli("report", tmp_path)
    assert failed.returncode == 3 and failed.stderr.strip().count("\n") == 0
    assert failed.stderr.strip().startswith("error: ") and "no folder of a run" in failed.stderr


# Live page


def get(port: int, path: str, host: str = "") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if host:
        request.add_header("Host", host)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


def test_a_live_page_follows_the_run(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [delivered(0)])
    now = [0.0]
    live = Live([folder], lambda: now[0])
    with make_server(live, 0) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            port = server.server_port
            first = get(port, "/")[1]
            assert get(port, "/version")[1] == Parsed(first).all("html")[0]["data-version"]
            assert len(Parsed(first).rows("run")) == 1
            write_results(folder, [delivered(0), delivered(1)])
            assert get(port, "/version")[1] != Parsed(first).all("html")[0]["data-version"]
            assert get(port, "/")[1] == first  # not made again all the time
            now[0] += 5
            assert len(Parsed(get(port, "/")[1]).rows("run")) == 2
            (folder / "results.jsonl").write_text("{")
            now[0] += 5
            assert "is damaged" in get(port, "/")[1]
            assert get(port, "/etc/passwd")[0] == get(port, "/", host="evil.example:80")[0] == 404
            with pytest.raises(AddressError, match=f"port {port} cannot be used"):
                watch([made(tmp_path / "other", [])], port)
        finally:
            server.shutdown()
            thread.join()
    with pytest.raises(DiffJsccError):
        watch([tmp_path / "gone"], 0)


# Parts


def test_text_becomes_markup_by_escaping_only() -> None:
    assert element("td", "<b>", None, [Html("<i>"), "&"], class_='a"b', hidden=True, x=1.50) == (
        '<td class="a&quot;b" hidden x="1.5">&lt;b&gt;<i>&amp;</td>'
    )
    assert element("br", title=None, hidden=False) == "<br>"
    block = json_block("x", compact_json(["</script><!--", "\u2028", "&amp;"]))
    assert block.count("<") == 2 and "&" not in block and "\u2028" not in block
    assert json.loads(block[block.index(">") + 1 : -len("</script>")])[0] == "</script><!--"
    with pytest.raises(ValueError):
        compact_json(float("nan"))


def test_ticks_are_round_and_within() -> None:
    for low, high in ((0.0, 1.0), (17.3, 24.1), (-0.02, 0.13), (1e-6, 3e-6), (5.0, 5000.0)):
        ticks = ticks_of(low, high)
        assert 2 <= len(ticks) <= 8 and low <= ticks[0] and ticks[-1] <= high + 1e-9
    assert ticks_of(2.0, 2.0) == [2.0]


def test_wide_bands_leave_room_for_the_means() -> None:
    low, high = reach_of([Estimate(20.0, 11.0, 2), Estimate(22.0, 0.5, 9)])
    assert low < 20 and high > 22.5 and high - low < 7
    one = curves("PSNR", "SNR", [Curve("a", 0, [(1.0, Estimate(3.0, None, 1))])], [(1.0, "1")], 2)
    assert "NaN" not in one and "inf" not in one


def test_few_of_many_are_spread() -> None:
    assert spread(list(range(10)), 4) == [0, 3, 6, 9]
    assert spread([1, 2], 4) == [1, 2] and spread([1, 2], 1) == [1] and spread([1], 0) == []


def test_pictures_are_copies_of_what_was_kept(run: Path) -> None:
    path = next((run / "images").glob("*.preview.png"))
    found = strips.encoded(path)
    assert found is not None and found[1:] == (128, 96)
    assert load_image(path).pixels.shape == (96, 128, 3)
    records = records_of(read_sources([run]))
    choice = strips.choose(records, lambda image: None, 1)
    assert (len(choice.strips), choice.images, choice.points) == (1, 2, 4)
