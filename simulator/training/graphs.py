"""Training steps replayed as CUDA graphs: a network of small layers waits for Python otherwise.

    a step of a new key: computed as always (``WARM_UP`` times), then recorded, then replayed

A recorded step reads its batch from tensors of its own, which each replay fills. All that it
changes (weights, moments, the learning rate) stays in place; what it computes on the way lies in
a pool that all graphs share, as only one runs at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3  # steps: libraries choose their algorithms, Adam makes its moments


@dataclass
class Recorded:
    graph: torch.cuda.CUDAGraph
    batch: dict[str, Any]  # what it reads
    result: Tensor  # what it returns


class Graphs:
    """``step(batches)`` for batches of one key at a time."""

    def __init__(self, step: Callable[[list[dict[str, Any]]], Tensor]) -> None:
        self._step = step
        self._seen: dict[Hashable, int] = {}
        self._recorded: dict[Hashable, Recorded] = {}
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def run(self, key: Hashable, batch: dict[str, Any]) -> Tensor:
        """What the step returns, which the next step of this key overwrites."""
        if key not in self._recorded:
            seen = self._seen[key] = self._seen.get(key, 0) + 1
            if seen <= WARM_UP:
                return self._aside(batch)
            self._recorded[key] = self._record(batch)
        recorded = self._recorded[key]
        for name, value in recorded.batch.items():
            if isinstance(value, Tensor):
                value.copy_(batch[name])
        recorded.graph.replay()
        return recorded.result

    def _aside(self, batch: dict[str, Any]) -> Tensor:
        """On the stream that records: autograd remembers where gradients were accumulated."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            result = self._step([batch])
        torch.cuda.current_stream().wait_stream(self._stream)
        return result

    def _record(self, batch: dict[str, Any]) -> Recorded:
        own = {k: v.clone() if isinstance(v, Tensor) else v for k, v in batch.items()}
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        # Other threads go on cutting crops on the device meanwhile.
        with torch.cuda.graph(graph, self._pool, self._stream, "thread_local"):
            result = self._step([own])
        return Recorded(graph, own, result)
