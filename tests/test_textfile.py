"""Texts that people bring: every encoding that an editor writes, in every locale."""

from __future__ import annotations

import ast
import codecs
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from helpers import make_photographs

from channel.medium import read_trace
from rx.captioner import read_manifest
from simulator.captions import read_captions
from simulator.errors import DiffJsccError
from simulator.evaluation.experiment import make_experiment
from simulator.importer.source import read_config
from simulator.jscc.folder import read_codec_folder
from simulator.link.keys import KeyFileError, read_public
from simulator.report.sources import read_tree
from simulator.toml import read_toml
from simulator.training.texts import captions_of_folder

ROOT = Path(__file__).parent.parent
KEY = zmq.curve_keypair()[0].decode()


def codec_text() -> str:
    record = {"name": "cnn", "config": {"a": 1}, "weights_sha256": "00"}
    return json.dumps(record, indent=1) + "\n"


#: What people write or copy: the file's name, a text, and who reads it.
READERS: dict[str, tuple[str, str, Callable[[Path], Any]]] = {
    "settings": ("a.toml", "seed = 3\n[tx]\nname = 'a'\n", read_toml),
    "run.toml": ("run.toml", "run = 'a'\nname = 'b'\n", read_tree),
    "experiment": ("a.toml", "repeats = 2\ntitle = 'a'\n", make_experiment),
    "trace": ("a.csv", "snr_db,a\n1,a\n2.5,b\n", lambda path: read_trace(str(path))),
    "captions, JSON": ("a.json", '{\n"a.png": "a dog"\n}\n', read_captions),
    "captions, CSV": ("a.csv", "a.png,a dog\nb.png,a cat\n", read_captions),
    "captions.json": (
        "captions.json",
        '[\n{"file": "a.png", "captions": ["a dog"]}\n]\n',
        lambda path: captions_of_folder(path.parent),
    ),
    "metadata.jsonl": (
        "metadata.jsonl",
        '{"file_name": "a.png", "text": "a dog"}\n{"file_name": "b.png", "text": "b"}\n',
        lambda path: captions_of_folder(path.parent),
    ),
    "key": ("a.pub", f'role = "tx"\nname = "a"\npublic = "{KEY}"\n', read_public),
    "codec.json": (
        "codec.json",
        codec_text(),
        lambda path: read_codec_folder(str(path.parent)),
    ),
    "captioner.json": (
        "captioner.json",
        '{\n"name": "keywords",\n"count": 2}\n',
        lambda path: read_manifest(path.parent),
    ),
}
each_reader = pytest.mark.parametrize("what", READERS)


@each_reader
@pytest.mark.parametrize("form", ["byte order mark", "CRLF", "both"])
def test_a_byte_order_mark_and_the_line_ends_of_windows_change_nothing(
    tmp_path: Path, what: str, form: str
) -> None:
    name, text, read = READERS[what]
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="\n")
    plain = read(path)
    assert plain
    data = text.encode()
    if form != "byte order mark":
        data = data.replace(b"\n", b"\r\n")
    path.write_bytes(data if form == "CRLF" else codecs.BOM_UTF8 + data)
    assert read(path) == plain


@each_reader
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_said(tmp_path: Path, what: str, encoding: str) -> None:
    name, text, read = READERS[what]
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    with pytest.raises((DiffJsccError, KeyFileError), match="UTF-16") as caught:
        read(path)
    assert str(path) in str(caught.value)


@each_reader
def test_bytes_that_are_not_utf8_are_said(tmp_path: Path, what: str) -> None:
    """Of a German or Chinese machine of old."""
    name, text, read = READERS[what]
    if what == "key":
        pytest.skip("a key file holds nothing but ASCII")
    path = tmp_path / name
    path.write_bytes(text.replace("a", "Größe").encode("latin-1"))
    with pytest.raises(DiffJsccError, match=r"line \d+ has a byte that is not UTF-8"):
        read(path)


def test_the_configuration_of_the_authors(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    text = "model:\n  target: a\n"
    path.write_bytes(codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode())
    assert read_config(path).tree == {"model": {"target": "a"}}
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(DiffJsccError, match="UTF-16"):
        read_config(path)


# The locale


def text_calls() -> Iterator[tuple[str, int, str]]:
    """Every call that opens a file as text: its module, its line and its source."""
    for package in ("simulator", "tx", "channel", "rx"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and opens_text(node):
                    yield str(path.relative_to(ROOT)), node.lineno, ast.unparse(node)


def opens_text(node: ast.Call) -> bool:
    """``read_text``, ``write_text``, and ``open`` of a path without ``b`` in its mode."""
    if not isinstance(node.func, ast.Attribute):
        return isinstance(node.func, ast.Name) and node.func.id == "open"
    if node.func.attr in ("read_text", "write_text"):
        return True
    owner = ast.unparse(node.func.value)
    if node.func.attr != "open" or owner in ("os", "Image", "self", "av", "webbrowser"):
        return False
    modes = [*node.args[:1], *(k.value for k in node.keywords if k.arg == "mode")]
    return not any(isinstance(m, ast.Constant) and "b" in str(m.value) for m in modes)


def test_every_text_file_has_its_encoding_named() -> None:
    """The locale's would be another one on another machine."""
    calls = list(text_calls())
    assert len(calls) > 20
    nameless = []
    for module, line, source in calls:
        call = ast.parse(source, mode="eval").body
        assert isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
        # read_text("utf-8") and write_text(text, "utf-8") name it by place.
        place = {"read_text": 0, "write_text": 1}.get(call.func.attr, 9)
        named = len(call.args) > place or any(k.arg == "encoding" for k in call.keywords)
        if not named:
            nameless.append(f"{module}:{line}: {source}")
    assert nameless == []


def in_ascii(*arguments: object) -> str:
    """What a command prints in a locale that has ASCII alone."""
    # Python would take UTF-8 for the locale C by itself.
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = subprocess.run(
        [sys.executable, "-m", "simulator.cli", *map(str, arguments)],
        capture_output=True,
        timeout=240,
        check=False,
        env={k: v for k, v in os.environ.items() if k != "PYTHONIOENCODING"} | ascii_only,
    )
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout.decode("ascii")


def test_a_run_in_a_locale_without_utf8(tmp_path: Path) -> None:
    photographs = tmp_path / "photos"
    for path in make_photographs(photographs, 2):
        path.rename(path.with_name(f"Größe {path.name}"))
    run, sweep = tmp_path / "run", tmp_path / "sweep"
    table = in_ascii("simulate", photographs, "--out", run, "--refine", "off",
                     "--set", "rx.lpips=false")  # fmt: skip
    assert "Gr" in table and "awgn" in table  # the name is cut to its column
    rows = [json.loads(line) for line in (run / "results.jsonl").read_text("utf-8").splitlines()]
    assert [Path(row["image"]).name for row in rows] == ["Größe photo00.png", "Größe photo01.png"]
    assert "+-" in in_ascii("evaluate", run, "--no-fid")
    assert "±" in (run / "evaluation.md").read_text("utf-8")
    assert "report" in in_ascii("report", run)
    assert "Größe photo00" in (run / "report.html").read_text("utf-8")
    assert "ok" in in_ascii("doctor", "--run", run)
    make_photographs(tmp_path / "plain", 1)
    in_ascii("sweep", "figure-5", "--images", tmp_path / "plain", "--out", sweep, "--repeats", 1,
             "--methods", "jpeg2000+capacity", "--only", "cbr=1/96", "--only", "snr_db=10",
             "--metrics", "psnr")  # fmt: skip
    in_ascii("report", run, sweep)
