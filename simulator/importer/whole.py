"""A network that ``torch.save`` has written whole: its tensors, and what its parts say.

Such a file names the classes of all parts and has their attributes. None of them is made: what
stands for a part is an ``Inert`` with the attributes of its pickle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from simulator.errors import ModelError
from simulator.importer.inert import Inert
from simulator.importer.source import Tensors, read_record

PARTS, HELD = "_modules", ("_parameters", "_buffers")


@dataclass
class Whole:
    """Tensors and parts by their names in the network; the network itself is the part ``""``."""

    tensors: Tensors = field(default_factory=dict)
    parts: dict[str, Inert] = field(default_factory=dict)


def read_whole(path: Path) -> Whole:
    """Raises ``ModelError`` for a file that holds something else."""
    record = read_record(path)
    if not isinstance(record, Inert) or PARTS not in record.state:
        raise ModelError(f"{path} holds no network that was saved whole.")
    found, waiting, seen = Whole(), [("", record)], set[int]()
    while waiting:
        prefix, part = waiting.pop()
        if id(part) in seen:  # a pickle may say that a part holds itself
            continue
        seen.add(id(part))
        found.parts[prefix] = part
        dotted = f"{prefix}." if prefix else ""
        for kind in HELD:
            for name, tensor in entries(part, kind):
                if isinstance(tensor, Tensor):
                    found.tensors[dotted + name] = tensor
        waiting += [
            (dotted + name, each) for name, each in entries(part, PARTS) if isinstance(each, Inert)
        ]
    return found


def entries(part: Inert, kind: str) -> Iterator[tuple[str, Any]]:
    held = part.state.get(kind)
    if isinstance(held, dict):
        yield from ((str(name), value) for name, value in held.items())
