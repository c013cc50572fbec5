"""What transmitters decide for each frame, where the channel was started with something else."""

from __future__ import annotations

import logging

from simulator.link.messages import WirePoint
from simulator.settings import ChannelSettings

log = logging.getLogger("channel")


class Overruled:
    """Says once of each of the channel's own settings that a frame does not follow it."""

    def __init__(self, settings: ChannelSettings) -> None:
        self._settings = settings
        self._left = {"kind"} & settings.model_fields_set
        self._left |= {name for name in ("snr_trace", "snr_source") if getattr(settings, name)}

    def see(self, point: WirePoint) -> None:
        for name in sorted(self._left):
            if self._followed(name, point):
                continue
            self._left.discard(name)
            asked = point.channel if name == "kind" else f"{point.snr_db:g} dB"
            log.warning(
                "a frame asks for %s, which counts: channel.%s is not followed where tx says "
                "something else; give it to tx, too",
                asked,
                name,
            )

    def _followed(self, name: str, point: WirePoint) -> bool:
        if name == "kind":
            return point.channel in self._settings.kind
        return point.snr_db is None
