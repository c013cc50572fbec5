"""Sources of tx: a folder that fills, and videos."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import make_photographs, photograph, sentence

from simulator.errors import DiffJsccError, ImageError, SettingsError
from simulator.settings import TxSettings, make_settings
from tx import pictures, video
from tx.pictures import Following, Shot, pump, source_of

SIZE = (48, 64)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "LOOK_S", 0.01)


class Folder:
    """A folder, and what was found in it."""

    def __init__(self, path: Path, known: set[str] | None = None) -> None:
        self.path, self.stop = path, threading.Event()
        path.mkdir(exist_ok=True)
        self._shots = Following(path, 0).shots(self.stop.is_set, known or ())

    def next(self) -> str:
        return next(self._shots).name

    def none_within(self, looks: int, monkeypatch: pytest.MonkeyPatch) -> bool:
        left = [looks]

        def sleep(seconds: float) -> None:
            left[0] -= 1
            if not left[0]:
                self.stop.set()

        with monkeypatch.context() as patch:
            patch.setattr(pictures.time, "sleep", sleep)
            return next(self._shots, None) is None


def test_images_come_by_name_and_then_as_they_are_completed(tmp_path: Path) -> None:
    make_photographs(tmp_path, 3, SIZE)
    folder = Folder(tmp_path)
    assert [folder.next() for _ in range(3)] == ["photo00.png", "photo01.png", "photo02.png"]
    (tmp_path / "photo00.png").rename(tmp_path / "later.png")
    assert folder.next() == "later.png"


def test_a_file_that_grows_is_not_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path)
    file = tmp_path / "a.png"
    looks = [0]

    def sleep(seconds: float) -> None:
        looks[0] += 1
        if looks[0] < 6:
            file.write_bytes(bytes(looks[0]))

    monkeypatch.setattr(pictures.time, "sleep", sleep)
    assert folder.next() == "a.png" and looks[0] == 6
    assert file.stat().st_size == 5


def test_what_is_no_picture_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (".hidden.png", "notes.txt", "a.png.part"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "empty.png").touch()
    assert Folder(tmp_path).none_within(5, monkeypatch)


def test_what_was_sent_before_is_sent_again_only_when_it_is_new(tmp_path: Path) -> None:
    paths = make_photographs(tmp_path, 2, SIZE)
    folder = Folder(tmp_path, {str(paths[0])})
    assert folder.next() == "photo01.png"
    paths[0].write_bytes(b"another")
    assert folder.next() == "photo00.png"


def test_what_was_sent_before_is_known_by_its_name_in_the_rows(tmp_path: Path) -> None:
    first, _ = make_photographs(tmp_path, 2, SIZE)
    first.rename(os.fsdecode(os.fsencode(tmp_path) + b"/_\xd6.png"))
    assert Folder(tmp_path, {rf"{tmp_path}/_\xd6.png"}).next() == "photo01.png"


def test_a_folder_that_is_none_or_goes_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as error:
        Following(tmp_path / "no", 0)
    assert "make it first" in sentence(error)
    folder = Folder(tmp_path / "inbox")
    (tmp_path / "inbox").rmdir()
    with pytest.raises(ImageError) as error:
        folder.next()
    assert "cannot be read any more" in sentence(error)


# Into the link


class FakeLink:
    ready = True

    def __init__(self, refused: str = "") -> None:
        self.names: list[str] = []
        self._refused = refused

    def send(self, content: Any, name: str) -> None:
        if name == self._refused:
            raise ImageError("it is gone.")
        self.names.append(name)


def numbers() -> Iterator[Shot]:
    for i in range(5):
        yield Shot(str(i), photograph(i, SIZE))


def test_a_source_ends_with_its_pictures_or_after_as_many_as_are_wanted() -> None:
    for frames, names in ((0, "01234"), (2, "01"), (9, "01234")):
        link = FakeLink()
        pump(link, numbers(), TxSettings(frames=frames), lambda: False)  # type: ignore[arg-type]
        assert "".join(link.names) == names


def test_a_file_that_was_taken_away_is_left_out() -> None:
    link = FakeLink(refused="1")
    pump(link, numbers(), TxSettings(frames=3), lambda: False)  # type: ignore[arg-type]
    assert link.names == ["0", "2", "3"]


class Clock:
    """Time that passes by sleeping, and by ``step_s`` with every look at it."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.now, self._step_s = 0.0, step_s

    def monotonic(self) -> float:
        self.now += self._step_s
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_images_of_a_folder_keep_their_distance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_photographs(tmp_path, 5, SIZE)
    clock = Clock()
    monkeypatch.setattr(pictures, "time", clock)
    shots = Following(tmp_path, 4).shots(lambda: False, ())
    at = [(next(shots), clock.now)[1] for _ in range(5)]
    assert [now - at[0] for now in at] == pytest.approx([0, 0.25, 0.5, 0.75, 1.0], abs=0.02)


