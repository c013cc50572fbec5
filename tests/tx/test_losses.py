"""What a lost message was about is asked for again, after pauses that grow."""

from transmitter_world import Bench, frame_id, grant, job, result, times_of_requests

from simulator.link import constants as c
from simulator.link import messages as m


def test_a_lost_grant_is_asked_for_again_with_doubling_pauses() -> None:
    bench = Bench([job(0)]).asking()
    assert times_of_requests(bench, 75) == [2, 6, 14, 30, 50, 70]
    bench.receive(grant(0))
    bench.encode()
    assert bench.sent() == ["FRAME"]
    bench.results(result(0))
    assert bench.row["attempts"] == 7
    assert bench.row["grant_wait_s"] == 75


def test_a_lost_frame_is_sent_again_only_when_granted_again() -> None:
    bench = Bench([job(0)]).on_air()
    before = bench.parts
    assert times_of_requests(bench, c.RESULT_TIMEOUT_S + 1) == [c.RESULT_TIMEOUT_S]
    bench.parts = ()
    bench.receive(grant(0))
    assert not bench.work()  # the same state: the symbols are there
    assert bench.sent() == ["FRAME"]
    assert bench.parts == before


def test_pauses_start_anew_once_a_frame_is_sent() -> None:
    bench = Bench([job(0)]).asking()
    times_of_requests(bench, 14)
    bench.receive(grant(0))
    bench.encode()
    bench.sent()
    assert times_of_requests(bench, 12) == [5, 7, 11]


def test_a_lost_result_is_asked_for_and_no_symbols_are_sent_for_it() -> None:
    bench = Bench([job(0)]).on_air()
    assert times_of_requests(bench, 5) == [5]
    bench.results(result(0))
    assert bench.sent() == ["store", "CONFIRM"]
    assert bench.tx.done


def test_a_frame_that_could_not_leave_is_asked_for_soon() -> None:
    bench = Bench([job(0)]).asking()
    bench.receive(grant(0))
    bench.reachable = False
    bench.encode()
    bench.sent()
    bench.reachable = True
    assert times_of_requests(bench, 1.5) == [c.HEARTBEAT_S]


def test_held_keeps_waiting() -> None:
    bench = Bench([job(0)]).on_air()
    for _ in range(5):
        assert times_of_requests(bench, 5) == [5]
        bench.receive(m.Held(frame_id=frame_id(0)))
    assert bench.sent() == []
    bench.results(result(0))
    assert bench.tx.done


def test_held_for_symbols_of_an_earlier_life() -> None:
    """This process never sent them: it waits for the result, and its times are unknown."""
    bench = Bench([job(0)]).asking()
    bench.receive(m.Held(frame_id=frame_id(0)))
    bench.receive(m.Stage(frame_id=frame_id(0), tx="tx", stage="preview", elapsed_s=0.1))
    assert times_of_requests(bench, 5) == [5]
    bench.receive(grant(0))  # it was lost after all
    bench.encode()
    bench.now += 1
    bench.results(result(0, {"preview": 0.25}))
    assert bench.row["time_to_preview_s"] == 5 + 1 - 0.25


def test_a_grant_that_was_not_asked_for_is_no_leave_to_send() -> None:
    bench = Bench([job(0)]).on_air()
    bench.receive(grant(0))
    assert bench.sent() == [] and not bench.work()
