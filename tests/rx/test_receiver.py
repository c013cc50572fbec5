"""The receiver: its rules under a virtual clock, and the worker on a ledger of its own."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rx.chain import Blocks, Decoders
from rx.receiver import Failed, Receiver, Staged, Stored, Task
from rx.reference import References
from rx.refiner import Job, Refined, RefinementError
from rx.store import ResultStore
from rx.worker import Event, Worker
from simulator.errors import StorageError
from simulator.images import file_sha256, load_image
from simulator.link import constants as c
from simulator.link import messages as m
from simulator.link.ledger import LedgerError
from simulator.link.rows import ANCHORS, ROW_KEYS, for_row
from simulator.link.session import Session
from simulator.phy.pilots import pilot_symbols
from simulator.png import save_png
from simulator.settings import RxSettings

K = 8
POINT = m.Point(channel="rayleigh", snr_db=10.0, bandwidth_ratio="1/384")
AIR = m.Air(
    tx="tx", snr_db=10.0, csit="perfect", csir="perfect", h_abs2=4.0, received_snr_db=16.0,
    queue_s=0.25, airtime_modelled_s=0.5, airtime_observed_s=0.125, came_at_s=1000.0,
)  # fmt: skip


def frame_id(i: int) -> bytes:
    return hashlib.sha256(b"id%d" % i).digest()[:16]


def frame(i: int = 0, **fields: Any) -> m.Arrival:
    base: dict[str, Any] = {
        "frame_id": frame_id(i), "draw_key": bytes(32), "point": POINT, "k": K, "pilots": 0,
        "codec": "codec", "height": 2, "width": 3, "label": "photo", "image_sha256": bytes(32),
        "settings": "air", "air": AIR,
    }  # fmt: skip
    return m.Arrival.model_validate(base | fields)


def welcome(epoch: str = "one", **fields: Any) -> m.Welcome:
    base = {"epoch": epoch, "settings": "air", "pilots": 0, "coherence_time": 0}
    base |= {"receivers": 1}
    return m.Welcome.model_validate(base | fields)


class Bench:
    """A receiver whose channel and worker are played by the test."""

    def __init__(self, slots: int = 2) -> None:
        self.messages: list[m.Message] = []
        self.now = 100.0
        hello = m.Hello(
            version=c.VERSION, role="rx", name="rx1", run="run", settings="s", codec="codec"
        )
        self.rx = Receiver(Session(hello, self.send), "rx1", "s", slots)
        self.receive(welcome())

    def send(self, message: m.Message, parts: tuple[Any, ...]) -> bool:
        self.messages.append(m.decode(m.encode(message, parts))[0])
        return True

    def sent(self) -> list[m.Message]:
        """What was sent since the last time, but for the session."""
        sent = [each for each in self.messages if not isinstance(each, m.Hello | m.Heartbeat)]
        self.messages.clear()
        return sent

    def receive(self, message: m.Message) -> None:
        self.rx.receive(message, (b"symbols", b"h", b"reference"), self.now)

    def tick(self, seconds: float = 0.0) -> None:
        end = self.now + seconds
        while True:
            self.receive(m.Heartbeat(times=[], epoch=self.rx.session.epoch))
            self.rx.tick(self.now)
            if self.now >= end:
                return
            self.now = min(end, self.now + 0.125)

    def done(self, i: int = 0, **values: Any) -> None:
        self.rx.worked(Stored(frame_id(i), "tx", values, {"preview": self.now}), self.now)

    def times_of_results(self, seconds: float) -> list[float]:
        start, found = self.now, []
        while self.now < start + seconds:
            self.now += 0.125
            self.tick()
            found += [self.now - start for each in self.sent() if isinstance(each, m.Result)]
        return found


# Slots and frames


def test_ready_with_all_slots_once_welcomed() -> None:
    assert Bench(slots=3).sent() == [m.Ready(slots=3)]


def test_a_frame_becomes_work_with_its_parts() -> None:
    bench = Bench()
    bench.receive(frame())
    assert list(bench.rx.work) == [
        Task(frame(), (b"symbols", b"h", b"reference"), 100.0, Blocks(0, 0))
    ]
    bench.tick(1)
    (beat, *_) = [each for each in bench.messages if isinstance(each, m.Heartbeat)]
    assert beat.running == [frame_id(0)]  # its lease lasts


def test_each_frame_keeps_the_medium_that_it_came_through() -> None:
    """It is processed later, when the channel may be another one."""
    bench = Bench()
    bench.receive(welcome("two", pilots=2, coherence_time=10))
    bench.receive(frame(0))
    bench.receive(welcome("three", pilots=4, coherence_time=20))
    bench.receive(frame(1))
    assert [task.blocks for task in bench.rx.work] == [Blocks(10, 2), Blocks(20, 4)]


def test_a_frame_that_did_not_come_through_a_channel_is_ignored() -> None:
    bench = Bench()
    bench.receive(m.Frame.model_validate(frame().model_dump(exclude={"air"})))
    assert not bench.rx.work and not bench.rx.held


def test_a_duplicate_of_a_held_frame_is_no_second_work() -> None:
    bench = Bench()
    bench.receive(frame())
    bench.receive(frame())
    assert len(bench.rx.work) == 1


def test_a_duplicate_of_an_offered_frame_is_answered_with_the_result() -> None:
    bench = Bench()
    bench.receive(frame())
    bench.done(n=1)
    bench.rx.work.clear()
    bench.sent()
    bench.now += 1
    bench.receive(frame())
    (answer,) = bench.sent()
    assert isinstance(answer, m.Result) and answer.values == {"n": 1}
    assert answer.stages == {"preview": 1.0}
    assert not bench.rx.work


def test_frames_held_for_a_channel_that_is_gone_take_their_slots_along() -> None:
    bench = Bench(slots=3)
    bench.receive(frame(0))
    bench.receive(frame(1))
    bench.sent()
    bench.receive(welcome("two"))
    assert bench.sent() == [m.Ready(slots=1)]
    bench.receive(frame(0))  # the new channel leased it to us, too: it counts there
    assert bench.sent() == [m.Ready(slots=2)]
    assert len(bench.rx.work) == 2
    bench.receive(frame(0))
    assert bench.sent() == []
    bench.done(1)
    result, ready = bench.sent()
    assert isinstance(result, m.Result) and ready == m.Ready(slots=3)
    bench.done(0)
    assert [each.kind for each in bench.sent()] == ["RESULT"]


def test_more_orphans_than_slots() -> None:
    bench = Bench(slots=1)
    bench.receive(frame(0))
    bench.receive(frame(1))
    bench.sent()
    bench.receive(welcome("two"))
    assert bench.sent() == [m.Ready(slots=0)]


def test_draining_takes_no_more_and_finishes_what_is_held() -> None:
    bench = Bench(slots=2)
    bench.receive(frame(0))
    bench.sent()
    bench.rx.drain()
    assert bench.sent() == [m.Ready(slots=0)]
    bench.receive(welcome("two"))
    assert bench.sent() == [m.Ready(slots=0)]
    bench.done(0)
    assert [each.kind for each in bench.sent()] == ["RESULT", "READY"]


def test_a_channel_that_ignores_ready_cannot_fill_memory() -> None:
    """What is beyond twice the slots goes back as ``busy``: tx asks for it again."""
    bench = Bench(slots=2)
    for i in range(4):
        bench.receive(frame(i))
    bench.sent()
    bench.receive(frame(4))
    (nack,) = bench.sent()
    assert isinstance(nack, m.Nack)
    assert (nack.code, nack.frame_id, nack.tx) == ("busy", frame_id(4), "tx")
    assert len(bench.rx.held) == len(bench.rx.work) == 4


def test_a_failed_orphan_gives_its_slot_back() -> None:
    bench = Bench(slots=2)
    bench.receive(frame(0))
    bench.receive(welcome("two"))
    bench.sent()
    bench.rx.worked(Failed(frame_id(0), "tx", "odd"), bench.now)
    assert [each.kind for each in bench.sent()] == ["NACK", "READY"]


# Results


def test_stages_and_results_are_told() -> None:
    bench = Bench()
    bench.receive(frame())
    bench.sent()
    bench.rx.worked(Staged(frame_id(0), "tx", "preview", 100.5, 0.5), 100.5)
    assert bench.sent() == [m.Stage(frame_id=frame_id(0), tx="tx", stage="preview", elapsed_s=0.5)]
    values = {"n": 1}
    bench.rx.worked(Stored(frame_id(0), "tx", values, {"preview": 100.5}), 102.0)
    assert bench.sent() == [
        m.Result(
            frame_id=frame_id(0), tx="tx", receiver="rx1", settings="s", values=values,
            stages={"preview": 1.5},
        )
    ]  # fmt: skip
    assert not bench.rx.held


def test_failures_are_told_with_their_reason_and_not_repeated() -> None:
    bench = Bench()
    bench.receive(frame())
    bench.sent()
    bench.rx.worked(Failed(frame_id(0), "tx", "does not decode"), bench.now)
    assert bench.sent() == [
        m.Nack(code="failed", reason="does not decode", frame_id=frame_id(0), tx="tx")
    ]
    assert bench.times_of_results(30) == []
    bench.receive(frame())  # tx may try again
    assert len(bench.rx.work) == 2


def test_results_are_offered_with_doubling_pauses_until_confirmed() -> None:
    bench = Bench()
    bench.receive(frame())
    bench.done()
    bench.sent()
    assert bench.times_of_results(75) == [2, 6, 14, 30, 50, 70]
    bench.receive(m.Confirm(frame_id=frame_id(0), receiver="rx1"))
    assert bench.times_of_results(30) == []
    assert bench.rx.confirmed == [frame_id(0)]
    bench.receive(m.Confirm(frame_id=frame_id(0), receiver="rx1"))
    bench.receive(m.Confirm(frame_id=frame_id(9), receiver="rx1"))
    assert bench.rx.confirmed == [frame_id(0)]


def test_a_new_channel_is_offered_all_that_is_unconfirmed_at_once() -> None:
    bench = Bench()
    for i in range(3):
        bench.receive(frame(i))
        bench.done(i)
    bench.receive(m.Confirm(frame_id=frame_id(1), receiver="rx1"))
    bench.times_of_results(20)
    bench.receive(welcome("two"))
    bench.sent()
    bench.tick()
    assert [each.frame_id for each in bench.sent()] == [frame_id(0), frame_id(2)]
    assert bench.times_of_results(5) == [2, 2]


def test_nothing_is_offered_while_there_is_no_channel() -> None:
    bench = Bench()
    bench.receive(frame())
    bench.done()
    bench.sent()
    for i in range(60):
        bench.rx.tick(bench.now + i)
    assert len([each for each in bench.sent() if isinstance(each, m.Result)]) == 2  # before 6 s
    bench.now += 60
    bench.receive(welcome("two"))
    bench.tick()
    assert [each.kind for each in bench.sent()] == ["READY", "RESULT"]


# The worker


class FakeDecoder:
    """Grey as the first symbol says; remembers what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[np.ndarray, float, complex, tuple[int, int]]] = []
        self.noise: list[np.ndarray | None] = []
        self.before: Callable[[], None] = lambda: None

    def decode(
        self,
        symbols: np.ndarray,
        snr_db: float,
        h: complex,
        size: tuple[int, int],
        noise_variance: np.ndarray | None,
    ) -> np.ndarray:
        self.before()
        self.calls.append((symbols, snr_db, h, size))
        self.noise.append(noise_variance)
        return np.full((*size, 3), 128, np.uint8)


