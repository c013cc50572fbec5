"""Memory that stays: what is freed is used again, where the allocator is glibc."""

import subprocess
import sys

import pytest

from simulator import allocator

# Page faults of blocks beyond glibc's 32 MiB, taken and freed again and again.
PROGRAM = """
import resource, sys
import numpy as np
from simulator.allocator import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()
for _ in range(3):
    np.ones(40 << 20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(40 << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(word: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, word], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_pages_serve_again():
    if allocator.platform.libc_ver()[0] != "glibc":
        pytest.skip("needs glibc")
    assert faults("keep") < 0.1 * faults("as it is")


def test_another_allocator_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("musl", "1.2"))
    assert not allocator.keep_memory()
