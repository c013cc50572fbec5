"""The notebooks of the docs run from top to bottom and compute what their outputs record."""

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

DOCS = Path(__file__).parents[2] / "docs"
NOTEBOOKS = ("own-channel", "live")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
TOLERANCE_DB = 0.2  # other versions of torch, other processors
MAX_BYTES = 300_000  # its figures are part of every clone


Cells = list[dict[str, Any]]


def cells_of(name: str) -> Cells:
    notebook = json.loads((DOCS / f"{name}.ipynb").read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@dataclass(frozen=True)
class Ran:
    """The namespace after the last cell, what each cell printed, and how many figures it drew."""

    cells: Cells
    names: dict[str, Any]
    printed: list[str]
    figures: list[int]


def run(name: str, folder: Path) -> Ran:
    done = Ran(cells_of(name), {"__name__": "__main__"}, [], [])
    backend = matplotlib.get_backend()
    plt.switch_backend("Agg")
    try:
        with pytest.MonkeyPatch.context() as patch, matplotlib.rc_context():
            patch.chdir(folder)
            patch.setattr(plt, "show", lambda: None)  # Agg has no window, and warns
            for i, cell in enumerate(done.cells):
                code = compile("".join(cell["source"]), f"{name}.ipynb, code cell {i}", "exec")
                with contextlib.redirect_stdout(io.StringIO()) as out:
                    exec(code, done.names)
                done.printed.append(out.getvalue())
                done.figures.append(len(plt.get_fignums()))
                plt.close("all")
    finally:
        plt.close("all")
        plt.switch_backend(backend)
    return done


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    return {name: run(name, tmp_path_factory.mktemp(name)) for name in NOTEBOOKS}


@pytest.fixture(scope="module")
def ran(notebooks: dict[str, Ran]) -> Ran:
    return notebooks["own-channel"]


def recorded_text(cell: dict[str, Any]) -> str:
    """What the cell printed when the notebook was committed."""
    outputs = [out for out in cell["outputs"] if out["output_type"] == "stream"]
    return "".join("".join(out["text"]) for out in outputs)


def recorded_figures(cell: dict[str, Any]) -> int:
    return sum("image/png" in out.get("data", {}) for out in cell["outputs"])


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_was_committed_as_it_ran_and_is_small(name: str) -> None:
    cells = cells_of(name)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [out for cell in cells for out in cell["outputs"]]
    kinds = {(out["output_type"], out.get("name", "")) for out in outputs}
    assert kinds == {("stream", "stdout"), ("display_data", "")}  # no warning and no error
    assert (DOCS / f"{name}.ipynb").stat().st_size < MAX_BYTES


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_prints_what_is_recorded(notebooks: dict[str, Ran], name: str) -> None:
    ran = notebooks[name]
    assert any(ran.printed)
    for text, recorded in zip(ran.printed, map(recorded_text, ran.cells), strict=True):
        assert NUMBER.sub("", text).split() == NUMBER.sub("", recorded).split()
        ours, theirs = (list(map(float, NUMBER.findall(each))) for each in (text, recorded))
        assert ours == pytest.approx(theirs, abs=TOLERANCE_DB, rel=0)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_each_cell_draws_the_figures_that_are_recorded(
    notebooks: dict[str, Ran], name: str
) -> None:
    ran = notebooks[name]
    assert ran.figures == list(map(recorded_figures, ran.cells))
    assert sum(ran.figures) == 2


def test_twenty_arrays_go_over_a_fading_link_and_come_back(notebooks: dict[str, Ran]) -> None:
    names = notebooks["live"].names
    rows = names["rows"]
    assert [row["status"] for row in rows] == ["delivered"] * 20
    assert len({row["h_abs2"] for row in rows}) == 20
    better = [row["lpips_refined"] < row["lpips_preview"] for row in rows]
    assert sum(better) >= 18
    assert [row["repeat"] for row in rows] == list(range(1, 21))


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
