"""Keys in files, key folders, ``diffjscc keys``: modes, mistakes, what a channel sees of them."""

import os
import stat
from pathlib import Path

import pytest
import zmq
from helpers import cli
from typer.testing import CliRunner

from simulator.cli.main import app
from simulator.errors import EXIT_CODES, DiffJsccError
from simulator.link import keyfolder, keys, sockets
from simulator.link.admission import Admission
from simulator.link.keys import KeyFileError, KeyPair, PublicKey


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def channel(tmp_path: Path) -> Path:
    keyfolder.init(tmp_path / "channel", "channel")
    return tmp_path / "channel"


@pytest.fixture
def board(tmp_path: Path, channel: Path) -> Path:
    keyfolder.init(tmp_path / "board-1", "tx", server=channel / "channel.pub")
    return tmp_path / "board-1"


def sentence(error: BaseException) -> str:
    message = str(error)
    assert message.endswith(".") and "\n" not in message, message
    return message


# Files


def test_a_pair_survives_its_files(channel: Path, board: Path) -> None:
    pair, server = keyfolder.read_client(board, "tx", "board-1")
    assert keys.read_public(board / "board-1.pub") == pair.half
    assert server == keyfolder.read_channel(channel).public
    assert zmq.curve_public(pair.secret.encode()).decode() == pair.public
    key, lock = sockets.Key(pair.public, pair.secret, server), sockets.Lock("tx", pair.secret)
    assert pair.secret not in repr((pair, key, lock))
    assert pair.secret not in (board / "board-1.pub").read_text()
    other = keys.make_pair("tx", "board-1")
    assert other.public != pair.public and other.fingerprint != pair.fingerprint
    assert len(pair.fingerprint) == 39


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes_hold_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        keyfolder.init(tmp_path / "c", "channel")
    finally:
        os.umask(before)
    assert mode(tmp_path / "c") == mode(tmp_path / "c" / "tx") == mode(tmp_path / "c" / "rx")
    assert mode(tmp_path / "c") == 0o700
    assert mode(tmp_path / "c" / "channel.secret") == 0o600


