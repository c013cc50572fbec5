"""CURVE keys in files: a pair, the secret file that stays, the public file that is sent.

Both are TOML with ``role``, ``name`` and ``public``; a secret file has ``secret``, too, and was
never readable by others, not even for a moment. Keys are Z85, as ZeroMQ writes them.
"""

from __future__ import annotations

import codecs
import errno
import hashlib
import os
import re
import stat
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

import zmq
from zmq.utils import z85

Role = Literal["channel", "tx", "rx", "watch"]
ROLES = cast(tuple[Role, ...], get_args(Role))
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # a safe file name
Z85_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
MAX_FILE_BYTES = 4096
SECRET, PUBLIC = ".secret", ".pub"
# What no other key can mend; the command line has a sentence for it.
STORAGE_ERRNOS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)


class KeyFileError(Exception):
    """A key, its file or its folder cannot be used; the text is one sentence."""


@dataclass(frozen=True)
class PublicKey:
    """Whose key it is. ``public`` is 40 characters of Z85."""

    role: Role
    name: str
    public: str
    added: str = field(default="", compare=False)  # when a channel admitted it

    @property
    def fingerprint(self) -> str:
        """128 bits of the key's SHA-256, in groups that can be read out on the telephone."""
        digest = hashlib.sha256(z85.decode(self.public)).hexdigest()[:32]
        return "-".join(digest[i : i + 4] for i in range(0, 32, 4))


@dataclass(frozen=True)
class KeyPair(PublicKey):
    secret: str = field(default="", repr=False)

    @property
    def half(self) -> PublicKey:
        """What may be shown to others."""
        return PublicKey(self.role, self.name, self.public)


def make_pair(role: Role, name: str) -> KeyPair:
    """A new pair from the system's randomness. Raises ``KeyFileError``."""
    check_name(name)
    if not zmq.has("curve"):
        raise KeyFileError(
            "this ZeroMQ was built without CURVE; install pyzmq from a wheel: "
            "pip install --force-reinstall pyzmq."
        )
    public, secret = zmq.curve_keypair()
    return KeyPair(role, name, public.decode(), secret=secret.decode())


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise KeyFileError(
            f"{name!r} is no name for a key; use up to 64 letters, digits, '.', '_' and '-', "
            f"the first a letter or digit."
        )


def describe(role: Role) -> str:
    return {"channel": "the channel", "tx": "a tx", "rx": "an rx", "watch": "a page"}[role]


# -- writing ---------------------------------------------------------------------------------


def reason(error: OSError) -> str:
    """Why, in words. A disk that is full or read-only is raised again: no key mends it."""
    if error.errno in STORAGE_ERRNOS:
        raise error
    return error.strerror or str(error)


def write_new(path: Path, text: str, mode: int) -> None:
    """A file that did not exist, with ``mode`` from its first byte. Raises ``KeyFileError``."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, mode)
    except FileExistsError:
        raise KeyFileError(f"{path} exists already; it is not overwritten.") from None
    except OSError as error:
        raise KeyFileError(f"cannot write {path}: {reason(error)}.") from None
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)  # half a key is none
        raise KeyFileError(f"cannot write {path}: {reason(error)}.") from None


def write_secret(path: Path, pair: KeyPair) -> None:
    head = f"# SECRET key of {describe(pair.role)}: it stays on this machine. Send {pair.name}.pub."
    write_new(path, f'{head}\n{_fields(pair)}secret = "{pair.secret}"\n', 0o600)


def write_public(path: Path, key: PublicKey) -> None:
    head = f"# Public key of {describe(key.role)}; it may be sent to anybody."
    added = f'added = "{key.added}"\n' if key.added else ""
    write_new(path, f"{head}\n{_fields(key)}{added}", 0o644)


def _fields(key: PublicKey) -> str:
    # Neither names nor Z85 have a character that TOML would want escaped.
    return f'role = "{key.role}"\nname = "{key.name}"\npublic = "{key.public}"\n'


# -- reading ---------------------------------------------------------------------------------


def read_public(path: Path) -> PublicKey:
    """The key of a public file. Raises ``KeyFileError``, for a secret file, too."""
    fields, _ = _read(path)
    if "secret" in fields:
        raise KeyFileError(
            f"{path} holds a secret key, where the public one is wanted "
            f"({Path(path).with_suffix(PUBLIC).name}); if it came from another machine, make a "
            f"new pair there: a secret that has travelled is none."
        )
    return _public_half(path, fields)


def read_secret(path: Path) -> KeyPair:
    """The pair of a secret file that only its owner can read. Raises ``KeyFileError``."""
    fields, mode = _read(path)
    if "secret" not in fields:
        raise KeyFileError(f"{path} holds no secret key; is it the public file?")
    if mode & 0o077:
        raise KeyFileError(
            f"{path} can be read by others (mode {stat.S_IMODE(mode):04o}); run: chmod 600 {path}, "
            f"or make a new pair if others may have read it."
        )
    half = _public_half(path, fields)
    secret = fields["secret"]
    if not is_key(secret) or zmq.curve_public(secret.encode()).decode() != half.public:
        raise KeyFileError(f"{path} is damaged: its secret and its public key are no pair.")
    return KeyPair(half.role, half.name, half.public, secret=secret)


def is_key(text: str) -> bool:
    """32 bytes in Z85."""
    if not Z85_KEY.fullmatch(text):
        return False
    try:
        return len(z85.decode(text)) == 32
    except Exception:  # five characters can say more than four bytes hold
        return False


def _read(path: Path) -> tuple[dict[str, str], int]:
    """(fields, file mode), of one open file: nobody can exchange it in between."""
    try:
        # Without waiting: a pipe under that name would never end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise KeyFileError(f"cannot read the key {path}: {error.strerror}.") from None
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise KeyFileError(f"{path} is not a file.")
        data = os.read(descriptor, MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KeyFileError(f"cannot read the key {path}: {error.strerror}.") from None
    finally:
        os.close(descriptor)
    try:
        if len(data) > MAX_FILE_BYTES:
            raise ValueError
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:2]:
            raise KeyFileError(f"{path} is UTF-16 text; copy the key file as it is.")
        fields = tomllib.loads(data.removeprefix(codecs.BOM_UTF8).decode("ascii"))
    except (ValueError, RecursionError):  # the errors of TOML and of text are ValueErrors
        raise KeyFileError(f"{path} is not a key file of diffjscc keys.") from None
    known = {"role", "name", "public", "secret", "added"}
    if not {"role", "name", "public"} <= set(fields) <= known or not all(
        isinstance(value, str) for value in fields.values()
    ):
        raise KeyFileError(f"{path} is not a key file of diffjscc keys.")
    return fields, mode


def _public_half(path: Path, fields: dict[str, str]) -> PublicKey:
    role, name, public = (fields[field] for field in ("role", "name", "public"))
    if role not in ROLES or not NAME.fullmatch(name):
        raise KeyFileError(f"{path} is damaged: it names no role and owner of a key.")
    if not is_key(public):
        raise KeyFileError(f"{path} is damaged: its key is not 40 characters of Z85.")
    return PublicKey(role, name, public, fields.get("added", "")[:40])
