"""A worker thread wakes a poller, and no wake is lost."""

import queue
import threading

import zmq

from simulator.link.waker import Waker

EVENTS = 20_000


def test_everything_that_is_given_is_taken() -> None:
    """Also what comes between the poller's look and the next: a lost wake would end in the
    timeout, which is longer than the whole test."""
    waker = Waker()
    given: queue.SimpleQueue[int] = queue.SimpleQueue()
    poller = zmq.Poller()
    poller.register(waker.reader, zmq.POLLIN)

    def work() -> None:
        for number in range(EVENTS):
            given.put(number)
            waker.wake()

    thread = threading.Thread(target=work)
    thread.start()
    taken: list[int] = []
    while len(taken) < EVENTS:
        assert waker.reader in dict(poller.poll(60_000)), "a wake was lost"
        waker.drain()
        while not given.empty():
            taken.append(given.get())
    thread.join()
    assert taken == list(range(EVENTS))
    waker.close()


def test_wakes_in_a_row_are_one() -> None:
    waker = Waker()
    poller = zmq.Poller()
    poller.register(waker.reader, zmq.POLLIN)
    assert not poller.poll(0)
    for _ in range(100_000):  # more than a pipe would hold
        waker.wake()
    assert poller.poll(0)
    waker.drain()
    assert not poller.poll(0)
    waker.drain()  # of nothing does not wait
    waker.wake()
    assert poller.poll(0)
    waker.close()
