"""One frame's way under a virtual clock: nothing is sent or confirmed too early."""

import os
from typing import Any

import numpy as np
import pytest
from transmitter_world import POINT, Bench, K, frame_id, grant, job, nack, result, symbols, welcome

from simulator.link import messages as m
from simulator.link.text import bounded_label
from simulator.phy.laws import Waveform
from simulator.phy.pilots import pilot_symbols
from tx.flight import Encode, Encoded

# Asked for, granted, encoded, sent


@pytest.mark.parametrize(
    ("label", "sent"),
    [
        ("a/img.png", "a/img.png"),
        ("x" * 150 + "/" + "y" * 60 + "/img.png", "y" * 60 + "/img.png"),
        ("z" * 300, "z" * 200),
    ],
)
def test_a_long_label_loses_its_first_folders(label: str, sent: str) -> None:
    assert bounded_label(label) == sent


def test_request_then_grant_then_encode_then_frame() -> None:
    bench = Bench([job(0)])
    bench.receive(welcome())
    bench.tick()
    bench.load()
    ((_, request),) = bench.calls[1:]  # after the HEARTBEAT
    assert request == m.Request(frame_id=frame_id(0), draw_key=job(0).draw_key, point=POINT, k=K)
    assert bench.sent() == ["REQUEST"]
    assert not bench.work()  # nothing is encoded before the state is known
    bench.receive(grant(0))
    (task,) = bench.tx.work
    assert isinstance(task, Encode)
    assert (task.grant.state.snr_db, task.grant.state.h.tolist()) == (10.0, [1 + 0.5j])
    assert (task.ratio.numerator, task.ratio.denominator) == (1, 384)
    assert bench.sent() == []
    bench.encode()
    ((_, frame),) = bench.calls
    assert (frame.k, frame.pilots, frame.codec) == (K, 0, "codec")
    assert (frame.height, frame.width, frame.label) == (2, 3, "photo0.png")
    assert frame.settings == "air"
    assert bench.parts == (symbols().tobytes(), b"", bytes(18))


def test_the_reference_stays_at_home_where_it_is_not_wanted() -> None:
    bench = Bench([job(0)], attach_reference=False).on_air()
    assert bench.parts == (symbols().tobytes(), b"", b"")


def test_pilots_come_first_and_are_counted() -> None:
    bench = Bench([job(0)])
    bench.receive(welcome(waveform=Waveform(5, 2)))  # 3 symbols a block: 3 blocks
    bench.tick()
    bench.load()
    bench.receive(grant(0))
    bench.encode()
    frame = bench.calls[-1][1]
    assert (frame.k, frame.pilots) == (K, 6)
    assert bench.parts[0] == np.concatenate([pilot_symbols(6), symbols()]).tobytes()


def test_names_that_are_not_utf8_are_sent_all_the_same() -> None:
    path = os.fsdecode(b"folder/caf\xe9.png")
    bench = Bench([job(0, path)]).asking()
    bench.receive(grant(0))
    bench.encode()
    assert bench.calls[-1][1].label == "caf\\xe9.png"
    bench.results(result(0))
    assert bench.row["image"] == "folder/caf\\xe9.png"


def test_a_codec_may_send_fewer_symbols_than_it_asked_for() -> None:
    bench = Bench([job(0)]).asking()
    bench.receive(welcome("two", waveform=Waveform(pilots=2)))
    bench.receive(grant(0))
    (task,) = bench.work()
    assert isinstance(task, Encode)
    few = K - 3
    bench.tx.worked(Encoded(frame_id(0), task.grant, symbols(few), b"", 0.0), bench.now)
    _, frame = bench.calls[-1]
    assert (frame.k, frame.pilots) == (few, 2)
    assert bench.parts[0] == np.concatenate([pilot_symbols(2), symbols(few)]).tobytes()
    bench.results(result(0, k=few))
    assert bench.rows[frame_id(0)]["k"] == few


# Results


