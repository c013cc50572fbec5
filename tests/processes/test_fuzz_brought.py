"""The fuzzer of what people bring finds nothing in a round of each quick kind, and can find."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from simulator.errors import SettingsError
from simulator.png import save_png
from tests.fuzz.brought import cases, commands
from tests.fuzz.brought.cases import CASES
from tests.fuzz.brought.commands import Done, Finding, check_refused, check_run, invoke
from tests.fuzz.brought.things import Things

QUICK = ["settings", "assignments", "folders", "named folders", "damaged runs", "sweep"]


@pytest.mark.parametrize("kind", QUICK)
def test_a_round(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cases, "SWEPT", 6)
    folder = tmp_path / "round"
    folder.mkdir()
    assert CASES[kind][0](Things(7, list(CASES).index(kind), 0), folder) > 0


def test_things_are_a_function_of_the_seed(tmp_path: Path) -> None:
    one, two = ([Things(3).name(), Things(4).image()] for _ in range(2))
    assert one == two and Things(5).image() != Things(6).image()
    assert all(len(Things(i).name()) <= 255 for i in range(500))


def test_it_finds_a_traceback_a_silence_and_a_file_of_a_refused_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> int:
        raise KeyError("image")

    monkeypatch.setattr(commands, "guarded", lambda run: broken())
    with pytest.raises(Finding, match="KeyError"):
        invoke("report", tmp_path)
    monkeypatch.setattr(commands, "guarded", lambda run: SettingsError.exit_code)
    with pytest.raises(Finding, match="without a sentence"):
        invoke("report", tmp_path)
    with pytest.raises(Finding, match="was written"):
        check_refused(Done(3, "", "error: x"), tmp_path)


def test_it_finds_rows_that_lie(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    files = [source / f"{index}.png" for index in range(2)]
    for index, path in enumerate(files):
        save_png(np.full((32, 16, 3), 90 * index, np.uint8), path)
    done = invoke("simulate", source, "--out", out, "--set", "codec=null", *cases.QUICK)
    check_run(done, out, files)
    path = out / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]

    def say(changed: list[dict]) -> None:
        path.write_text("".join(json.dumps(row) + "\n" for row in changed))

    say(rows[:1])
    with pytest.raises(Finding, match="1 rows of 2 images"):
        check_run(done, out, files)
    say([rows[0], rows[1] | {"height": 16, "width": 32}])
    with pytest.raises(Finding, match="its row says"):
        check_run(done, out, files)
    say([rows[0], rows[1] | {"psnr_preview": -3.0}])
    with pytest.raises(Finding, match=r"PSNR of -3\.0"):
        check_run(done, out, files)
    say(rows)
    with pytest.raises(Finding, match="exit code 7 with 0 refused"):
        check_run(Done(7, "", "error: x"), out, files)
