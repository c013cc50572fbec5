"""The draws of one transmission, the same that the three processes make.

    settings of the air -> Medium (or a plugin's) ;  draw key, point -> Draw

Gains and noise depend on neither method, rate nor SNR, so that all curves are paired with one
another and with a ``diffjscc simulate`` run of the same seed.
"""

from __future__ import annotations

from typing import get_args

import numpy as np

from channel.medium import Medium, OperatingPoint
from simulator.air import AirSettings, Emulated
from simulator.chain import Draw
from simulator.errors import SettingsError
from simulator.methods.method import Point
from simulator.methods.registry import CHANNELS, Channel


class PluginMedium(Medium):
    """A plugin's gains and noise, from the same streams as ours, in our blocks and with our pilots.

    Raises ``SettingsError`` where it gives other than finite values, and for a delayed CSIT: how
    its gains change with time is unknown.
    """

    def __init__(self, settings: AirSettings, name: str, channel: Channel) -> None:
        super().__init__(settings)
        self._name, self._channel = name, channel
        if settings.csit == "delayed":
            raise SettingsError(f"channel {name!r} of a plugin has no delayed CSIT.")

    def gains(self, draw_key: bytes, point: OperatingPoint, k: int) -> np.ndarray:
        generator = self.stream(draw_key, "h")
        snr_db = self.snr_db(point)
        drawn = [self._channel.gain(snr_db, generator) for _ in range(self.law(point).count(k))]
        return self._checked(np.asarray(drawn, np.complex64), len(drawn), "gains")

    def noise(self, draw_key: bytes, name: str, point: OperatingPoint, n: int) -> np.ndarray:
        drawn = self._channel.noise(self.snr_db(point), self.stream(draw_key, name), n)
        return self._checked(np.array(drawn, np.complex64), n, "noise values")

    def _checked(self, values: np.ndarray, n: int, what: str) -> np.ndarray:
        if values.shape != (n,) or not np.isfinite(values).all():
            raise SettingsError(f"channel {self._name!r} must give {n} finite {what}.")
        return values


class Draws:
    """What a sweep sends through: one medium a channel, whose settings are checked at once.

    Raises ``SettingsError`` for a channel that neither this project nor a plugin has.
    """

    def __init__(self, settings: AirSettings) -> None:
        self._media = {name: medium_of(name, settings) for name in settings.kind}

    def of(self, draw_key: bytes, point: Point) -> Draw:
        """The channel of a frame with this draw key."""
        return Draw(self._media[point.channel], draw_key, point)


def medium_of(name: str, settings: AirSettings) -> Medium:
    if name in CHANNELS:
        return PluginMedium(settings, name, CHANNELS[name])
    if name not in get_args(Emulated):
        names = ", ".join((*get_args(Emulated), *CHANNELS))
        raise SettingsError(f"there is no channel {name!r}; there are {names}.")
    return Medium(settings)
