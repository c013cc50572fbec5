"""What is said at the end of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.cli.simulate import show, slow_restoration
from simulator.link.rows import make_row


def test_a_slow_restoration_names_the_quick_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = [
        make_row(image="a.png", model="compact-0123", restore_s=s, status="delivered")
        for s in (2.0, 4.0, 9.0)
    ]
    assert slow_restoration(slow) == 4.0
    assert slow_restoration(slow[:1]) == 0.0
    assert slow_restoration([make_row(model="quick-0123", restore_s=9.0), make_row()]) == 0.0
    show(slow, tmp_path)
    assert "restoring took 4.0 s an image" in capsys.readouterr().out
    show(slow[:1], tmp_path)
    assert "restoring" not in capsys.readouterr().out
