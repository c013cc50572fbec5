"""The work of a sweep is cut into chunks, shared among workers, and its time is estimated."""

from __future__ import annotations

import os
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from helpers import make_photographs
from sweep_world import experiment

from simulator.evaluation.dispatch import Shares
from simulator.evaluation.engine import Done
from simulator.evaluation.jobs import Chunk, Source, chunks_of, find_sources, suppliers, undone
from simulator.evaluation.process_engine import automatic
from simulator.evaluation.time_left import TimeLeft
from simulator.methods.method import Point

pytestmark = pytest.mark.usefixtures("one_thread", "own_registry")


def test_previews_that_come_along_are_not_sent_again(photographs):
    also = {"a": ("jscc",), "b": ("jscc",)}
    asked = suppliers(["jscc", "a", "b", "c"], also)
    assert asked == {"a": ["a", "jscc"], "b": ["b"], "c": ["c"]}
    plan = experiment(photographs, snr_db=[1, 4, 7], repeats=2)
    chunks = chunks_of(plan, find_sources(plan), asked, batch=2)
    assert len(chunks) == 2 * 2 * 3 * 2 and sum(len(c.keys) for c in chunks) == 2 * 2 * 3 * 4
    rows = dict.fromkeys(chunks[0].keys)
    assert undone(chunks, rows) == chunks[1:]
    rows.popitem()
    assert undone(chunks, rows) == chunks


def test_equal_images_are_repeats_of_one_another(photographs, tmp_path):
    data = next(photographs.iterdir()).read_bytes()
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(data)
    plan = experiment(tmp_path, repeats=2)
    chunks = chunks_of(plan, find_sources(plan), {"jscc": ["jscc"]}, 1)
    assert [chunk.repeat for chunk in chunks] == [0, 1, 2, 3]
    assert len({chunk.draw_key for chunk in chunks}) == 4


def test_partners_go_round_the_list_and_have_their_own_draws(tmp_path):
    """Of the same round; whatever is user 1 of a pair, its partner's partner is itself."""
    make_photographs(tmp_path, 3, (16, 16))
    plan = experiment(tmp_path, repeats=2)
    sources = find_sources(plan)
    asked = {"ahead": ["ahead"], "behind": ["behind"], "jscc": ["jscc"]}
    beside = {"ahead": 1, "behind": -1}
    chunks = chunks_of(plan, sources, asked, 1, beside)
    by = {(chunk.method, chunk.repeat, chunk.source.index): chunk for chunk in chunks}
    keys = {place: chunk.draw_key for place, chunk in by.items()}
    for (method, repeat, index), chunk in by.items():
        if method == "jscc":
            assert chunk.partner is None and chunk.sources == (chunk.source,)
            continue
        other = (index + beside[method]) % 3
        assert chunk.sources == (sources[index], sources[other])
        assert chunk.partner.draw_key == keys[method, repeat, other] != chunk.draw_key
    lone = experiment(tmp_path, limit_images=1)
    (alone,) = chunks_of(lone, find_sources(lone), {"ahead": ["ahead"]}, 1, beside)
    assert alone.partner is None


def test_short_sweeps_and_accelerators_need_no_processes(photographs, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    long = experiment(photographs, snr_db=[1, 4, 7, 10], repeats=3, threads=0)
    assert automatic(long, "cpu", images=2) == 8
    assert automatic(long.model_copy(update={"threads": 4}), "cpu", images=2) == 2
    assert automatic(long, "cuda", images=2) == automatic(long, "cpu", images=1) == 1


def chunks_for(images: int, per_image: int) -> list[Chunk]:
    sources = [Source(index, Path(f"{index}.png"), bytes([index])) for index in range(images)]
    point = Point("awgn", Fraction(1, 96), 1.0)
    return [
        Chunk(source, 0, f"{n}", (f"{n}",), (point,), b"")
        for source in sources
        for n in range(per_image)
    ]


def test_images_stay_with_a_worker_until_it_has_none():
    shares = Shares(chunks_for(3, 3))
    taken = [shares.next_for(worker) for worker in (0, 1, 0, 1, 0, 0, 1, 1, 0)]
    places = [(chunk.source.index, int(chunk.method)) for chunk in taken]
    # Worker 0 goes on to the third image; worker 1, which has none, takes the last of it.
    assert places == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (2, 0), (1, 2), (2, 2), (2, 1)]
    assert not shares
    shares.put_back(taken[0])
    assert shares.next_for(1) == taken[0]


def test_time_left_counts_each_method_by_its_own_cost():
    source = Source(0, Path("x.png"), bytes(32))
    point = Point("awgn", Fraction(1, 96), 1.0)

    def done(method: str, seconds: float) -> Done:
        return Done(Chunk(source, 0, method, (method,), (point,), bytes(32)), [], seconds)

    estimate = TimeLeft(Counter({("quick", point): 11, ("slow", point): 11}), 100.0)
    assert estimate.text(100.0) == "timing methods, 2 of 2 have not run yet"
    estimate.add(done("quick", 1.0))
    # Of the slow one nothing is known: any number would be too small.
    assert estimate.text(101.0) == "timing methods, 1 of 2 have not run yet"
    estimate.add(done("slow", 30.0))
    assert estimate.text(131.0) == "about 5 min left"
    # Two workers, or scoring beside: what passes is compared with what was measured.
    assert estimate.text(115.5) == "about 3 min left"
    assert estimate.text(162.0) == "about 10 min left"
    for _ in range(10):
        estimate.add(done("quick", 1.0))
        estimate.add(done("slow", 30.0))
    assert estimate.text(441.0) == "done"


def test_time_left_knows_that_points_cost_differently():
    """As where a source codec is fitted to a budget, or what loads once is loaded."""
    source = Source(0, Path("x.png"), bytes(32))
    cheap, dear = (Point("awgn", Fraction(1, n), 1.0) for n in (384, 48))
    left = Counter({("hevc", cheap): 11, ("hevc", dear): 11})
    estimate, now = TimeLeft(left, 0.0), 0.0
    for point, seconds in ((cheap, 1.0), (dear, 50.0)):
        chunk = Chunk(source, 0, "hevc", ("hevc",), (point,), bytes(32))
        estimate.add(Done(chunk, [], seconds))
        now += seconds
    assert estimate.text(now) == "about 8 min left"  # 10 s and 500 s
    for _ in range(10):
        estimate.add(Done(chunk, [], 50.0))
        now += 50.0
    assert estimate.text(now) == "about 10 s left"
