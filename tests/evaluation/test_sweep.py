"""A sweep that is killed goes on where it was, and its folder is kept from others."""

from __future__ import annotations

import csv
import json

import pytest
from helpers import cli, make_photographs
from sweep_world import experiment, means_of, rows_of, swept, without_times, write_config

from simulator.errors import SettingsError, StorageError
from simulator.evaluation.experiment import make_experiment
from simulator.evaluation.store import open_store
from simulator.toml import read_toml
from tests.fuzz.brought.commands import invoke

pytestmark = pytest.mark.usefixtures("one_thread", "own_registry")


def test_killed_and_gone_on_with_gives_the_numbers_of_an_undisturbed_one(
    photographs, mortal, tmp_path
):
    config = write_config(tmp_path / "small.toml", photographs, mortal)
    out = tmp_path / "killed"
    assert cli("sweep", config, "--out", out).returncode == -9
    before = rows_of(out)
    assert 0 < len(before) < 12 and not (out / "means.csv").exists()
    with (out / "rows.jsonl").open("a") as file:  # a line that was being written
        file.write('{"method": "mortal", "channel": "aw')
    again = invoke("sweep", config, "--out", out)
    assert again.code == 0, again.err
    assert "DeepJSCC" in again.out and "FD-EffNet" in again.out
    assert rows_of(out)[: len(before)] == before
    whole = tmp_path / "whole"
    undisturbed = swept(make_experiment(config), whole)
    assert len(undisturbed.rows) == 12
    by_key = {json.dumps(row, sort_keys=True) for row in without_times(rows_of(out))}
    assert by_key == {json.dumps(row, sort_keys=True) for row in without_times(undisturbed.rows)}
    assert means_of(out) == means_of(whole)
    # Nothing is left to do, and other settings are refused.
    lines = (out / "rows.jsonl").read_bytes()
    swept(make_experiment(config), out)
    assert (out / "rows.jsonl").read_bytes() == lines
    with pytest.raises(SettingsError, match=r"other settings \(repeats was 1 and is 2\)"):
        swept(make_experiment(config, {"repeats": 2}), out)


def test_a_sweep_of_before_draws_had_versions_goes_on_with_the_first(photographs, tmp_path):
    """Its folder says nothing of them. New ones have the newest, and other noise."""
    old, new = tmp_path / "old", tmp_path / "new"
    before = swept(experiment(photographs, channel={"kind": "rayleigh", "draws": 1}), old)
    assert "channel.draws" not in read_toml(old / "sweep.toml")["decides"]
    text = (old / "rows.jsonl").read_text()
    (old / "rows.jsonl").write_text(text.splitlines(keepends=True)[0])
    after = swept(experiment(photographs, channel=["rayleigh"]), old)
    assert without_times(after.rows) == without_times(before.rows)

    newest = swept(experiment(photographs, channel=["rayleigh"]), new)
    assert read_toml(new / "sweep.toml")["decides"]["channel.draws"] == 2
    assert read_toml(new / "sweep.toml")["settings"]["channel"]["draws"] == 2
    assert all(a["h_abs2"] != b["h_abs2"] for a, b in zip(newest.rows, after.rows, strict=True))
    with pytest.raises(SettingsError, match="channel.draws was 2"):
        swept(experiment(photographs, channel={"kind": "rayleigh", "draws": 1}), new)
    path = new / "sweep.toml"
    path.write_text(path.read_text().replace('"channel.draws" = 2', '"channel.draws" = 3'))
    with pytest.raises(SettingsError, match=r"channel.draws: Input should be 1 or 2 \(given: 3\)"):
        swept(experiment(photographs, channel=["rayleigh"]), new)


def test_a_folder_is_one_sweeps_at_a_time(tmp_path):
    with (
        open_store(tmp_path / "a", {}, {}),
        pytest.raises(StorageError, match="another sweep"),
        open_store(tmp_path / "a", {}, {}),
    ):
        pytest.fail("two at once")
    (tmp_path / "a" / "rows.jsonl").write_text("nonsense\n")
    with (
        pytest.raises(StorageError, match="line 1 of .* is damaged"),
        open_store(tmp_path / "a", {}, {}),
    ):
        pytest.fail("damaged")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_image_is_refused_and_the_others_are_swept(tmp_path, workers):
    """By every method alike; whatever its place, hours of work do not end with it."""
    folder = tmp_path / "in"
    paths = make_photographs(folder, 3, (64, 96))
    paths[1].write_bytes(paths[1].read_bytes()[:300])
    out = tmp_path / "out"
    done = invoke("sweep", "figure-5", "--images", folder, "--out", out, "--repeats", 1,
                  "--workers", workers, "--methods", "jpeg2000+capacity",
                  "--methods", "avif+capacity", "--metrics", "psnr", "--metrics", "fd_effnet",
                  "--only", "snr_db=1,10")  # fmt: skip
    assert done.code == 7, done.err
    assert "8 of " in done.err and "photo01.png cannot be decoded" in done.err
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 3 * 2 * 2 * 2
    for row in rows:
        refused = "photo01" in row["image"]
        assert (row["status"] == "refused") == refused == (row.get("psnr") is None)
    with (out / "means.csv").open() as file:
        for line in csv.DictReader(file):
            assert (line["images"], line["refused"]) == ("2", "1") and line["fd_effnet"]
