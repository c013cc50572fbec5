"""The medium: what a frame meets on the air, as a function of its draw key.

grant     CSI for the transmitter        (perfect, average or delayed)
transmit  y^ = h y + n, equation (3)     as the law of the frame's kind of channel has it
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from simulator.air import AirSettings, check_kind
from simulator.errors import SettingsError, path_from
from simulator.link.messages import WireError
from simulator.phy.impairments import Place, applied, papr_db
from simulator.phy.law import Law
from simulator.phy.laws import Laws
from simulator.phy.own import CHANNELS
from simulator.phy.propagation import noise_variance
from simulator.phy.quantize import quantized
from simulator.phy.state import ChannelState
from simulator.phy.streams import complex_normal, stream
from simulator.textfile import read_text

NONE_LOST = np.empty(0, bool)


class OperatingPoint(Protocol):
    """``snr_db`` None: the medium's trace decides, by ``trace_index``."""

    @property
    def channel(self) -> str: ...
    @property
    def snr_db(self) -> float | None: ...
    @property
    def trace_index(self) -> int: ...


@dataclass(frozen=True)
class Reception:
    """What arrives at the antenna of a receiver, and the truth about it."""

    symbols: np.ndarray  # complex64, as many as the law says; (P + K,) at one antenna
    h: np.ndarray  # (count,) complex64, as the law has them
    h_abs2: float  # mean of abs(h)^2 over the symbols, of effective gains
    received_snr_db: float  # measured: faded signal power over noise power
    snr_db: float  # what the receiver is given
    papr_db: float  # of what the antenna sends
    lost: np.ndarray  # (packets,) bool
    feedback_bits: int = 0  # of a quantised CSIT


def read_trace(path: str) -> list[float]:
    """The column ``snr_db`` of a CSV file. Raises ``SettingsError``."""
    file = path_from(path)
    try:
        lines = read_text(file).splitlines()
        trace = [float(row["snr_db"]) for row in csv.DictReader(lines)]
    except OSError as error:
        raise SettingsError(f"SNR trace {path} cannot be read: {error.strerror}.") from None
    except UnicodeError as error:
        raise SettingsError(f"SNR trace {path} cannot be read: {error}.") from None
    except (KeyError, ValueError, TypeError, csv.Error):
        raise SettingsError(f"SNR trace {path} needs a column snr_db with numbers.") from None
    if not trace or not all(-100 <= value <= 100 for value in trace):
        raise SettingsError(f"SNR trace {path} needs at least one value within -100 to 100 dB.")
    return trace


@contextmanager
def of_plugin(kind: str) -> Iterator[None]:
    """What a plugin's channel raises, as ``SettingsError``."""
    try:
        yield
    except Exception as error:
        what = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise SettingsError(f"channel {kind!r} of a plugin fails: {what}{error}.") from error


