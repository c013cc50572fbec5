"""Previews and scores are the same bits, whatever the number of threads and the processor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from simulator.threads import one_thread

# A preview and its scores as rx computes them, at sizes where threads share the work.
COMPUTE = """
import sys
import numpy as np
import torch
from rx.chain import make_decoder
from simulator.metrics.scorer import Scorer
from simulator.jscc.signal import ToDecode
from simulator.phy.state import ChannelState

STATE = ChannelState(4.0, np.array([0.7 + 0.3j], np.complex64))
decoder, scorer = make_decoder("compact", "cpu"), Scorer()
for threads in (1, 2, 3):
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    found = []
    for size, k in (((96, 128), 96), ((200, 304), 494), ((512, 768), 3072)):
        symbols = (rng.normal(size=(k, 2)) @ [1, 1j] / 2**0.5).astype(np.complex64)
        pixels = decoder.decode(ToDecode(symbols, STATE, size))
        reference = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        found.append((hash(pixels.tobytes()), sorted(scorer.score(pixels, reference).items())))
    assert torch.get_num_threads() == threads
    print(found)
"""

PROCESSORS = {
    "this": {},
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2"},
    "SSE": {
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
    },
}


@pytest.mark.parametrize("processor", PROCESSORS)
def test_previews_and_scores_do_not_depend_on_threads(processor: str) -> None:
    environment = os.environ | PROCESSORS[processor]
    done = subprocess.run(
        [sys.executable, "-c", COMPUTE],
        env=environment,
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, two, three = done.stdout.splitlines()
    assert one == two == three and "lpips" in one


def test_threads_are_given_back_after_an_error() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ValueError, match="in the middle"), one_thread():
            assert torch.get_num_threads() == 1
            raise ValueError("in the middle")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
