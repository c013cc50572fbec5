"""A frame's row is whole, holds the frame's times, and lies in the ledger."""

from pathlib import Path
from typing import Any

import pytest
from transmitter_world import Bench, K, frame_id, grant, job, nack, result, welcome

from simulator.link import constants as c
from simulator.link import messages as m
from simulator.link.ledger import TxLedger
from simulator.link.rows import ANCHORS, ROW_KEYS
from tx.transmitter import Transmitter


def test_a_row_is_whole_and_what_tx_knows_is_not_for_the_receiver_to_say() -> None:
    bench = Bench([job(0)]).on_air()
    told = {"run": "x", "frame_id": "x", "status": "dead", "image": "x", "attempts": 99, "seed": 1}
    bench.results(result(0, **told, stranger=1, psnr_preview=30.0, caption="a cat"))
    row = bench.row
    assert tuple(row) == (*ROW_KEYS, *ANCHORS)
    assert (row["run"], row["frame_id"], row["status"]) == ("run", frame_id(0).hex(), "delivered")
    assert (row["image"], row["attempts"], row["seed"]) == ("photo0.png", 1, 7)
    assert (row["psnr_preview"], row["caption"], row["receiver"]) == (30.0, "a cat", "rx1")
    assert (row["cbr"], row["channel"], row["snr_db"]) == ("1/384", "rayleigh", 10.0)
    assert (row["height"], row["width"], row["k"], row["notes"]) == (2, 3, K, "a note")
    assert row["overhead_bytes"] > 100


def test_what_an_earlier_life_has_sent_is_told_by_the_receiver() -> None:
    bench = Bench([job(0)]).asking()
    bench.results(result(0, k=K - 3))
    assert bench.rows[frame_id(0)]["k"] == K - 3


def test_with_the_real_ledger(tmp_path: Path) -> None:
    ledger = TxLedger(tmp_path / "tx.db")
    bench = Bench([job(0), job(1)], window=2)
    bench.tx = Transmitter([job(0), job(1)], bench.tx.session, ledger, "codec", "run", 0, 2)
    bench.on_air()
    bench.results(result(0))
    for _ in range(c.MAX_FAILURES):
        bench.receive(nack(1, "failed"))
        bench.receive(grant(1))
    assert ledger.counts() == {"delivered": 1, "dead": 1}
    again = Transmitter([], bench.tx.session, ledger, "codec", "run", 0, 2)
    bench.sent()
    again.results([(result(i), (b"", b"")) for i in range(3)], bench.now)
    assert [call[1].frame_id for call in bench.calls] == [frame_id(0), frame_id(1)]
    ledger.close()


def test_of_a_frame_that_is_sent_again_the_receiver_says_how_much_has_arrived() -> None:
    """Its result comes while only one of two rounds is under way again."""
    bench = Bench([job(0)])
    bench.rounds, bench.k = 2, 2 * K
    bench.on_air()
    bench.results(result(0, k=2 * K))
    assert bench.row["k"] == 2 * K


# Times


def stage(i: int = 0, elapsed_s: float = 0.25) -> m.Stage:
    return m.Stage(frame_id=frame_id(i), tx="tx", stage="preview", elapsed_s=elapsed_s)


def timed_frame() -> Bench:
    """load 0.5 s, grant 0.25 s, encode 0.125 s; then on the air."""
    bench = Bench([job(0)])
    bench.receive(welcome())
    bench.receive(m.Heartbeat(times=[bench.now, bench.now + 1000, bench.now + 1000], epoch="one"))
    bench.tick()
    bench.load(0.5)
    bench.now += 0.25
    bench.receive(grant(0))
    bench.encode(0.125)
    return bench


TIMES = {"channel_queue_s": 0.125, "airtime_observed_s": 0.0625}


def test_times_of_a_frame() -> None:
    bench = timed_frame()
    bench.now += 1
    bench.receive(stage(elapsed_s=0.5))
    bench.now += 4
    bench.results(result(0, {"preview": 3.9}, **TIMES))
    row = bench.row
    assert (row["load_s"], row["grant_wait_s"], row["encode_s"]) == (0.5, 0.25, 0.125)
    assert row["time_to_preview_s"] == 0.875 + 1
    assert row["wire_s"] == 1 - 0.5 - 0.125 - 0.0625
    assert row["time_to_refined_s"] is None
    assert row["tx_at_s"] == 1100.0  # by the channel's clock


def test_a_lost_stage_is_reckoned_back_from_the_result() -> None:
    bench = timed_frame()
    bench.now += 5
    bench.results(result(0, {"preview": 4.0}, **TIMES))
    assert bench.row["time_to_preview_s"] == 0.875 + 1
    assert bench.row["wire_s"] is None  # the receiver's time until the stage is not known


def test_no_stage_at_all() -> None:
    """Answered from a receiver's store: nobody knows when the preview was there."""
    bench = timed_frame()
    bench.results(result(0))
    assert bench.row["time_to_preview_s"] is None


def test_the_first_stage_counts() -> None:
    bench = timed_frame()
    bench.now += 1
    bench.receive(stage())
    bench.now += 1
    bench.receive(stage())
    bench.results(result(0, {"preview": 0.0}))
    assert bench.row["time_to_preview_s"] == 0.875 + 1


@pytest.mark.parametrize("values", [{}, {"channel_queue_s": 9.0}, {"airtime_observed_s": None}])
def test_the_wire_never_takes_negative_time(values: dict[str, Any]) -> None:
    bench = timed_frame()
    bench.now += 0.125
    bench.receive(stage(elapsed_s=1.0))
    bench.results(result(0, {"preview": 0.0}, **values))
    assert bench.row["wire_s"] == 0
