"""``train all``: which trainings, in which order and on what; each has tests of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from simulator.errors import SettingsError
from simulator.training import recipe
from simulator.training.options import Recipe
from simulator.training.recipe import SHARES, trainings


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any, Path]]:
    found: list[tuple[str, Any, Path]] = []
    for name in ("codec", "restoration", "autoencoder", "prior", "control"):

        def run(options: Any, out: Path, *told: Any, name: str = name) -> None:
            found.append((name, options, out))

        monkeypatch.setattr(recipe, f"train_{name}", run)
    monkeypatch.setattr(recipe, "check_restoration", lambda options: None)
    monkeypatch.setattr("simulator.jscc.export.export_encoder", lambda folder: None)
    return found


def test_each_goes_on_from_what_the_others_made(calls: list, tmp_path: Path) -> None:
    common = {"data": ("photographs",), "device": "cpu", "seed": 3, "compile": True}
    whole = Recipe(minutes=100, batch_factor=2, **common)
    names = []
    for name, run in trainings(whole, tmp_path):
        names.append(name)
        run(lambda _: None, lambda: False, lambda *_: None)
    assert names == list(SHARES)
    codec, restoration, autoencoder, prior, control, finish = calls
    assert [call[0] for call in calls] == [*names[:-1], "control"]
    assert restoration[2] == tmp_path and restoration[1].codec == str(tmp_path / "jscc")
    assert (codec[2], autoencoder[2], prior[2]) == (tmp_path / "jscc", tmp_path, tmp_path)
    assert control[1].model == str(tmp_path) and finish[1].model == str(control[2])
    assert finish[2] == tmp_path != control[2]
    # The same latents; a new control module, then that one on what few steps make.
    assert control[1].cache == finish[1].cache
    assert (control[1].fresh, control[1].sampled) == (True, False)
    assert (finish[1].fresh, finish[1].sampled) == (False, True)
    assert (finish[1].lpips, finish[1].adversarial) == (1.0, 0.5)
    assert all(call[1].seed == 3 and call[1].data == ("photographs",) for call in calls)
    assert codec[1].compile and restoration[1].compile
    assert [call[1].batch for call in calls] == [16, 8, 24, 32, 32, 16]
    assert [round(call[1].minutes) for call in calls] == [25, 20, 15, 10, 10, 10]
    assert sum(SHARES.values()) < 1


def test_what_one_takes_more_those_after_it_have_less(
    calls: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down to half of theirs; what no share has is taken first."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "process_time", lambda: now)
    took = {"codec": 1600.0, "restoration": 1200.0, "autoencoder": 2000.0, "prior": 400.0}
    late = {}
    for name, run in trainings(Recipe(data=("x",), device="cpu", minutes=100), tmp_path):

        def train(options: Any, out: Path, *told: Any, name: str = name) -> None:
            nonlocal now
            late[name] = told[-1].late_s
            now += took.get(name, 300.0)

        monkeypatch.setattr(recipe, f"train_{'control' if name == 'finish' else name}", train)
        run(lambda _: None, lambda: False, lambda *_: None)
    over = {name: 60 * 100 * SHARES[name] for name in SHARES}
    assert late == pytest.approx({
        "codec": 0.0,
        "restoration": 0.0,  # 100 s more than 1500, of 600 that are nobody's
        "autoencoder": 0.0,
        "prior": over["prior"] / 2,  # 1100 s more than 900
        "control": over["control"] / 2,
        "finish": 100.0,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("given", "word"), [({"minutes": 0}, "--minutes"), ({"batch_factor": 0}, "--batch-factor")]
)
def test_mistakes(given: dict, word: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=word):
        list(trainings(Recipe(**{"data": ("x",), "minutes": 1, **given}), tmp_path))
