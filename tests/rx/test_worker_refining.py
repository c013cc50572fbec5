"""The worker with a refiner: previews between steps, batches, and what a failure leaves."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from receiver_world import (
    SENT,
    FakeDecoder,
    RefiningBench,
    frame,
    frame_id,
    task,
)

from rx.chain import Decoders
from rx.receiver import Failed, Staged, Stored
from rx.refiner import RefinementError
from rx.store import ResultStore
from rx.worker import Event
from simulator.errors import StorageError
from simulator.images import load_image
from simulator.jscc.signal import ToDecode
from simulator.link import messages as m
from simulator.link.rows import ANCHORS, ROW_KEYS
from simulator.phy.state import ChannelState


@pytest.fixture
def refining(tmp_path: Path) -> Iterator[RefiningBench]:
    bench = RefiningBench(tmp_path)
    yield bench
    bench.store.ledger.close()


class DarkDecoder(FakeDecoder):
    """As ``FakeDecoder``, in another grey."""

    def decode(self, given: ToDecode) -> np.ndarray:
        return super().decode(given) // 2


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


def test_the_refiner_is_told_what_all_rounds_are_worth(
    refining: RefiningBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    worth = ChannelState(13.0)
    monkeypatch.setattr(refining.decoder, "conditioned", lambda state: worth)
    refining.run(task())
    ((job,),) = refining.refiner.batches
    assert (job.snr_db, job.h) == (13.0, 1)


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


# Pictures that tx wants back


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_pictures_go_back_with_the_stages_and_are_booked(
    refining: RefiningBench, kind: str
) -> None:
    wanted = m.Returns(upto="refined", format=kind)  # type: ignore[arg-type]
    preview, refined, stored = refining.run(task(frame(returns=wanted)))
    assert isinstance(preview, Staged) and isinstance(refined, Staged)
    for event, grey in ((preview, 128), (refined, 100)):
        image = Image.open(io.BytesIO(event.picture))
        assert image.format == kind.upper() and image.size == (3, 2)
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - grey).max() <= 2 * (
            kind != "png"
        )
    assert isinstance(stored, Stored)
    sizes = len(preview.picture) + len(refined.picture)
    assert stored.values["returned_bytes"] == sizes and stored.values["return_s"] == 0.25
    # The making of a picture is within the time to it.
    assert stored.stages == {"preview": preview.at, "refined": refined.at}
    kept = refining.store.pictures(stored.values)
    assert [len(picture) > 0 for picture in kept] == [True, True]


def test_of_a_preview_alone_the_refined_image_stays(refining: RefiningBench) -> None:
    events = refining.run(task(frame(returns=m.Returns(upto="preview"))), task(frame(1)))
    pictures = {(e.stage, e.frame_id): e.picture for e in events if isinstance(e, Staged)}
    assert [stage for (stage, _), picture in pictures.items() if picture] == ["preview"]
    rows = [event.values for event in events if isinstance(event, Stored)]
    assert [row.get("returned_bytes") is None for row in rows] == [False, True]


def test_pictures_that_were_not_kept_are_said_to_be_gone(tmp_path: Path) -> None:
    store = ResultStore(tmp_path, "rx1", "s", "process", False)
    assert store.pictures({"preview_file": None, "refined_file": "images/gone.png"}) == (b"", b"")
