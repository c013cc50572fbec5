"""Trainings under ``--minutes`` may be paused."""

from __future__ import annotations

import time

import pytest

from simulator.training.clock import PAUSE_S, Clock


@pytest.fixture
def hands(monkeypatch):
    hands = {"wall": 100.0, "cpu": 7.0}
    monkeypatch.setattr(time, "monotonic", lambda: hands["wall"])
    monkeypatch.setattr(time, "process_time", lambda: hands["cpu"])
    return hands


def test_time_while_stopped_does_not_count(hands):
    clock = Clock()
    hands["wall"] += 3600
    hands["cpu"] += 2
    assert clock.passed() == (2, 2)
    hands["wall"] += 10
    hands["cpu"] += 1
    assert clock.passed() == (10, 1)


def test_slow_steps_count(hands):
    """On a busy machine, and where an accelerator is waited for."""
    clock = Clock()
    for wall, cpu in ((3600, 1800), (PAUSE_S, 0.1), (60, 4)):
        hands["wall"] += wall
        hands["cpu"] += cpu
        assert clock.passed()[0] == wall
