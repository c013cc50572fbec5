"""Pictures of a frame while it is denoised: the result is the same bit for bit, and who looks at a
run folder sees the newest."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import photograph
from report_world import delivered
from watch_world import begun, store

from rx.estimates import steps_shown
from rx.load import load_refiner
from rx.refiner import Refiner, ToRefine
from rx.showing import Showing
from simulator.denoising import FOLDER, About, path_of, read, write
from simulator.errors import SettingsError
from simulator.images import load_image
from simulator.receiving import RxSettings
from simulator.settings import make_settings
from simulator.watch.denoised import STALE_S, Denoised
from simulator.watch.frames import Frames
from tests.tiny import build_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_tiny_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def refiner(model: str) -> Refiner:
    return load_refiner(model, "cpu", RxSettings())


def job(i: int) -> ToRefine:
    return ToRefine(photograph(i, (24, 40)), 4.0, 1j, bytes([i]) * 32)


@pytest.mark.parametrize("solver", ["ddpm", "dpm++"])
def test_the_result_is_the_same_bit_for_bit(
    refiner: Refiner, solver: str, one_thread: None
) -> None:
    given: dict[str, Any] = {"steps": 4, "solver": solver, "guidance_scale": 1.0}
    jobs, shown = [job(1), job(2)], []
    plain = refiner.under(RxSettings(**given))
    showing = refiner.under(RxSettings(**given, show_steps=3))
    before = plain.refine(jobs, lambda *_: None)
    after = showing.refine(jobs, lambda *_: None, lambda *told: shown.append(told))
    for a, b in zip(before, after, strict=True):
        assert np.array_equal(a.pixels, b.pixels) and a.caption == b.caption
    assert [(step, of) for step, of, _ in shown] == [(1, 4), (2, 4), (3, 4)]
    pictures = [pixels for _, _, pixels in shown]
    assert {pixels.shape for pixels in pictures} == {(24, 40, 3)}
    assert not np.array_equal(pictures[0], pictures[-1])  # it is being denoised


@pytest.mark.parametrize(
    ("count", "steps", "shown"),
    [(1, 2, {1}), (3, 2, {1}), (3, 50, {12, 25, 38}), (1, 1, set()), (1000, 4, {1, 2, 3})],
)
def test_steps_are_spread_evenly_and_never_the_last(
    count: int, steps: int, shown: set[int]
) -> None:
    assert steps_shown(count, steps) == shown


def test_where_there_is_nothing_to_show(model: str) -> None:
    with pytest.raises(SettingsError, match=r"rx\.diffusion=on"):
        load_refiner(model, "cpu", RxSettings(show_steps=2, diffusion=False))
    with pytest.raises(SettingsError, match=r"rx\.refine is off"):
        make_settings(overrides={"rx.show_steps": 2, "rx.refine": False})


def test_it_is_no_setting_that_results_depend_on() -> None:
    first, second = (make_settings(overrides={"rx.show_steps": n}) for n in (0, 7))
    assert first.rx_hash_fields("c", "m") == second.rx_hash_fields("c", "m")


def arrival(i: int) -> Any:
    return SimpleNamespace(frame_id=bytes([i]) * 16, label=f"in/photo{i}.png", height=56, width=72)


def test_a_frame_is_shown_while_it_is_denoised_and_then_its_row(tmp_path: Path) -> None:
    run = tmp_path / "run"
    ledger = begun(run)
    frames = Frames([run])
    first, pictures = Showing(run, "rx1"), [photograph(i, (56, 72)) for i in range(4)]
    first.begin(arrival(1), pictures[0])
    frames.look()
    (frame,) = frames.after(0)
    assert (frame.row["status"], frame.row["reason"], frame.key) == ("refining", "begun", "01" * 16)
    assert frame.pictures == ["sent", "preview"] and frame.row["image"] == "in/photo1.png"
    for step in (1, 2):
        first.step(step, 3, pictures[step])
        frames.look()
        (frame,) = frames.after(frame.seq)
        assert frame.row["reason"] == f"step {step} of 3" and "refined" in frame.pictures
        path = frames.file(frame.key, "refined")
        assert path is not None
        close = np.abs(load_image(path).pixels.astype(int) - pictures[step]).mean()
        assert close < 6
    first.end(pictures[3])
    frames.look()
    (frame,) = frames.after(frame.seq)
    assert (frame.row["status"], frame.row["reason"]) == ("refined at rx", "step 3 of 3")
    assert frames.state.counts == {}  # it has no row yet
    store(ledger, delivered(0, frame_id="01" * 16))
    frames.look()
    (frame,) = frames.after(frame.seq)
    assert (frame.row["status"], frame.number) == ("delivered", 1)
    frames.look()
    assert frames.after(frame.seq) == []  # the picture of before changes nothing any more
    Frames([run]).look()
    second = Showing(run, "rx2")
    second.begin(arrival(2), pictures[0])
    first.begin(arrival(3), pictures[0])
    frames.look()
    assert {each.row["receiver"] for each in frames.after(frame.seq)} == {"rx1", "rx2"}
    assert len(list((run / FOLDER).iterdir())) == 3  # two of rx1, one of rx2
    Showing(run, "rx2")  # started again
    last = frames.after(0)[-1].seq
    frames.look()
    (gone,) = frames.after(last)
    assert (gone.row["status"], gone.pictures) == ("no row yet", ["sent"])
    ledger.close()


def test_what_is_left_of_a_frame_with_a_row_is_no_news(tmp_path: Path) -> None:
    run = tmp_path / "run"
    ledger = begun(run)
    left = Showing(run, "rx1")
    left.begin(arrival(9), photograph(0, (56, 72)))
    store(ledger, delivered(0, frame_id="09" * 16), *(delivered(i) for i in range(1000, 1300)))
    frames = Frames([run])  # which reads the newest rows alone
    frames.look()
    assert "09" * 16 not in {frame.key for frame in frames.after(0)}
    ledger.close()


def test_a_receiver_that_has_stopped_is_said_to_be_slow(tmp_path: Path) -> None:
    now = [0.0]
    denoised = Denoised([tmp_path], lambda: now[0])
    showing = Showing(tmp_path, "rx")
    showing.begin(arrival(1), photograph(0, (56, 72)))
    showing.step(2, 9, photograph(1, (56, 72)))
    key = "01" * 16
    assert denoised.look()[key]["reason"] == "step 2 of 9"
    now[0] += STALE_S + 1
    assert denoised.look()[key]["reason"] == "step 2 of 9, for more than a minute"
    showing.step(3, 9, photograph(1, (56, 72)))
    assert denoised.look()[key]["reason"] == "step 3 of 9"


def test_pictures_that_are_none_of_these(tmp_path: Path) -> None:
    about = About("0" * 32, "\udcd6.png", "rx", 8, 8, 1, 2)
    path = path_of(tmp_path, "rx", "step")
    path.parent.mkdir()
    write(path, photograph(0, (1400, 20)), about)
    known = read(path)
    assert known is not None and known.image == "\\xd6.png"
    assert load_image(path).pixels.shape[0] == 1280
    data = path.read_bytes()
    for bad in (b"", b"no picture", data.replace(b'"step"', b'"stop"'), data[:200],
                data.replace(b"0" * 32, b"../" + b"0" * 29)):  # fmt: skip
        path.write_bytes(bad)
        assert read(path) is None
    assert read(tmp_path / "gone") is None


def test_a_folder_that_takes_no_pictures_costs_none_of_the_frames(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    showing = Showing(tmp_path, "rx")
    (tmp_path / FOLDER).rmdir()
    showing.begin(arrival(1), photograph(0, (56, 72)))
    showing.end(photograph(0, (56, 72)))
    assert [record.message.startswith("steps are not shown") for record in caplog.records] == [True]
