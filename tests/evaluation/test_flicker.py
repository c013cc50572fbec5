"""Flicker: none where results change as what was sent, some where they change by themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import photograph

from simulator.evaluation.flicker import flicker_of_run
from simulator.evaluation.kept import Kept, Result
from simulator.png import save_png

SIZE = (64, 96)
POINT = ("awgn", "1/96", 10.0)
Picture = Callable[[int], np.ndarray]


def still(number: int) -> np.ndarray:
    return photograph(0, SIZE)


def moving(number: int) -> np.ndarray:
    return photograph(0, (64, 110))[:, 2 * number : 2 * number + 96]


def noisy(number: int) -> np.ndarray:
    noise = np.random.default_rng(number).normal(0, 30, (*SIZE, 3))
    return (still(number) + noise).clip(0, 255).astype(np.uint8)


def kept(folder: Path, sent: Picture, shown: Picture, order: list[int]) -> Kept:
    originals, results = {}, []
    for number in order:
        name = f"frame{number}"
        originals[name], path = folder / f"{name}.sent.png", folder / f"{name}.png"
        save_png(sent(number), originals[name])
        save_png(shown(number), path)
        results.append(Result(POINT, "refined", name, path, {"repeat": number}))
    return Kept(folder, [], originals, results)


def flicker(folder: Path, sent: Picture, shown: Picture, count: int = 4) -> float:
    order = [count - 1, *range(count - 1)]  # rows stand as frames were finished
    found = flicker_of_run(kept(folder, sent, shown, order))
    estimate = found[(POINT, "refined")]["flicker"]
    assert estimate.images == count - 1  # pairs
    return estimate.value


def test_results_that_change_as_what_was_sent_do_not_flicker(tmp_path: Path) -> None:
    assert flicker(tmp_path, still, still) == flicker(tmp_path, moving, moving) == 0.0


def test_noise_that_changes_from_frame_to_frame_flickers(tmp_path: Path) -> None:
    assert flicker(tmp_path, still, noisy) > 0.03
    assert flicker(tmp_path, moving, still) < 0  # what lags behind changes less than it should


@pytest.mark.parametrize("count", [0, 1])
def test_where_there_are_no_pairs_there_is_no_figure(tmp_path: Path, count: int) -> None:
    assert flicker_of_run(kept(tmp_path, still, still, list(range(count)))) == {}


def test_frames_of_another_size_and_small_ones_are_no_pair(tmp_path: Path) -> None:
    sizes = [SIZE, SIZE, (64, 64), (20, 20), (20, 20)]

    def picture(number: int) -> np.ndarray:
        return photograph(0, sizes[number])

    found = flicker_of_run(kept(tmp_path, picture, picture, list(range(5))))
    assert found[(POINT, "refined")]["flicker"].images == 1
