"""What a flow graph of GNU Radio with two antennas would do, as a process of its own.

    python radio_script.py pub-sub|push-pull TAKE GIVE SNR_DB SPS AMPLITUDE [FAULT]

Takes raw complex64 samples from TAKE (connected to, as a ZMQ Source does), and gives to GIVE
(bound, as a ZMQ Sink does) what has come of them: later by any fraction of a sample, turned, at a
carrier frequency offset, in noise, in pieces of any size. FAULT: what goes wrong with it.
"""

from __future__ import annotations

import sys

import numpy as np
import zmq

GAIN = 0.37 * np.exp(2.2j)
OFFSET = 0.004  # cycles per symbol


def passed(samples: np.ndarray, noise: float, sps: int, rng: np.random.Generator) -> np.ndarray:
    """Complex64, longer than what was sent."""
    size = 1 << (len(samples) + 8192).bit_length()
    delay = rng.uniform(0, 3000) if sps > 1 else rng.integers(0, 3000)
    spectrum = np.fft.fft(samples, size) * np.exp(-2j * np.pi * np.fft.fftfreq(size) * delay)
    late = np.fft.ifft(spectrum)[: len(samples) + 4096]
    turned = late * GAIN * np.exp(2j * np.pi * OFFSET / sps * np.arange(len(late)))
    added = rng.normal(size=(len(late), 2)) @ [1, 1j] * (noise / 2) ** 0.5
    return (turned + added).astype(np.complex64)


def main() -> None:
    kind, take, give, snr_db, sps, amplitude, *fault = sys.argv[1:]
    kinds = {"pub-sub": (zmq.SUB, zmq.PUB), "push-pull": (zmq.PULL, zmq.PUSH)}
    context = zmq.Context()
    source, sink = (context.socket(each) for each in kinds[kind])
    if kind == "pub-sub":
        source.setsockopt(zmq.SUBSCRIBE, b"")
    source.connect(take)
    sink.bind(give)
    rng = np.random.default_rng(7)
    noise = abs(GAIN) ** 2 * float(amplitude) ** 2 * int(sps) * 10 ** (-float(snr_db) / 10)
    while True:
        samples = np.frombuffer(source.recv(), "<c8")
        heard = passed(samples, noise, int(sps), rng)
        if "deaf" in fault:
            heard = passed(np.zeros_like(samples), noise, int(sps), rng)
        elif "nan" in fault:
            heard[100] = np.nan
        elif "torn" in fault:
            sink.send(heard.tobytes()[:-3])
            continue
        elif "mute" in fault:
            continue
        elif "gap" in fault:
            heard = np.delete(heard, slice(len(heard) // 2, len(heard) // 2 + 333))
        while len(heard):
            count = int(rng.integers(1, 5000))
            sink.send(heard[:count].tobytes())
            heard = heard[count:]


if __name__ == "__main__":
    main()
