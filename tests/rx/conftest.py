"""Fixtures that the tests of the pipeline share."""

from __future__ import annotations

import pytest
from pipeline_world import KINDS

from tests.tiny import build_tiny_model


# Of the session, because two files use it and to build it takes a while.
@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    built = {kind: build_tiny_model(root / kind, kind, captioner="") for kind in KINDS}
    return built | {"asleep": build_tiny_model(root / "asleep", captioner="", awake=False)}
