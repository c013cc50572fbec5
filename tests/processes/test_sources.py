"""Pictures that come while tx runs: from a folder that fills, and from a video."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from helpers import (
    interrupt,
    kill_one,
    make_photographs,
    photograph,
    start_cli,
    wait_for,
)

from simulator.children import free_ports
from simulator.images import load_image
from simulator.launch import stored_frames
from simulator.png import save_png
from simulator.report.sources import read_folder
from simulator.rowfile import parts_of
from tests.fuzz.brought.commands import invoke

NULL = ("--codec", "null", "--reference", "none")


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def lines_of(folder: Path) -> list[str]:
    """The rows of a run that may go on, in all parts of its results."""
    return [line for part in parts_of(folder) for line in part.read_text().splitlines()]


def announced_in(folder: Path) -> int:
    """Frames of a source that have no row yet."""
    with closing(sqlite3.connect(folder / "tx.db", timeout=10)) as ledger:
        return int(ledger.execute("SELECT COUNT(*) FROM announced").fetchone()[0])


def followed(inbox: Path, out: Path, *options: str) -> Any:
    return start_cli("simulate", "--follow", inbox, "--out", out, *NULL, *options)


def test_a_folder_is_followed_until_an_interruption_and_on_from_there(tmp_path: Path) -> None:
    inbox, out = tmp_path / "inbox", tmp_path / "out"
    make_photographs(inbox, 2)
    run = followed(inbox, out, "--set", "tx.returns=preview", "--set", "rx.decode_s=1")
    wait_for(lambda: stored_frames(out) == 2)
    save_png(photograph(7), inbox / "late.png")
    wait_for(lambda: announced_in(out) == 1)  # it is under way
    interrupt(run)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 0, said
    assert [Path(row["image"]).name for row in rows_in(out)] == [
        "photo00.png", "photo01.png", "late.png",
    ]  # fmt: skip
    returned = sorted((out / "returned").iterdir())
    assert len(returned) == 3 and {load_image(path).pixels.shape for path in returned} == {
        (96, 128, 3)
    }
    save_png(photograph(8), inbox / "later.png")
    again = followed(inbox, out, "--set", "tx.returns=preview", "--set", "rx.decode_s=1")
    wait_for(lambda: stored_frames(out) == 4)
    interrupt(again)
    said, _ = again.communicate(timeout=60)
    assert again.returncode == 0, said
    assert [row["repeat"] for row in rows_in(out)] == [0, 1, 2, 3]
    assert invoke("doctor", "--run", out).code == 0


def test_a_damaged_picture_is_refused_and_the_others_arrive(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    make_photographs(inbox, 1)
    (inbox / "broken.png").write_bytes(b"no picture")
    done = invoke("simulate", "--follow", inbox, "--out", tmp_path / "out", *NULL,
               "--set", "tx.frames=2")  # fmt: skip
    assert done.code == 7 and "broken.png" in done.err
    assert {row["status"] for row in rows_in(tmp_path / "out")} == {"refused", "delivered"}


def test_of_a_video_that_is_too_fast_the_latest_frames_arrive(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(20):
            frame = np.full((48, 64, 3), 10 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    out = tmp_path / "out"
    done = invoke("simulate", "--video", tmp_path / "clip.mp4", "--when-busy", "latest",
                  "--out", out, *NULL, "--set", "rx.decode_s=0.3")  # fmt: skip
    assert done.code == 0, done.err  # what is dropped is no failure
    rows = rows_in(out)
    assert sorted(row["repeat"] for row in rows) == list(range(20))
    by_number = {row["repeat"]: row["status"] for row in rows}
    assert by_number[19] == "delivered" and "dropped" in by_number.values()
    summary = json.loads((out / "summary.json").read_text())
    dropped = list(by_number.values()).count("dropped")
    assert (summary["dropped"], summary["refused"]) == (dropped, 0)
    assert f"{dropped} frames made way" in (out / "report.html").read_text()
    assert f"{dropped} frames dropped" in done.out


def piped(data: bytes, *options: object) -> subprocess.CompletedProcess[bytes]:
    """``simulate --stdin`` with this as its input."""
    command = [sys.executable, "-m", "simulator.cli", "simulate", "--stdin", *map(str, options)]
    return subprocess.run(
        [*command, *NULL], input=data, capture_output=True, timeout=120, check=False
    )


def test_what_is_piped_in_is_sent_until_the_input_ends(tmp_path: Path) -> None:
    files = [path.read_bytes() for path in make_photographs(tmp_path / "photos", 3)]
    out = tmp_path / "out"
    done = piped(b"".join(files) + files[0][:-50], "--out", out)
    assert done.returncode == 7 and b"1 of 4 frames did not arrive" in done.stderr, done.stderr
    rows = rows_in(out)
    assert [row["status"] for row in rows] == ["delivered"] * 3 + ["refused"]
    assert [row["image"] for row in rows] == [f"stdin-{number:06d}" for number in range(4)]
    assert len(list((out / "images" / "original").iterdir())) == 3
    again = piped(files[1], "--out", out)  # a run goes on with another input
    assert again.returncode == 7 and rows_in(out)[4]["image"] == "stdin-000004", again.stderr
    assert invoke("doctor", "--run", out).code == 0


def test_of_a_long_run_the_newest_pictures_and_all_rows_stay(tmp_path: Path) -> None:
    """Its rows are read while it goes on, and its results are rolled."""
    inbox, out = tmp_path / "inbox", tmp_path / "out"
    make_photographs(inbox, 5)
    run = followed(inbox, out, "--keep", "2", "--set", "tx.returns=preview",
                   "--set", "tx.roll_bytes=3000")  # fmt: skip
    wait_for(lambda: len(lines_of(out)) == 5)
    assert not (out / "summary.json").exists()
    assert not read_folder(out).finished and len(read_folder(out).rows) == 5
    interrupt(run)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 0, said
    assert len(parts_of(out)) > 1 and "results-000001.jsonl" in {p.name for p in parts_of(out)}
    rows = read_folder(out).rows
    assert [Path(row["image"]).name for row in rows] == [f"photo{i:02d}.png" for i in range(5)]
    assert read_folder(out).finished
    assert sorted(path.name[:7] for path in (out / "returned").iterdir()) == ["photo03", "photo04"]
    originals = sorted(path.name[:7] for path in (out / "images" / "original").iterdir())
    assert originals == ["photo03", "photo04"]
    # A picture that tx has not confirmed yet when the run ends stays, too.
    previews = {path.name[:7] for path in (out / "images").glob("*.preview.png")}
    assert {"photo03", "photo04"} <= previews < {f"photo{i:02d}" for i in range(5)}
    whole = invoke("doctor", "--run", out)
    assert whole.code == 0 and "are kept (rx.keep)" in whole.out, whole.out
    assert invoke("report", out).code == 0


def test_a_stream_goes_through_one_receiver_and_on_when_that_is_killed(tmp_path: Path) -> None:
    inbox, out = tmp_path / "inbox", tmp_path / "out"
    make_photographs(inbox, 4)
    run = followed(inbox, out, "--receivers", "2", "--set", "rx.affinity=true")
    wait_for(lambda: stored_frames(out) == 4)
    home = {json.loads(line)["receiver"] for line in lines_of(out)}
    assert len(home) == 1  # without affinity, two frames in flight would take both
    kill_one(out, f"rx.name={home.pop()}")
    for number in range(10, 14):
        save_png(photograph(number), inbox / f"late{number}.png")
    wait_for(lambda: stored_frames(out) == 8)
    interrupt(run)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 0, said
    rows = rows_in(out)
    assert [row["repeat"] for row in rows] == list(range(8))
    assert {row["status"] for row in rows} == {"delivered"}


def test_an_input_that_is_no_picture_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    done = piped(b"no picture\n", "--out", tmp_path / "out")
    assert done.returncode == 3 and b"neither a PNG nor a JPEG" in done.stderr, done.stderr
    assert done.stderr.count(b"error: ") == 1 and not (tmp_path / "out").exists()


def test_what_is_posted_is_sent_and_comes_back(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    out, (port,), token = tmp_path / "out", free_ports(1), tmp_path / "token.txt"
    token.write_text("secret\n")
    run = start_cli("simulate", "--http", f"127.0.0.1:{port}", "--out", out, *NULL,
                    "--set", "tx.returns=preview", "--set", f"tx.token={token}")  # fmt: skip
    photo = make_photographs(tmp_path / "photos", 1)[0].read_bytes()
    url = f"http://127.0.0.1:{port}/frame?wait=preview"
    answers: list[tuple[str, bytes]] = []

    def posted() -> bool:
        request = Request(url, photo, {"Authorization": "Bearer secret"})
        try:
            with urlopen(request, timeout=60) as answer:
                answers.append((answer.headers["Frame-Id"], answer.read()))
        except HTTPError:
            raise
        except URLError:
            return False  # tx is being started
        return True

    wait_for(posted)
    with pytest.raises(HTTPError, match="401"):
        urlopen(Request(url, photo), timeout=60)
    interrupt(run)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 0, said
    ((frame_id, picture),) = answers
    (row,) = rows_in(out)
    assert row["frame_id"] == frame_id
    (kept,) = (out / "returned").iterdir()
    assert kept.read_bytes() == picture
    assert "secret" not in (out / "run.toml").read_text()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["photo.png", "--follow", "inbox"], 3, "images or a source"),
        (["--follow", "inbox", "--video", "a.mp4"], 3, "give one of --follow"),
        (["--follow", "inbox", "--stdin"], 3, "give one of --follow"),
        (["--follow", "none"], 3, "make it first"),
        (["--http", "nowhere"], 5, "not an address for the door"),
        (["--http", "0.0.0.0:0"], 5, "has no token"),
        (["--http", "127.0.0.1:0", "--set", "tx.token=none.txt"], 3, "cannot be read"),
        (["--follow", "inbox", "--cbr", "1/96", "--cbr", "1/48"], 3, "one operating point"),
    ],
)
def test_mistakes_are_sentences_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inbox").mkdir()
    done = invoke("simulate", *options, *NULL, "--out", "out")
    assert done.code == code and words in done.err, done.err
    assert done.err.count("error: ") == 1 and not (tmp_path / "out").exists()
