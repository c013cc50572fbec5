"""What somebody who watches a channel says, and what it answers. No part of the link: it has a door
of its own, and nothing that comes through it reaches a frame.

    LOOK   to the channel   [msgpack header <= 4 KiB]
    VIEW   to who watches   [msgpack header <= 64 KiB][a picture, or nothing]

Each LOOK is answered by one VIEW. It repeats the ``word`` of the last one, which shows that this
has come: so at most one VIEW is ever on its way to a page, and what a slow page misses is passed
over. A VIEW holds what has changed since the change that LOOK names, each frame as it is now.
Whatever arrives is checked here; ``WireError`` says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from simulator.link.messages import (
    ENCODER,
    Count,
    Digest,
    Finite,
    FrameId,
    Header,
    Name,
    Seconds,
    Text,
    Value,
    WireError,
)
from simulator.link.sockets import Bounds

VERSION = 1
MAX_LOOK_BYTES = 4 * 1024
MAX_VIEW_BYTES = 64 * 1024  # its header
MAX_PICTURE_BYTES = 4 * 2**20
POINTS = 256  # of a constellation
MAX_NAMED = 32  # transmitters, and receivers, that a VIEW names

#: Of the two sockets: what waits at the channel, and at the page.
AT_THE_DOOR = Bounds(4, MAX_LOOK_BYTES, 10_000)
AT_THE_PAGE = Bounds(4, MAX_PICTURE_BYTES)

Stage = Literal["preview", "refined"]
#: Where a frame is, as far as the channel knows.
State = Literal["at rx", "preview", "refined", "stored", "delivered", "failed"]
Word = Annotated[bytes, Meta(max_length=16)]
Kept = Annotated[dict[Text, Value], Meta(max_length=128)]


class PictureOf(Header, frozen=True):
    frame_id: FrameId
    stage: Stage


class Look(Header, frozen=True):
    """``after``: the last change that is known, of the channel process of that ``epoch``.
    ``picture``: one that is wanted."""

    version: int
    word: Word = b""
    epoch: Digest = ""
    after: Count = 0
    picture: PictureOf | None = None


class Passed(Header, frozen=True):
    """A frame as it is now. ``number``: 1 for the first that this channel process has passed on.
    ``heard``: what the channel knows, by the keys of rows; ``values``: the row of the receiver,
    once it has one. ``symbols``: some of the received ones, complex64; ``gain``: theirs, real and
    imaginary part, where they have one that the receiver knows. ``pictures``: those that are
    here, with their bytes; ``too_large``: those that are not for their size."""

    change: Count
    number: Count
    frame_id: FrameId
    state: State
    reason: Text
    heard: Annotated[dict[Digest, Value], Meta(max_length=48)]
    values: Kept
    stages: Annotated[dict[Stage, Seconds], Meta(max_length=2)]
    symbols: Annotated[bytes, Meta(max_length=8 * POINTS)]
    gain: Annotated[list[Finite], Meta(max_length=2)]
    pictures: Annotated[dict[Stage, Count], Meta(max_length=2)]
    too_large: Annotated[list[Stage], Meta(max_length=2)]


class ReceiverNow(Header, frozen=True):
    name: Name
    slots: Count
    holds: Count


class Status(Header, frozen=True):
    """What the channel holds now. ``states``: of all frames that this process has passed on.
    ``refused``: messages by the code of the refusal. Of ``tx`` and ``rx`` at most ``MAX_NAMED`` are
    named, of all that are counted."""

    passed_on: Count
    states: Annotated[dict[State, Count], Meta(max_length=6)]
    waiting: Count
    admitted: Count
    returning: Count
    queued: Count
    held_bytes: Count
    refused: Annotated[dict[Digest, Count], Meta(max_length=64)]
    tx: Annotated[list[Name], Meta(max_length=MAX_NAMED)]
    tx_count: Count
    rx: Annotated[list[ReceiverNow], Meta(max_length=MAX_NAMED)]
    rx_count: Count
    pages: Count


class View(Header, frozen=True):
    """``after``: the last change of those in ``frames``; ``more``: whether there are later ones.
    ``picture``: which one comes beside it; ``refused``: why there is nothing else, as a sentence.
    """

    version: int
    epoch: Digest = ""
    word: Word = b""
    after: Count = 0
    more: bool = False
    status: Status | None = None
    frames: Annotated[list[Passed], Meta(max_length=512)] = field(default_factory=list)
    picture: PictureOf | None = None
    refused: Text = ""


class _Version(Struct):
    """The only field that no version may change."""

    version: int


T = TypeVar("T", Look, View)
_LOOKS, _VIEWS = msgspec.msgpack.Decoder(Look), msgspec.msgpack.Decoder(View)


def encode(message: Look | View, *parts: Any) -> list[Any]:
    """The ZeroMQ parts to send."""
    return [ENCODER.encode(message), *parts]


def decode_look(parts: Sequence[bytes]) -> Look:
    """Raises ``WireError``: ``version`` for another one."""
    return _decode(_LOOKS, parts, 1, MAX_LOOK_BYTES)


def decode_view(parts: Sequence[bytes]) -> tuple[View, bytes]:
    """(VIEW, picture). Raises ``WireError``."""
    view = _decode(_VIEWS, parts, 2, MAX_VIEW_BYTES)
    if len(parts[1]) > MAX_PICTURE_BYTES:
        raise WireError("bad-message", f"a picture of {len(parts[1])} bytes")
    return view, parts[1]


def _decode(
    decoder: msgspec.msgpack.Decoder[T], parts: Sequence[bytes], count: int, limit: int
) -> T:
    if len(parts) != count or len(parts[0]) > limit:
        raise WireError(
            "bad-message", f"{len(parts)} parts, of {[len(part) for part in parts[:4]]}"
        )
    try:
        version = msgspec.msgpack.decode(parts[0], type=_Version).version
        if version != VERSION:
            raise WireError("version", f"version {version} of watching, not {VERSION}")
        return decoder.decode(parts[0])
    except WireError:
        raise
    except Exception as error:  # of hostile bytes there are many types
        raise WireError("bad-message", str(error)[:200]) from None
