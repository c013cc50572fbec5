"""A radio behind the ZMQ blocks of GNU Radio: raw complex64 samples, without a header.

burst -PUB or PUSH-> flow graph -> antenna ... antenna -> flow graph -SUB or PULL-> samples
"""

from __future__ import annotations

from typing import Any

import numpy as np
import zmq

from channel.addresses import opened
from channel.shot import Shot
from simulator.link.clock import Clock, monotonic
from simulator.link.messages import WireError
from simulator.phy.hunt import PIECE, Hunt
from simulator.phy.synchronise import Received
from simulator.radio import RadioSettings

# An XPUB is a PUB that learns who has subscribed: else a burst for nobody would be lost unseen.
SOCKETS = {"pub-sub": (zmq.XPUB, zmq.SUB), "push-pull": (zmq.PUSH, zmq.PULL)}
FLUSH_S = 0.2


def failed(reason: str) -> WireError:
    """Another try may go better."""
    return WireError("failed", reason)


def samples_of(parts: list[bytes]) -> np.ndarray:
    """(n,) complex64 of a message. Raises ``WireError``."""
    size = sum(map(len, parts))
    if len(parts) != 1 or size % 8:
        raise failed(
            f"a message of {len(parts)} parts and {size} bytes from the radio is not complex64 "
            f"samples alone; set the block to complex, without tags and without a key"
        )
    samples = np.frombuffer(parts[0], "<c8")
    if not np.isfinite(samples.view("<f4")).all():
        raise failed("the radio has sent samples that are not finite")
    return samples


class ZmqRadio:
    """Raises ``AddressError``."""

    def __init__(
        self,
        radio: RadioSettings,
        symbol_rate_hz: float,
        context: zmq.Context[Any],
        insecure: bool = False,
        clock: Clock = monotonic,
    ) -> None:
        self._radio, self._clock = radio, clock
        self._symbol_rate_hz = symbol_rate_hz
        self._topics: set[bytes] = set()  # that somebody has subscribed to
        kind_out, kind_in = SOCKETS[radio.sockets]
        self._out = opened(context, kind_out, radio.send, insecure, "channel.radio.send")
        try:
            self._in = opened(context, kind_in, radio.receive, insecure, "channel.radio.receive")
        except BaseException:
            self._out.close(0)
            raise

    def exchange(self, shot: Shot) -> Received:
        radio = self._radio
        on_air_s = shot.burst.symbols / self._symbol_rate_hz
        if on_air_s > radio.wait_s:
            raise WireError(
                "unsupported",
                f"a burst of {on_air_s:.3g} s is longer than channel.radio.wait_s, "
                f"{radio.wait_s:g} s; send at a smaller bandwidth ratio or a higher symbol rate",
            )
        deadline = self._clock() + radio.wait_s
        self._flush()
        self._send(shot.samples, deadline)
        hunt = Hunt(shot.burst, radio.sps, radio.max_offset_hz / self._symbol_rate_hz)
        heard = False
        while (left_s := deadline - self._clock()) > 0:
            if not self._in.poll(max(1, int(left_s * 1000))):
                continue
            heard = True
            try:
                found = hunt.feed(self._waiting())
            except ValueError as error:
                raise failed(str(error)) from None
            if found is not None:
                return found
        raise failed(self._why_not(heard, hunt.strangers))

    def _why_not(self, heard: bool, strangers: bool) -> str:
        wait_s, rate_hz = self._radio.wait_s, self._radio.sps * self._symbol_rate_hz
        if not heard:
            return (
                f"no samples came from the radio within {wait_s:g} s; does the flow graph run, "
                f"and send to {self._radio.receive}"
            )
        if strangers:
            return (
                f"the radio has heard other bursts than this one within {wait_s:g} s; if it is "
                f"that late, raise channel.radio.wait_s"
            )
        return (
            f"no preamble was found within {wait_s:g} s of samples; check gain, frequency and the "
            f"sample rate of {rate_hz:g} Hz, and that the radio does not clip"
        )

    def _flush(self) -> None:
        """Forget what has come since the last burst; a stream that never pauses is not waited for,
        its burst is found wherever it is."""
        until = self._clock() + FLUSH_S
        while self._in.poll(0) and self._clock() < until:
            self._in.recv_multipart(zmq.DONTWAIT)

    def _send(self, samples: np.ndarray, deadline: float) -> None:
        """Raises ``WireError`` where nobody is there to take them."""
        while not self._taken():
            left_s = deadline - self._clock()
            ready = zmq.POLLIN if self._out.type == zmq.XPUB else zmq.POLLOUT
            if left_s <= 0 or not self._out.poll(max(1, int(left_s * 1000)), ready):
                raise failed(
                    f"nobody takes the samples of {self._radio.send}; does the flow graph run"
                )
        try:
            self._out.send(samples.tobytes(), zmq.DONTWAIT)
        except zmq.Again:
            raise failed("the flow graph takes no more samples; does it still run") from None

    def _taken(self) -> bool:
        """Whether somebody is there for samples."""
        if self._out.type != zmq.XPUB:
            return bool(self._out.poll(0, zmq.POLLOUT))
        while self._out.poll(0, zmq.POLLIN):
            said = self._out.recv(zmq.DONTWAIT)
            (self._topics.add if said[:1] == b"\1" else self._topics.discard)(said[1:])
        return bool(self._topics)

    def _waiting(self) -> np.ndarray:
        """What waits in the socket, up to a piece."""
        pieces, count = [], 0
        while count < PIECE and self._in.poll(0):
            pieces.append(samples_of(self._in.recv_multipart(zmq.DONTWAIT)))
            count += len(pieces[-1])
        return np.concatenate(pieces)

    def close(self) -> None:
        self._out.close(0)
        self._in.close(0)