def test_confirm_only_after_the_ledger_holds_the_row() -> None:
    bench = Bench([job(0), job(1)], window=2).on_air()
    bench.results(result(0), result(1))
    assert [kind for kind, _ in bench.calls] == ["store", "CONFIRM", "CONFIRM"]
    assert bench.calls[0][1] == [frame_id(0), frame_id(1)]  # one transaction
    assert {call[1].frame_id for call in bench.calls[1:]} == {frame_id(0), frame_id(1)}
    assert {call[1].receiver for call in bench.calls[1:]} == {"rx1"}
    assert bench.tx.done and not bench.tx.flights


def test_no_confirm_when_the_ledger_fails() -> None:
    bench = Bench([job(0)]).on_air()

    def full(rows: Any) -> None:
        raise OSError("disk full")

    bench.store = full  # type: ignore[method-assign]
    with pytest.raises(OSError, match="disk full"):
        bench.results(result(0))
    assert bench.sent() == [] and not bench.tx.done


def test_duplicates_are_confirmed_and_not_stored() -> None:
    bench = Bench([job(0), job(1)]).on_air()
    bench.results(result(0, psnr_preview=30.0))
    bench.sent()
    bench.results(result(0, psnr_preview=40.0))
    assert bench.sent() == ["CONFIRM"]
    assert bench.row["psnr_preview"] == 30.0


def test_a_duplicate_within_one_batch() -> None:
    bench = Bench([job(0)]).on_air()
    bench.results(result(0, psnr_preview=30.0), result(0, psnr_preview=40.0))
    assert bench.sent() == ["store", "CONFIRM", "CONFIRM"]
    assert bench.row["psnr_preview"] == 30.0


def test_results_of_an_earlier_life_in_the_ledger_are_confirmed() -> None:
    bench = Bench([job(0)], finished={frame_id(5)}).on_air()
    bench.results(result(5))
    assert bench.sent() == ["CONFIRM"]


def test_results_of_another_run_are_neither_stored_nor_confirmed() -> None:
    """A tx of the same name in another run: to confirm for it would make rx forget."""
    bench = Bench([job(0)], finished={frame_id(5)}).on_air()
    bench.results(result(9), result(0))
    assert [kind for kind, _ in bench.calls] == ["store", "CONFIRM"]
    assert bench.calls[-1][1].frame_id == frame_id(0)
    assert set(bench.rows) == {frame_id(0), frame_id(5)}


def test_a_late_result_of_a_dead_frame_is_confirmed_and_changes_nothing() -> None:
    bench = Bench([job(0)]).on_air()
    bench.receive(nack(0, "receivers-lost"))
    bench.sent()
    bench.results(result(0))
    assert bench.sent() == ["CONFIRM"]
    assert bench.row["status"] == "dead"


def test_a_result_before_the_frame_was_even_asked_for() -> None:
    """Symbols of an earlier life: its times died with it, the quality did not."""
    bench = Bench([job(0), job(1)])
    bench.receive(welcome())
    bench.tick()
    bench.results(result(1, {"preview": 0.5}, psnr_preview=30.0, decode_s=0.1))
    row = bench.rows[frame_id(1)]
    assert row["status"] == "delivered" and row["psnr_preview"] == 30.0
    assert row["attempts"] == 0 and row["decode_s"] == 0.1
    assert row["time_to_preview_s"] is row["wire_s"] is row["encode_s"] is None
    bench.load()
    bench.results(result(0))
    bench.tick()
    assert bench.tx.done and not bench.work()


def test_events_of_a_frame_that_is_gone_are_ignored() -> None:
    bench = Bench([job(0)], window=1).asking()
    bench.receive(grant(0))
    bench.results(result(0))
    bench.sent()
    bench.encode()
    bench.receive(grant(0))
    bench.receive(m.Held(frame_id=frame_id(0)))
    bench.receive(m.Stage(frame_id=frame_id(0), tx="tx", stage="preview", elapsed_s=0.1))
    bench.receive(nack(0, "failed"))
    assert bench.sent() == [] and bench.failures == {}
