"""Rows of frames, of what tx knows itself and what a RESULT says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simulator.link.clock import ClockOffset
from simulator.link.messages import Result
from simulator.link.rows import make_row
from simulator.link.text import readable
from tx.flight import STAGES, Flight
from tx.source import Job


def notes_of(flight: Flight) -> str:
    """What was converted, and why fewer symbols were sent than were asked for."""
    notes = (flight.loaded.notes if flight.loaded else "", flight.cap.why if flight.cap else "")
    return "; ".join(filter(None, notes))


@dataclass(frozen=True)
class RowMaker:
    """``offset``: to the channel's clock, as the session measures it."""

    run: str
    codec: str
    seed: int
    offset: ClockOffset

    def of(self, job: Job, flight: Flight) -> dict[str, Any]:
        """What tx knows of a frame."""
        what: dict[str, Any] = {
            "run": self.run,
            "frame_id": job.frame_id.hex(),
            "attempts": flight.attempts,
            "image": readable(str(job.path)),
            "repeat": job.repeat,
            "codec": self.codec,
            "cbr": job.point.bandwidth_ratio,
            "channel": job.point.channel,
            "snr_db": job.point.snr_db,
            "seed": self.seed,
        }
        loaded = flight.loaded
        if loaded is not None:
            what |= {
                "height": loaded.pixels.shape[0],
                "width": loaded.pixels.shape[1],
                "notes": notes_of(flight),
                "k": sum(map(len, flight.sent)) if flight.sent else loaded.k,
                "load_s": loaded.load_s,
                "tx_at_s": loaded.began_at + self.offset.offset_s,
                "tx_clock_error_s": self.offset.error_s,
            }
        return what

    def delivered(self, flight: Flight, result: Result, now: float) -> dict[str, Any]:
        """The row of a result. Without ``loaded``, the frame was sent by an earlier life of this
        process."""
        row = make_row()
        row |= {key: value for key, value in result.values.items() if key in row}
        # Last: what tx knows itself is not the receiver's to say.
        what = self.of(flight.job, flight)
        if flight.loaded is None or len(flight.sent) < flight.loaded.rounds:
            # The budget, or a part: what has arrived was sent before, and the receiver says it.
            what.pop("k", None)
        row |= what | {"status": "delivered", "receiver": result.receiver}
        notes = [notes_of(flight), result.values.get("notes")]
        row["notes"] = "; ".join(str(note) for note in notes if note)
        loaded, encoded = flight.loaded, flight.encoded
        if loaded is None or encoded is None:
            return row  # its times died with that process
        row["grant_wait_s"], row["encode_s"] = flight.grant_wait_s, flight.encode_s
        row["encode_j"] = flight.encode_j
        row["overhead_bytes"] = flight.overhead_bytes
        for stage in STAGES:
            if stage in flight.stages:
                arrival, elapsed = flight.stages[stage]
            elif stage in result.stages:
                # STAGE is best effort: its moment is reckoned back from RESULT.
                arrival, elapsed = now - result.stages[stage], float("nan")
            else:
                continue
            row[f"time_to_{stage}_s"] = arrival - loaded.began_at
            if stage == "preview" and elapsed == elapsed:
                inside = elapsed + (row["channel_queue_s"] or 0) + (row["airtime_observed_s"] or 0)
                row["wire_s"] = max(0.0, arrival - flight.sent_at - inside)
        return row
