"""Fixtures that tests of several modules share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
#: Files of half a minute and more, which begin first: with ``--dist loadfile``, one that begins
#: last keeps one worker busy while the others have nothing left to do.
LONGEST = (
    "training/test_training.py",
    "processes/test_chaos.py",
    "jscc/test_systems.py",
    "training/test_diffusion_training.py",
    "rx/test_refining.py",
    "packaging/test_docker_installed.py",
    "packaging/test_wheel.py",
    "processes/test_simulate.py",
    "methods/test_digital_methods.py",
    "phy/test_mimo_rates.py",
    "processes/test_radio.py",
    "jscc/test_codecs.py",
    "evaluation/test_sweep_link.py",
    "test_claim.py",
    "docs/test_notebook.py",
    "evaluation/test_sweep_workers.py",
    "processes/test_sources.py",
    "tx/test_rate.py",
    "cli/test_bad_input.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, in this order; ``--no-loadscope-reorder`` keeps it."""
    places = {TESTS / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(LONGEST)))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread: the order of its sums, and so every bit, is then always the same."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def own_registry() -> Iterator[None]:
    """What a plugin adds is gone after its test."""
    from simulator.jscc.own import OWN
    from simulator.jscc.registry import CODECS
    from simulator.methods.registry import METHODS
    from simulator.metrics.metric import METRICS
    from simulator.own_receivers import RECEIVERS
    from simulator.phy.own import CHANNELS

    tables = (METHODS, CHANNELS, METRICS, CODECS, OWN, RECEIVERS)
    before = [dict(table) for table in tables]
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)
    for name in [name for name in sys.modules if name.startswith("diffjscc_plugin_")]:
        del sys.modules[name]
