"""Fixtures that the tests of keyed doors share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from gate_world import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    bench.start()
    yield bench
    bench.close()