class Medium:
    """Fading and noise under fixed settings; keeps no state from frame to frame.

    ``live``: says the newest SNR in dB, where neither a point nor a trace does; raises
    ``WireError`` while there is none.
    """

    by_radio = False

    def __init__(self, settings: AirSettings, live: Callable[[], float] | None = None) -> None:
        self.settings, self.live = settings, live
        self.laws = Laws(settings.waveform)
        self.impairments = settings.radio_impairments
        self.packets = settings.waveform.packets
        self.trace = read_trace(settings.snr_trace) if settings.snr_trace else []

    def law(self, point: OperatingPoint) -> Law:
        """Of the point's kind of channel."""
        return self.laws.of(point.channel)

    def check_kind(self, kind: str) -> None:
        """Raises ``WireError`` for one that this medium cannot emulate."""
        try:
            check_kind(kind, self.settings.csit)
        except ValueError as error:
            raise WireError("unsupported", str(error)) from None

    def snr_db(self, point: OperatingPoint) -> float:
        """Average SNR of a frame. Raises ``WireError`` where neither side says it."""
        if point.snr_db is not None:
            return point.snr_db
        if self.live:
            return self.live()
        if not self.trace:
            raise WireError("unsupported", "this channel has no SNR trace; ask for an SNR")
        return self.trace[point.trace_index % len(self.trace)]

    def given_snr_db(self, point: OperatingPoint) -> float:
        """What the codecs are given: the truth, or ``assumed_snr_db``."""
        return self._given(self.snr_db(point))

    def _given(self, snr_db: float) -> float:
        assumed = self.settings.assumed_snr_db
        return snr_db if assumed is None else assumed

    def stream(self, draw_key: bytes, name: str) -> np.random.Generator:
        """Of one purpose of one frame, in the version of draws that the settings say."""
        return stream(draw_key, name, self.settings.draw_version)

    def gains(self, draw_key: bytes, point: OperatingPoint, k: int) -> np.ndarray:
        """(count,) complex64, from the frame's own stream."""
        if point.channel == "awgn":  # needs no stream, and making one costs as much as a send
            return np.ones(self.law(point).count(k), np.complex64)
        generator = self.stream(draw_key, "h")
        if own := CHANNELS.get(point.channel):
            count, snr_db = self.law(point).count(k), self.snr_db(point)
            with of_plugin(point.channel):
                return own.gains(generator, snr_db, count)
        return self.law(point).gains(generator, k)

    def noise(self, draw_key: bytes, name: str, point: OperatingPoint, n: int) -> np.ndarray:
        """(n,) complex64 of unit variance, from the frame's own stream of that name."""
        generator = self.stream(draw_key, name)
        if own := CHANNELS.get(point.channel):
            snr_db = self.snr_db(point)
            with of_plugin(point.channel):
                return own.noises(generator, snr_db, n)
        return complex_normal(generator, n)

    def csit(self, draw_key: bytes, point: OperatingPoint, k: int) -> ChannelState:
        """What the transmitter is given; a gain of 1 under average CSIT."""
        s, snr_db = self.settings, self.given_snr_db(point)
        if s.csit == "average" or s.coherence_time:
            return ChannelState(snr_db)
        h = self.law(point).effective(self._told(draw_key, point, k), snr_db)
        if s.csit == "quantised" and point.channel != "awgn":
            h = quantized(h, s.csit_bits)
        return ChannelState(snr_db, h)

    def _told(self, draw_key: bytes, point: OperatingPoint, k: int) -> np.ndarray:
        """The gains that the transmitter knows, as the law has them."""
        h = self.gains(draw_key, point, k)
        if self.settings.csit == "delayed":
            generator = self.stream(draw_key, "csit")
            h = self.law(point).before(h, generator, self.settings.csit_delay_blocks)
        return h

    def likely(self, draw_key: bytes, point: OperatingPoint, k: int, count: int) -> np.ndarray:
        """(count, M) effective gains that the symbols may meet, as far as the transmitter can tell:
        what may have become of those that it knows, under delayed CSIT; else (1, M), these."""
        if self.settings.csit != "delayed":
            return self.csit(draw_key, point, k).h[None]
        law, told = self.law(point), self._told(draw_key, point, k)
        generator, delay = self.stream(draw_key, "likely"), self.settings.csit_delay_blocks
        # Gains that are so far apart have the same joint law in either order.
        now = [law.before(told, generator, delay) for _ in range(count)]
        return np.stack([law.effective(h, self.given_snr_db(point)) for h in now])

    def feedback_bits(self, point: OperatingPoint, gains: int) -> int:
        """Bits in which the transmitter gets that many gains: 0 unless CSIT is quantised."""
        if self.settings.csit != "quantised" or point.channel == "awgn":
            return 0
        return 2 * self.settings.csit_bits * gains

    def transmit(
        self, draw_key: bytes, point: OperatingPoint, k: int, symbols: np.ndarray, number: int = 0
    ) -> Reception:
        """Equation (3) on the (P + K,) symbols of a frame, in the round of that number: all see
        the same gains.

        The noise of the symbols has a stream of its own, so that pilots do not shift it.
        """
        snr_db = self.snr_db(point)  # once: a live one may change at any time
        given_db = self._given(snr_db)
        sigma = np.float32(noise_variance(snr_db) ** 0.5)
        h, law = self.gains(draw_key, point, k), self.law(point)
        p, n = law.received(k)
        which = f"/{number}" if number else ""
        noise = self.noise(draw_key, f"noise{which}", point, n)
        if p:
            noise = np.concatenate([self.noise(draw_key, f"pilots{which}", point, p), noise])
        noise *= sigma
        h_abs2 = np.abs(law.effective(h, snr_db)) ** 2
        symbols = law.shaped(symbols, h, k, given_db)
        samples = law.samples(symbols, k)
        sent = self._impaired("tx", draw_key, number, law, samples, k)
        if sent is not samples:
            symbols = law.symbols(sent, k)
        received = law.faded(symbols, h, k) + noise
        signal = received[p:] - noise[p:]
        ratio = energy_of(signal) / max(energy_of(noise[p:]), 1e-30)
        return Reception(
            symbols=self._heard(draw_key, number, law, received, k),
            h=h,
            h_abs2=float(np.mean(law.of_each_symbol(h_abs2, k)) if len(h_abs2) > 1 else h_abs2[0]),
            received_snr_db=float(10 * np.log10(max(ratio, 1e-30))),
            snr_db=given_db,
            papr_db=papr_db(sent),
            lost=self.lost(draw_key, k, number),
            feedback_bits=self.feedback_bits(point, len(h_abs2)),
        )

    def lost(self, draw_key: bytes, k: int, number: int = 0) -> np.ndarray:
        """(packets,) bool, which packets of K symbols do not arrive in the round of that number."""
        count = self.packets.count(k)
        if not count:
            return NONE_LOST
        which = f"packets/{number}" if number else "packets"
        return self.settings.packets.model.draw(self.stream(draw_key, which), count)

    def _impaired(
        self, place: Place, key: bytes, number: int, law: Law, samples: np.ndarray, k: int
    ) -> np.ndarray:
        """Samples of a round behind the impairments of one end, each with a stream of its own."""
        chain = [
            (each, self.stream(key, f"impairment/{i}/{number}"))
            for i, each in enumerate(self.impairments)
            if each.place == place
        ]
        return applied(chain, samples, law.times(k)) if chain else samples

    def _heard(self, key: bytes, number: int, law: Law, received: np.ndarray, k: int) -> np.ndarray:
        """What the receiver's radio makes of the received symbols."""
        if not any(each.place == "rx" for each in self.impairments):
            return received
        samples = self._impaired("rx", key, number, law, law.samples(received, k), k)
        return law.symbols(samples, k)

    def side_uses(self, point: OperatingPoint, nbytes: int) -> int:
        """Channel uses that side information is charged: at the capacity of the average SNR, or
        none where ``side`` is free. It arrives without error."""
        if not nbytes or self.settings.side == "free":
            return 0
        rate = np.log2(1 + 1 / noise_variance(self.snr_db(point)))
        return int(np.ceil(8 * nbytes / rate))

    def returned(
        self, draw_key: bytes, point: OperatingPoint, received: np.ndarray, number: int
    ) -> np.ndarray:
        """What a round brought, as it comes back to the transmitter: as it is, or behind the
        noise of the feedback channel, at ``feedback_snr_db`` of its mean power."""
        snr_db = self.settings.feedback_snr_db
        if snr_db is None:
            return received
        noise = self.noise(draw_key, f"feedback/{number}", point, len(received))
        power = energy_of(received) / len(received)
        return received + noise * np.float32((power * noise_variance(snr_db)) ** 0.5)


def joined(rounds: Sequence[Reception]) -> Reception:
    """The rounds of a frame as one: symbols in a row, figures over all of them."""
    first = rounds[0]
    if len(rounds) == 1:
        return first
    linear = np.mean([10 ** (each.received_snr_db / 10) for each in rounds])
    return replace(
        first,
        symbols=np.concatenate([each.symbols for each in rounds]),
        received_snr_db=float(10 * np.log10(linear)),
        papr_db=max(each.papr_db for each in rounds),
    )


def energy_of(values: np.ndarray) -> float:
    """Of complex64 values, all together."""
    flat = values.view(np.float32)
    return float(np.dot(flat, flat))
