"""Frames of a stream in tx's ledger: announced when they come, gone when they have their row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from simulator.link.ledger import LedgerError, TxLedger
from simulator.link.messages import WirePoint
from tx.source import Job


class Announced(msgspec.Struct, frozen=True):
    """A frame without its picture. ``size``: (H, W) where the ledger keeps its pixels, too."""

    path: str
    label: str
    draw_key: bytes
    image_sha256: bytes
    point: WirePoint
    size: tuple[int, int] | None


def announce(ledger: TxLedger, job: Job) -> None:
    """Raises ``LedgerError``."""
    pixels = job.pixels
    size = None if pixels is None else (pixels.shape[0], pixels.shape[1])
    made = Announced(str(job.path), job.label, job.draw_key, job.image_sha256, job.point, size)
    content = job.file if pixels is None else np.ascontiguousarray(pixels).data.cast("B")
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
            path=Path(made.path),
            image_sha256=made.image_sha256,
            repeat=number,
            point=made.point,
            label=made.label,
            pixels=pixels,
            file=file,
        )
