"""Frames of a stream in tx's ledger: announced when they come, gone when they have their row."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from simulator.link.ledger import LedgerError, TxLedger
from simulator.link.messages import WirePoint
from simulator.link.text import readable
from tx.source import Job


class Announced(msgspec.Struct, frozen=True):
    """A frame without its picture. ``path``, ``label``: ``readable``; ``size``: (H, W) where the
    ledger keeps its pixels, too; ``raw``: the bytes of a path that are not UTF-8."""

    path: str
    label: str
    draw_key: bytes
    image_sha256: bytes
    point: WirePoint
    size: tuple[int, int] | None
    raw: bytes | None = None
    notes: tuple[str, ...] = ()


def announce(ledger: TxLedger, job: Job) -> None:
    """Raises ``LedgerError``."""
    pixels = job.pixels
    size = None if pixels is None else (pixels.shape[0], pixels.shape[1])
    content = job.file if pixels is None else np.ascontiguousarray(pixels).data.cast("B")
    path = readable(str(job.path))
    made = Announced(
        path=path,
        label=readable(job.label),
        draw_key=job.draw_key,
        image_sha256=job.image_sha256,
        point=job.point,
        size=size,
        raw=os.fsencode(job.path) if content is None and path != str(job.path) else None,
        notes=job.notes,
    )
    ledger.announce(job.repeat, job.frame_id, msgspec.json.encode(made).decode(), content)


def announced(ledger: TxLedger) -> Iterator[Job]:
    """Frames of an earlier life of this process that have no row yet. Raises ``LedgerError``."""
    for number, frame_id, body, content in ledger.announced():
        try:
            made = msgspec.json.decode(body, type=Announced)
            pixels, file = None, content
            if made.size is not None and content is not None:
                file = None
                pixels = np.frombuffer(content, np.uint8).reshape(*made.size, 3)
        except (msgspec.MsgspecError, ValueError, TypeError):
            raise LedgerError(
                f"ledger {ledger.path} holds a frame that is damaged; use another output folder."
            ) from None
        yield Job(
            frame_id=frame_id,
            draw_key=made.draw_key,
            path=Path(made.path if made.raw is None else os.fsdecode(made.raw)),
            image_sha256=made.image_sha256,
            repeat=number,
            point=made.point,
            label=made.label,
            pixels=pixels,
            file=file,
            notes=made.notes,
        )
