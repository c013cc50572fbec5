"""Two frames that came as one, at a receiver: decoded one after the other, stored at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from receiver_world import AIR, GREY, K, RefiningBench, WorkerBench, frame, frame_id

from rx.receiver import Both, Failed, Receiver, Staged, Stored
from simulator.jscc.rates import null_symbols
from simulator.link import constants as c
from simulator.link import messages as m
from simulator.link.session import Session
from simulator.phy.laws import Laws, Waveform
from simulator.phy.superposition import scrambling, superposed, users_of

H = (2j, 1 + 0j)
IDS = [frame_id(0), frame_id(1)]
PAIR = m.Pair(
    first=frame(0, air=replace(AIR, tx="cam1")),
    second=frame(1, air=replace(AIR, tx="cam2")),
    share=0.8,
    draws=2,
)


def parts(h: tuple[complex, complex] = H, received: Any = None) -> list[bytes]:
    sent = [scrambling(user, K).done(null_symbols(K)) for user in (0, 1)]
    y = superposed(users_of(0.8, h, (K, K)), sent) if received is None else received
    return [y.tobytes(), np.array([*h, *h], "<c8").tobytes(), GREY, GREY]


def both(**given: Any) -> Both:
    return Both.of(PAIR, parts(**given), 100.0, Laws(Waveform()))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[WorkerBench]:
    bench = WorkerBench(tmp_path)
    yield bench
    bench.store.ledger.close()


def test_both_are_stored_with_what_each_says_of_the_other(bench: WorkerBench) -> None:
    events = bench.work(both())
    stored = [event for event in events if isinstance(event, Stored)]
    assert [type(event) for event in events] == [Staged, Staged, Stored, Stored]
    assert [(each.frame_id, each.tx) for each in stored] == [(IDS[0], "cam1"), (IDS[1], "cam2")]
    rows = [bench.store.find(each.frame_id) for each in stored]
    assert rows == [(each.tx, each.values) for each in stored]
    assert [each.values["superposed_with"] for each in stored] == [IDS[1].hex(), IDS[0].hex()]
    assert [each.values["share"] for each in stored] == [0.8, 0.2]
    # User 1 is decoded first; what it is known to have sent is away then.
    first, second = (each.values["sinr_db"] for each in stored)
    assert first == pytest.approx(10 * np.log10(0.8 * 4 / (0.2 + 0.1)))
    assert second == pytest.approx(10 * np.log10(0.2 / 0.1), abs=0.1)
    equalised = bench.decoder.calls[-1][0]
    for part in ("real", "imag"):
        signs = [np.sign(getattr(each, part)) for each in (equalised, null_symbols(K))]
        assert np.array_equal(*signs)
    # Asked for again, they are answered from the ledger.
    again = bench.work(both())
    assert [type(each) for each in again] == [Stored, Stored] and len(bench.decoder.calls) == 3


def test_the_user_that_is_stronger_is_decoded_first(bench: WorkerBench) -> None:
    stored = [each for each in bench.work(both(h=(0.1j, 1))) if isinstance(each, Stored)]
    first, second = (each.values["sinr_db"] for each in stored)
    assert second == pytest.approx(10 * np.log10(0.2 / (0.8 * 0.01 + 0.1)))
    assert first == pytest.approx(10 * np.log10(0.8 * 0.01 / 0.1), abs=0.1)


def test_where_one_fails_neither_is_stored(bench: WorkerBench) -> None:
    save = bench.store.save

    def broken(made: m.Arrival, stage: str, pixels: np.ndarray) -> str | None:
        if made.frame_id == IDS[1]:
            raise ValueError("no such picture")
        return save(made, stage, pixels)

    bench.store.save = broken  # type: ignore[method-assign]
    events = bench.work(both())
    failed = [event for event in events if isinstance(event, Failed)]
    assert [(each.frame_id, each.tx) for each in failed] == [(IDS[0], "cam1"), (IDS[1], "cam2")]
    assert not any(isinstance(event, Stored) for event in events)
    assert not any(map(bench.store.find, IDS))


def test_nothing_is_stored_while_one_of_both_is_being_refined(tmp_path: Path) -> None:
    """They are of different sizes, and so in different batches: a kill between them must not leave
    one row, since nobody would send the symbols of the other frame again."""
    bench = RefiningBench(tmp_path)
    rows: list[int] = []
    bench.refiner.at_step = lambda step: rows.append(
        sum(bench.store.find(frame_id) is not None for frame_id in IDS)
    )
    sizes = replace(PAIR, second=replace(PAIR.second, height=3))
    reference = bytes([128]) * 27
    made = Both.of(sizes, [*parts()[:3], reference], 100.0, Laws(Waveform()))
    events = bench.run(made)
    bench.store.ledger.close()
    assert rows == [0] * 6 and len(bench.refiner.batches) == 2
    assert [event.frame_id for event in events if isinstance(event, Stored)] == IDS


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"received": np.ones(K - 1, np.complex64)}, "bytes of symbols"),
        ({"received": np.full(K, np.nan, np.complex64)}, "not finite"),
    ],
)
def test_a_payload_that_is_none_fails_both(
    bench: WorkerBench, given: dict[str, Any], words: str
) -> None:
    failed = bench.work(both(**given))
    assert [type(each) for each in failed] == [Failed, Failed]
    assert all(isinstance(each, Failed) and words in each.reason for each in failed)


def test_a_codec_that_would_send_another_number_of_symbols_is_said(bench: WorkerBench) -> None:
    one = replace(PAIR, first=frame(0, k=K - 1), second=frame(1, k=K - 1))
    made = Both.of(one, parts(received=np.ones(K - 1, np.complex64)), 0.0, Laws(Waveform()))
    failed = bench.work(made)
    assert all(isinstance(each, Failed) and "cannot be cancelled" in each.reason for each in failed)


class Talk:
    """A receiver whose channel and worker are the test's."""

    def __init__(self, slots: int = 2) -> None:
        self.sent: list[m.Message] = []
        hello = m.Hello(version=c.VERSION, role="rx", name="rx", run="", settings="s", codec="c")
        session = Session(hello, lambda message, parts: self.sent.append(message) is None)
        self.receiver = Receiver(session, "rx", "s", slots, lambda values: (b"", b""))

    def hears(self, message: m.Message, *binary: bytes) -> list[m.Message]:
        self.sent.clear()
        self.receiver.receive(message, binary, 1.0)
        return list(self.sent)

    def stores(self, user: int) -> None:
        self.receiver.worked(Stored(IDS[user], "cam1", {}, {}), 1.0)


def test_a_pair_is_held_until_both_are_stored_and_offered_again() -> None:
    talk = Talk(slots=1)
    assert not talk.hears(PAIR, *parts()) and list(talk.receiver.held) == IDS
    assert len(talk.receiver.work) == 1
    assert not talk.hears(PAIR, *parts()) and len(talk.receiver.work) == 1
    other = replace(PAIR, first=frame(2), second=frame(3))
    refused = talk.hears(other, *parts())
    assert [getattr(each, "code", "") for each in refused] == ["busy", "busy"]
    talk.stores(0)
    talk.stores(1)
    assert not talk.receiver.held
    offered = talk.hears(PAIR, *parts())
    assert [each.frame_id for each in offered if isinstance(each, m.Result)] == IDS
    assert len(talk.receiver.work) == 1
    # One is confirmed: the worker finds both in the ledger.
    talk.hears(m.Confirm(frame_id=IDS[0], receiver="rx"))
    talk.hears(PAIR, *parts())
    assert len(talk.receiver.work) == 2
