"""The draws of one transmission, the same that the three processes make.

    settings of the air -> Medium ;  draw key, point -> Draw

Gains and noise depend on neither method, rate nor SNR, so that all curves are paired with one
another and with a ``diffjscc simulate`` run of the same seed.
"""

from __future__ import annotations

from channel.medium import Medium
from simulator.air import AirSettings, check_kind
from simulator.chain import Draw
from simulator.errors import SettingsError
from simulator.methods.method import Point


class Draws:
    """What a sweep sends through, whose settings are checked at once.

    Raises ``SettingsError`` for a channel that neither this project nor a plugin has.
    """

    def __init__(self, settings: AirSettings) -> None:
        self._medium = Medium(settings)
        for kind in settings.kind:
            try:
                check_kind(kind, settings.csit)
            except ValueError as error:
                raise SettingsError(f"{error}.") from None

    def of(self, draw_key: bytes, point: Point) -> Draw:
        """The channel of a frame with this draw key."""
        return Draw(self._medium, draw_key, point)
