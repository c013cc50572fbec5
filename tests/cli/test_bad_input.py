"""Bad input: one clear sentence, a documented exit code, the rest of the run unharmed."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zmq
from helpers import cli, make_photographs, start_cli, wait_for
from PIL import Image

from simulator.children import free_ports
from simulator.cli.main import guarded
from simulator.link import messages as m
from simulator.link.constants import VERSION
from tests.fuzz.brought.commands import Done, invoke


def rows_by_name(out: Path) -> dict[str, dict]:
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    return {Path(row["image"]).name: row for row in rows}


def one_sentence(done: Done, code: int) -> str:
    """``invoke`` has seen that there is no traceback."""
    assert done.code == code, done.err
    assert done.err.count("error: ") == 1
    return done.err


@contextmanager
def running_channel(*options: str):
    """A channel process; yields its (front, back) endpoints."""
    front, back = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
    channel = start_cli(
        "channel", "--set", f"channel.front={front}", "--set", f"channel.back={back}", *options
    )
    try:
        yield front, back
    finally:
        channel.terminate()
        output, _ = channel.communicate(timeout=20)
        assert channel.returncode == 0, output


def test_unusual_and_broken_images_in_one_run(tmp_path):
    folder = tmp_path / "images"
    make_photographs(folder, 2)
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    rgb.crop((0, 0, 1, 1)).save(folder / "one.png")
    Image.fromarray(rng.integers(0, 65536, (40, 60)).astype(np.uint16)).save(folder / "deep.png")
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    rgba = rgb.copy()
    rgba.putalpha(100)
    rgba.save(folder / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb.save(folder / "turned.jpg", exif=exif)
    whole = (folder / "photo00.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("this is no image")
    (folder / "empty.png").write_bytes(b"")
    out = tmp_path / "run"
    result = invoke("simulate", folder, "--out", out, "--cbr", "1/96", "--refine", "off")
    message = one_sentence(result, 7)
    assert "3 of 10 frames did not arrive" in message
    rows = rows_by_name(out)
    assert len(rows) == 10
    for name in ("truncated.png", "text.png", "empty.png"):
        assert rows[name]["status"] == "refused" and name in rows[name]["reason"]
        assert name in message
    delivered = {name: row for name, row in rows.items() if row["status"] == "delivered"}
    assert len(delivered) == 7
    assert all(row["psnr_preview"] is not None for row in delivered.values())
    assert rows["one.png"]["ssim_preview"] is rows["one.png"]["lpips_preview"] is None
    assert (rows["turned.jpg"]["height"], rows["turned.jpg"]["width"]) == (60, 40)
    for name in ("deep.png", "cmyk.jpg", "alpha.png", "turned.jpg"):
        assert rows[name]["notes"], name


def test_folder_without_image(tmp_path):
    (tmp_path / "empty").mkdir()
    message = one_sentence(invoke("simulate", tmp_path / "empty", "--out", tmp_path / "run"), 3)
    assert "empty" in message


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["--cbr", "1/100"], 3, "it has 1/768, 1/384"),
        (["--cbr", "1/3072"], 3, "it has 1/768, 1/384"),
        (["--cbr", "nonsense"], 3, "nonsense"),
        (["--snr-db", "1000"], 3, "channel.snr_db"),
        (["--channel", "cable"], 3, "no channel 'cable'"),
        (["--set", "tx.windw=3"], 3, "tx.windw"),
        (["--set", "tx.window"], 3, "NAME=VALUE"),
        (["--codec", "no/such/folder"], 4, "no/such/folder"),
        (["--resume"], 3, "--out"),
        (["does-not-exist.png"], 3, "does-not-exist.png"),
    ],
)
def test_wrong_settings(tmp_path, options, code, word):
    out = [] if options == ["--resume"] else ["--out", tmp_path / "run"]
    assert word in one_sentence(invoke("simulate", "--refine", "off", *options, *out), code)


def test_unknown_option_is_a_usage_error():
    assert cli("simulate", "--no-such-option").returncode == 2


def test_damaged_weights(tmp_path):
    import shutil

    from simulator.jscc.folder import resolve

    folder = tmp_path / "codec"
    shutil.copytree(resolve("compact"), folder)
    weights = folder / "codec.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    run = invoke("simulate", "--refine", "off", "--codec", folder, "--out", tmp_path / "run")
    message = one_sentence(run, 4)
    assert "codec.safetensors" in message


def test_busy_port():
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        result = invoke("channel", "--set", f"channel.front=tcp://127.0.0.1:{port}")
    assert "in use" in one_sentence(result, 5)


def test_other_addresses_need_insecure():
    result = invoke("channel", "--set", "channel.front=tcp://0.0.0.0:5999")
    assert "--insecure" in one_sentence(result, 5)


def test_protocol_version_from_the_future():
    hello = m.Hello(version=VERSION + 1, role="tx", name="tx", run="r", settings="s", codec="c")
    with (
        running_channel() as (front, _),
        zmq.Context() as context,
        context.socket(zmq.DEALER) as dealer,
    ):
        dealer.linger = 0
        dealer.connect(front)
        dealer.send_multipart(m.encode(hello))
        assert dealer.poll(10_000)
        reject, _ = m.decode(dealer.recv_multipart())
    assert isinstance(reject, m.Reject) and reject.code == "version"
    assert f"version {VERSION + 1}" in reject.reason


def test_receiver_with_another_codec(tmp_path):
    images = tmp_path / "images"
    make_photographs(images, 1)
    with running_channel() as (front, back):
        sender = start_cli(
            "tx", images, "--out", tmp_path / "tx", "--set", f"tx.connect={front}"
        )  # fmt: skip
        # It connects at once; the receiver has all its imports before it.
        wait_for(lambda: any((tmp_path / "tx").glob("*.db")))
        wrong = cli(  # a process of its own: it changes what signals do
            "rx", "--set", "codec=null", "--reference", "none", "--set", f"rx.connect={back}",
            "--out", tmp_path / "wrong",
        )  # fmt: skip
        message = one_sentence(Done(wrong.returncode, wrong.stdout, wrong.stderr), 6)
        assert "Traceback" not in message
        assert "codec" in message and "null-" in message
        right = start_cli(
            "rx", "--refine", "off", "--set", f"rx.connect={back}", "--out", tmp_path / "right"
        )
        output, _ = sender.communicate(timeout=60)
        right.terminate()
        right.communicate(timeout=30)
    assert sender.returncode == 0, output
    (row,) = rows_by_name(tmp_path / "tx").values()
    assert row["status"] == "delivered"


def test_another_run_in_the_same_folder(tmp_path):
    images = tmp_path / "images"
    make_photographs(images, 1)
    out = tmp_path / "run"
    base = ["simulate", images, "--out", out, "--codec", "null", "--reference", "none"]
    assert invoke(*base, "--set", "run=first").code == 0
    message = one_sentence(invoke(*base, "--set", "run=second"), 8)
    assert "first" in message
    message = one_sentence(invoke(*base, "--set", "run=first", "--seed", 1), 8)
    assert "settings" in message


def test_unwritable_run_folder(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert "file" in one_sentence(
        invoke("simulate", "--refine", "off", "--out", blocked / "run"), 8
    )


def test_dead_frames_are_given_up_with_their_reason(tmp_path):
    """A receiver that can process nothing: the run goes on, and says why."""
    images = tmp_path / "images"
    make_photographs(images, 2)
    out = tmp_path / "run"
    with running_channel() as (front, back):
        receiver = start_cli(
            "rx", "--set", f"rx.connect={back}", "--out", tmp_path / "rx",
            "--reference", images, "--set", "rx.equalizer=zero-forcing", "--set", "codec=null",
        )  # fmt: skip
        # The references vanish: scoring fails on every frame.
        wait_for(lambda: "to offer again" in peek(receiver), 120)
        for path in images.iterdir():
            path.rename(path.with_suffix(".moved"))
        make_photographs(tmp_path / "again", 2)
        sent = cli(
            "tx", tmp_path / "again", "--out", out, "--set", f"tx.connect={front}",
            "--set", "codec=null",
        )  # fmt: skip
        receiver.terminate()
        receiver.communicate(timeout=30)
    assert sent.returncode == 7
    rows = rows_by_name(out)
    assert {row["status"] for row in rows.values()} == {"dead"}
    assert all("photo" in row["reason"] for row in rows.values())


def peek(process: subprocess.Popen[str]) -> str:
    """The lines a process has printed so far."""
    assert process.stdout is not None
    seen = getattr(process, "seen", "")
    seen += process.stdout.readline()
    process.seen = seen  # type: ignore[attr-defined]
    return seen


def test_full_disk(capsys):
    """Wherever it shows: one sentence and exit code 8."""
    import errno

    def command():
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x/logs")

    assert guarded(command) == 8
    assert "runs/x/logs: No space left on device" in capsys.readouterr().err
    with pytest.raises(ConnectionError):  # what is no storage error is a defect, and shows
        guarded(lambda: (_ for _ in ()).throw(ConnectionError("other")))


@pytest.mark.parametrize(
    "arguments",
    [
        ("simulate", "x" * 300),
        ("simulate", "--config", "x" * 300),
        ("simulate", "--set", "codec=" + "x" * 300),
        ("simulate", "--model", "x" * 300),
        ("simulate", "--set", "channel.snr_trace=" + "x" * 300),
        ("simulate", "--reference", "x" * 300),
        ("sweep", "x" * 300),
        ("sweep", "figure-5", "--images", "x" * 300),
        ("report", "x" * 300),
        ("evaluate", "x" * 300),
        ("doctor", "--run", "x" * 300),
        ("train", "codec", "--data", "x" * 300, "--out", "out", "--steps", "1"),
        ("export", "x" * 300),
    ],
    ids=lambda arguments: " ".join(arguments).replace("x" * 300, "LONG"),
)
def test_a_name_that_is_too_long(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    done = invoke(*arguments)
    assert done.code in (2, 3, 4, 8) and len(done.err) < 2000
    assert not list(tmp_path.iterdir())


def test_a_run_folder_whose_name_no_file_can_hold_is_refused_before_it_is_made(tmp_path):
    image = make_photographs(tmp_path / "in", 1)[0]
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")
    for command in (("simulate", image), ("tx", image), ("rx",)):
        done = cli(*command, "--out", name, "--set", "codec=null")
        assert done.returncode == 3 and "is not UTF-8" in done.stderr, done.stderr
    assert sorted(tmp_path.iterdir()) == [tmp_path / "in"]


#: What is no path on any disk, as it is written in TOML.
NO_PATHS = {"a zero byte": "a\\u0000b", "a user who is not here": "~nobody-of-this-name/x"}
PLACES = [
    *("model", "codec", "tx.images", "rx.captioner", "rx.reference", "rx.preview"),
    *("channel.snr_trace", "tx.keys"),
]


@pytest.mark.parametrize("what", NO_PATHS)
@pytest.mark.parametrize("place", PLACES)
def test_a_setting_that_can_be_no_path(tmp_path, monkeypatch, place, what):
    monkeypatch.chdir(tmp_path)
    image = make_photographs(tmp_path / "in", 1)[0]
    config = tmp_path / "run.toml"
    value = f'["{NO_PATHS[what]}"]' if place == "tx.images" else f'"{NO_PATHS[what]}"'
    rest = "" if place == "tx.images" else f'tx.images = ["{image}"]\n'
    config.write_text(f"{rest}{place} = {value}\n")
    done = invoke("simulate", "--config", config, "--out", "out")
    assert done.code in (3, 4) and not Path("out").exists()
    said = "there is no such user" if "user" in what else "cannot be a path"
    assert said in done.err and done.err.strip().count("\n") == 0


@pytest.mark.parametrize("what", NO_PATHS)
@pytest.mark.parametrize("place", ["images", "model", "codec", "plugins", "channel.snr_trace"])
def test_a_setting_of_a_sweep_that_can_be_no_path(tmp_path, monkeypatch, place, what):
    monkeypatch.chdir(tmp_path)
    image = make_photographs(tmp_path / "in", 1)[0]
    listed = place in ("images", "plugins")
    value = f'["{NO_PATHS[what]}"]' if listed else f'"{NO_PATHS[what]}"'
    rest = "" if place == "images" else f'images = ["{image}"]\n'
    Path("sweep.toml").write_text(f'methods = "jpeg2000+capacity"\n{rest}{place} = {value}\n')
    done = invoke("sweep", "sweep.toml", "--workers", 1, "--out", "out")
    assert done.code in (3, 4) and not Path("out").exists()
    said = "there is no such user" if "user" in what else "cannot be a path"
    assert said in done.err


def test_a_path_that_may_not_be_used_is_a_sentence(capsys):
    """Wherever it is looked at first; root may use every path, so the error is made here."""
    for number in (errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR):
        error = OSError(number, os.strerror(number), "photos/locked")
        assert guarded(lambda error=error: (_ for _ in ()).throw(error)) == 8
        said = capsys.readouterr().err
        assert "photos/locked: " in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("simulate", "", "--codec", "null"),
        ("simulate", "in", "", "--codec", "null"),
        ("sweep", "figure-5", "--images", "", "--methods", "jpeg2000+capacity", "--workers", 1),
        ("train", "codec", "--data", "", "--steps", 1),
    ],
)
def test_a_variable_that_is_not_set_is_not_this_folder(tmp_path, monkeypatch, arguments):
    """Of ``""`` Python makes the working directory, whose images nobody meant."""
    monkeypatch.chdir(tmp_path)
    make_photographs(tmp_path / "in", 1)
    done = invoke(*arguments, "--out", "out")
    assert done.code == 3 and "is a variable of the shell not set?" in done.err
    assert not Path("out").exists()
