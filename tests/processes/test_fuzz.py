"""Hostile messages, a short form of ``make fuzz``."""

from __future__ import annotations

from contextlib import closing

import pytest
from rich.console import Console

from tests.fuzz.__main__ import attack
from tests.fuzz.files import FileTarget
from tests.fuzz.targets import BrokerTarget, PairTarget


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("name", "inputs"), [("broker", 5_000), ("pairs", 2_000), ("endpoints", 5_000), ("files", 70)]
)
def test_nothing_breaks(name: str, inputs: int, seed: int) -> None:
    assert attack(name, seed, inputs, Console())


def test_damage_to_files_is_not_only_refused() -> None:
    """Some of it is where nobody looks; what is refused is refused by every loader."""
    with closing(FileTarget(1)) as target:
        for _ in range(105):
            target.step()
    assert set(target.refused) == {kind for kind, _, _ in target.kinds}
    assert len(target.loaded) >= 3


def test_the_attack_reaches_every_state() -> None:
    """Frames are granted, queued, delivered and confirmed in the middle of it."""
    target = BrokerTarget(1)
    for _ in range(5_000):
        target.step()
    assert {"WELCOME", "REJECT", "GRANT", "HELD", "ARRIVAL", "RESULT", "CONFIRM", "NACK"} <= (
        target.answers.keys()
    )
    assert {"bad-message", "bad-payload", "no-grant", "say-hello"} <= target.broker.refused.keys()
    two = PairTarget(1)
    for _ in range(2_000):
        two.step()
    assert {"REJECT", "GRANT", "HELD", "PAIR", "ARRIVAL", "RESULT", "NACK"} <= two.answers.keys()


def test_a_finding_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channel.broker.Broker._handle", lambda *_: 1 / 0)
    console = Console(record=True, width=100)
    assert not attack("broker", 5, 10, console)
    assert "seed 5, input 0" in console.export_text()
