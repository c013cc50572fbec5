"""What the tests of messages and of their parts share."""

from __future__ import annotations

from simulator.link import messages as m


def make_frame(k: int, pilots: int = 0, height: int = 2, width: int = 2) -> m.Frame:
    point = m.WirePoint(channel="awgn", snr_db=1.0, bandwidth_ratio="1/384")
    return m.Frame(frame_id=bytes(16), draw_key=bytes(32), point=point, k=k, pilots=pilots,
                   codec="", height=height, width=width, label="", image_sha256=bytes(32),
                   settings="")  # fmt: skip
