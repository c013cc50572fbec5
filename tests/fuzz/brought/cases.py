"""The kinds of cases: each takes a seed, tries some things, and says how many."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from simulator.png import save_png
from simulator.settings import make_settings
from simulator.toml import to_toml
from tests.fuzz.brought.commands import (
    check_complete,
    check_refused,
    check_run,
    check_sweep,
    invoke,
    started_only,
)
from tests.fuzz.brought.things import LITERALS, Things

Case = Callable[[Things, Path], int]
FILES = 120  # of a run, whose processes take seconds to start
SWEPT = 40
QUICK = ("--set", "rx.reference=attached", "--set", "tx.bandwidth_ratio=1/48")
SWEEP = ("--repeats", 1, "--methods", "jpeg2000+capacity", "--metrics", "psnr", "--workers", 1)


@cache
def photograph(folder: Path) -> Path:
    path = folder / "photograph.png"
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    save_png(pixels, path)
    return path


def settings(things: Things, scratch: Path) -> int:
    """A configuration file, up to the start of the processes."""
    tree = make_settings(overrides={"codec": "null"}).model_dump()
    tree["tx"]["images"] = [str(photograph(scratch.parent))]
    config, out = scratch / "config.toml", scratch / "out"
    for _ in range(20):
        config.write_bytes(things.settings(to_toml(tree)))
        with started_only():
            done = invoke("simulate", "--config", config, "--out", out)
        check_refused(done, out)
        shutil.rmtree(out, ignore_errors=True)
    return 20


def assignments(things: Things, scratch: Path) -> int:
    """``--set`` and other values on the command line."""
    flat = make_settings().model_dump()
    names = [f"{s}.{n}" for s, v in flat.items() if isinstance(v, dict) for n in v]
    names += [name for name, value in flat.items() if not isinstance(value, dict) and name != "out"]
    image, out = photograph(scratch.parent), scratch / "out"
    for _ in range(20):
        name = things.random.choice(names)
        value = things.random.choice(LITERALS).strip("\"'")
        if things.random.random() < 0.3:
            value = things.name().decode("utf-8", "replace")
        with started_only():
            done = invoke("simulate", image, "--set", "codec=null", "--out", out,
                          "--set", f"{name}={value}")  # fmt: skip
        check_refused(done, out)
        shutil.rmtree(out, ignore_errors=True)
    return 20


def run(things: Things, scratch: Path) -> int:
    """Names and images through the three processes."""
    files = things.files(scratch / "in", FILES)
    out = scratch / "out"
    done = invoke("simulate", scratch / "in", "--out", out, "--set", "codec=null", *QUICK)
    check_run(done, out, files)
    invoke("evaluate", out, "--no-fid")
    check_complete(invoke("report", out, "--out", scratch / "page.html"))
    return FILES


def sweep(things: Things, scratch: Path) -> int:
    """Names and images through a sweep."""
    files = things.files(scratch / "in", SWEPT)
    out = scratch / "out"
    done = invoke("sweep", "figure-5", "--images", scratch / "in", "--out", out, *SWEEP,
                  "--only", "snr_db=10", "--only", "cbr=1/96")  # fmt: skip
    check_sweep(done, out, files, 1)
    return SWEPT


def folders(things: Things, scratch: Path) -> int:
    """Links, loops, pipes, depth and crowds, up to the start of the processes."""
    for index in range(10):
        things.tree(scratch / f"in{index}")
        out = scratch / f"out{index}"
        with started_only():
            done = invoke("simulate", scratch / f"in{index}", "--out", out,
                          "--set", "codec=null")  # fmt: skip
        check_refused(done, out)
    return 10


def named_folders(things: Things, scratch: Path) -> int:
    """Hostile names of the run folder and of the folder of images."""
    for index in range(5):
        base = scratch / f"{index}"
        base.mkdir()
        folder = Path(str(base / "x")[:-1] + things.name().decode("utf-8", "surrogateescape"))
        folder.mkdir()
        shutil.copy(photograph(scratch.parent), folder / "a.png")
        out = Path(str(base / "x")[:-1] + things.name().decode("utf-8", "surrogateescape"))
        with started_only():
            done = invoke("simulate", folder, "--out", out / "run", "--set", "codec=null")
        check_refused(done, out / "run")
    return 5


@cache
def finished_run(folder: Path) -> Path:
    """A run whose folder is then damaged."""
    things, source = Things(0), folder / "source"
    source.mkdir()
    for index in range(3):
        pixels = things.numbers.integers(0, 256, (32, 48, 3), dtype=np.uint8)
        save_png(pixels, source / f"{index}.png")
    out = folder / "finished"
    check_complete(invoke("simulate", source, "--out", out, "--set", "codec=null", *QUICK))
    return out


def damaged_run(things: Things, scratch: Path) -> int:
    """A file of a run folder is damaged: ``report``, ``evaluate``, ``doctor`` and ``--resume``."""
    whole = finished_run(scratch.parent)
    names = ["results.jsonl", "results.jsonl", "run.toml", "tx.db", "images.json", "rx-rx.db"]
    for index in range(10):
        folder = scratch / f"run{index}"
        shutil.copytree(whole, folder)
        path = folder / things.random.choice(names)
        data = path.read_bytes()
        path.write_bytes(things.damaged(data) if things.random.random() < 0.95 else b"")
        if path.name == "results.jsonl" and things.random.random() < 0.5:
            (folder / "tx.db").unlink()
        invoke("report", folder)
        invoke("evaluate", folder, "--no-fid")
        with started_only():
            invoke("simulate", "--resume", "--out", folder)
    return 30


def train(things: Things, scratch: Path) -> int:
    """Names and images through a training of one step."""
    files = things.files(scratch / "in", SWEPT, images_only=True)
    out = scratch / "out"
    done = invoke("train", "codec", "--data", scratch / "in", "--out", out, "--steps", 1,
                  "--batch", 2, "--crop", 64, "--warmup", 1, "--threads", 1)  # fmt: skip
    check_complete(done)
    assert json.loads((out / "codec.json").read_text())["training"]["progress"]["step"] == 1
    return len(files)


#: Kind, and its share of the cases.
CASES: dict[str, tuple[Case, float]] = {
    "settings": (settings, 0.10),
    "assignments": (assignments, 0.08),
    "run": (run, 0.22),
    "sweep": (sweep, 0.20),
    "folders": (folders, 0.10),
    "named folders": (named_folders, 0.04),
    "damaged runs": (damaged_run, 0.10),
    "train": (train, 0.16),
}