def score(images: Sequence[np.ndarray], reference: np.ndarray) -> list[dict[str, float | None]]:
    def one(image: np.ndarray) -> dict[str, float | None]:
        assert image.shape == reference.shape
        psnr = math.inf if np.array_equal(image, reference) else 1 / 3
        return {"psnr": psnr, "ssim": 1.0, "ms_ssim": None, "lpips": math.nan}

    return [one(image) for image in images]


class WorkerBench:
    """A worker that works in the test's own thread."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder, self.decoder, self.woken = folder, FakeDecoder(), 0
        settings = RxSettings.model_validate({"name": "rx1"} | options)
        self.store = ResultStore(folder, "rx1", "s", "process", settings.save_images)
        self.now = 100.0
        self.worker = Worker(
            settings, "codec", Decoders(self.decoder), None, References(settings.reference), score,
            self.store, self._wake, self._clock,
        )  # fmt: skip

    def _wake(self) -> None:
        self.woken += 1

    def _clock(self) -> float:
        self.now += 0.125
        return self.now

    def work(self, *tasks: Task | list[bytes]) -> list[Event]:
        for task in (*tasks, None):
            self.worker.tasks.put(task)
        self.worker.run()
        events = [self.worker.events.get() for _ in range(self.worker.events.qsize())]
        assert self.woken == len(events)
        self.woken = 0
        return events


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[WorkerBench]:
    bench = WorkerBench(tmp_path)
    yield bench
    bench.store.ledger.close()


GAIN = np.array([2j], np.complex64)
SENT = np.exp(1j * np.arange(K)).astype(np.complex64)
GREY = bytes([128]) * 18


def task(
    made: m.Arrival | None = None,
    symbols: Any = None,
    h: Any = GAIN,
    reference: bytes = GREY,
    blocks: Blocks | None = None,
) -> Task:
    payload = GAIN[0] * SENT if symbols is None else symbols
    parts = (np.asarray(payload, "<c8").tobytes(), np.asarray(h, "<c8").tobytes(), reference)
    return Task(made or frame(), parts, 100.0, blocks or Blocks())


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
    assert m.decode(m.encode(result))[0] == result
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
        (task(frame(pilots=2)), "64 bytes of symbols instead of 80"),
        (task(symbols=SENT * np.nan), "not finite"),
        (task(h=[]), "gains"),
        (Task(frame(), (SENT.tobytes(), b"1234567", b""), 0.0, Blocks()), "gains"),
        (task(h=[1, 1], blocks=Blocks(3)), "2 gains for 3 blocks"),
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
    bench.work(task(symbols=each * SENT, h=gains, blocks=Blocks(coherence_time=3)))
    symbols, _, h, _ = bench.decoder.calls[0]
    np.testing.assert_allclose(symbols, SENT, atol=1e-6)
    assert h == pytest.approx(((3 * 1 + 3 * 4 + 2 * 9) / 8) ** 0.5)


def test_estimated_gain_comes_from_the_pilots_only(bench: WorkerBench) -> None:
    """No gain beside the frame is looked at; the pilots' noise is in the estimate."""
    pilots = pilot_symbols(4)
    noise = 0.1 * pilots  # moves the estimate by exactly 0.1
    received = np.concatenate([2j * pilots + noise, 2j * SENT])
    stored = bench.work(task(frame(pilots=4), received, h=[7], blocks=Blocks(0, 4)))[1]
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
    bench.work(task(frame(pilots=6), received, h=[], blocks=Blocks(5, 2)))
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
    first.store(frame_id(0), "tx", {"n": 1})
    other = ResultStore(tmp_path, "rx1", "t", "process", False)
    assert first.find(frame_id(0)) == ("tx", {"n": 1})
    assert other.find(frame_id(0)) is None
    first.ledger.close()
    other.ledger.close()


