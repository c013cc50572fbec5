"""``--minutes`` holds: latents, steps and validation share them. Time is turned by hand."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from helpers import make_photographs

from rx.captioner import NoCaptioner
from simulator.cli.main import app
from simulator.errors import ImageError
from simulator.jscc.adaptive import AdaptiveCodec
from simulator.training import control, filling, recipe
from simulator.training.clock import Clock
from simulator.training.filling import fill, partly
from simulator.training.latents import LatentCache
from simulator.training.loop import Loop
from simulator.training.options import LoopOptions
from simulator.training.player import Player
from simulator.training.progress import Progress
from simulator.training.stage import Stage

CPU = torch.device("cpu")
COUNT, VARIANTS, ITEM_S = 9, 2, 3.0  # a photograph costs 2 x 2 files of 3 s each


class Hands(threading.local):
    """A clock of each thread, since a thread stands for a process."""

    now = 100.0


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    found = Hands()
    monkeypatch.setattr(time, "monotonic", lambda: found.now)
    monkeypatch.setattr(time, "process_time", lambda: found.now)
    return found


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    make_photographs(folder, COUNT, (32, 32))
    return folder


Make = Callable[..., LatentCache]


@pytest.fixture
def make(hands: Hands, photographs: Path, tmp_path: Path) -> Make:
    """A cache whose files cost ``item_s`` each, and hold nothing."""
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=8)
    codec = AdaptiveCodec()

    def made(item_s: float = ITEM_S, received: bool = True) -> LatentCache:
        more = (codec,) if received else ()
        cache = LatentCache(tmp_path / "cache", [photographs], vae, NoCaptioner(), 0, 2, *more)

        def costly(index: int, variant: int, device: torch.device) -> Any:
            hands.now += item_s
            return {"z0": torch.zeros(1)}, {"caption": ""}

        cache._make_clean = cache._make_received = costly  # type: ignore[method-assign]
        return cache

    return made


MINUTES = LoopOptions(minutes=1.0, device="cpu")


def filled(cache: LatentCache, options: LoopOptions, folder: Path) -> LatentCache:
    fill(cache, options, folder, "prior", Clock(), lambda *_: None, lambda: False)
    return cache


# Latents


def test_latents_take_half_of_the_minutes(
    make: Make, hands: Hands, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And the photographs that are used have all of their files; the rest is said."""
    with caplog.at_level("WARNING", "training"):
        cache = filled(make(), MINUTES, tmp_path)
    assert hands.now == 100 + 3 * 4 * ITEM_S  # the third is begun before the half is over
    assert len(cache.used) == 3 and cache.used == cache.complete()
    assert cache.part() == f"3 of {COUNT}"
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 3 * 2 * VARIANTS
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("3 of 9 photographs are used") and "4 times the minutes" in line


def test_what_came_before_the_latents_counts(make: Make, hands: Hands, tmp_path: Path) -> None:
    clock = Clock()
    hands.now += 25
    cache = make()
    fill(cache, MINUTES, tmp_path, "prior", clock, lambda *_: None, lambda: False)
    assert len(cache.used) == 1


def test_one_photograph_always(make: Make, tmp_path: Path) -> None:
    assert len(filled(make(1000.0), MINUTES, tmp_path).used) == 1


