"""``doctor --run``: a whole run is called whole, and each kind of damage is found."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from helpers import cli, make_photographs

from simulator import simulate
from simulator.doctor.run import examine_run
from simulator.errors import SettingsError
from simulator.link.ledger import TxLedger
from simulator.settings import make_settings
from tests.fuzz.brought.commands import invoke


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four frames by the null codec, with the images that it makes."""
    folder = tmp_path_factory.mktemp("made")
    photographs = make_photographs(folder / "photographs", 2)
    simulate(
        make_settings(
            overrides={
                "codec": "null",
                "out": str(folder / "run"),
                "run": "checked",
                "tx.images": [str(path) for path in photographs],
                "tx.repeats": 2,
                "rx.reference": "none",
            }
        )
    )
    return folder / "run"


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """One to damage."""
    return shutil.copytree(made, tmp_path / "run")


def told(folder: Path) -> dict[str, bool | None]:
    return {finding.what: finding.ok for finding in examine_run(folder)}


WHOLE = {
    "run.toml": True,
    "tx.db": True,
    "rx-rx.db": True,
    "progress": True,
    "results.jsonl": True,
    "images": True,
}


def test_a_whole_run_and_its_damages(run: Path, made: Path) -> None:
    assert told(run) == WHOLE
    done = invoke("doctor", "--run", run)
    assert done.code == 0 and "all 4 frames have their row" in done.out

    lines = (run / "results.jsonl").read_text().splitlines()
    (run / "results.jsonl").write_text("\n".join(lines[:3]) + "\n")
    assert told(run) == WHOLE | {"results.jsonl": None}
    (run / "results.jsonl").write_text("{")
    assert told(run) == WHOLE | {"results.jsonl": None}
    (run / "results.jsonl").unlink()
    assert told(run) == WHOLE | {"results.jsonl": None}
    (run / "results.jsonl").write_text("\n".join(lines) + "\n")

    image = next((run / "images").glob("*.preview.png"))
    whole = image.read_bytes()
    image.write_bytes(whole[:40] + b"\0" * 8 + whole[48:])
    assert told(run) == WHOLE | {"images": False}
    assert cli("doctor", "--run", run).returncode == 8
    image.unlink()
    assert told(run) == WHOLE | {"images": False}
    image.write_bytes(whole)

    ledger = TxLedger(run / "tx.db")
    (first, *_) = ledger.results()
    ledger.run("DELETE FROM results WHERE frame_id = ?", (bytes.fromhex(first["frame_id"]),))
    assert told(run) == WHOLE | {"progress": None, "results.jsonl": None}
    ledger.store([(bytes.fromhex(first["frame_id"]), "delivered", first)])
    ledger.close()
    assert told(run) == WHOLE

    moved = (made.parent / "photographs").rename(made.parent / "elsewhere")
    assert told(run) == WHOLE | {"progress": None}
    moved.rename(made.parent / "photographs")


def test_a_receiver_that_lost_a_result(run: Path) -> None:
    with sqlite3.connect(run / "rx-rx.db") as database:
        database.execute("DELETE FROM results WHERE rowid = 1")
    database.close()
    assert told(run) == WHOLE | {"rx-rx.db": False}


def test_damaged_ledgers(run: Path) -> None:
    path = run / "rx-rx.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xff" * 4000 + whole[4100:])
    assert told(run) == WHOLE | {"rx-rx.db": False}
    path.write_bytes(b"no database at all" * 100)
    assert told(run) == WHOLE | {"rx-rx.db": False}
    path.write_bytes(whole)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    database.close()
    assert told(run) == WHOLE | {"rx-rx.db": False}
    (run / "run.toml").write_text("run = [")
    assert told(run)["run.toml"] is False


def test_parts_of_a_run_on_three_machines(run: Path) -> None:
    """Images stay where they were made."""
    (run / "rx-rx.db").unlink()
    for path in (run / "images").glob("*.preview.png"):
        path.unlink()
    expected = {key: ok for key, ok in WHOLE.items() if key != "rx-rx.db"} | {"images": None}
    assert told(run) == expected


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is no run folder"):
        examine_run(tmp_path)
    done = cli("doctor", "--run", tmp_path / "nothing")
    assert done.returncode == 3 and done.stderr.startswith("error: ")