def test_a_secret_is_closed_to_others_from_its_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at before anything is written: a mode that is mended afterwards comes too late."""
    seen = []
    real = os.fdopen

    def look(descriptor: int, *rest: object, **options: object) -> object:
        seen.append((stat.S_IMODE(os.fstat(descriptor).st_mode), os.fstat(descriptor).st_size))
        return real(descriptor, *rest, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(keys.os, "fdopen", look)
    before = os.umask(0)
    try:
        keys.write_secret(tmp_path / "a.secret", keys.make_pair("tx", "a"))
    finally:
        os.umask(before)
    assert seen == [(0o600, 0)]


def test_nothing_is_overwritten_and_no_link_followed(tmp_path: Path) -> None:
    pair = keys.make_pair("tx", "a")
    keys.write_secret(tmp_path / "a.secret", pair)
    with pytest.raises(KeyFileError, match="exists already") as caught:
        keys.write_secret(tmp_path / "a.secret", keys.make_pair("tx", "a"))
    sentence(caught.value)
    assert keys.read_secret(tmp_path / "a.secret") == pair
    (tmp_path / "b.secret").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError):
        keys.write_secret(tmp_path / "b.secret", pair)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("wrong", [0o640, 0o604, 0o660, 0o666, 0o644, 0o601])
def test_a_secret_that_others_can_read_is_refused(board: Path, wrong: int) -> None:
    (board / "board-1.secret").chmod(wrong)
    with pytest.raises(KeyFileError, match="chmod 600") as caught:
        keyfolder.read_client(board, "tx", "board-1")
    assert f"{wrong:04o}" in sentence(caught.value)


# Fixed: a test is named after it, and names are the same in every process.
KEY = "[T&54%j*wPQ2lugSCb^(GDN.(HoGwL%7[09O(n^9"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"x" * 5000,
        b"[" * 3000,
        b'role = "tx"\nname = "a"\n',
        b'role = "tx"\nname = "a"\npublic = 7\n',
        f'role = "tx"\nname = "a"\npublic = "{KEY}"\nmore = "x"\n'.encode(),
        f'role = "boss"\nname = "a"\npublic = "{KEY}"\n'.encode(),
        f'role = "tx"\nname = "../a"\npublic = "{KEY}"\n'.encode(),
        f'role = "tx"\nname = "a"\npublic = "{KEY[:-1]}"\n'.encode(),
        f'role = "tx"\nname = "a"\npublic = "{KEY[:-1]}~"\n'.encode(),
        b'role = "tx"\nname = "a"\npublic = "' + b"#" * 40 + b'"\n',  # more than 32 bytes
    ],
)
def test_what_is_no_public_key_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.pub").write_bytes(text)
    with pytest.raises(KeyFileError, match=r"a\.pub") as caught:
        keys.read_public(tmp_path / "a.pub")
    sentence(caught.value)


def test_a_secret_of_another_pair_and_a_pipe_are_refused(tmp_path: Path) -> None:
    one, two = keys.make_pair("tx", "a"), keys.make_pair("tx", "a")
    mixed = KeyPair("tx", "a", one.public, secret=two.secret)
    keys.write_secret(tmp_path / "a.secret", mixed)
    with pytest.raises(KeyFileError, match="no pair"):
        keys.read_secret(tmp_path / "a.secret")
    os.mkfifo(tmp_path / "b.secret", 0o600)
    with pytest.raises(KeyFileError, match="not a file"):
        keys.read_secret(tmp_path / "b.secret")


# The channel's list


def test_a_running_channel_sees_who_is_added_and_revoked(channel: Path, board: Path) -> None:
    said: list[str] = []
    admission = Admission(channel, said.append)
    public = keys.read_public(board / "board-1.pub").public
    assert admission.holder("tx", public) is None and not admission.refresh()
    keyfolder.add(channel, "tx", board / "board-1.pub")
    assert admission.refresh()
    holder = admission.holder("tx", public)
    assert holder and (holder.name, holder.public) == ("board-1", public)
    assert admission.holder("rx", public) is None
    keyfolder.revoke(channel, "tx", "board-1")
    assert admission.refresh() and admission.holder("tx", public) is None
    # Another key under the name, so quickly that the clock of the disk may not have moved.
    keyfolder.add(channel, "tx", board / "board-1.pub")
    admission.refresh()
    keyfolder.revoke(channel, "tx", "board-1")
    keys.write_public(channel / "tx" / "board-1.pub", keys.make_pair("tx", "board-1").half)
    assert admission.refresh() and admission.holder("tx", public) is None
    assert admission.count("tx") == 1 and not said


def test_a_quick_look_sees_what_the_command_line_does(channel: Path, board: Path) -> None:
    admission = Admission(channel, lambda text: None)
    folder = channel / "tx"
    assert not admission.refresh(thorough=False)
    keyfolder.add(channel, "tx", board / "board-1.pub")
    os.utime(folder, ns=(0, 1))  # whatever the clock of the disk
    assert admission.refresh(thorough=False) and admission.count("tx") == 1
    keyfolder.revoke(channel, "tx", "board-1")
    os.utime(folder, ns=(0, 2))
    assert admission.refresh(thorough=False) and admission.count("tx") == 0
    # What hides from it is seen by the thorough one.
    keyfolder.add(channel, "tx", board / "board-1.pub")
    os.utime(folder, ns=(0, 2))
    assert not admission.refresh(thorough=False)
    assert admission.refresh() and admission.count("tx") == 1


def test_files_that_are_no_keys_admit_nobody_and_harm_nobody(channel: Path, board: Path) -> None:
    keyfolder.add(channel, "tx", board / "board-1.pub")
    own = (board / "board-1.pub").read_bytes()
    (channel / "tx" / "another.pub").write_bytes(own)  # not its name
    (channel / "tx" / "broken.pub").write_text("x")
    (channel / "tx" / "ignored.pub~").write_text("x")
    (channel / "rx" / "board-1.pub").write_bytes(own)  # not its door
    said: list[str] = []
    admission = Admission(channel, said.append)
    assert (admission.count("tx"), admission.count("rx")) == (1, 0) and len(said) == 3


def test_a_folder_that_cannot_be_read_admits_nobody(channel: Path, board: Path) -> None:
    keyfolder.add(channel, "tx", board / "board-1.pub")
    said: list[str] = []
    admission = Admission(channel, said.append)
    (channel / "tx").rename(channel / "away")
    assert admission.refresh() and admission.count("tx") == 0 and "nobody" in said[0]
    (channel / "away").rename(channel / "tx")
    assert admission.refresh() and admission.count("tx") == 1


def test_a_channel_folder_that_others_can_write_to_is_refused(channel: Path) -> None:
    for folder in (channel, channel / "tx", channel / "rx"):
        folder.chmod(0o720)
        with pytest.raises(KeyFileError, match="admit themselves"):
            keyfolder.read_channel(folder if folder == channel else channel)
        folder.chmod(0o755)  # to be read is no harm
        keyfolder.read_channel(channel)


# The command line


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["keys", *map(str, arguments)])
    assert result.exit_code == 0 and not result.exception, (result.output, result.exception)
    return result.output


def mistake(*arguments: object) -> str:
    """The sentence of a mistake, which ends with exit code 3."""
    result = CliRunner().invoke(app, ["keys", *map(str, arguments)])
    assert isinstance(result.exception, DiffJsccError), (result.output, result.exception)
    assert result.exception.exit_code == 3 and "a key" in EXIT_CODES[3]
    return sentence(result.exception)


def test_from_init_to_revoke(tmp_path: Path) -> None:
    channel, board, gpu = tmp_path / "keys/channel", tmp_path / "board-1", tmp_path / "g"
    assert "channel.pub" in run("init", "channel", channel)
    assert "copy channel.pub" in run("init", "tx", board)
    assert "copy" not in run(
        "init", "rx", gpu, "--name", "gpu-1", "--server", channel / "channel.pub"
    )
    key = keys.read_public(board / "board-1.pub")
    assert key.fingerprint in run("add", channel, "tx", board / "board-1.pub")
    run("add", channel, "rx", gpu / "gpu-1.pub")
    listed = run("list", channel).splitlines()
    assert [line.split()[0] for line in listed] == ["channel", "tx", "rx"]
    role, fingerprint, day, _, name = listed[1].split()
    assert (role, fingerprint, name) == ("tx", key.fingerprint, "board-1") and day[:2] == "20"
    run("revoke", channel, "tx", "board-1")
    assert len(run("list", channel).splitlines()) == 2
    run("add", channel, "tx", board / "board-1.pub")  # and admitted again
    (channel / "tx" / "odd.pub").write_text("x")
    assert "not admitted" in run("list", channel)


def test_every_mistake_is_a_sentence(tmp_path: Path, channel: Path, board: Path) -> None:
    public = board / "board-1.pub"
    assert "exists already" in mistake("init", "tx", board)
    assert "exists already" in mistake("init", "channel", channel)
    assert "is not a folder" in mistake("init", "tx", public / "below")
    assert "cannot make the folder" in mistake("init", "tx", public / "far" / "below")
    assert "no name for a key" in mistake("init", "tx", tmp_path / "a b")
    assert "no name for a key" in mistake("init", "tx", tmp_path / "x", "--name", "../x")
    assert "is the channel's" in mistake("init", "rx", tmp_path / "x", "--name", "channel")
    assert "not the channel's" in mistake("init", "rx", tmp_path / "x", "--server", public)
    secret = channel / "channel.secret"
    assert "secret key" in mistake("init", "rx", tmp_path / "x", "--server", secret)
    assert "cannot read" in mistake("init", "rx", tmp_path / "x", "--server", tmp_path / "no.pub")
    assert not (tmp_path / "x").exists()

    assert "not the key folder of a channel" in mistake("add", tmp_path / "no", "tx", public)
    assert "not the key folder of a channel" in mistake("add", board, "tx", public)
    assert "not the key folder of a channel" in mistake("list", board)
    assert "cannot read" in mistake("add", channel, "tx", board / "no.pub")
    assert "not a file" in mistake("add", channel, "tx", board)
    assert "is the key of a tx, not of an rx" in mistake("add", channel, "rx", public)
    assert "holds a secret key" in mistake("add", channel, "tx", board / "board-1.secret")
    run("add", channel, "tx", public)
    assert "admitted already, as tx 'board-1'" in mistake("add", channel, "tx", public)
    run("init", "tx", tmp_path / "second", "--name", "board-1")
    again = tmp_path / "second" / "board-1.pub"
    assert "another key already; revoke it first" in mistake("add", channel, "tx", again)

    assert "no tx 'board-2'" in mistake("revoke", channel, "tx", "board-2")
    assert "no rx 'board-1'" in mistake("revoke", channel, "rx", "board-1")
    assert "no name for a key" in mistake("revoke", channel, "tx", "../channel")
    (channel / "channel.secret").chmod(0o644)
    for words in (("list", channel), ("revoke", channel, "tx", "board-1")):
        assert "chmod 600" in mistake(*words)
    assert (channel / "tx" / "board-1.pub").exists()


def test_mistakes_of_a_client_folder(tmp_path: Path, channel: Path, board: Path) -> None:
    def client(folder: Path, role: keys.Role, name: str) -> str:
        with pytest.raises(KeyFileError) as caught:
            keyfolder.read_client(folder, role, name)
        return sentence(caught.value)

    assert "cannot read the key folder" in client(tmp_path / "no", "tx", "a")
    assert "is missing" not in client(channel, "tx", "a")
    assert "the key of the channel" in client(channel, "tx", "a")
    assert "the key of a tx" in client(board, "rx", "board-1")
    assert "--set tx.name=board-1" in client(board, "tx", "tx")
    (board / "channel.pub").rename(board / "else.pub")
    assert "channel.pub is missing" in client(board, "tx", "board-1")
    (board / "channel.pub").write_bytes((board / "board-1.pub").read_bytes())
    assert "not the channel's" in client(board, "tx", "board-1")
    keys.write_secret(board / "b.secret", keys.make_pair("tx", "b"))
    assert "several secret keys" in client(board, "tx", "board-1")


def test_a_mistake_at_the_shell(tmp_path: Path, board: Path) -> None:
    result = cli("keys", "list", board)
    assert result.returncode == 3 and result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr and len(result.stderr.splitlines()) == 1
    assert cli("keys", "add", board, "boss", "x").returncode == 2
    result = cli("channel", "--set", f"channel.keys={board}")
    assert result.returncode == 3 and "keys init channel" in result.stderr
    result = cli("tx", "--set", f"tx.keys={board}", "--set", "codec=null", "--out", tmp_path / "r")
    assert result.returncode == 3 and "--set tx.name=board-1" in result.stderr


def test_a_full_disk_is_no_mistake_about_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keys.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        keys.write_public(tmp_path / "a.pub", PublicKey("tx", "a", KEY))
    assert not (tmp_path / "a.pub").exists()
