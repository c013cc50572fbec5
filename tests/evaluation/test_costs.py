"""What the codecs of a sweep cost, beside what they reach."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import pytest
from rich.console import Console
from sweep_world import OWN_METHOD, experiment, swept
from system_world import system

from simulator.evaluation.experiment import find_config, make_experiment
from simulator.evaluation.sweep_table import cost_tables
from simulator.jscc.checkpoint import save_codec
from simulator.jscc.cost import cost_of

pytestmark = pytest.mark.usefixtures("one_thread", "own_registry")


def test_costs_are_of_the_codecs_alone(photographs: Path, tmp_path: Path) -> None:
    """Not of a digital link, and not at a ratio that a codec does not have; a codec of a plugin
    may have no weights."""
    folders = {}
    for name in ("deepjscc", "padc"):
        save_codec(system(name).make(), tmp_path / name, {})
        folders[f"jscc:codec={tmp_path / name}"] = name
    plan = experiment(
        photographs, methods=[*folders, "dct", "jpeg2000+capacity"], plugins=[str(OWN_METHOD)],
        cbr=["1/48", "1/24"], snr_db=[1, 4, 10], limit_images=1, runtime="torch", costs=True,
    )  # fmt: skip
    made = swept(plan, tmp_path / "out")
    with (tmp_path / "out" / "costs.csv").open() as file:
        rows = {(row["method"], row["cbr"]): row for row in csv.DictReader(file)}
    first, second = folders
    assert list(rows) == [(first, "1/48"), (second, "1/24"), ("dct", "1/48")]
    for (method, cbr), row in list(rows.items())[:2]:
        cost = cost_of(system(folders[method]).make(), (64, 96), Fraction(cbr), repeats=1)
        assert [int(row[f"{end}_parameters"]) for end in ("encoder", "decoder")] == [*cost.of_ends]
        assert [float(row[f"{end}_macs"]) for end in ("encoder", "decoder")] == [*cost.macs]
        assert min(float(row[f"{end}_ms"]) for end in ("encoder", "decoder")) > 0
        assert (row["width"], row["height"], int(row["k"])) == ("96", "64", cost.k)
    assert rows["dct", "1/48"]["encoder_parameters"] == "0"
    text = printed(made)
    reached = {line.method: line.means["psnr"].value for line in made.lines
               if line.place == ("awgn", "1/48", 4.0) and line.means}  # fmt: skip
    assert all(f"{reached[method]:.2f}" in text for method in (first, "dct"))
    assert "at 4 dB" in text and "96x64" in text and text.count("dct") == 0 < text.count("DCT")
    assert max(map(len, text.splitlines())) <= 80


def printed(made) -> str:
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        for table in cost_tables(made):
            console.print(table)
    return capture.get()


def test_who_does_not_ask_waits_for_no_measurement(photographs: Path, tmp_path: Path) -> None:
    made = swept(experiment(photographs, cbr=["1/96"], limit_images=1), tmp_path / "out")
    assert not made.spent and not printed(made) and not (tmp_path / "out" / "costs.csv").exists()
    assert make_experiment(find_config("codecs")).costs