def test_steps_and_enough_minutes_use_all(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", "training"):
        few = filled(make(1000.0), replace(MINUTES, minutes=0.0, steps=3), tmp_path)
        again = filled(make(1000.0), MINUTES, tmp_path)  # all is there
    assert few.used == again.used == list(range(COUNT))
    assert few.part() == "" and not caplog.records


@pytest.mark.parametrize("options", [MINUTES, replace(MINUTES, minutes=0.0, steps=3)])
def test_damaged_photographs_are_left_out_and_named(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, options: LoopOptions
) -> None:
    cache = make(0.0)
    sound = cache._make_clean

    def broken(index: int, variant: int, device: torch.device) -> Any:
        if index in (0, 4):
            raise ImageError(f"{cache.paths[index]} is damaged.")
        return sound(index, variant, device)

    cache._make_clean = broken  # type: ignore[method-assign]
    with caplog.at_level("WARNING", "training"):
        filled(cache, options, tmp_path)
    assert cache.used == [1, 2, 3, 5, 6, 7, 8]
    told = " ".join(record.getMessage() for record in caplog.records)
    assert all(f"{cache.paths[index]} is damaged" in told for index in (0, 4))
    assert f"left out, 2 of {COUNT}" in told


def test_none_that_can_be_read(make: Make, tmp_path: Path) -> None:
    cache = make(0.0)

    def broken(index: int, variant: int, device: torch.device) -> Any:
        raise ImageError("damaged.")

    cache._make_clean = broken  # type: ignore[method-assign]
    with pytest.raises(ImageError, match=f"none of {COUNT} photographs"):
        filled(cache, MINUTES, tmp_path)


def test_they_are_from_all_over_the_data_and_those_of_both_stages_first(
    make: Make, tmp_path: Path
) -> None:
    prior = filled(make(10.0, received=False), MINUTES, tmp_path / "prior")
    assert prior.used != list(range(len(prior.used)))
    control = filled(make(10.0), MINUTES, tmp_path / "control")
    assert set(control.used) == set(prior.used)  # their clean files were there


def test_processes_use_the_same_photographs(
    make: Make, hands: Hands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is five times as slow as the other."""
    barrier = threading.Barrier(2, timeout=60)
    here = threading.local()
    monkeypatch.setattr(filling, "make_accelerator", lambda _: here.accelerator)
    caches = [make(ITEM_S), make(5 * ITEM_S)]

    def run(process: int) -> None:
        here.accelerator = SimpleNamespace(
            device=CPU, process_index=process, num_processes=2, is_main_process=process == 0,
            wait_for_everyone=barrier.wait,
        )  # fmt: skip
        filled(caches[process], MINUTES, tmp_path)

    threads = [threading.Thread(target=run, args=(process,)) for process in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert caches[0].used == caches[1].used == caches[0].complete()
    assert len(caches[0].used) == 3 + 1


def test_no_photograph_is_left_to_nobody(make: Make) -> None:
    """The second process looks when the first has already written."""
    first, second = make(), make()
    assert first.fill(CPU, share=(0, 2)) == 5
    assert second.fill(CPU, share=(1, 2)) == 4
    assert second.complete() == list(range(COUNT))


def test_a_training_goes_on_with_the_photographs_it_began_with(make: Make, tmp_path: Path) -> None:
    """With a checkpoint; without one it may have more. What is lost of theirs is computed."""
    used = filled(make(), MINUTES, tmp_path).used
    more = filled(make(), MINUTES, tmp_path).used
    assert len(used) == 3 and len(more) == 6 and set(used) < set(more)
    (tmp_path / "prior.safetensors").touch()
    make().fill(CPU)
    next((tmp_path / "cache").rglob(f"{make()._tags[more[0]]}-*")).unlink()
    again = filled(make(1000.0), MINUTES, tmp_path)
    assert again.used == more and len(again.complete()) == COUNT


def test_what_is_said() -> None:
    said = partly(12, 85, 540.0, 30.0, 30.0)
    assert said == (
        "12 of 85 photographs are used: the latents of the others would take about 9 min more; "
        "with 19 times the minutes all are used."
    )
    assert partly(1, 85, 0.0, 30.0, 30.0).endswith("are used: the time for latents is over.")


# The command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("control", "--minutes", "0.4"), True),
        (("control", "--minutes", "30"), False),
        (("control", "--steps", "3"), False),
        (("all", "--minutes", "5"), True),
        (("all", "--minutes", "25"), False),
    ],
)
def test_too_few_minutes_are_said_before_anything(
    words: tuple[str, ...],
    said: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    heard: list[str] = []

    def run(*_: Any) -> list[Any]:
        heard.append(capsys.readouterr().err)
        return []

    monkeypatch.setattr(control, "train_control", run)
    monkeypatch.setattr(recipe, "trainings", run)
    kind, *given = words
    app(["train", kind, "--data", "x", "--out", "model", *given], standalone_mode=False)
    heard.append(capsys.readouterr().err)
    assert ("too few for a model" in "".join(heard)) == said


# The loop


class Line(Stage):
    """y = w x; a step costs a second, a look ``look_s``."""

    name = "line"

    def __init__(self, hands: Hands, look_s: float = 0.0) -> None:
        self.hands, self.look_s = hands, look_s
        self.done: list[float] = []
        self.looks: list[float] = []
        network = torch.nn.Linear(1, 1)

        def forward(batch: dict[str, Any], step: int) -> dict[str, Any]:
            hands.now += 1
            self.done.append(batch["done"])
            return {"error": network(batch["x"]).square().mean()}

        self.players = [Player("line", Losses(forward, network), 0.1)]

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Nothing is frozen."""

    def batch(self, step: int, process: int, micro: int) -> dict[str, Any]:
        return {"x": torch.ones(2, 1)}

    def validate(self) -> dict[str, float]:
        self.looks.append(self.hands.now)
        self.hands.now += self.look_s
        return {"psnr": 1.0}

    def picture(self, path: Path) -> None:
        """Nothing to see."""


class Losses(torch.nn.Module):
    def __init__(self, made: Callable[..., Any], network: torch.nn.Module) -> None:
        super().__init__()
        self.network, self._made = network, made

    def forward(self, batch: dict[str, Any], step: int) -> dict[str, Any]:
        found: dict[str, Any] = self._made(batch, step)
        return found


def trained(
    stage: Line, options: LoopOptions, folder: Path, before_s: float = 0.0, late_s: float = 0.0
) -> tuple[Progress, dict[str, float]]:
    clock = Clock(late_s)
    stage.hands.now += before_s
    loop = Loop(stage, options, folder, clock=clock)
    return loop.run(), loop.last_look()


@pytest.mark.parametrize(("before_s", "look_s"), [(0.0, 1.0), (25.0, 1.0), (25.0, 8.0)])
def test_all_of_a_training_is_within_its_minutes(
    hands: Hands, tmp_path: Path, before_s: float, look_s: float
) -> None:
    """The schedule spans what is left for steps."""
    stage = Line(hands, look_s)
    progress, _ = trained(stage, MINUTES, tmp_path, before_s)
    assert 100 + 60 <= hands.now <= 100 + 60 + 1
    assert progress.before_s == before_s + look_s
    assert progress.step == len(stage.done) == round(60 - before_s - 2 * look_s)
    assert stage.done[0] == 0 and 0.9 < stage.done[-1] < 1
    assert len(stage.looks) == 2


def test_a_slow_validation_is_not_made_again(
    hands: Hands, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Line(hands, 20.0)
    with caplog.at_level("WARNING", "training"):
        _, table = trained(stage, replace(MINUTES, validation=("x",)), tmp_path)
    assert len(stage.looks) == 1 and table == {}
    assert hands.now == 160
    assert "no validation at the end" in caplog.records[-1].getMessage()


def test_a_short_training_does_not_validate(hands: Hands, tmp_path: Path) -> None:
    stage = Line(hands, 5.0)
    progress, table = trained(stage, replace(MINUTES, minutes=0.5), tmp_path)
    assert (stage.looks, table, progress.step) == ([], {}, 30)


def test_no_validation_so_late_that_there_is_no_time_for_the_last(
    hands: Hands, tmp_path: Path
) -> None:
    stage = Line(hands, 5.0)
    trained(stage, replace(MINUTES, validate_minutes=0.4), tmp_path)
    assert [round(at) - 100 for at in stage.looks] == [0, 30, 55]
    assert hands.now == 160


def test_steps_validate_at_the_end_alone(hands: Hands, tmp_path: Path) -> None:
    stage = Line(hands, 1000.0)
    _, table = trained(stage, LoopOptions(steps=3, device="cpu"), tmp_path, 1000.0)
    assert len(stage.looks) == 1 and len(stage.done) == 3 and table == {"psnr": 1.0}


def test_one_step_always_and_none_when_it_is_over(hands: Hands, tmp_path: Path) -> None:
    progress, _ = trained(Line(hands), MINUTES, tmp_path, 1000.0)
    assert progress.step == 1
    again, _ = trained(Line(hands), MINUTES, tmp_path)
    assert again.step == 1


def test_a_training_that_ended_early_for_others_stays_ended(hands: Hands, tmp_path: Path) -> None:
    """Run again, a recipe is not late any more: what was built on its weights must still fit."""
    progress, _ = trained(Line(hands), MINUTES, tmp_path, late_s=20.0)
    assert progress.step == 40
    again, _ = trained(Line(hands), MINUTES, tmp_path)
    assert again.step == 40


@pytest.mark.parametrize("warmup", [40, 100])
def test_few_steps_are_said(
    hands: Hands, tmp_path: Path, caplog: pytest.LogCaptureFixture, warmup: int
) -> None:
    with caplog.at_level("WARNING", "training"):
        trained(Line(hands), replace(MINUTES, warmup=warmup), tmp_path)
    said = [record.getMessage() for record in caplog.records]
    assert [text[:14] for text in said] == (["about 60 steps"] if warmup == 100 else [])


def test_the_record_of_a_training_has_what_came_before(hands: Hands, tmp_path: Path) -> None:
    progress, _ = trained(Line(hands), MINUTES, tmp_path, 10.0)
    assert json.loads(json.dumps(progress.record()))["before_s"] == 10.0
