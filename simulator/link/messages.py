"""The messages of the link: typed headers, msgpack with caps, raw binary parts.

    GRANT    channel to tx   [msgpack header <= 64 KiB][h][what was received in the round before]
    FRAME    tx to channel   [header][symbols][side information][reference RGB]
    ARRIVAL  channel to rx   [header][received][h][side information][reference RGB]
    PAIR     channel to rx   [header][received][h_1, h_2 and what tx knew of them][reference
                             RGB of user 1][that of user 2]
    STAGE    rx to tx        [header][picture]
    RESULT   rx to tx        [header][preview][refined image]

h: the gains of the frame, as the law of its kind of channel has them, which also says how many
values are received of P + K symbols; all these are complex64. Pictures are files (PNG, JPEG or
WebP), where tx has asked for them.
No other message has binary parts, and these have always all of theirs (an absent one is empty).
Whatever arrives is checked here: ``decode`` either returns a message or raises ``WireError`` with
a code.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Union

import msgspec
import numpy as np
from msgspec import Meta, Struct

from simulator.link import constants as c
from simulator.phy.laws import Waveform

LARGEST = sys.float_info.max  # NaN and infinity are not within it
# Which kinds there are, the channel knows: plugins add some.
Kind = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
FrameId = Annotated[bytes, Meta(min_length=16, max_length=16)]
DrawKey = Annotated[bytes, Meta(min_length=32, max_length=32)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
MAX_TEXT = 2000  # characters
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Digest = Annotated[str, Meta(max_length=128)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Finite = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
Seconds = Annotated[float, Meta(ge=0, le=LARGEST)]
# NaN and infinity have no JSON, and rows are JSON.
Value = Text | int | Finite | bool | None
Values = Annotated[dict[Text, Value], Meta(max_length=64)]
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


class Header(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a header holds. Checked where it is decoded, not where it is made."""


class Message(Header, frozen=True, tag=str.upper, tag_field="kind"):
    kind: ClassVar[str]
    parts: ClassVar[int] = 0  # binary parts behind the header

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.kind = cls.__name__.upper()


class WirePoint(Header, frozen=True):
    """Operating point. ``snr_db`` None: the channel's trace decides, by ``trace_index``."""

    channel: Kind
    snr_db: Annotated[float, Meta(ge=-100, le=100)] | None
    bandwidth_ratio: Annotated[str, Meta(max_length=16, pattern=r"\A[0-9]+(/[0-9]+)?\Z")]
    trace_index: Count = 0

    @property
    def name(self) -> str:
        """Canonical text, part of the frame id."""
        snr = f"trace[{self.trace_index}]" if self.snr_db is None else f"{float(self.snr_db)!r}dB"
        return f"{self.channel}@{snr}@{self.bandwidth_ratio}"


class Hello(Message, frozen=True):
    """``about``: what ``settings`` is the digest of, for sentences."""

    version: int
    role: Literal["tx", "rx"]
    name: Name
    run: Annotated[str, Meta(max_length=128)]
    settings: Digest
    codec: Annotated[str, Meta(max_length=128)]
    about: Annotated[dict[Digest, Digest], Meta(max_length=64)] = {}


class Welcome(Message, frozen=True):
    """The answer to HELLO; sent to tx again when the number of ``receivers`` that have its
    codec changes. ``symbol_rate_hz`` and ``guard_s`` say how long a frame takes the medium."""

    epoch: Digest
    settings: Digest
    waveform: Waveform
    receivers: Count
    symbol_rate_hz: Annotated[float, Meta(gt=0, le=LARGEST)]
    guard_s: Seconds


class Reject(Message, frozen=True):
    code: Code
    reason: Text


class Partner(Header, frozen=True):
    """The run of the other user, and how many frames it has."""

    run: Annotated[str, Meta(max_length=128)]
    frames: Count


class Place(Header, frozen=True):
    """Where a frame stands among the ``frames`` of its transmitter, from 0 on. ``user``: which one
    that takes itself to be; ``partner``: what it has been told of the other one, and keeps; None:
    nothing yet."""

    user: Literal[0, 1]
    index: Count
    frames: Count
    partner: Partner | None = None


