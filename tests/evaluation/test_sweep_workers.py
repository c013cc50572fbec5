"""Several workers give the numbers of one, even when some die, and leave no process behind."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from sweep_world import MORTAL, experiment, means_of, rows_of, swept, without_times, write_config
from system_world import NTSCC, System, system

from simulator.errors import SettingsError
from simulator.evaluation.dispatch import WorkersDied
from simulator.evaluation.experiment import make_experiment
from simulator.evaluation.process_engine import process_engine
from simulator.evaluation.sweep import MakeEngine, run_sweep
from simulator.jscc.checkpoint import save_codec

pytestmark = pytest.mark.usefixtures("one_thread", "own_registry")
# Rates between which the cells of untrained networks are.
UNEQUAL = System("ntscc", NTSCC | {"rates": [0, 10, 32, 64]}, ())
OWN_WAYS = (UNEQUAL, system("deepjscc-f"), system("policy"))


@pytest.fixture(params=["processes", pytest.param("ray", marks=pytest.mark.ray)])
def two_workers(request) -> MakeEngine:
    if request.param == "processes":
        return process_engine(2)
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    from simulator.evaluation.ray_engine import ray_engine

    return ray_engine(2)


def test_two_workers_one_of_which_dies_give_the_local_numbers(
    photographs, mortal, tmp_path, two_workers
):
    """Of codecs with side information, with rounds and with a ratio of their own, too."""
    config = write_config(tmp_path / "small.toml", photographs, mortal)
    for each in OWN_WAYS:
        save_codec(each.make(), tmp_path / each.name, {})
    added = [f"jscc:codec={tmp_path / each.name}" for each in OWN_WAYS]
    plan = make_experiment(config, {"add": added, "runtime": "torch"}, ['cbr=["1/96", "1/24"]'])
    result = run_sweep(plan, tmp_path / "two", two_workers)
    assert (mortal.parent / "died").exists()  # a worker was killed, and only once
    local = swept(plan, tmp_path / "local")
    sent = [row for row in local.rows if row["cbr"] == "1/24" and row["status"] == "delivered"]
    assert {row["method"] for row in sent} == {*plan.methods} - {"jscc"}  # it has no such ratio
    by_codec = {Path(row["method"]).name: row for row in sent}
    assert by_codec["ntscc"]["side_uses"] and by_codec["policy"]["bandwidth_ratio"] <= 1 / 24
    assert without_times(result.rows) == without_times(local.rows)
    assert means_of(tmp_path / "two") == means_of(tmp_path / "local")


def test_a_chunk_that_ends_every_worker_is_given_up(photographs, mortal, tmp_path):
    mortal.write_text(MORTAL.replace("and not flag.exists()", ""))
    config = write_config(tmp_path / "small.toml", photographs, mortal)
    plan = make_experiment(config, {"methods": ["mortal"], "metrics": ["psnr"]})
    with pytest.raises(WorkersDied, match=r"3 workers died of mortal with .* \(ended by SIGKILL\)"):
        run_sweep(plan, tmp_path / "out", process_engine(2))
    assert multiprocessing.active_children() == []
    assert rows_of(tmp_path / "out")  # what was done is kept


def test_what_is_wrong_with_a_worker_is_told_as_here(photographs, tmp_path):
    plan = experiment(photographs, methods=["jscc", "none"])
    with pytest.raises(SettingsError) as here:
        swept(plan, tmp_path / "out")
    with pytest.raises(SettingsError) as there:
        run_sweep(plan, tmp_path / "out", process_engine(2))
    assert str(there.value) == str(here.value)
    assert multiprocessing.active_children() == []


def test_an_interrupted_sweep_leaves_no_worker(photographs, tmp_path):
    def stop(done: int, total: int, left: str) -> None:
        if done:
            raise KeyboardInterrupt

    plan = experiment(photographs, snr_db=[1, 4, 7, 10])
    with pytest.raises(KeyboardInterrupt):
        run_sweep(plan, tmp_path / "out", process_engine(2), on_progress=stop)
    assert multiprocessing.active_children() == []
