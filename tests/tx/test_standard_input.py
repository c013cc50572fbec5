"""Image files one after the other on standard input: where each ends, and what is damaged."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import photograph, sentence
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from simulator.errors import ImageError, SettingsError
from simulator.images import decode_image
from simulator.link.ledger import TxLedger
from simulator.link.messages import WirePoint
from simulator.settings import TxSettings
from tx import pictures, standard_input
from tx.announced import announce, announced
from tx.cutter import Cutter
from tx.pictures import source_of
from tx.source import Job
from tx.stream import Stream


def encoded(index: int, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photograph(index, (48, 64))).save(file, format=kind, **options)
    return file.getvalue()


def with_thumbnail() -> bytes:
    """A JPEG that has another one in its metadata, as cameras write it."""
    thumbnail = encoded(9, "JPEG")
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    whole = encoded(1, "JPEG")
    return whole[:2] + segment + whole[2:]


FILES = [
    encoded(0, "PNG"),
    encoded(1, "JPEG"),
    encoded(2, "JPEG", progressive=True),
    encoded(3, "JPEG", restart_marker_blocks=1),
    with_thumbnail(),
    encoded(4, "PNG", optimize=True),
]


def cut(data: bytes, piece: int = 4096, most: int = 1 << 20) -> tuple[list[bytes], bytes, int]:
    cutter = Cutter(most)
    found = [f for at in range(0, len(data), piece) for f in cutter.feed(data[at : at + piece])]
    rest = cutter.rest()
    return found, rest, cutter.left_out


def refused(file: bytes) -> bool:
    try:
        decode_image(file, "cut off")
    except ImageError:
        return True
    return False


@pytest.mark.parametrize("piece", [1, 7, 64, 1 << 16])
def test_files_come_out_as_they_went_in_however_the_stream_is_cut(piece: int) -> None:
    assert cut(b"".join(FILES), piece) == (FILES, b"", 0)


def test_what_stands_between_files_is_left_out() -> None:
    head = b"--boundary\r\nContent-Type: image/jpeg\r\n\r\n"
    data = b"".join(head + file + b"\r\n" for file in FILES)
    assert cut(data, 13) == (FILES, b"", len(FILES) * (len(head) + 2))


@pytest.mark.parametrize("file", FILES[:4])
def test_a_stream_that_begins_or_ends_within_a_file(file: bytes) -> None:
    part = file[: 2 * len(file) // 3]
    files, rest, _ = cut(FILES[0] + part)
    assert (files, rest) == ([FILES[0]], part) and refused(part)
    assert cut(file[len(file) // 2 :] + FILES[1])[:2] == ([FILES[1]], b"")


def test_a_file_that_was_cut_off_is_refused_and_the_next_one_comes() -> None:
    for broken in (FILES[1][:-40], FILES[0][:60] + b"\0\0\0\0????" + FILES[0][60:]):
        files, rest, _ = cut(broken + FILES[1] + FILES[0])
        assert files[-2:] == FILES[1::-1] and rest == b""
        assert len(files) == 3 and refused(files[0])


def test_neither_a_file_nor_a_gap_is_without_bounds() -> None:
    chunk = (1 << 16).to_bytes(4, "big") + b"teXt" + bytes((1 << 16) + 4)
    endless = {
        "no PNG or JPEG begins": b"y\n" * 40_000,
        "a picture has more than": FILES[0][:33] + chunk * 2,
        "a picture has more": FILES[1][:-2] + bytes(70_000),
    }
    for words, data in endless.items():
        with pytest.raises(ImageError, match=words) as error:
            cut(data, most=1 << 16)
        assert "65536 bytes" in sentence(error)


@given(st.lists(st.sampled_from(FILES) | st.binary(max_size=40), max_size=6), st.integers(1, 99))
def test_nothing_is_made_up_and_no_whole_file_is_lost_behind_noise(
    pieces: list[bytes], size: int
) -> None:
    data = b"".join(pieces)
    files, rest, left_out = cut(data, size)
    assert sum(map(len, files)) + len(rest) + left_out == len(data)
    assert all(file in data for file in files)


# The source


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Where to write what the source reads."""
    reader, writer = os.pipe()
    monkeypatch.setattr(standard_input, "DESCRIPTOR", reader)
    yield writer
    os.close(reader)