class Request(Message, frozen=True):
    """``k``: the budget, the most symbols that all FRAMEs of it may have; a codec may need fewer.
    ``rounds``: FRAMEs that it is sent in, each under a GRANT of its own. ``place``: of a user that
    shares its channel uses with another one."""

    frame_id: FrameId
    draw_key: DrawKey
    point: WirePoint
    k: Annotated[int, Meta(ge=1, le=c.MAX_SYMBOLS)]
    rounds: Annotated[int, Meta(ge=1, le=c.MAX_ROUNDS)] = 1
    place: Place | None = None


class Grant(Message, frozen=True):
    """``number``: of the round that it is for. After round 0 it brings what the channel has
    delivered, and h as the receiver knows it: none where its pilots are to say it. ``partner``: of
    the other user, whose frame is on the same channel uses."""

    parts = 2
    frame_id: FrameId
    snr_db: Finite
    settings: Digest
    number: Annotated[int, Meta(ge=0, lt=c.MAX_ROUNDS)] = 0
    partner: Partner | None = None


class Held(Message, frozen=True):
    frame_id: FrameId


class Air(Header, frozen=True):
    """What the channel knows of a frame that has come through it.

    ``snr_db`` is what the receiver is told. ``h_abs2`` and ``received_snr_db`` are the truth,
    and ``papr_db`` is of what was sent; they are for the ledger's row only: the receiver chain
    never reads them.
    """

    tx: Name
    snr_db: Finite
    csit: Digest
    csir: Digest
    h_abs2: Seconds
    received_snr_db: Finite
    papr_db: Finite
    feedback_bits: Count
    queue_s: Seconds
    airtime_modelled_s: Seconds
    airtime_observed_s: Seconds
    came_at_s: Finite  # arrival of the FRAME by the channel's monotonic clock


class Returns(Header, frozen=True):
    """Which pictures tx wants back, and as what: the preview, or the refined image, too."""

    upto: Literal["preview", "refined"]
    format: Literal["png", "jpeg", "webp"] = "png"


class Sent(Header, frozen=True, kw_only=True):
    """What tx says of the symbols that it sends, and the channel passes on."""

    frame_id: FrameId
    draw_key: DrawKey
    point: WirePoint
    k: Annotated[int, Meta(ge=1, le=c.MAX_SYMBOLS)]
    pilots: Annotated[int, Meta(ge=0, le=c.MAX_SYMBOLS)]
    codec: Annotated[str, Meta(max_length=128)]
    height: Annotated[int, Meta(ge=1, le=c.MAX_SIDE_PX)]
    width: Annotated[int, Meta(ge=1, le=c.MAX_SIDE_PX)]
    label: Annotated[str, Meta(max_length=512)]
    image_sha256: Annotated[bytes, Meta(min_length=32, max_length=32)]
    settings: Digest
    returns: Returns | None = None


class Frame(Sent, Message, frozen=True):
    """From tx to the channel: symbols as they are sent, in the round of that ``number``. Side
    information and reference come with the first."""

    parts = 3
    number: Annotated[int, Meta(ge=0, lt=c.MAX_ROUNDS)] = 0


class Arrival(Sent, Message, frozen=True):
    """From the channel to rx: symbols as they are received, of all ``rounds`` in a row; ``k`` and
    ``pilots`` count them all. ``uses``: channel uses of both and of what the waveform adds to them;
    ``side_uses``: those that the side information is charged. ``lost``: a bit for each packet of
    symbols, 1 where it did not arrive; empty where there are none."""

    parts = 4
    air: Air
    rounds: Annotated[int, Meta(ge=1, le=c.MAX_ROUNDS)] = 1
    uses: Count = 0
    side_uses: Count = 0
    lost: Annotated[bytes, Meta(max_length=c.MAX_LOST_BYTES)] = b""


class Pair(Message, frozen=True):
    """From the channel to rx: the frames of two users that have come over the same channel uses.
    ``uses`` of each are those that it is charged. ``share``: the first user's part of the power;
    ``draws``: the version of the random draws."""

    parts = 4
    first: Arrival
    second: Arrival
    share: Annotated[float, Meta(gt=0, lt=1)]
    draws: Literal[1, 2]


