"""From received symbols to the first image.

    received -hear-> Heard, h estimated or given -equalise (4)-> decode (5) -> preview

Where the preview has a decoder of its own (``rx.preview``), the codec's decodes the image that
is refined: what pleases the eye is not the best condition.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from simulator.errors import SettingsError
from simulator.jscc.beside import Beside
from simulator.jscc.folder import WEIGHTLESS
from simulator.jscc.rates import layout_of, null_symbols
from simulator.jscc.signal import Signal, ToDecode, ToEncode
from simulator.link.clock import Clock, monotonic
from simulator.link.messages import Arrival, WireError
from simulator.link.payloads import lost_of, values_of
from simulator.phy.law import Law
from simulator.phy.packets import Packets
from simulator.phy.reception import Equalizer, Heard
from simulator.phy.state import ChannelState


class Decoder(Protocol):
    """(K,) equalised symbols -> (H, W, 3) uint8. ``rounds``: that they come in; ``zero_forcing``:
    whether it takes symbols of that equaliser alone."""

    @property
    def rounds(self) -> int: ...

    @property
    def zero_forcing(self) -> bool: ...

    def decode(self, given: ToDecode) -> np.ndarray: ...

    def encode(self, given: ToEncode) -> Signal[np.ndarray]:
        """As the transmitter does it: what is known of one user is taken from what is received."""
        ...

    def said(self, given: ToDecode) -> Beside:
        """What came of the image beside the symbols. Raises ``SettingsError`` for damaged bytes."""
        ...

    def conditioned(self, state: ChannelState) -> ChannelState:
        """The channel state that refining is conditioned on: ``state``, or the better one that all
        rounds together amount to."""
        ...


class NullDecoder:
    """One grey; no torch. For measuring the link alone."""

    rounds = 1
    zero_forcing = False

    def decode(self, given: ToDecode) -> np.ndarray:
        return np.full((*given.size, 3), 128, np.uint8)

    def encode(self, given: ToEncode) -> Signal[np.ndarray]:
        return Signal(null_symbols(layout_of(given.ratio, given.size).k))

    def said(self, given: ToDecode) -> Beside:
        return Beside()

    def conditioned(self, state: ChannelState) -> ChannelState:
        return state


class SlowDecoder:
    """One that takes at least ``seconds`` for a frame: that of a slower machine."""

    def __init__(self, decoder: Decoder, seconds: float) -> None:
        self._decoder, self._seconds = decoder, seconds
        self.rounds, self.zero_forcing = decoder.rounds, decoder.zero_forcing
        self.conditioned, self.said = decoder.conditioned, decoder.said
        self.encode = decoder.encode

    def decode(self, given: ToDecode) -> np.ndarray:
        ends = monotonic() + self._seconds
        pixels = self._decoder.decode(given)
        time.sleep(max(0.0, ends - monotonic()))
        return pixels


def make_decoder(codec: str, device: str, half: bool = False) -> Decoder:
    """The decoder of a codec folder, warm; ``half``: in bfloat16. Raises ``ModelError``."""
    if codec in WEIGHTLESS:
        return NullDecoder()
    from simulator.jscc.checkpoint import load_codec
    from simulator.jscc.ends import CodecEnds

    ends = CodecEnds(load_codec(codec, device), device, half)
    ends.warm_up()
    return ends


@dataclass(frozen=True)
class Decoders:
    """``preview``'s image is shown, ``condition``'s is refined; None: the same one."""

    preview: Decoder
    condition: Decoder | None = None


@dataclass(frozen=True)
class Preview:
    """(H, W, 3) uint8, what the decoder was given, and what was said of the image."""

    pixels: np.ndarray
    given: ToDecode
    said: Beside
    equalize_s: float
    decode_s: float


def gains_beside(frame: Arrival, part: Any) -> np.ndarray:
    """Gains that came beside a frame; none where its pilots are to say them."""
    if frame.pilots:
        return np.empty(0, np.complex64)
    if not len(part) or len(part) % 8:
        raise WireError("bad-payload", "an ARRIVAL without pilots needs its gains")
    return np.frombuffer(part, dtype="<c8")


def receive_preview(
    frame: Arrival,
    parts: Sequence[Any],
    law: Law,
    packets: Packets,
    equalizer: Equalizer,
    decoder: Decoder,
    clock: Clock,
) -> Preview:
    """The JSCC reconstruction of an ARRIVAL. Raises ``WireError`` where the payload is not one, and
    ``SettingsError`` for side information that cannot be read."""
    began = clock()
    k = frame.k // frame.rounds
    try:
        if frame.pilots != frame.rounds * law.pilots(k):
            raise ValueError(f"{frame.pilots} pilots instead of {frame.rounds * law.pilots(k)}")
        received = values_of(parts[0], frame.rounds * sum(law.received(k)))
        h = gains_beside(frame, parts[1])
        heard = law.hear(received, h, k, frame.air.snr_db, frame.rounds)
        lost = lost_of(frame, packets.count(frame.k))
        heard = heard.without(packets.erased(lost, frame.k))
    except ValueError as error:
        raise WireError("bad-payload", str(error)) from None
    given = given_to_decoder(heard, equalizer, (frame.height, frame.width), bytes(parts[2]))
    equalized = clock()
    said, pixels = decoder.said(given), decoder.decode(given)
    return Preview(pixels, given, said, equalized - began, clock() - equalized)


def given_to_decoder(
    heard: Heard, equalizer: Equalizer, size: tuple[int, int], side: bytes
) -> ToDecode:
    """What comes out of the equaliser."""
    symbols, noise = heard.equalised(equalizer), heard.noise_variance(equalizer)
    return ToDecode(symbols, heard.state, size, noise, side, heard.block, heard.mixing)


def check_equalizer(decoder: Decoder, equalizer: Equalizer) -> None:
    """Raises ``SettingsError`` where the rounds of a frame cannot be put together, or a decoder
    cannot work with what the equaliser makes."""
    if equalizer == "zero-forcing":
        return
    if decoder.rounds > 1:
        raise SettingsError(
            f"a codec of {decoder.rounds} rounds needs zero forcing, not {equalizer}; leave the "
            f"equalizer out."
        )
    if decoder.zero_forcing:
        raise SettingsError(
            f"this codec equalises anew what zero forcing gives, not {equalizer}; leave the "
            f"equalizer out."
        )


def condition_of(preview: Preview, decoders: Decoders) -> np.ndarray:
    """The image to refine, (H, W, 3) uint8."""
    if decoders.condition is None:
        return preview.pixels
    return decoders.condition.decode(preview.given)
