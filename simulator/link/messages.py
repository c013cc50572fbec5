"""The messages of the link: typed headers, msgpack with caps, raw binary parts.

    FRAME    tx to channel   [msgpack header <= 64 KiB][complex64 symbols][reference RGB]
    ARRIVAL  channel to rx   [header][complex64 symbols][complex64 h of the blocks][reference RGB]

No other message has binary parts, and these have always all of theirs (an absent one is empty).
Whatever arrives is checked here: ``decode`` either returns a message or raises ``WireError`` with
a code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import msgpack  # type: ignore[import-untyped]
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simulator.link import constants as c

FrameId = Annotated[bytes, Field(min_length=16, max_length=16)]
DrawKey = Annotated[bytes, Field(min_length=32, max_length=32)]
Name = Annotated[str, Field(min_length=1, max_length=128)]
MAX_TEXT = 2000  # characters
Text = Annotated[str, Field(max_length=MAX_TEXT)]
Digest = Annotated[str, Field(max_length=128)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# NaN and infinity have no JSON, and rows are JSON.
Value = Text | int | Annotated[float, Field(allow_inf_nan=False)] | bool | None
Values = Annotated[dict[str, Value], Field(max_length=64)]
Code = Literal[
    "say-hello",  # no HELLO from this connection
    "bad-message",  # not a message of this protocol
    "bad-payload",  # wrong length, not finite, wrong power
    "no-grant",  # FRAME without a grant
    "stale",  # FRAME under channel settings that no longer hold
    "busy",  # queues are full
    "quota",  # too many REQUESTs of this tx are waiting
    "unsupported",  # the operating point cannot be emulated by this channel
    "failed",  # the receiver could not process the frame
    "receivers-lost",  # too many receivers died holding the frame
    "receiver-refused",  # to tx: a receiver came, and why it was turned away
    "version",  # REJECT: another protocol version
    "settings",  # REJECT: other result-changing settings within the run
    "codec",  # REJECT: a codec that nobody on the other side has
    "name",  # REJECT: the name is in use, or the key is another one's
    "revoked",  # REJECT: the key is admitted no longer
    "full",  # REJECT: too many clients
]


class WireError(Exception):
    """A message that cannot be accepted. ``code`` is what a NACK carries."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code: Code = code
        self.reason = reason


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: ClassVar[str]
    parts: ClassVar[int] = 0  # binary parts behind the header


class Point(BaseModel):
    """Operating point. ``snr_db`` None: the channel's trace decides, by ``trace_index``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    channel: Literal["awgn", "rayleigh", "rician"]
    snr_db: Annotated[float, Field(ge=-100, le=100)] | None
    bandwidth_ratio: Annotated[str, Field(max_length=16, pattern=r"^[0-9]+(/[0-9]+)?$")]
    trace_index: Count = 0

    @property
    def name(self) -> str:
        """Canonical text, part of the frame id."""
        snr = f"trace[{self.trace_index}]" if self.snr_db is None else f"{self.snr_db!r}dB"
        return f"{self.channel}@{snr}@{self.bandwidth_ratio}"


class Hello(Message):
    """``about``: what ``settings`` is the digest of, for sentences."""

    kind = "HELLO"
    version: int
    role: Literal["tx", "rx"]
    name: Name
    run: Annotated[str, Field(max_length=128)]
    settings: Digest
    codec: Annotated[str, Field(max_length=128)]
    about: Annotated[dict[Digest, Digest], Field(max_length=64)] = {}


class Welcome(Message):
    """The answer to HELLO; sent to tx again when the number of ``receivers`` that have its
    codec changes."""

    kind = "WELCOME"
    epoch: Digest
    settings: Digest
    pilots: Count
    coherence_time: Count
    receivers: Count


class Reject(Message):
    kind = "REJECT"
    code: Code
    reason: Text


class Request(Message):
    """``k``: the budget, the most symbols that the FRAME may have; a codec may need fewer."""

    kind = "REQUEST"
    frame_id: FrameId
    draw_key: DrawKey
    point: Point
    k: Annotated[int, Field(ge=1, le=c.MAX_SYMBOLS)]


class Grant(Message):
    kind = "GRANT"
    frame_id: FrameId
    snr_db: Finite
    h: tuple[Finite, Finite]
    settings: Digest


class Held(Message):
    kind = "HELD"
    frame_id: FrameId


class Air(BaseModel):
    """What the channel knows of a frame that has come through it.

    ``snr_db`` is what the receiver is told. ``h_abs2`` and ``received_snr_db`` are the truth,
    for the ledger's row only: the receiver chain never reads them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    tx: Name
    snr_db: Finite
    csit: Digest
    csir: Digest
    h_abs2: Seconds
    received_snr_db: Finite
    queue_s: Seconds
    airtime_modelled_s: Seconds
    airtime_observed_s: Seconds
    came_at_s: Finite  # arrival of the FRAME by the channel's monotonic clock


