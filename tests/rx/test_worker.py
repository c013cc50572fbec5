"""The worker, on a ledger of its own."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from receiver_world import (
    SENT,
    K,
    WorkerBench,
    frame,
    frame_id,
    task,
)

from rx.receiver import Failed, Staged, Stored, Task
from rx.store import ResultStore
from rx.worker import Event
from simulator.errors import StorageError
from simulator.images import file_sha256, load_image
from simulator.link import messages as m
from simulator.link.ledger import LedgerError
from simulator.link.rows import ANCHORS, ROW_KEYS, for_row
from simulator.phy.laws import Laws, Waveform
from simulator.phy.packets import Packets
from simulator.phy.pilots import pilot_symbols
from simulator.png import save_png

LAW = Laws(Waveform()).of("rayleigh")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[WorkerBench]:
    bench = WorkerBench(tmp_path)
    yield bench
    bench.store.ledger.close()


def test_a_frame_is_staged_saved_stored_and_reported(bench: WorkerBench) -> None:
    bench.worker.channel_clock.add(0.0, 1000.0, 1000.0, 0.002)
    staged, stored = bench.work(task())
    assert isinstance(staged, Staged) and isinstance(stored, Stored)
    assert (staged.frame_id, staged.tx, staged.stage) == (frame_id(0), "tx", "preview")
    assert staged.elapsed_s == staged.at - 100.0 > 0
    assert stored.stages == {"preview": staged.at}
    assert bench.store.find(frame_id(0)) == ("tx", stored.values)
    values = stored.values
    saved = load_image(bench.folder / values["preview_file"])
    assert (saved.pixels == 128).all() and saved.pixels.shape == (2, 3, 3)
    assert values["preview_file"] == (
        f"images/photo_rayleigh_1-384_10dB_{frame_id(0).hex()[:8]}.rx1.preview.png"
    )


def test_values_are_keys_of_a_row_and_fit_into_json_and_a_message(bench: WorkerBench) -> None:
    bench.worker.channel_clock.add(0.0, 1000.0, 1000.0, 0.002)
    stored = bench.work(task(frame(pilots=0)))[1]
    assert isinstance(stored, Stored)
    values = stored.values
    assert set(values) <= {*ROW_KEYS, *ANCHORS}
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    result = m.Result(
        frame_id=frame_id(0), tx="tx", receiver="rx1", settings="s", values=values, stages={}
    )
    assert m.decode(m.encode(result, (b"", b"")))[0] == result
    assert (values["height"], values["width"], values["k"], values["pilots"]) == (2, 3, K, 0)
    assert values["bandwidth_ratio"] == K / 18
    assert (values["h_abs2"], values["received_snr_db"]) == (4.0, 16.0)
    assert (values["csit"], values["csir"]) == ("perfect", "perfect")
    times = ("channel_queue_s", "airtime_modelled_s", "airtime_observed_s", "channel_at_s")
    assert [values[key] for key in times] == [0.25, 0.5, 0.125, 1000.0]
    assert values["rx_at_s"] == pytest.approx(1099.999)
    assert values["rx_clock_error_s"] == 0.001
    for key in ("rx_queue_s", "equalize_s", "decode_s", "score_s", "save_s"):
        assert values[key] > 0


def test_metrics_have_six_decimals_and_no_infinity(bench: WorkerBench) -> None:
    equal = bench.work(task())[1]
    other = bench.work(task(frame(1), reference=bytes(18)))[1]
    assert isinstance(equal, Stored) and isinstance(other, Stored)
    assert equal.values["psnr_preview"] is None
    assert other.values["psnr_preview"] == 0.333333
    assert other.values["ms_ssim_preview"] is other.values["lpips_preview"] is None
    assert other.values["ssim_preview"] == 1.0
    assert [for_row(x) for x in (None, math.inf, -math.inf, math.nan)] == [None] * 4


def test_no_reference_no_score(bench: WorkerBench) -> None:
    stored = bench.work(task(reference=b""))[1]
    assert isinstance(stored, Stored) and "psnr_preview" not in stored.values


def test_references_from_a_folder_are_found_by_their_hash(tmp_path: Path) -> None:
    path = tmp_path / "originals" / "any name.png"
    path.parent.mkdir()
    save_png(np.full((2, 3, 3), 9, np.uint8), path)
    bench = WorkerBench(tmp_path / "run", reference=str(path.parent))
    known = frame(0, image_sha256=file_sha256(path))
    events = bench.work(task(known), task(frame(1)))
    bench.store.ledger.close()
    assert isinstance(events[1], Stored) and isinstance(events[3], Stored)
    assert events[1].values["psnr_preview"] == 0.333333  # not the grey that was attached
    assert "psnr_preview" not in events[3].values


def test_images_are_not_kept_where_they_are_not_wanted(tmp_path: Path) -> None:
    bench = WorkerBench(tmp_path, save_images=False)
    stored = bench.work(task())[1]
    bench.store.ledger.close()
    assert isinstance(stored, Stored) and stored.values["preview_file"] is None
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize("label", ["../../etc/passwd", "a b/c", "", "...", "ü" * 100, "x" * 500])
def test_labels_of_strangers_stay_in_the_folder(bench: WorkerBench, label: str) -> None:
    stored = bench.work(task(frame(label=label)))[1]
    assert isinstance(stored, Stored)
    (path,) = (bench.folder / "images").iterdir()
    assert path == bench.folder / stored.values["preview_file"]
    assert len(path.name) < 160


def test_the_file_is_there_before_the_row(
    bench: WorkerBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    save, store = bench.store.save, bench.store.store
    monkeypatch.setattr(bench.store, "save", lambda *a: (order.append("file"), save(*a))[1])
    monkeypatch.setattr(bench.store, "store", lambda *a: (order.append("row"), store(*a))[1])
    bench.work(task())
    assert order == ["file", "row"]


def stored_rows(bench: WorkerBench) -> set[bytes]:
    """What another process would find in the ledger now."""
    with closing(sqlite3.connect(bench.store.ledger.path)) as other:
        return {row[0] for row in other.execute("SELECT frame_id FROM results")}


@pytest.mark.parametrize("slow", [False, True])
def test_results_that_share_a_commit_are_offered_after_it(
    bench: WorkerBench, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    """Quick frames wait for one another, slow ones do not. Before the end of a batch nothing
    that is offered may be missing in the ledger."""
    groups: list[list[bytes]] = []
    store, wake = bench.store.store, bench._wake
    offered: list[bytes] = []

    def storing(results: Sequence[Stored], confirmed: Sequence[bytes]) -> None:
        groups.append([result.frame_id for result in results])
        store(results, confirmed)

    def waking() -> None:
        wake()
        event = list(iter_events(bench))[-1]
        if isinstance(event, Stored):
            assert event.frame_id in stored_rows(bench)
            offered.append(event.frame_id)

    monkeypatch.setattr(bench.store, "store", storing)
    monkeypatch.setattr(bench.worker, "_wake", waking)
    if not slow:
        monkeypatch.setattr(bench.worker, "_clock", lambda: 100.0)
    bench.work(*[task(frame(i)) for i in range(4)])
    ids = [frame_id(i) for i in range(4)]
    assert offered == ids
    assert groups == ([[fid] for fid in ids] if slow else [ids])


@pytest.mark.parametrize("alone", [True, False])
def test_quick_previews_are_told_together_where_nothing_else_is_made(
    bench: WorkerBench, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    """A preview is announced at once where a score or a picture to save would delay it."""
    said_of: list[list[str]] = []

    def waking() -> None:
        waiting = [type(event).__name__ for event in iter_events(bench)]
        said_of.append(waiting[sum(map(len, said_of)) :])

    monkeypatch.setattr(bench.worker, "_clock", lambda: 100.0)
    monkeypatch.setattr(bench.worker, "_wake", waking)
    assert not bench.worker._previews_alone  # it scores
    bench.worker._previews_alone = alone
    for i in range(2):
        bench.worker.tasks.put(task(frame(i)))
    bench.worker.tasks.put(None)
    bench.worker.run()
    if alone:
        assert said_of == [["Staged", "Staged", "Stored"], ["Stored"]]
    else:
        assert said_of == [["Staged"], ["Staged"], ["Stored"], ["Stored"]]


def iter_events(bench: WorkerBench) -> Iterator[Event]:
    """What waits to be taken, which goes on waiting."""
    for _ in range(bench.worker.events.qsize()):
        event = bench.worker.events.get()
        bench.worker.events.put(event)
        yield event


def test_what_a_commit_refuses_is_not_offered(
    bench: WorkerBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise LedgerError("disk full")

    monkeypatch.setattr(bench.worker, "_clock", lambda: 100.0)
    monkeypatch.setattr(bench.store.ledger, "store", full)
    events = bench.work(*[task(frame(i)) for i in range(3)])
    assert not any(isinstance(event, Stored | Failed) for event in events)
    assert isinstance(events[-1], LedgerError) and stored_rows(bench) == set()


def test_a_row_that_no_message_can_carry_is_a_failure_of_its_frame(
    bench: WorkerBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.store, "save", lambda *_: "x" * (m.MAX_TEXT + 1))
    events = bench.work(task())
    assert isinstance(events[-1], Failed) and "cannot be sent" in events[-1].reason
    assert stored_rows(bench) == set()


def test_a_known_frame_is_answered_from_the_store(bench: WorkerBench) -> None:
    first = bench.work(task())[1]
    (again,) = bench.work(task(symbols=0 * SENT))
    assert isinstance(first, Stored) and isinstance(again, Stored)
    assert again.values == first.values and again.stages == {}
    assert len(bench.decoder.calls) == 1


def test_confirmed_frames_are_marked_in_the_ledger_and_still_known(bench: WorkerBench) -> None:
    bench.work(task(), task(frame(1)))
    assert bench.work([frame_id(0)]) == []
    assert [fid for fid, _, _ in bench.store.ledger.unconfirmed("s")] == [frame_id(1)]
    (again,) = bench.work(task())
    assert isinstance(again, Stored)


def test_another_codec_is_a_failure_that_says_what_to_do(bench: WorkerBench) -> None:
    (failed,) = bench.work(task(frame(codec="other-123")))
    assert isinstance(failed, Failed)
    assert "other-123" in failed.reason and "--codec" in failed.reason
    assert not bench.decoder.calls and bench.store.find(frame_id(0)) is None


@pytest.mark.parametrize(
    ("made", "word"),
    [
        (task(symbols=SENT[:-1]), "56 bytes of symbols instead of 64"),
        (task(symbols=[*SENT, 1]), "72 bytes of symbols instead of 64"),
        (task(frame(pilots=2)), "2 pilots instead of 0"),
        (task(waveform=Waveform(0, 2)), "0 pilots instead of 2"),
        (task(symbols=SENT * np.nan), "not finite"),
        (task(h=[]), "gains"),
        (
            Task(frame(), (SENT.tobytes(), b"1234567", b""), 0.0, LAW, Packets()),
            "gains",
        ),
        (task(h=[1, 1], waveform=Waveform(3)), "2 gains for 3 blocks"),
        (task(reference=b"12345"), "reference of 5 bytes"),
    ],
)
def test_payloads_that_do_not_fit_are_failures(bench: WorkerBench, made: Task, word: str) -> None:
    failed = bench.work(made)[-1]
    assert isinstance(failed, Failed) and word in failed.reason
    assert bench.store.find(frame_id(0)) is None


def test_one_bad_frame_does_not_end_the_worker(bench: WorkerBench) -> None:
    def fail() -> None:
        bench.decoder.before = lambda: None
        raise RuntimeError("first line\nsecond line")

    bench.decoder.before = fail
    failed, _, stored = bench.work(task(), task(frame(1)))
    assert isinstance(failed, Failed) and isinstance(stored, Stored)
    assert failed.reason == "RuntimeError: first line"
    assert stored.frame_id == frame_id(1)


def test_perfect_gain_and_zero_forcing(bench: WorkerBench) -> None:
    bench.work(task())
    ((symbols, snr_db, h, size),) = bench.decoder.calls
    np.testing.assert_allclose(symbols, SENT, atol=1e-6)
    assert (snr_db, h, size) == (10.0, 2j, (2, 3))
    assert symbols.dtype == np.complex64


def test_mmse_shrinks_by_the_noise(tmp_path: Path) -> None:
    bench = WorkerBench(tmp_path, equalizer="mmse")
    bench.work(task())
    bench.store.ledger.close()
    symbols = bench.decoder.calls[0][0]
    np.testing.assert_allclose(symbols, SENT * 4 / (4 + 0.1), atol=1e-6)
    assert symbols.dtype == np.complex64


def test_gains_of_blocks(bench: WorkerBench) -> None:
    """Three blocks of three symbols; the codec sees the root mean square of their gains."""
    gains = np.array([1, 2j, -3], np.complex64)
    each = np.repeat(gains, 3)[:K]
    bench.work(task(symbols=each * SENT, h=gains, waveform=Waveform(coherence_time=3)))
    symbols, _, h, _ = bench.decoder.calls[0]
    np.testing.assert_allclose(symbols, SENT, atol=1e-6)
    assert h == pytest.approx(((1 + 4 + 9) / 3) ** 0.5)


def test_estimated_gain_comes_from_the_pilots_only(bench: WorkerBench) -> None:
    """No gain beside the frame is looked at; the pilots' noise is in the estimate."""
    pilots = pilot_symbols(4)
    noise = 0.1 * pilots  # moves the estimate by exactly 0.1
    received = np.concatenate([2j * pilots + noise, 2j * SENT])
    stored = bench.work(task(frame(pilots=4), received, h=[7], waveform=Waveform(0, 4)))[1]
    symbols, _, h, _ = bench.decoder.calls[0]
    assert h == pytest.approx(2j + 0.1)
    np.testing.assert_allclose(symbols, 2j / (2j + 0.1) * SENT, atol=1e-6)
    assert isinstance(stored, Stored)
    assert (stored.values["k"], stored.values["pilots"]) == (K, 4)
    assert stored.values["bandwidth_ratio"] == (K + 4) / 18


