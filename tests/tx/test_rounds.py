"""The transmitter of a codec that sends in rounds: what comes back is what it encodes with."""

from __future__ import annotations

import numpy as np
import pytest
from transmitter_world import Bench, K, frame_id, grant, job, result, symbols, welcome

from simulator.link import messages as m
from simulator.phy.laws import Waveform
from tx.flight import Encode


def bench(**fields: int) -> Bench:
    """One frame of two rounds, of which the first is on the air."""
    made = Bench([job(0)])
    made.k, made.rounds, made.side = 2 * K, 2, b"side"
    made.receive(welcome(**fields))
    made.tick()
    made.load()
    (request,) = (said for kind, said in made.calls if kind == "REQUEST")
    assert (request.k, request.rounds) == (2 * K, 2)
    made.receive(grant(0))
    made.encode(0.25)
    made.sent()
    return made


def returned(p: int = 0) -> np.ndarray:
    return np.arange(K + p).astype(np.complex64)


def test_the_second_round_is_encoded_with_what_came_back() -> None:
    b = bench()
    assert b.parts == (symbols().tobytes(), b"side", bytes(18))
    b.receive(grant(0, h=2j, number=1, returned=returned()))
    (task,) = b.tx.work
    assert isinstance(task, Encode) and task.grant.number == 1
    assert task.grant.state.h.tolist() == [2j]
    assert [each.tolist() for each in task.sent] == [symbols().tolist()]
    assert [each.tolist() for each in task.returned] == [returned().tolist()]
    b.encode()
    ((_, frame),) = b.calls
    assert (frame.number, frame.k) == (1, K)
    assert b.parts == (symbols().tobytes(), b"", b"")  # once is enough
    b.results(result(0))
    assert b.rows[frame_id(0)]["k"] == 2 * K


def test_the_time_of_encoding_is_that_of_all_rounds() -> None:
    b = bench()
    b.receive(grant(0, number=1, returned=returned()))
    b.encode(0.5)
    b.results(result(0))
    assert b.rows[frame_id(0)]["encode_s"] == 0.25 + 0.5


def test_pilots_come_back_with_the_symbols() -> None:
    b = bench(waveform=Waveform(pilots=2))
    b.receive(grant(0, number=1, returned=returned(2)))
    assert [len(each) for each in b.tx.work[0].returned] == [K + 2]


@pytest.mark.parametrize("p", [-1, 1])
def test_a_round_that_came_back_in_another_length_is_no_message(p: int) -> None:
    b = bench()
    with pytest.raises(m.WireError, match="came back"):
        b.receive(grant(0, number=1, returned=returned(p)))
    assert not b.tx.work and b.tx.flights[frame_id(0)].state == "sent"


def test_a_lost_round_starts_the_frame_again() -> None:
    b = bench()
    b.tick(10)  # no answer
    assert "REQUEST" in b.sent()
    b.receive(grant(0, number=1, returned=returned()))  # late: of the time before
    assert not b.tx.work
    b.receive(grant(0))
    assert b.sent() == ["FRAME"]  # the first round, as it was: nothing is encoded again
    b.receive(grant(0, number=1, returned=returned()))
    b.encode()
    assert [said.number for kind, said in b.calls if kind == "FRAME"] == [1]
    b.sent()
    b.receive(welcome("two"))  # a new channel knows nothing of either round
    assert b.sent() == ["REQUEST"]
    b.receive(grant(0))
    b.encode()
    assert [said.number for kind, said in b.calls if kind == "FRAME"] == [0]


def test_a_grant_of_another_round_is_ignored() -> None:
    b = bench()
    for number in (0, 2, 3):
        b.receive(grant(0, number=number, returned=returned()))
    assert not b.tx.work and b.sent() == []
