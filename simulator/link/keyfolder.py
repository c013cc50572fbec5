"""Key folders: one a process.

    channel        channel.secret  channel.pub  tx/NAME.pub ...  rx/  watch/   who is admitted
    tx, rx, watch  NAME.secret  NAME.pub  channel.pub                          whom to trust

A key opens the door of its own role alone. A role's folder is the truth, and is read again while
the channel runs: to add is to write a file there, to revoke is to remove it. Key folders of before
there was a door for watching have no ``watch/``: nobody is admitted there.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from simulator.link.keys import (
    PUBLIC,
    SECRET,
    KeyFileError,
    KeyPair,
    PublicKey,
    Role,
    check_name,
    describe,
    make_pair,
    read_public,
    read_secret,
    reason,
    write_public,
    write_secret,
)

CHANNEL = "channel"
DOORS: tuple[Role, ...] = ("tx", "rx", "watch")
ADDED_LATER: Role = "watch"


def init(folder: Path, role: Role, name: str = "", server: Path | None = None) -> KeyPair:
    """A new folder (mode 0700) with a new pair. ``name``: of a tx, rx or page; the folder's if
    empty. ``server``: the channel's public file, which is copied. Raises ``KeyFileError``.
    """
    name = CHANNEL if role == CHANNEL else name or folder.absolute().name
    pair = make_pair(role, name)
    if role != CHANNEL and name == CHANNEL:
        raise KeyFileError("the name 'channel' is the channel's; choose another with --name.")
    trusted = read_server(server) if server and role != CHANNEL else None
    _make_folder(folder)
    write_secret(folder / f"{name}{SECRET}", pair)
    write_public(folder / f"{name}{PUBLIC}", pair.half)
    if role == CHANNEL:
        for door in DOORS:
            _make_folder(folder / door)
    elif trusted:
        write_public(folder / f"{CHANNEL}{PUBLIC}", trusted)
    return pair


def _make_folder(folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except FileExistsError as error:
        if error.filename != str(folder):  # a file where the way there should be
            raise KeyFileError(f"{error.filename} is not a folder.") from None
        raise KeyFileError(
            f"{folder} exists already; keys are made in a new folder, so that none is lost."
        ) from None
    except OSError as error:
        raise KeyFileError(f"cannot make the folder {folder}: {reason(error)}.") from None


def read_server(path: Path) -> PublicKey:
    """The channel's public key. Raises ``KeyFileError``."""
    key = read_public(path)
    if key.role != CHANNEL:
        raise KeyFileError(f"{path} is the key of {describe(key.role)}, not the channel's.")
    return key


# -- tx, rx, watch -----------------------------------------------------------------------------


def read_client(folder: Path, role: Role, name: str) -> tuple[KeyPair, str]:
    """(own pair, the channel's public key) of the tx or rx of that name; empty: of any.

    Raises ``KeyFileError``.
    """
    secrets = sorted(_files(folder, SECRET))
    if len(secrets) != 1:
        found = "several secret keys" if secrets else "no secret key"
        raise KeyFileError(
            f"{folder} holds {found}; make a folder with one: diffjscc keys init {role} FOLDER."
        )
    pair = read_secret(secrets[0])
    if pair.role != role:
        raise KeyFileError(f"{folder} holds the key of {describe(pair.role)}, not of {role}.")
    if name and pair.name != name:
        raise KeyFileError(
            f"{folder} holds the key of {pair.name!r}, and the channel knows it by that name: "
            f"add --set {role}.name={pair.name}."
        )
    server = folder / f"{CHANNEL}{PUBLIC}"
    if not _there(server):
        raise KeyFileError(f"{server} is missing: copy channel.pub there, from the channel's keys.")
    return pair, read_server(server).public


def _there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror}.") from None
    return True