class Sent(BaseModel):
    """What tx says of the symbols that it sends, and the channel passes on."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    frame_id: FrameId
    draw_key: DrawKey
    point: Point
    k: Annotated[int, Field(ge=1, le=c.MAX_SYMBOLS)]
    pilots: Annotated[int, Field(ge=0, le=c.MAX_SYMBOLS)]
    codec: Annotated[str, Field(max_length=128)]
    height: Annotated[int, Field(ge=1, le=c.MAX_SIDE_PX)]
    width: Annotated[int, Field(ge=1, le=c.MAX_SIDE_PX)]
    label: Annotated[str, Field(max_length=512)]
    image_sha256: Annotated[bytes, Field(min_length=32, max_length=32)]
    settings: Digest


class Frame(Sent, Message):
    """From tx to the channel: symbols as they are sent."""

    kind = "FRAME"
    parts = 2


class Arrival(Sent, Message):
    """From the channel to rx: symbols as they are received."""

    kind = "ARRIVAL"
    parts = 3
    air: Air


class Ready(Message):
    """``slots``: frames the receiver can hold at once, those it holds already included."""

    kind = "READY"
    slots: Annotated[int, Field(ge=0, le=1024)]


class Stage(Message):
    kind = "STAGE"
    frame_id: FrameId
    tx: Name
    stage: Literal["preview", "refined"]
    elapsed_s: Seconds


class Result(Message):
    """``stages``: seconds from the stage to this RESULT, by the receiver's clock."""

    kind = "RESULT"
    frame_id: FrameId
    tx: Name
    receiver: Name
    settings: Digest
    values: Values
    stages: Annotated[dict[Literal["preview", "refined"], Seconds], Field(max_length=2)]


class Confirm(Message):
    kind = "CONFIRM"
    frame_id: FrameId
    receiver: Name


class Nack(Message):
    kind = "NACK"
    code: Code
    reason: Text
    frame_id: FrameId | None = None
    tx: Annotated[str, Field(max_length=128)] = ""


class Heartbeat(Message):
    """``times``: t1 by the sender; the answer adds t2 (arrival) and t3 (departure)."""

    kind = "HEARTBEAT"
    times: Annotated[list[Finite], Field(max_length=3)]
    epoch: Digest = ""
    running: Annotated[list[FrameId], Field(max_length=1024)] = []


KINDS: dict[str, type[Message]] = {
    cls.kind: cls
    for cls in (
        Hello,
        Welcome,
        Reject,
        Request,
        Grant,
        Held,
        Frame,
        Arrival,
        Ready,
        Stage,
        Result,
        Confirm,
        Nack,
        Heartbeat,
    )
}


def encode(message: Message, parts: Sequence[Any] = ()) -> list[Any]:
    """A message as the list of ZeroMQ parts to send."""
    header = message.model_dump()
    header["kind"] = message.kind
    return [msgpack.packb(header, use_bin_type=True), *parts]


def decode(parts: Sequence[Any]) -> tuple[Message, Sequence[Any]]:
    """(message, binary parts) of what arrived. Raises ``WireError``; never anything else."""
    if not 1 <= len(parts) <= c.MAX_PARTS:
        raise WireError("bad-message", f"a message of {len(parts)} parts")
    sizes = [len(part) for part in parts]
    if sizes[0] > c.MAX_HEADER_BYTES or sum(sizes) > c.MAX_MESSAGE_BYTES:
        raise WireError("bad-message", f"a message of {sum(sizes)} bytes is over the limit")
    try:
        fields = msgpack.unpackb(
            parts[0],
            raw=False,
            strict_map_key=True,
            max_array_len=1024,
            max_map_len=64,
            max_ext_len=0,
            max_str_len=4 * MAX_TEXT,  # UTF-8
            max_bin_len=4096,
        )
    except Exception as error:  # msgpack raises many types for hostile bytes
        raise WireError("bad-message", f"not msgpack: {type(error).__name__}") from None
    kind = fields.pop("kind", None) if isinstance(fields, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise WireError("bad-message", "a message of unknown kind")
    try:
        message = KINDS[kind].model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise WireError("bad-message", f"{kind}.{where}: {first['msg']}"[:500]) from None
    if len(parts) != 1 + message.parts:
        raise WireError("bad-message", f"{kind} with {len(parts)} parts")
    return message, parts[1:]


def symbols_of(frame: Sent, part: Any) -> np.ndarray:
    """(P + K,) complex64 of a frame's payload; raises ``WireError`` where it does not fit."""
    expected = 8 * (frame.k + frame.pilots)
    if len(part) != expected:
        raise WireError("bad-payload", f"{len(part)} bytes of symbols instead of {expected}")
    symbols = np.frombuffer(part, dtype="<c8")
    # One sum finds every NaN and infinity: cheaper than a mask of the same length.
    with np.errstate(invalid="ignore"):
        total = symbols.view("<f4").sum(dtype=np.float64)
    if not np.isfinite(total):
        raise WireError("bad-payload", "symbols that are not finite")
    return symbols


def check_reference(frame: Sent, part: Any) -> None:
    """A reference is absent or the RGB bytes of an image of the stated size."""
    if len(part) not in (0, 3 * frame.height * frame.width):
        raise WireError(
            "bad-payload", f"a reference of {len(part)} bytes for {frame.width}x{frame.height}"
        )
