"""Shared by the tests that install the project into environments of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Installed:
    """A virtual environment that the project was installed into."""

    folder: Path

    @property
    def packages(self) -> Path:
        (found,) = self.folder.glob("lib/python3.*/site-packages")
        return found

    @property
    def megabytes(self) -> float:
        """Of all packages, but for the weights that ship: they are the same everywhere."""
        weights = self.packages / "simulator" / "models"
        files = (path for path in self.packages.rglob("*") if not path.is_relative_to(weights))
        return sum(path.lstat().st_size for path in files) / 1e6

    def has(self, package: str) -> bool:
        return any(self.packages.glob(f"{package}-*.dist-info"))

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.folder / "bin" / command[0], *command[1:]],
            **{"capture_output": True, "text": True, "timeout": 120, "check": False} | options,
        )


#: Packages of others that are most of an installation: 1 GB, unpacked anew for every environment.
HEAVY = ("diffusers", "scipy", "sympy", "torch", "transformers")
SATISFIED = re.compile(r"^Requirement already satisfied: ([\w.-]+)", re.MULTILINE)


class Loan:
    """Heavy packages of the tests' own environment in another one, before pip installs there: it
    finds them satisfied, and installs all the rest.

    They are links, and their lists of files stay away as long as pip is at work: without one, pip
    refuses to replace or to remove a package.
    """

    def __init__(self, to: Installed) -> None:
        self._lent: dict[str, list[Path]] = {}
        self._records: list[tuple[Path, Path]] = []
        for name in HEAVY:
            found = metadata.distribution(name)
            tops = {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}
            self._lent[name] = [to.packages / top for top in tops]
            for place in self._lent[name]:
                source = Path(str(found.locate_file(place.name)))
                if place.suffix == ".dist-info":
                    shutil.copytree(source, place, ignore=shutil.ignore_patterns("RECORD"))
                    self._records.append((source / "RECORD", place / "RECORD"))
                else:
                    place.symlink_to(source)

    def settle(self, said: str) -> None:
        """``said`` by pip when it was done. What it did not ask for is taken back, so that the
        environment has what pip alone would have given it."""
        asked = {name.lower().replace("_", "-") for name in SATISFIED.findall(said)}
        for name in self._lent.keys() - asked:
            for place in self._lent[name]:
                shutil.rmtree(place) if place.suffix == ".dist-info" else place.unlink()
        for source, place in self._records:
            if place.parent.is_dir():
                shutil.copy(source, place)


def clean_environment() -> dict[str, str]:
    """Without what would let a process find this checkout or these tests' packages."""
    dropped = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "TORCH_INDEX", "DIFFJSCC_LPIPS")
    return {name: value for name, value in os.environ.items() if name not in dropped}


def copy_sources(names: Iterable[str], target: Path) -> None:
    """Files and folders of the repository, into a new folder: building writes beside them."""
    target.mkdir(parents=True)
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, target)


@contextmanager
def roomy_folder(default: Path) -> Iterator[Path]:
    """For more than a gigabyte, and gone afterwards. In memory, where there is plenty: deleting
    30,000 files from a disk can take minutes."""
    shared_memory = Path("/dev/shm")
    plenty = shared_memory.is_dir() and shutil.disk_usage(shared_memory).free > 4 << 30
    scratch = Path(tempfile.mkdtemp(dir=shared_memory if plenty else default))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch)
