"""An image is loaded when the receivers are there and the window has room."""

from transmitter_world import Bench, grant, job, result, welcome

from simulator.link import messages as m
from tx.flight import Load


def test_nothing_is_loaded_before_the_receivers_are_there() -> None:
    """A frame's clock runs from loading: it must not count the start of a receiver."""
    bench = Bench([job(0)], wait_receivers=2)
    bench.tick(3)
    bench.receive(welcome(receivers=0))
    bench.tick(1)
    bench.receive(welcome(receivers=1))
    bench.tick(1)
    assert not bench.tx.flights and not bench.work()
    bench.receive(welcome(receivers=2))
    bench.tick()
    assert bench.work() == [Load(job(0))]


def test_receivers_are_waited_for_once() -> None:
    bench = Bench([job(0), job(1)]).asking()
    bench.receive(welcome(receivers=0))
    bench.receive(grant(0))
    bench.encode()
    bench.results(result(0))
    bench.tick()
    assert bench.work() == [Load(job(1))]


def test_the_window_is_kept_full_and_not_exceeded() -> None:
    bench = Bench([job(i) for i in range(5)], window=3)
    bench.receive(welcome())
    bench.tick(1)
    assert bench.work() == [Load(job(0)), Load(job(1)), Load(job(2))]
    bench.results(result(1))
    bench.tick(1)
    assert bench.work() == [Load(job(3))]
    assert len(bench.tx.flights) == 3
    bench.results(*(result(i) for i in (0, 2, 3)))
    bench.tick()
    bench.results(result(4))
    assert bench.tx.done


def test_tx_says_why_it_waits() -> None:
    bench = Bench([], wait_receivers=1)
    bench.receive(welcome(receivers=0))
    bench.tick()
    assert "start rx" in str(bench.tx.waiting_for)
    bench.receive(m.Nack(code="receiver-refused", reason="rx 'rx' has other settings"))
    assert "the last one was refused: rx 'rx' has other settings" in str(bench.tx.waiting_for)
    assert bench.tx.problems[-1].sentence == "receiver-refused: rx 'rx' has other settings"
    bench.receive(welcome(receivers=1))
    bench.tick()
    assert bench.tx.waiting_for is None and bench.tx.refusal == ""
