"""Folders of runs and sweeps made of rows alone, and a strict reader of the page."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from simulator.link.rows import make_row
from simulator.png import save_png
from simulator.report.html import page
from simulator.report.results import write_results
from simulator.report.sources import read_sources

HOSTILE = '</script><script>alert(1)</script><img src="http://evil.example/x" onerror="alert(2)">'
VOID = {"meta", "link", "img", "br", "input"}


def row(i: int = 0, **values: Any) -> dict[str, Any]:
    """A delivered frame's, unless ``values`` say otherwise."""
    base = {
        "run": "run", "frame_id": f"{i:032x}", "status": "delivered", "image": f"in/photo{i}.png",
        "repeat": 0, "channel": "awgn", "cbr": "1/384", "snr_db": 10.0, "receiver": "rx",
    }  # fmt: skip
    return make_row(**(base | values))


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