# The worker with a refiner


class FakeRefiner:
    """Grey 100, three steps an image; remembers its batches and tells when it is at a step."""

    model, solver, steps, guidance_scale = "model-1", "ddim", 3, 0.5

    def __init__(self) -> None:
        self.batches: list[list[Job]] = []
        self.at_step: Callable[[int], None] = lambda step: None

    def limit(self, size: tuple[int, int]) -> int:
        return 3

    def refine(self, jobs: Sequence[Job], on_step: Callable[[int, int], None]) -> list[Refined]:
        self.batches.append(list(jobs))
        for step in range(self.steps):
            self.at_step(step)
            on_step(step, self.steps)
        seconds = {"caption_s": 0.1, "text_s": 0.2, "diffusion_s": 0.3, "vae_s": 0.4}
        return [Refined(0 * job.pixels + 100, "a boat", seconds, "tiled") for job in jobs]


class RefiningBench(WorkerBench):
    """Ends when as many frames are finished as were given."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **options)
        self.refiner = FakeRefiner()
        self.worker._refiner = self.refiner  # type: ignore[assignment]
        self.finished = self.expected = 0

    def _wake(self) -> None:
        super()._wake()
        if isinstance(self.worker.events.queue[-1], Stored | Failed):
            self.finished += 1
            if self.finished == self.expected:
                self.worker.tasks.put(None)

    def give(self, *tasks: Task) -> None:
        self.expected += len(tasks)
        for each in tasks:
            self.worker.tasks.put(each)

    def run(self, *tasks: Task) -> list[Event]:
        self.give(*tasks)
        self.worker.run()
        return [self.worker.events.get() for _ in range(self.worker.events.qsize())]


@pytest.fixture
def refining(tmp_path: Path) -> Iterator[RefiningBench]:
    bench = RefiningBench(tmp_path)
    yield bench
    bench.store.ledger.close()


class DarkDecoder(FakeDecoder):
    """As ``FakeDecoder``, in another grey."""

    def decode(
        self,
        symbols: np.ndarray,
        snr_db: float,
        h: complex,
        size: tuple[int, int],
        noise_variance: np.ndarray | None,
    ) -> np.ndarray:
        return super().decode(symbols, snr_db, h, size, noise_variance) // 2


def test_a_preview_with_a_decoder_of_its_own_is_shown_and_the_codecs_image_refined(
    refining: RefiningBench,
) -> None:
    dark = DarkDecoder()
    refining.worker._decoders = Decoders(dark, refining.decoder)
    stored = refining.run(task())[-1]
    assert isinstance(stored, Stored)
    saved = load_image(refining.folder / stored.values["preview_file"])
    assert (saved.pixels == 64).all()
    assert (refining.refiner.batches[0][0].pixels == 128).all()
    (first, *state), (second, *same) = dark.calls[0], refining.decoder.calls[0]
    assert np.array_equal(first, second) and state == same


def told(events: list[Event]) -> list[tuple[str, int]]:
    """(what, which frame) in order."""
    known = {frame_id(i): i for i in range(20)}
    return [
        (e.stage if isinstance(e, Staged) else type(e).__name__.lower(), known[e.frame_id])
        for e in events
        if not isinstance(e, BaseException)
    ]


def test_preview_then_refined_then_the_result_with_both(refining: RefiningBench) -> None:
    refining.worker.channel_clock.add(0.0, 1000.0, 1000.0, 0.002)
    preview, refined, stored = refining.run(task(reference=bytes(18)))
    assert told([preview, refined, stored]) == [("preview", 0), ("refined", 0), ("stored", 0)]
    assert isinstance(preview, Staged) and isinstance(refined, Staged)
    assert isinstance(stored, Stored)
    assert stored.stages == {"preview": preview.at, "refined": refined.at}
    assert 0 < preview.elapsed_s < refined.elapsed_s == refined.at - 100.0
    values = stored.values
    assert set(values) <= {*ROW_KEYS, *ANCHORS}
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert refining.store.find(frame_id(0)) == ("tx", values)
    keys = ("model", "solver", "steps", "guidance_scale", "caption", "notes")
    assert [values[key] for key in keys] == ["model-1", "ddim", 3, 0.5, "a boat", "tiled"]
    times = [values[key] for key in ("caption_s", "text_s", "diffusion_s", "vae_s")]
    assert times == [0.1, 0.2, 0.3, 0.4]
    assert values["psnr_preview"] == values["psnr_refined"] == 0.333333
    for stage, grey in (("preview", 128), ("refined", 100)):
        path = refining.folder / values[f"{stage}_file"]
        assert path.name.endswith(f".rx1.{stage}.png")
        assert (load_image(path).pixels == grey).all()
    moved = refining.worker.channel_clock.offset_s
    assert preview.at + moved < values["refine_at_s"] < refined.at + moved
    m.encode(
        m.Result(
            frame_id=frame_id(0), tx="tx", receiver="rx1", settings="s", values=values,
            stages={"preview": 0.0, "refined": 0.0},
        )
    )  # fmt: skip


def test_the_refiner_gets_the_preview_and_what_the_decoder_knew(refining: RefiningBench) -> None:
    refining.run(task(frame(draw_key=bytes([7]) * 32, label="photo")))
    ((job,),) = refining.refiner.batches
    assert (job.snr_db, job.h, job.draw_key, job.name) == (10.0, 2j, bytes([7]) * 32, "photo")
    assert (job.pixels == 128).all() and job.pixels.dtype == np.uint8


def test_scores_and_files_come_when_every_clock_has_stopped(
    refining: RefiningBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    emit, save, store = refining.worker._emit, refining.store.save, refining.store.store

    def emitted(event: Event) -> None:
        order.append(event.stage if isinstance(event, Staged) else "result")
        emit(event)

    monkeypatch.setattr(refining.worker, "_emit", emitted)
    monkeypatch.setattr(refining.store, "save", lambda *a: (order.append("file"), save(*a))[1])
    monkeypatch.setattr(refining.store, "store", lambda *a: (order.append("row"), store(*a))[1])
    score = refining.worker._score
    assert score is not None
    monkeypatch.setattr(refining.worker, "_score", lambda *a: (order.append("score"), score(*a))[1])
    refining.run(task())
    assert order == ["preview", "refined", "score", "file", "file", "row", "result"]


def test_what_waits_is_refined_together_by_size(refining: RefiningBench) -> None:
    wide = {"width": 9}
    grey = bytes([128]) * 54
    tasks = [
        task(frame(0)), task(frame(1, **wide), reference=grey), task(frame(2)), task(frame(3)),
        task(frame(4)), task(frame(5, **wide), reference=grey),
    ]  # fmt: skip
    events = told(refining.run(*tasks))
    assert events[:6] == [("preview", i) for i in range(6)]  # all of them before any is refined
    refined = [i for what, i in events if what == "refined"]
    assert refined == [0, 2, 3, 1, 5, 4]
    assert [len(batch) for batch in refining.refiner.batches] == [3, 2, 1]
    assert [event for event in events if event[0] == "stored"][-1] == ("stored", 4)


def test_previews_of_waiting_frames_come_between_steps(refining: RefiningBench) -> None:
    def arrive(step: int) -> None:
        if len(refining.refiner.batches) == 1:
            refining.give(task(frame(step + 1)))

    refining.refiner.at_step = arrive
    events = told(refining.run(task(frame(0))))
    assert events[:5] == [
        ("preview", 0), ("preview", 1), ("preview", 2), ("preview", 3), ("refined", 0)
    ]  # fmt: skip
    assert [len(batch) for batch in refining.refiner.batches] == [1, 3]


def test_a_bad_frame_between_steps_harms_nobody(refining: RefiningBench) -> None:
    def arrive(step: int) -> None:
        if step == 0 and len(refining.refiner.batches) == 1:
            refining.give(task(frame(1), symbols=SENT[:-1]))

    refining.refiner.at_step = arrive
    assert told(refining.run(task(frame(0)))) == [
        ("preview", 0), ("failed", 1), ("refined", 0), ("stored", 0)
    ]  # fmt: skip


def test_the_frame_that_a_batch_fails_for_fails_alone(refining: RefiningBench) -> None:
    def fail(step: int) -> None:
        if any(job.name == "poison" for job in refining.refiner.batches[-1]):
            raise RefinementError("it does not fit.")

    refining.refiner.at_step = fail
    tasks = [task(frame(0)), task(frame(1, label="poison")), task(frame(2))]
    events = refining.run(*tasks)
    assert sorted(told(events)[3:]) == [
        ("failed", 1), ("refined", 0), ("refined", 2), ("stored", 0), ("stored", 2)
    ]  # fmt: skip
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert failed.reason == "it does not fit."
    assert refining.store.find(frame_id(1)) is None


def test_told_to_stop_it_leaves_the_batch_and_stores_nothing(refining: RefiningBench) -> None:
    refining.refiner.at_step = lambda step: refining.worker.tasks.put(None)
    assert told(refining.run(task())) == [("preview", 0)]
    assert refining.store.find(frame_id(0)) is None


@pytest.mark.parametrize("error", [StorageError("disk full"), OSError("gone")])
def test_a_full_disk_between_steps_ends_the_worker(
    refining: RefiningBench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise error

    def arrive(step: int) -> None:
        refining.give(task(frame(1)))
        monkeypatch.setattr(refining.store, "find", fail)

    refining.refiner.at_step = arrive
    events = refining.run(task(frame(0)))
    assert events[-1] is error and len(events) == 2


def test_a_frame_that_was_refined_before_is_answered_from_the_store(
    refining: RefiningBench,
) -> None:
    first = refining.run(task())[-1]
    refining.finished = refining.expected = 0
    (again,) = refining.run(task())
    assert isinstance(first, Stored) and isinstance(again, Stored)
    assert again.values == first.values and len(refining.refiner.batches) == 1