def test_estimated_gains_of_blocks(bench: WorkerBench) -> None:
    gains = np.array([1, 2j, -3], np.complex64)
    pilots = pilot_symbols(6) * np.repeat(gains, 2)
    received = np.concatenate([pilots, np.repeat(gains, 3)[:K] * SENT])
    bench.work(task(frame(pilots=6), received, h=[], waveform=Waveform(5, 2)))
    np.testing.assert_allclose(bench.decoder.calls[0][0], SENT, atol=1e-6)


@pytest.mark.parametrize(
    "error", [StorageError("disk full"), LedgerError("locked"), OSError("gone")]
)
@pytest.mark.parametrize("where", ["save", "store", "find"])
def test_storage_errors_end_the_worker(
    bench: WorkerBench, monkeypatch: pytest.MonkeyPatch, error: Exception, where: str
) -> None:
    """A full disk is not the frame's fault: it must not be counted against it."""

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(bench.store, where, fail)
    events = bench.work(task(), task(frame(1)))
    assert events[-1] is error
    assert not any(isinstance(event, Failed | Stored) for event in events)


def test_the_store_of_other_settings_is_not_asked(tmp_path: Path) -> None:
    first = ResultStore(tmp_path, "rx1", "s", "process", False)
    first.store([Stored(frame_id(0), "tx", {"n": 1}, {})])
    other = ResultStore(tmp_path, "rx1", "t", "process", False)
    assert first.find(frame_id(0)) == ("tx", {"n": 1})
    assert other.find(frame_id(0)) is None
    first.ledger.close()
    other.ledger.close()
