"""Failures of a frame are counted, and a frame that is given up has a row that says why."""

import pytest
from transmitter_world import Bench, frame_id, grant, job, nack, welcome

from simulator.link import messages as m
from tx.flight import Load, Refused


@pytest.mark.parametrize("code", ["failed", "bad-payload", "bad-message"])
def test_failures_are_counted_and_then_the_frame_is_dead(code: str) -> None:
    bench = Bench([job(0), job(1)], max_failures=3).on_air()
    for count in (1, 2):
        bench.receive(nack(0, code, f"reason {count}"))
        assert bench.failures[frame_id(0)] == count
        assert bench.sent() == ["REQUEST"]
        bench.receive(grant(0))
        assert bench.sent() == ["FRAME"]
    bench.receive(nack(0, code, "reason 3"))
    assert bench.sent() == ["store"]
    assert (bench.row["status"], bench.row["reason"]) == ("dead", "reason 3")
    assert bench.row["attempts"] == 3
    assert any("photo0.png: reason 3" in problem.sentence for problem in bench.tx.problems)
    bench.tick()
    assert bench.work() == [Load(job(1))]  # and the run goes on


@pytest.mark.parametrize("code", ["receivers-lost", "unsupported"])
def test_frames_that_nobody_can_take_are_dead_at_once(code: str) -> None:
    bench = Bench([job(0)]).on_air()
    bench.receive(nack(0, code, "20 receivers were lost"))
    assert (bench.row["status"], bench.row["reason"]) == ("dead", "20 receivers were lost")
    assert bench.failures == {} and bench.tx.done


def test_refused_images_have_a_row_and_make_room() -> None:
    bench = Bench([job(0), job(1)])
    bench.receive(welcome())
    bench.tick()
    (task,) = bench.work()
    bench.tx.worked(Refused(task.job, "photo0.png is empty"), bench.now)
    assert (bench.row["status"], bench.row["reason"]) == ("refused", "photo0.png is empty")
    assert bench.row["height"] is None and bench.row["cbr"] == "1/384"
    assert bench.sent() == ["store"]
    bench.tick()
    assert bench.work() == [Load(job(1))]


def test_strange_refusals_do_no_harm() -> None:
    bench = Bench([job(0)]).asking()
    bench.receive(m.Nack(code="bad-message", reason="no frame"))
    bench.receive(nack(9, "failed"))
    assert bench.sent() == [] and not bench.rows and not bench.failures
    assert [p.sentence for p in bench.tx.problems] == ["bad-message: no frame", "failed: because"]
