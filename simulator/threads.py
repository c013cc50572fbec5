"""Numbers that must not depend on how many threads there are: they are computed on one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch computes on one thread of the processor.

    Several threads share a sum in another order, by how many they are and by processor, and
    the last bit decides to which of 256 levels a pixel is rounded.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
