"""What the link itself knows of a frame, by the keys of rows."""

from __future__ import annotations

from simulator.link.messages import Arrival, Value


def heard_of(frame: Arrival) -> dict[str, Value]:
    """Of a frame as it leaves the channel."""
    air, uses = frame.air, frame.uses + frame.side_uses
    return {
        "height": frame.height,
        "width": frame.width,
        "k": frame.k,
        "pilots": frame.pilots,
        "side_uses": frame.side_uses,
        "bandwidth_ratio": uses / (3 * frame.height * frame.width),
        "csit": air.csit,
        "csir": air.csir,
        "h_abs2": air.h_abs2,
        "received_snr_db": air.received_snr_db,
        "papr_db": air.papr_db,
        "feedback_bits": air.feedback_bits,
        "packets_lost": int.from_bytes(frame.lost, "big").bit_count(),
        "channel_queue_s": air.queue_s,
        "airtime_modelled_s": air.airtime_modelled_s,
        "airtime_observed_s": air.airtime_observed_s,
    }
