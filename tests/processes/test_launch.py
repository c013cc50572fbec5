"""The supervisor starts its children again, and makes the settings of a run on one machine."""

import socket
import sys
import time
from pathlib import Path

import pytest

from simulator import children, launch
from simulator.child import Child, ChildFailed
from simulator.runfolder import RUN_FILE
from simulator.settings import make_settings

# Children


class FakeChild(Child):
    """Ends with ``codes``, one a life; None: is alive for one look."""

    def __init__(self, name: str, log: Path, *codes: int | None) -> None:
        super().__init__(name, [], log)
        self.codes = list(codes)
        self.starts = 0

    def start(self) -> None:
        self.starts += 1

    def poll(self) -> int | None:
        return self.codes.pop(0) if self.codes else None

    def sentence(self) -> str:
        return f"{self.name} says why"

    def has_said(self, text: str) -> bool:
        return True


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "RESTART_PAUSE_S", 0)
    monkeypatch.setattr(launch, "WATCH_S", 0)


def watch(*children: Child) -> int:
    """Returns how often progress was looked at."""
    looks: list[int] = []
    launch.watch(children, Path(), looks.append)
    return len(looks)


@pytest.mark.parametrize("code", [0, 7])
def test_a_run_ends_when_tx_has_finished(tmp_path: Path, code: int) -> None:
    tx = FakeChild("tx", tmp_path, None, None, code)
    assert watch(tx, FakeChild("rx", tmp_path)) == 2
    assert tx.starts == 0


@pytest.mark.parametrize("code", [-9, -11, 1, 0, 255])
def test_a_child_that_dies_is_started_again(tmp_path: Path, code: int) -> None:
    """A channel or receiver that ends well was told to by somebody else: it is needed, too."""
    rx = FakeChild("rx", tmp_path, None, code, None, code)
    watch(FakeChild("tx", tmp_path, *[None] * 6, 0), rx)
    assert (rx.starts, rx.restarts) == (2, 2)


def test_tx_is_started_again_unless_it_finished(tmp_path: Path) -> None:
    tx = FakeChild("tx", tmp_path, -9, 1, 7)
    watch(tx)
    assert tx.starts == 2


@pytest.mark.parametrize("code", [2, 3, 4, 5, 6, 8, 9])
def test_a_documented_exit_code_was_meant(tmp_path: Path, code: int) -> None:
    rx = FakeChild("rx", tmp_path, None, code)
    with pytest.raises(ChildFailed, match="rx says why") as caught:
        watch(FakeChild("tx", tmp_path), rx)
    assert caught.value.exit_code == code
    assert rx.starts == 0


def test_a_child_that_dies_again_and_again_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "MAX_RESTARTS", 4)
    rx = FakeChild("rx2", tmp_path, *[-9] * 9)
    with pytest.raises(ChildFailed, match="rx2 died 4 times; rx2 says why") as caught:
        watch(FakeChild("tx", tmp_path), rx)
    assert rx.starts == 4
    assert caught.value.exit_code == 1


def test_a_child_that_cannot_begin_is_not_started_fifty_times(tmp_path: Path) -> None:
    lost = python("import no_such_module", tmp_path / "rx.log")
    lost.start()
    with pytest.raises(ChildFailed, match="cannot start .*No module named 'no_such_module'"):
        watch(FakeChild("tx", tmp_path), lost)
    assert lost.restarts == children.MAX_STILLBORN
    lost.reap(0)


def test_one_that_had_begun_may_end_more_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "print('2026 rx INFO here', flush=True); import no_such_module"
    child = python(code, tmp_path / "rx.log")
    child.start()
    monkeypatch.setattr(children, "MAX_RESTARTS", 5)
    with pytest.raises(ChildFailed, match="died 5 times"):
        watch(FakeChild("tx", tmp_path), child)
    child.reap(0)


def python(code: str, log: Path) -> Child:
    return Child("child", [sys.executable, "-S", "-c", code], log)


def ended(child: Child) -> int:
    child.start()
    assert child.process is not None
    code = child.process.wait(30)
    child.reap(0)
    return code


def test_the_sentence_of_a_child_is_its_last_error_line(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    child = python(
        "print('error: first'); print('error: disk full: ü'); print('more'); raise SystemExit(8)",
        log,
    )
    assert ended(child) == 8
    assert child.sentence() == "disk full: ü"


def test_the_sentence_is_not_one_of_an_earlier_life(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    log.write_text("error: of yesterday\n")
    child = python("print('no word')", log)
    ended(child)
    assert child.sentence() == f"see {log}"
    assert log.read_text() == "error: of yesterday\nno word\n"


def test_a_child_is_stopped_and_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    told = python("import time; print('here', flush=True); time.sleep(60)", tmp_path / "a.log")
    deaf = python(
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('here', flush=True);"
        "time.sleep(60)",
        tmp_path / "b.log",
    )
    for child in (told, deaf):
        child.start()
    while not all(child.log_path.read_text() for child in (told, deaf)):
        time.sleep(0.01)
    for child in (told, deaf):
        child.stop()
    told.reap(time.monotonic() + 30)
    deaf.reap(time.monotonic())
    assert (told.poll(), deaf.poll()) == (-15, -9)
    told.stop()  # one that has ended is left alone


def test_children_are_the_command_line_on_the_run_file(tmp_path: Path) -> None:
    settings = make_settings(overrides={"receivers": 3})
    made = children.make_children(settings, tmp_path)
    assert [child.name for child in made] == ["tx", "channel", "rx1", "rx2", "rx3"]
    assert len({child.log_path for child in made}) == 5
    for child in made:
        assert str(tmp_path / RUN_FILE) in child.command and "--supervised" in child.command
    assert "rx.name=rx2" in made[3].command
    (_, _, alone) = children.make_children(make_settings(), tmp_path)
    assert alone.name == "rx"


# Settings of a run on this machine


def test_free_ports_differ_and_can_be_bound() -> None:
    ports = children.free_ports(20)
    assert len(set(ports)) == 20
    for port in ports[:3]:
        with socket.socket() as each:
            each.bind(("127.0.0.1", port))


def test_on_this_machine_the_ends_meet_and_every_receiver_has_room() -> None:
    given = {"receivers": 3, "tx.window": 2, "rx.threads": 0, "channel.snr_db": 3}
    settings = children.on_this_machine(make_settings(overrides=given))
    assert settings.tx.connect == settings.channel.front != settings.channel.back
    assert settings.rx.connect == settings.channel.back
    assert settings.tx.window == settings.tx.wait_receivers == 3
    assert settings.rx.threads >= 1
    assert settings.channel.snr_db == [3.0]
    wide = children.on_this_machine(make_settings(overrides={"tx.window": 9, "rx.threads": 5}))
    assert (wide.tx.window, wide.rx.threads) == (9, 5)


def test_free_ports_are_none_that_an_outgoing_connection_may_get(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ports = [port for _ in range(20) for port in children.free_ports(3)]
    assert all(children.FIRST_PORT <= port < children.first_outgoing_port() for port in ports)
    assert len(set(ports)) > 50
    # Where all of them are taken, the system's own choice will do.
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    monkeypatch.setattr(children, "FIRST_PORT", port)
    monkeypatch.setattr(children, "first_outgoing_port", lambda: port + 1)
    monkeypatch.setattr(children.random, "SystemRandom", lambda: Always(port))
    try:
        (found,) = children.free_ports(1)
    finally:
        taken.close()
    assert found != port


class Always:
    """Draws one port, however many are asked for."""

    def __init__(self, port: int) -> None:
        self.port = port

    def sample(self, ports: range, count: int) -> list[int]:
        return [self.port] * count