def _files(folder: Path, suffix: str) -> Iterator[Path]:
    try:
        yield from (path for path in folder.iterdir() if path.name.endswith(suffix))
    except OSError as error:
        raise KeyFileError(f"cannot read the key folder {folder}: {error.strerror}.") from None


# -- the channel -----------------------------------------------------------------------------


def read_channel(folder: Path) -> KeyPair:
    """The channel's own pair, of a folder that nobody else can write to.

    Raises ``KeyFileError``.
    """
    secret = folder / f"{CHANNEL}{SECRET}"
    if not _there(secret):
        raise KeyFileError(
            f"{folder} is not the key folder of a channel; make one: "
            f"diffjscc keys init channel FOLDER."
        )
    pair = read_secret(secret)
    if pair.role != CHANNEL:
        raise KeyFileError(f"{secret} is the key of {describe(pair.role)}, not the channel's.")
    for each in (folder, *(folder / door for door in DOORS if has_door(folder, door))):
        try:
            mode = each.stat().st_mode
        except OSError as error:
            raise KeyFileError(f"cannot read the key folder {each}: {error.strerror}.") from None
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise KeyFileError(
                f"others can write to {each} (mode {stat.S_IMODE(mode):04o}) and so admit "
                f"themselves; run: chmod 700 {each}."
            )
    return pair


def has_door(folder: Path, door: Role) -> bool:
    """False where a key folder is older than that door."""
    return door != ADDED_LATER or _there(folder / door)


def admitted(folder: Path, door: Role) -> Iterator[PublicKey | KeyFileError]:
    """What the folder of a door holds, by file name; a file that is none as its error.

    Raises ``KeyFileError``.
    """
    if not has_door(folder, door):
        return
    for path in sorted(_files(folder / door, PUBLIC)):
        try:
            yield read_admitted(path, door)
        except KeyFileError as error:
            yield error


def read_admitted(path: Path, door: Role) -> PublicKey:
    """The key of one admitted file. Raises ``KeyFileError``."""
    key = read_public(path)
    if key.role != door:
        raise KeyFileError(f"{path} is the key of {describe(key.role)}, not of {describe(door)}.")
    if key.name != path.name.removesuffix(PUBLIC):
        raise KeyFileError(f"{path} holds the key of {key.name!r}; name and file must agree.")
    return key


def add(folder: Path, door: Role, file: Path) -> PublicKey:
    """Admit the key of a public file; returns it. Raises ``KeyFileError``."""
    read_channel(folder)
    key = read_public(file)
    if key.role != door:
        raise KeyFileError(f"{file} is the key of {describe(key.role)}, not of {describe(door)}.")
    path = folder / door / f"{key.name}{PUBLIC}"
    for other in admitted(folder, door):
        if isinstance(other, PublicKey) and other.public == key.public:
            raise KeyFileError(f"this key is admitted already, as {door} {other.name!r}.")
    if _there(path):
        raise KeyFileError(
            f"there is a {door} {key.name!r} with another key already; revoke it first, or make "
            f"the new key under another name."
        )
    key = replace(key, added=time.strftime("%Y-%m-%d %H:%M:%S%z"))
    # Written elsewhere and moved: a running channel must not see half a file.
    temporary = path.with_name(f".{key.name}.new")
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        temporary.unlink(missing_ok=True)
        write_public(temporary, key)
        temporary.rename(path)
    except OSError as error:
        raise KeyFileError(f"cannot write {path}: {reason(error)}.") from None
    return key


def revoke(folder: Path, door: Role, name: str) -> None:
    """Admit a key no longer. Raises ``KeyFileError``."""
    read_channel(folder)
    check_name(name)
    path = folder / door / f"{name}{PUBLIC}"
    try:
        path.unlink()
    except FileNotFoundError:
        raise KeyFileError(
            f"there is no {door} {name!r} in {folder}; diffjscc keys list {folder} shows who is."
        ) from None
    except OSError as error:
        raise KeyFileError(f"cannot remove {path}: {reason(error)}.") from None
