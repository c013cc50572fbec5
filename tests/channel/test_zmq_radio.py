"""A radio behind sockets: what comes back, and one sentence for each thing that goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import zmq
from burst_world import AMPLITUDE, burst, through
from helpers import sentence

from channel.radio import Media, RadioMedium
from channel.shot import Shot
from channel.zmq_radio import ZmqRadio
from simulator.children import free_ports
from simulator.errors import AddressError
from simulator.link.clock import monotonic
from simulator.link.messages import WireError, WirePoint
from simulator.phy.pilots import pilot_symbols
from simulator.radio import RadioSettings
from simulator.settings import ChannelSettings

KINDS = {"pub-sub": (zmq.SUB, zmq.PUB), "push-pull": (zmq.PULL, zmq.PUSH)}
Answer = Callable[[np.ndarray], list[Any]]  # of what was sent, the messages that come back


def shot(name: int = 1, k: int = 500) -> Shot:
    made, frame = burst(name, k)
    return Shot(made, made.modulated(frame, 4, AMPLITUDE), "", lambda: np.zeros(0))


def on_air(samples: np.ndarray, snr_db: float = 20) -> np.ndarray:
    rng = np.random.default_rng(0)
    return through(samples, 4, snr_db, rng, delay=333.3, offset=0.002, gain=0.5j)


@contextmanager
def flow_graph(answer: Answer, sockets: str = "pub-sub", wait_s: float = 1.0) -> Iterator[ZmqRadio]:
    """A radio, and something at its other end that answers."""
    send, receive = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
    settings = RadioSettings.model_validate(
        {
            "sockets": sockets,
            "send": f"bind:{send}",
            "receive": f"connect:{receive}",
            "wait_s": wait_s,
            "max_offset_hz": 1e4,
        }
    )
    with zmq.Context() as context:
        source, sink = (context.socket(kind) for kind in KINDS[sockets])
        if sockets == "pub-sub":
            source.setsockopt(zmq.SUBSCRIBE, b"")
        sink.bind(receive)
        source.connect(send)
        radio = ZmqRadio(settings, 1e6, context)
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                if source.poll(20):
                    for message in answer(np.frombuffer(source.recv(), "<c8")):
                        sink.send_multipart(message if isinstance(message, list) else [message])

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield radio
        finally:
            stop.set()
            thread.join()
            radio.close()
            source.close(0)
            sink.close(0)


def failure(radio: ZmqRadio, what: Shot) -> WireError:
    began = monotonic()
    with pytest.raises(WireError) as error:
        radio.exchange(what)
    assert monotonic() - began < 1.5  # of wait_s 1
    assert "\n" not in error.value.reason and "Traceback" not in error.value.reason
    return error.value


def pieces(samples: np.ndarray, size: int) -> list[bytes]:
    return [samples[i : i + size].tobytes() for i in range(0, len(samples), size)]


@pytest.mark.parametrize("sockets", list(KINDS))
@pytest.mark.parametrize("size", [97, 1_000_000])
def test_a_burst_comes_back_in_pieces_of_any_size(sockets: str, size: int) -> None:
    what = shot()
    with flow_graph(lambda sent: pieces(on_air(sent), size), sockets) as radio:
        for _ in range(3):
            got = radio.exchange(what)
            assert got.snr_db == pytest.approx(20, abs=0.7)
            assert got.offset == pytest.approx(0.002, abs=1e-4)


def test_what_has_come_before_and_other_bursts_are_passed_over() -> None:
    old, what = shot(1), shot(2)

    def answer(sent: np.ndarray) -> list[bytes]:
        return pieces(np.concatenate([on_air(old.samples), on_air(sent)]), 4096)

    with flow_graph(answer) as radio:
        got = radio.exchange(what)
    _, frame = burst(2, 500)
    assert np.mean(np.abs(got.symbols - frame) ** 2) < 0.02


def test_a_radio_that_never_answers() -> None:
    with flow_graph(lambda sent: []) as radio:
        error = failure(radio, shot())
    assert error.code == "failed" and "no samples came from the radio within 1 s" in error.reason


@pytest.mark.parametrize("sockets", list(KINDS))
def test_nobody_at_the_other_end(sockets: str) -> None:
    ports = free_ports(2)
    settings = RadioSettings.model_validate(
        {
            "sockets": sockets,
            "send": f"bind:tcp://127.0.0.1:{ports[0]}",
            "receive": f"connect:tcp://127.0.0.1:{ports[1]}",
            "wait_s": 0.3,
        }
    )
    with zmq.Context() as context:
        radio = ZmqRadio(settings, 1e6, context)
        error = failure(radio, shot())
        radio.close()
    assert error.code == "failed" and "nobody takes the samples of bind:tcp" in error.reason


def test_silence() -> None:
    with flow_graph(lambda sent: pieces(on_air(0 * sent), 4096)) as radio:
        error = failure(radio, shot())
    assert error.code == "failed" and "no preamble was found" in error.reason
    assert "sample rate of 4e+06 Hz" in error.reason


def test_only_another_burst() -> None:
    old = shot(1)
    with flow_graph(lambda sent: pieces(on_air(old.samples), 4096)) as radio:
        error = failure(radio, shot(2))
    assert error.code == "failed" and "has heard other bursts" in error.reason


def with_nan(sent: np.ndarray) -> list[bytes]:
    heard = on_air(sent)
    heard[77] = np.nan
    return pieces(heard, 4096)


def with_infinity(sent: np.ndarray) -> list[bytes]:
    heard = on_air(sent)
    heard[78] = complex(0, np.inf)
    return pieces(heard, 4096)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda sent: [on_air(sent).tobytes()[:-3]], "not complex64 samples"),
        (lambda sent: [b"\x5f\xf0\1" + bytes(16) + on_air(sent).tobytes()], "without tags"),
        (lambda sent: [[b"key", on_air(sent).tobytes()]], "2 parts"),
        (with_nan, "not finite"),
        (with_infinity, "not finite"),
    ],
)
def test_malformed_samples(answer: Answer, told: str) -> None:
    with flow_graph(answer) as radio:
        error = failure(radio, shot())
        assert error.code == "failed" and told in error.reason


def test_lost_samples() -> None:
    def answer(sent: np.ndarray) -> list[bytes]:
        heard = on_air(sent)
        return pieces(np.delete(heard, slice(7000, 7333)), 4096)

    with flow_graph(answer) as radio:
        error = failure(radio, shot(k=1000))
    assert error.code == "failed" and "samples were lost" in error.reason


def test_a_burst_that_is_longer_than_the_wait_is_not_sent() -> None:
    with flow_graph(lambda sent: [], wait_s=0.001) as radio:
        error = failure(radio, shot())
    assert error.code == "unsupported" and "longer than channel.radio.wait_s" in error.reason


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("tcp://127.0.0.1:5560", "says neither bind: nor connect:"),
        ("bind:127.0.0.1:5560", "is not an address such as"),
        ("bind:tcp://0.0.0.0:5560", "can be reached from other machines"),
    ],
)
def test_addresses_that_cannot_be_used(address: str, told: str) -> None:
    with zmq.Context() as context, pytest.raises(AddressError) as error:
        ZmqRadio(RadioSettings(send=address), 1e6, context)
    assert told in sentence(error) and "channel.radio.send" in str(error.value)


def test_an_address_that_is_in_use() -> None:
    (port,) = free_ports(1)
    settings = {"radio": {"send": f"bind:tcp://127.0.0.1:{port}"}, **RADIO}
    with zmq.Context() as context:
        first = Media(ChannelSettings.model_validate(settings), context)
        with pytest.raises(AddressError, match="channel.radio.send: .* cannot be used"):
            Media(ChannelSettings.model_validate(settings), context)
        first.close()


RADIO = {"kind": "radio", "csir": "estimated", "csit": "average"}
POINT = WirePoint(channel="radio", snr_db=10.0, bandwidth_ratio="1/48")


def test_the_medium_gives_symbols_of_gain_1_and_the_snr_that_was_measured() -> None:
    k = 700
    symbols = burst(5, k)[1]
    with flow_graph(lambda sent: pieces(on_air(sent, 13), 1000)) as radio:
        medium = RadioMedium(ChannelSettings.model_validate(RADIO), radio, nonce=b"once")
        sent = np.concatenate([pilot_symbols(16), symbols[-k:]])
        first, again = (medium.transmit(bytes(32), POINT, k, sent) for _ in range(2))
    assert first.symbols.shape == (716,) and first.symbols.dtype == np.complex64
    for got in (first, again):
        assert got.snr_db == got.received_snr_db == pytest.approx(13, abs=0.6)
        assert np.vdot(sent, got.symbols) / np.vdot(sent, sent) == pytest.approx(1, abs=0.05)
        noise = np.mean(np.abs(got.symbols - sent) ** 2)
        assert -10 * np.log10(noise) == pytest.approx(13, abs=0.8)
    assert medium.csit(bytes(32), POINT, k).snr_db == 10  # what tx is given
    assert medium.law(POINT).uses(k) == 768 + 16 + k
