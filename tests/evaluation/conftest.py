"""Fixtures that the tests of sweeps share."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import make_photographs
from sweep_world import MORTAL


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    make_photographs(folder, 2, (64, 96))
    return folder


@pytest.fixture
def mortal(tmp_path) -> Path:
    folder = tmp_path / "plugin"
    folder.mkdir()
    (folder / "mortal.py").write_text(MORTAL)
    return folder / "mortal.py"
