"""Every process stops with its parent, and says what it waits for."""

import os

import pytest

from simulator import process


def test_a_supervised_process_stops_with_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, supervised = process.Stopper(), process.Stopper(os.getppid())
    assert not alone and not supervised
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert supervised and not alone
    alone.stop()
    assert alone


def test_a_process_says_what_it_waits_for() -> None:
    said: list[str] = []
    reminder = process.Reminder(said.append, pause_s=10.0)
    for now in range(0, 25):
        reminder.waiting("no channel", float(now))
    assert said == ["no channel"] * 2
    reminder.waiting(None, 25.0)
    for now in range(26, 36):
        reminder.waiting("no receiver", float(now))
    assert len(said) == 2
    reminder.waiting("no receiver", 36.0)
    assert said[2:] == ["no receiver"]
