"""The three processes with keys: good keys carry a run, wrong ones end in a sentence."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from helpers import kill_one, make_photographs, start_cli, wait_for

from simulator import children, launch
from simulator.children import free_ports
from simulator.settings import make_settings
from tests.fuzz.brought.commands import invoke

CONFIGS = Path(__file__).parents[2] / "configs" / "three-machines"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """As the README says: made where they are used, admitted at the channel."""
    folder = tmp_path / "keys"
    server = folder / "channel" / "channel.pub"
    assert invoke("keys", "init", "channel", folder / "channel").code == 0
    for role, name in (("tx", "board-1"), ("rx", "gpu-1"), ("tx", "stranger")):
        made = invoke("keys", "init", role, folder / name, "--server", server)
        assert made.code == 0, made.err
    for role, name in (("tx", "board-1"), ("rx", "gpu-1")):
        file = folder / name / f"{name}.pub"
        assert invoke("keys", "add", folder / "channel", role, file).code == 0
    return folder


def test_configs_of_three_machines_name_these_folders() -> None:
    tx, channel, rx = (make_settings(CONFIGS / f"{r}.toml") for r in ("tx", "channel", "rx"))
    assert channel.channel.keys == "keys/channel" and not channel.channel.insecure
    assert (tx.tx.keys, rx.rx.keys) == (f"keys/{tx.tx.name}", f"keys/{rx.rx.name}")
    assert (tx.tx.name, rx.rx.name) == ("board-1", "gpu-1")


def ended(process: subprocess.Popen[str], code: int) -> str:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code and "Traceback" not in output, output
    return output


def test_three_processes_with_keys(tmp_path: Path, keys: Path) -> None:
    front, back = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
    images = tmp_path / "images"
    make_photographs(images, 6)

    def tx(name: str, *options: object) -> subprocess.Popen[str]:
        return start_cli(
            "tx", images, "--out", tmp_path / name, "--set", "codec=null",
            "--set", f"tx.connect={front}", "--set", f"tx.name={name}", *options,
        )  # fmt: skip

    channel = start_cli(
        "channel", "--set", f"channel.front={front}", "--set", f"channel.back={back}",
        "--set", f"channel.keys={keys / 'channel'}",
    )  # fmt: skip
    receiver = start_cli(
        "rx", "--out", tmp_path / "rx", "--reference", "none", "--set", "codec=null",
        "--set", f"rx.connect={back}", "--set", "rx.name=gpu-1",
        "--set", f"rx.keys={keys / 'gpu-1'}",
    )  # fmt: skip
    try:
        ended(tx("board-1", "--set", f"tx.keys={keys / 'board-1'}"), 0)
        lines = (tmp_path / "board-1" / "results.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        assert [row["status"] for row in rows] == ["delivered"] * 6
        assert {row["receiver"] for row in rows} == {"gpu-1"}

        message = ended(tx("stranger", "--set", f"tx.keys={keys / 'stranger'}"), 6)
        assert "error: tx 'stranger' is not connected" in message and "keys add" in message
        assert "wants keys" in ended(tx("bare"), 6)
        swapped = start_cli(
            "rx", "--out", tmp_path / "rx2", "--reference", "none", "--set", "codec=null",
            "--set", f"rx.connect={front}", "--set", "rx.name=gpu-1",
            "--set", f"rx.keys={keys / 'gpu-1'}",
        )  # fmt: skip
        assert "does not admit its key" in ended(swapped, 6)

        assert receiver.poll() is None
        assert invoke("keys", "revoke", keys / "channel", "rx", "gpu-1").code == 0
        # Told by the channel, or by its next handshake if it spoke before it heard that.
        assert "revoked" in ended(receiver, 6)
    finally:
        receiver.kill()
        receiver.communicate()
        channel.terminate()
        said = ended(channel, 0)
    assert re.search(r"refused messages: \d+ key, \d+ revoked", said)


def test_simulate_with_keys_survives_a_killed_channel(tmp_path: Path) -> None:
    """Connections that are lost because the channel restarts are made again."""
    out = tmp_path / "run"
    make_photographs(tmp_path / "photos", 5)
    run = start_cli(
        "simulate", tmp_path / "photos", "--keys", "--out", out, "--codec", "null",
        "--reference", "none", "--receivers", 2, "--set", "tx.repeats=40",
        "--set", "rx.decode_s=0.02",
    )  # fmt: skip
    for count in (10, 50):
        wait_for(lambda count=count: launch.stored_frames(out) >= count)  # type: ignore[misc]
        kill_one(out, "channel")
    ended(run, 0)
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert len(rows) == 200 and {row["status"] for row in rows} == {"delivered"}
    log = (out / "logs" / "channel.log").read_text()
    assert log.count("keys of 1 tx and 2 rx are admitted") == 3


def test_keys_of_a_run_are_gone_with_it(tmp_path: Path) -> None:
    settings = make_settings(overrides={"keys": True, "receivers": 2})
    with children.run_keys(settings) as folder:
        assert folder is not None and folder.stat().st_mode & 0o077 == 0
        names = {str(path.relative_to(folder)) for path in folder.rglob("*.secret")}
        assert names == {f"{p}.secret" for p in
                         ("channel/channel", "tx/tx/tx", "rx/rx1/rx1", "rx/rx2/rx2")}  # fmt: skip
        made = children.make_children(settings, tmp_path, folder)
        assert f"rx.keys={folder}/rx/rx2" in made[3].command
    assert not folder.exists()
    with children.run_keys(make_settings()) as nothing:
        assert nothing is None