@pytest.mark.parametrize("source", ["follow", "follow:", "camera:1", "video:", "nonsense"])
def test_a_source_that_is_none_is_a_sentence(source: str) -> None:
    with pytest.raises(SettingsError) as error:
        source_of(TxSettings(source=source))
    assert "follow:FOLDER" in sentence(error)


@pytest.mark.parametrize(
    "given", [{"tx.images": ["a.png"]}, {"tx.repeats": 2}, {"tx.fps": -1}, {"tx.when_busy": "no"}]
)
def test_settings_that_contradict_a_source_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        make_settings(overrides={"tx.source": "follow:inbox"} | given)


# Videos


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty frames of 0.1 s, each brighter than the one before."""
    av = pytest.importorskip("av")
    path = tmp_path_factory.mktemp("clips") / "bright clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(20):
            grey = np.full((48, 64, 3), 20 + 10 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    return path


def shots_of(what: Path | str, **given: Any) -> list[Shot]:
    settings = TxSettings(source=f"video:{what}", **given)
    return list(source_of(settings).shots(lambda: False, ()))


def test_every_frame_of_a_video_comes_in_order(clip: Path) -> None:
    shots = shots_of(clip)
    assert [shot.name for shot in shots[:2]] == ["bright clip-000000", "bright clip-000001"]
    means = [np.asarray(shot.content).mean() for shot in shots]
    assert means == pytest.approx([20 + 10 * i for i in range(20)], abs=4.9)
    assert np.asarray(shots[0].content).shape == (48, 64, 3)


def test_a_video_goes_on_behind_what_was_sent(clip: Path) -> None:
    known = {f"bright clip-{number:06d}" for number in range(12)}
    shots = source_of(TxSettings(source=f"video:{clip}")).shots(lambda: False, known)
    assert [shot.name[-2:] for shot in shots] == [f"{number:02d}" for number in range(12, 20)]


def test_fps_is_of_the_time_of_the_video(clip: Path) -> None:
    means = [np.asarray(shot.content).mean() for shot in shots_of(clip, fps=5)]
    assert means == pytest.approx([20 + 20 * i for i in range(10)], abs=4.9)


def test_frames_of_a_camera_that_come_too_fast_are_left_out(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read all the same: what waited in the stream would be late."""
    monkeypatch.setattr(video, "time", Clock(step_s=0.1))  # a frame each tenth of a second
    left = [10]

    def stopped() -> bool:
        left[0] -= 1
        return left[0] < 0

    shots = source_of(TxSettings(source=f"video:file://{clip}", fps=5)).shots(stopped, ())
    means = [np.asarray(shot.content).mean() for shot in shots]
    assert means == pytest.approx([20 + 20 * i for i in range(len(means))], abs=4.9)
    assert len(means) >= 4


def test_what_is_no_video_is_a_sentence(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(clip.read_bytes()[:200])
    for what in (tmp_path / "text.mp4", tmp_path / "none.mp4", damaged, "rtsp://127.0.0.1:1/x"):
        with pytest.raises(DiffJsccError) as error:
            shots_of(what)
        assert "cannot be opened as video" in sentence(error)


def test_a_stream_that_is_away_for_a_while_goes_on(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tx import video

    here = tmp_path / "camera.mp4"
    here.write_bytes(clip.read_bytes())
    shots = source_of(TxSettings(source=f"video:file://{here}")).shots(lambda: False, ())
    assert [next(shots).name for _ in range(20)][-1] == "camera-000019"
    here.unlink()
    pauses = [0]

    def sleep(seconds: float) -> None:
        pauses[0] += 1
        if pauses[0] == 3:
            here.write_bytes(clip.read_bytes())

    monkeypatch.setattr(video.time, "sleep", sleep)
    assert next(shots).name == "camera-000020" and pauses[0] == 3
