"""Fixtures that tests of several modules share."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


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
    from simulator.jscc.registry import CODECS
    from simulator.methods.registry import CHANNELS, METHODS
    from simulator.metrics.metric import METRICS

    tables = (METHODS, CHANNELS, METRICS, CODECS)
    before = [dict(table) for table in tables]
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)
    for name in [name for name in sys.modules if name.startswith("diffjscc_plugin_")]:
        del sys.modules[name]
