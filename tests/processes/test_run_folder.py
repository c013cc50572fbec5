"""A run's folder has a name, settings and results, and one that cannot be written is refused."""

import os
from pathlib import Path
from typing import Any

import pytest
from helpers import sentence

from simulator import children, launch
from simulator.errors import SettingsError, StorageError
from simulator.link.ledger import TxLedger
from simulator.link.rows import make_row
from simulator.report import closing
from simulator.runfolder import name_run, open_folder, write_run_file
from simulator.settings import Settings, make_settings


@pytest.mark.parametrize("name", ["run", "50%41 off?#1", "größe"])
def test_stored_frames(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    assert launch.stored_frames(folder) == 0
    ledger = TxLedger(folder / "tx.db")
    assert launch.stored_frames(folder) == 0
    ledger.store([(bytes([i]) * 16, "delivered", {}) for i in range(3)])
    assert launch.stored_frames(folder) == 3
    ledger.close()
    (folder / "tx.db").write_bytes(b"no ledger, but as long as one may be" * 99)
    assert launch.stored_frames(folder) == 0


FULL = {
    "run": "a run", "name": "größer \"than\" 'life'\\", "seed": 7, "receivers": 2,
    "tx.images": ["a b.png", 'q"uote.png', "ü.png", "C:\\x"],
    "tx.bandwidth_ratio": ["1/384", "1/96"],
    "channel.kind": ["awgn", "rician"], "channel.snr_db": [-3, 1e-07, 20],
    "channel.assumed_snr_db": -0.5, "channel.rician_k_db": 3, "channel.csir": "estimated",
    "rx.equalizer": "mmse", "rx.reference": "some/folder", "rx.lpips": False,
}  # fmt: skip


@pytest.mark.parametrize("given", [{}, FULL])
def test_run_toml_can_be_given_again(tmp_path: Path, given: dict[str, Any]) -> None:
    settings = children.on_this_machine(name_run(make_settings(overrides=given)))
    path = write_run_file(settings, tmp_path)
    assert path == tmp_path / "run.toml"
    assert make_settings(path) == settings
    text = path.read_text(encoding="utf-8")
    assert "weights_sha256" in text and "[provenance.versions]" in text
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_is_named_by_time_and_name_unless_it_has_one() -> None:
    named = name_run(make_settings(overrides={"name": "my sweep/ü"}))
    assert named.run.endswith("-my-sweep-") and named.out == str(Path("runs") / named.run)
    assert name_run(named) == named
    kept = name_run(make_settings(overrides={"run": "r", "out": "o"}))
    assert (kept.run, kept.out) == ("r", "o")


def test_a_resumed_run_stays_in_the_folder_that_is_named(tmp_path: Path) -> None:
    """Where it lies now, whatever the place it was made in."""
    made, moved = tmp_path / "made", tmp_path / "moved"
    made.mkdir()
    settings = name_run(make_settings(overrides={"run": "r", "out": str(made), "seed": 3}))
    write_run_file(settings, made)
    made.rename(moved)
    resumed = make_settings(launch.resumable(moved), overrides={"out": str(moved)})
    assert resumed.out == str(moved)
    assert resumed.model_copy(update={"out": str(made)}) == settings
    with pytest.raises(SettingsError, match="holds no run.toml") as caught:
        launch.resumable(tmp_path)
    sentence(caught)


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="cannot make the run folder") as caught:
            open_folder(make_settings(overrides={"out": str(out)}))
        sentence(caught)
    with pytest.raises(StorageError, match="cannot be written") as caught:
        write_run_file(Settings(), tmp_path / "file")
    sentence(caught)
    odd = make_settings(overrides={"tx.images": [os.fsdecode(b"caf\xe9.png")]})
    with pytest.raises(SettingsError, match="UTF-8") as other:
        write_run_file(odd, tmp_path)
    sentence(other)


def test_finish_writes_what_people_read_in_the_order_of_the_manifest(tmp_path: Path) -> None:
    ids = [bytes([i]) * 16 for i in range(3)]
    ledger = TxLedger(tmp_path / "tx.db")
    for fid in reversed(ids):
        body = make_row(frame_id=fid.hex(), status="dead", image="a.png", channel="awgn", cbr="1")
        ledger.store([(fid, "dead", body)])
    ledger.close()
    order = {fid: i for i, fid in enumerate(ids[:2])}
    rows = closing.finish(tmp_path, order)
    assert [each["frame_id"] for each in rows] == [fid.hex() for fid in ids]
    names = {path.name for path in tmp_path.iterdir()}
    assert {"results.jsonl", "results.csv", "summary.json", "trace.json", "table.md"} <= names


def test_results_that_cannot_be_written_are_a_sentence(tmp_path: Path) -> None:
    TxLedger(tmp_path / "tx.db").close()
    (tmp_path / "results.csv").mkdir()
    with pytest.raises(StorageError, match="results cannot be written") as caught:
        closing.finish(tmp_path, {})
    sentence(caught)
    (tmp_path / "tx.db").write_bytes(b"no ledger" * 99)
    with pytest.raises(StorageError, match=r"tx\.db cannot be opened") as caught:
        closing.finish(tmp_path, {})
    sentence(caught)
