"""The notebook of the docs runs from top to bottom and computes what its outputs record."""

from __future__ import annotations

import contextlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "own-channel.ipynb"
CELLS = [
    cell
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    if cell["cell_type"] == "code"
]
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
TOLERANCE_DB = 0.2  # other versions of torch, other processors
MAX_BYTES = 300_000  # its figures are part of every clone


@dataclass(frozen=True)
class Ran:
    """The namespace after the last cell, what each cell printed, and how many figures it drew."""

    names: dict[str, Any]
    printed: list[str]
    figures: list[int]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    done = Ran({"__name__": "__main__"}, [], [])
    backend = matplotlib.get_backend()
    plt.switch_backend("Agg")
    try:
        with pytest.MonkeyPatch.context() as patch, matplotlib.rc_context():
            patch.chdir(tmp_path_factory.mktemp("notebook"))
            patch.setattr(plt, "show", lambda: None)  # Agg has no window, and warns
            for i, cell in enumerate(CELLS):
                code = compile("".join(cell["source"]), f"{NOTEBOOK.name}, code cell {i}", "exec")
                with contextlib.redirect_stdout(io.StringIO()) as out:
                    exec(code, done.names)
                done.printed.append(out.getvalue())
                done.figures.append(len(plt.get_fignums()))
                plt.close("all")
    finally:
        plt.close("all")
        plt.switch_backend(backend)
    return done


def recorded_text(cell: dict[str, Any]) -> str:
    """What the cell printed when the notebook was committed."""
    outputs = [out for out in cell["outputs"] if out["output_type"] == "stream"]
    return "".join("".join(out["text"]) for out in outputs)


def recorded_figures(cell: dict[str, Any]) -> int:
    return sum("image/png" in out.get("data", {}) for out in cell["outputs"])


def test_it_was_committed_as_it_ran_and_is_small() -> None:
    assert [cell["execution_count"] for cell in CELLS] == list(range(1, len(CELLS) + 1))
    outputs = [out for cell in CELLS for out in cell["outputs"]]
    kinds = {(out["output_type"], out.get("name", "")) for out in outputs}
    assert kinds == {("stream", "stdout"), ("display_data", "")}  # no warning and no error
    assert NOTEBOOK.stat().st_size < MAX_BYTES


def test_it_prints_what_is_recorded(ran: Ran) -> None:
    assert any(ran.printed)
    for text, recorded in zip(ran.printed, map(recorded_text, CELLS), strict=True):
        assert NUMBER.sub("", text).split() == NUMBER.sub("", recorded).split()
        ours, theirs = (list(map(float, NUMBER.findall(each))) for each in (text, recorded))
        assert ours == pytest.approx(theirs, abs=TOLERANCE_DB, rel=0)


def test_each_cell_draws_the_figures_that_are_recorded(ran: Ran) -> None:
    assert ran.figures == list(map(recorded_figures, CELLS))
    assert sum(ran.figures) == 2


def test_psnr_rises_with_snr_and_with_what_the_receiver_knows(ran: Ran) -> None:
    curves, snrs_db = ran.names["psnr_db"], ran.names["SNRS_DB"]
    assert snrs_db == sorted(snrs_db)
    for values in curves.values():
        assert len(values) == len(snrs_db)
        assert values == sorted(values) and values[-1] - values[0] > 3
    order = ("no bursts", "variance known", "average known")
    for clean, known, average in zip(*(curves[case] for case in order), strict=True):
        assert clean > known > average


def test_its_channel_has_the_noise_that_it_says(ran: Ran) -> None:
    """The power of the noise, in bursts and out of them, is the variance that is returned."""
    channel = ran.names["bursty_awgn"]
    symbols = np.ones(400_000, np.complex64)
    received, variance = channel(symbols, 10.0, np.random.default_rng(1), 1 / 800)
    power, in_burst = np.abs(received - symbols) ** 2, variance > 1
    assert variance[in_burst] == pytest.approx(10.0) and variance[~in_burst] == pytest.approx(0.1)
    assert 0.018 < in_burst.mean() < 0.021  # 16 / 800, and less where bursts overlap
    assert power[in_burst].mean() == pytest.approx(10.0, rel=0.05)
    assert power[~in_burst].mean() == pytest.approx(0.1, rel=0.01)
    quiet, _ = channel(symbols, 10.0, np.random.default_rng(1), 0.0)
    assert np.array_equal(quiet[~in_burst], received[~in_burst])  # the same draws without bursts
