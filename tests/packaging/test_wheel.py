"""A wheel in a fresh environment and an empty folder does what a checkout does."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from environments import ROOT, Installed, Loan, clean_environment, copy_sources, roomy_folder
from helpers import make_photographs

from simulator.evaluation.experiment import SHIPPED
from simulator.version import __version__

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "simulator", "tx", "channel", "rx")
PARTS = ("simulator", "tx", "channel", "rx")
POINT = ("--only", "cbr=1/384", "--only", "snr_db=1,10")

pytestmark = pytest.mark.install


def pip(python: Path | str, *words: str, timeout: float = 600) -> str:
    done = subprocess.run(
        [python, "-m", "pip", "--disable-pip-version-check", *words],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with roomy_folder(tmp_path_factory.getbasetemp()) as folder:
        yield folder


@pytest.fixture(scope="module")
def wheel(scratch: Path) -> Path:
    copy_sources(SOURCES, scratch / "src")
    pip(sys.executable, "wheel", "--no-deps", "-w", str(scratch), str(scratch / "src"))
    (made,) = scratch.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def demo(wheel: Path, scratch: Path) -> Installed:
    """What ``pip install WHEEL[demo]`` gives, with heavy packages lent."""
    subprocess.run([sys.executable, "-m", "venv", scratch / "env"], check=True)
    made = Installed(scratch / "env")
    loan = Loan(made)
    loan.settle(
        pip(scratch / "env" / "bin" / "python", "install", "--no-compile", f"{wheel}[demo]")
    )
    return made


def test_the_wheel_is_whole(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (place,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        told = metadata.PathDistribution(zipfile.Path(archive) / Path(place).parent.name).metadata
    assert {f"{part}/py.typed" for part in PARTS} <= names
    shipped = {f"simulator/evaluation/experiments/{path.name}" for path in SHIPPED.glob("*.toml")}
    assert shipped and shipped <= names
    # Code and data of the four packages, and nothing else of the repository.
    assert {name.partition("/")[0] for name in names} == {*PARTS, Path(place).parent.name}
    kept = {path for part in PARTS for path in (ROOT / part).rglob("*.py")}
    assert {str(path.relative_to(ROOT)) for path in kept} <= names

    assert told["Version"] == __version__
    assert told["License-Expression"] == "Apache-2.0 AND BSD-3-Clause"
    # Every licence that the packages hold, and ours.
    licences = {
        str(path.relative_to(ROOT)) for part in PARTS for path in (ROOT / part).rglob("LICENSE*")
    }
    assert set(told.get_all("License-File") or ()) == licences | {"LICENSE"}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(told.get_all("Provides-Extra") or ()) == set(extras["optional-dependencies"])


def test_it_does_in_an_empty_folder_what_a_checkout_does(demo: Installed, tmp_path: Path) -> None:
    home, here = tmp_path / "home", tmp_path / "empty"
    home.mkdir()
    here.mkdir()
    (photograph,) = make_photographs(tmp_path / "images", 1)
    environment = clean_environment() | {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "OMP_NUM_THREADS": "1",
    }

    def diffjscc(*words: object) -> str:
        done = demo.run("diffjscc", *map(str, words), cwd=here, env=environment, timeout=300)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    assert diffjscc("--version") == f"{__version__}\n"
    assert not list(here.iterdir())

    # What it prints is a configuration file.
    (tmp_path / "settings.toml").write_text(diffjscc("settings"), encoding="utf-8")
    config = ("--config", tmp_path / "settings.toml")
    diffjscc("simulate", photograph, *config, "--refine", "off", "--out", "one")
    (row,) = [json.loads(line) for line in (here / "one/results.jsonl").read_text().splitlines()]
    assert row["status"] == "delivered" and row["psnr_preview"] > 5

    given = ("--images", photograph, "--limit-images", 1, "--repeats", 1, "--metrics", "psnr")
    diffjscc("sweep", "figure-5", *given, "--methods", "jscc", "--methods", "hevc+capacity", *POINT)
    with (here / "runs/figure-5/rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["method"], float(row["snr_db"])) for row in rows} == {
        (method, snr_db) for method in ("jscc", "hevc+capacity") for snr_db in (1.0, 10.0)
    }
    assert all(float(row["psnr"]) > 5 for row in rows)

    diffjscc("report", "one", "runs/figure-5", "--out", "both.html")
    page = (here / "both.html").read_text(encoding="utf-8")
    assert photograph.name in page and "hevc+capacity" in page


def test_an_extra_is_added_to_what_is_installed(demo: Installed) -> None:
    """The command that every message names: pip asks no index for diffjscc itself."""
    done = demo.run("pip", "install", "--no-index", "--dry-run", "diffjscc[demo]")
    assert done.returncode == 0, done.stderr
    # An extra that is not there yet: it is that package which is looked for, and not ours.
    lost = demo.run("pip", "install", "--no-index", "--dry-run", "diffjscc[tensorboard]")
    assert lost.returncode and "No matching distribution found for tensorboard" in lost.stderr


def test_completion_knows_the_commands(demo: Installed) -> None:
    asked = {"_DIFFJSCC_COMPLETE": "complete_bash", "COMP_WORDS": "diffjscc s", "COMP_CWORD": "1"}
    done = demo.run("diffjscc", env=clean_environment() | asked)
    assert {"simulate", "sweep", "settings"} == set(done.stdout.split()), done.stderr