class Ready(Message, frozen=True):
    """``slots``: frames the receiver can hold at once, those it holds already included.
    ``affinity``: of a transmitter it wants all frames, in their order, or none."""

    slots: Annotated[int, Meta(ge=0, le=1024)]
    affinity: bool = False


class Stage(Message, frozen=True):
    parts = 1
    frame_id: FrameId
    tx: Name
    stage: Literal["preview", "refined"]
    elapsed_s: Seconds


class Result(Message, frozen=True):
    """``stages``: seconds from the stage to this RESULT, by the receiver's clock. ``complete``:
    whether the pictures that tx wants are here, or are nowhere any more; else they have come with
    STAGE, and come again with the next offer."""

    parts = 2
    frame_id: FrameId
    tx: Name
    receiver: Name
    settings: Digest
    values: Values
    stages: Annotated[dict[Literal["preview", "refined"], Seconds], Meta(max_length=2)]
    complete: bool = True


class Confirm(Message, frozen=True):
    frame_id: FrameId
    receiver: Name


class Nack(Message, frozen=True):
    code: Code
    reason: Text
    frame_id: FrameId | None = None
    tx: Annotated[str, Meta(max_length=128)] = ""


class Heartbeat(Message, frozen=True):
    """``times``: t1 by the sender; the answer adds t2 (arrival) and t3 (departure)."""

    times: Annotated[list[Finite], Meta(max_length=3)]
    epoch: Digest = ""
    running: Annotated[list[FrameId], Meta(max_length=1024)] = []


KINDS: dict[str, type[Message]] = {cls.kind: cls for cls in Message.__subclasses__()}
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Union[tuple(KINDS.values())])  # noqa: UP007
_values_decoder = msgspec.msgpack.Decoder(Values)


def _number(value: Any) -> Any:
    """What numpy has computed, as Python has it."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"no header can hold a {type(value).__name__}")


ENCODER = msgspec.msgpack.Encoder(enc_hook=_number)  # of every header


def encode(message: Message, parts: Sequence[Any] = ()) -> list[Any]:
    """A message as the list of ZeroMQ parts to send."""
    header = msgspec.structs.asdict(message)
    header["kind"] = message.kind
    return [ENCODER.encode(header), *parts]


def decode(parts: Sequence[Any]) -> tuple[Message, Sequence[Any]]:
    """(message, binary parts) of what arrived. Raises ``WireError``; never anything else."""
    if not 1 <= len(parts) <= c.MAX_PARTS:
        raise WireError("bad-message", f"a message of {len(parts)} parts")
    sizes = [len(part) for part in parts]
    if sizes[0] > c.MAX_HEADER_BYTES or sum(sizes) > c.MAX_MESSAGE_BYTES:
        raise WireError("bad-message", f"a message of {sum(sizes)} bytes is over the limit")
    try:
        # By the types: a length is looked at before what it announces is made.
        message = _decoder.decode(parts[0])
    except msgspec.ValidationError as error:
        raise WireError("bad-message", f"{_kind_of(parts[0])}{error}"[:500]) from None
    except Exception as error:  # of hostile bytes there are many types
        raise WireError("bad-message", f"not msgpack: {type(error).__name__}") from None
    if len(parts) != 1 + message.parts:
        raise WireError("bad-message", f"{message.kind} with {len(parts)} parts")
    return message, parts[1:]


class _Kind(Struct):
    kind: Literal[tuple(KINDS)]  # type: ignore[valid-type]


def _kind_of(header: Any) -> str:
    """For a sentence about a header that is wrong."""
    try:
        return f"{msgspec.msgpack.decode(header, type=_Kind).kind}: "
    except Exception:
        return ""


def check_values(values: Any) -> None:
    """Raises ``WireError`` for those of a row that no RESULT could carry."""
    try:
        _values_decoder.decode(ENCODER.encode(values))
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise WireError("bad-message", f"a row that cannot be sent: {error}"[:500]) from None