def names_of(known: set[str] | None = None, **given: object) -> list[str]:
    source = source_of(TxSettings(source="stdin", **given))
    return [shot.name for shot in source.shots(lambda: False, known or set())]


def test_pictures_are_numbered_and_the_last_one_may_be_cut_off(piped: int) -> None:
    os.write(piped, FILES[0] + FILES[1] + FILES[2][:-9])
    os.close(piped)
    shots = list(source_of(TxSettings(source="stdin")).shots(lambda: False, ()))
    assert [shot.name for shot in shots] == ["stdin-000000", "stdin-000001", "stdin-000002"]
    assert [shot.content for shot in shots] == [FILES[0], FILES[1], FILES[2][:-9]]


def test_numbers_go_on_where_tx_was_started_again(piped: int) -> None:
    os.write(piped, FILES[0])
    os.close(piped)
    assert names_of({"stdin-000000", "stdin-000001"}) == ["stdin-000002"]


@pytest.mark.parametrize("data", [b"", b"no picture\n"])
def test_an_input_without_a_picture_is_a_sentence(piped: int, data: bytes) -> None:
    os.write(piped, data)
    os.close(piped)
    with pytest.raises(ImageError) as error:
        names_of()
    assert "neither a PNG nor a JPEG" in sentence(error)


def test_an_input_that_cannot_be_read_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr(standard_input, "DESCRIPTOR", folder)
    with pytest.raises(ImageError) as error:
        names_of()
    assert "standard input: it cannot be read: Is a directory" in sentence(error)
    os.close(folder)


def test_a_terminal_and_a_closed_input_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = os.openpty()
    monkeypatch.setattr(standard_input, "DESCRIPTOR", follower)
    with pytest.raises(SettingsError) as error:
        names_of()
    assert "is a terminal; pipe pictures into it" in sentence(error)
    os.close(leader)
    os.close(follower)
    monkeypatch.setattr(standard_input.sys, "stdin", None)
    with pytest.raises(SettingsError) as error:
        names_of()
    assert "is closed" in sentence(error)


def test_a_writer_that_stalls_does_not_keep_tx(piped: int) -> None:
    os.write(piped, FILES[0] + FILES[1][:30])
    stop: list[bool] = []
    shots = source_of(TxSettings(source="stdin")).shots(lambda: bool(stop), ())
    assert next(shots).content == FILES[0]
    stop.append(True)
    assert next(shots, None) is None
    os.close(piped)


@pytest.mark.parametrize(("when_busy", "count"), [("wait", 8), ("latest", 3)])
def test_fps_paces_the_writer_or_leaves_pictures_out(
    piped: int, monkeypatch: pytest.MonkeyPatch, when_busy: str, count: int
) -> None:
    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            self.now += 0.1  # what a picture takes to come
            return self.now

        def sleep(self, seconds: float) -> None:
            self.now += seconds

    monkeypatch.setattr(pictures, "time", Clock())
    os.write(piped, FILES[1] * 8)
    os.close(piped)
    assert len(names_of(fps=4.0, when_busy=when_busy)) == count


def test_a_file_is_kept_in_the_ledger_as_it_is(tmp_path: Path) -> None:
    stream = Stream("stdin", "run", 0)
    point = WirePoint(channel="awgn", snr_db=10.0, bandwidth_ratio="1/384")
    job: Job = stream._job(FILES[1], bytes(32), point, "stdin-000000")
    ledger = TxLedger(tmp_path / "tx.db")
    announce(ledger, job)
    (again,) = announced(ledger)
    assert again == job and again.file == FILES[1]
    ledger.close()
