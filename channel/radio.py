"""The medium of a real radio, and which medium the settings ask for.

frame -Burst-> samples -Radio-> what came of them -> the symbols of the frame, of gain 1
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

import numpy as np
import zmq

from channel.live_snr import LiveSnr
from channel.medium import NONE_LOST, Medium, OperatingPoint, Reception
from channel.shot import Radio, Shot
from channel.sigmf_radio import SigmfReader, SigmfWriter
from channel.zmq_radio import ZmqRadio
from simulator.phy.burst import Burst
from simulator.phy.impairments import papr_db
from simulator.phy.propagation import noise_variance
from simulator.phy.state import ONE, ChannelState
from simulator.phy.streams import complex_normal
from simulator.settings import ChannelSettings


class RadioMedium(Medium):
    """What a radio makes of a frame. Unlike emulated noise it is no function of the draw key: a
    frame that is sent again meets other noise, and its row has the SNR that was measured.

    ``nonce``: makes the bursts of this process differ from those of another; empty where they are
    to be found again by a later run of the same settings.
    """

    by_radio = True

    def __init__(
        self,
        settings: ChannelSettings,
        radio: Radio,
        live: LiveSnr | None = None,
        nonce: bytes = b"",
    ) -> None:
        super().__init__(settings, live.newest if live else None)
        self._radio, self._nonce, self._sent = radio, nonce, 0
        self._sps, self._amplitude = settings.radio.sps, settings.radio.amplitude

    def csit(self, draw_key: bytes, point: OperatingPoint, k: int) -> ChannelState:
        """The average: the SNR that the point, a trace or a live source says."""
        return ChannelState(self.given_snr_db(point))

    def transmit(
        self, draw_key: bytes, point: OperatingPoint, k: int, symbols: np.ndarray, number: int = 0
    ) -> Reception:
        """The (P + K,) symbols of a frame, by way of the radio. ``h`` is 1, since the gain is taken
        out; both SNRs are what was measured over the preamble. Raises ``WireError``."""
        burst = Burst(self._name(draw_key, point, k, number), symbols[: len(symbols) - k], k)
        samples = burst.modulated(symbols, self._sps, self._amplitude)

        def noise() -> np.ndarray:
            variance = self._amplitude**2 * self._sps * noise_variance(self.snr_db(point))
            each = complex_normal(self.stream(draw_key, f"samples/{number}"), len(samples))
            return each * np.float32(variance**0.5)

        comment = f"draw key {draw_key.hex()[:16]}, {len(symbols) - k} pilots, {k} symbols"
        came = self._radio.exchange(Shot(burst, samples, comment, noise))
        assumed = self.settings.assumed_snr_db
        return Reception(
            symbols=came.symbols,
            h=ONE,
            h_abs2=1.0,
            received_snr_db=came.snr_db,
            snr_db=came.snr_db if assumed is None else assumed,
            papr_db=papr_db(symbols),
            lost=NONE_LOST,
        )

    def _name(self, draw_key: bytes, point: OperatingPoint, k: int, number: int) -> bytes:
        """Of one burst: no other frame has it, and with a nonce no other try."""
        self._sent += 1
        said = f"{point.snr_db} {point.trace_index} {k} {number}".encode()
        once = self._nonce + self._sent.to_bytes(8, "little") if self._nonce else b""
        return hashlib.sha256(draw_key + said + once).digest()


class Media:
    """The medium that settings ask for, and what is open for it. Raises ``AddressError`` and
    ``SettingsError``."""

    def __init__(self, settings: ChannelSettings, context: zmq.Context[Any]) -> None:
        self._open: list[Radio | LiveSnr] = []
        try:
            self.medium = self._made(settings, context)
        except BaseException:
            self.close()
            raise

    def _made(self, settings: ChannelSettings, context: zmq.Context[Any]) -> Medium:
        radio, insecure, live = settings.radio, settings.insecure, None
        if settings.snr_source:
            live = LiveSnr(settings.snr_source, context, insecure)
            self._open.append(live)
        if not settings.by_radio:
            return Medium(settings, live.newest if live else None)
        made: Radio
        nonce = b""
        if radio.via == "zmq":
            made = ZmqRadio(radio, settings.symbol_rate_hz, context, insecure)
            nonce = secrets.token_bytes(8)
        elif radio.write:
            made = SigmfWriter(radio, settings.symbol_rate_hz)
        else:
            made = SigmfReader(radio, settings.symbol_rate_hz)
        self._open.append(made)
        return RadioMedium(settings, made, live, nonce)

    def close(self) -> None:
        for each in self._open:
            each.close()
