"""A transmitter whose frames share their channel uses with those of another one.

Its REQUESTs say the place of a frame in the manifest, by which the channel pairs it; a GRANT says
how many frames the other one has, which the ledger keeps before anything is sent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from msgspec.structs import replace

from simulator.errors import DeliveryError, SettingsError
from simulator.jscc.signal import ToEncode
from simulator.link import messages as m
from simulator.phy.superposition import scrambling
from simulator.settings import Settings
from tx.flight import Encoded, Loaded, Refused
from tx.interface import Encoder
from tx.source import Job, points_of
from tx.stream import Feed, Manifest
from tx.transmitter import Transmitter

PARTNER = "partner"  # in the ledger, what is known of the other one: frames and run


class Memory(Protocol):
    """What is needed of the ledger beside rows."""

    def get(self, key: str) -> str | None: ...
    def require(self, key: str, value: str) -> None: ...


@dataclasses.dataclass(frozen=True)
class Mine:
    """``user``: by its place in ``channel.superposed``; ``other``: the name of the other
    transmitter; ``places``: those of all frames in the manifest, by their ids."""

    user: Literal[0, 1]
    other: str
    places: Mapping[bytes, int]


def mine_of(settings: Settings, feed: Feed) -> Mine | None:
    """The part of this transmitter under ``channel.superposed``; None where nobody has one.

    Raises ``SettingsError`` for what frames of two users cannot be.
    """
    names, tx = settings.channel.superposed, settings.tx
    if not names:
        return None
    if tx.name not in names:
        raise SettingsError(
            f"channel.superposed names {names[0]} and {names[1]}, and this transmitter is "
            f"{tx.name}; add --set tx.name={names[0]} or --set tx.name={names[1]}."
        )
    if not isinstance(feed, Manifest) or tx.when_busy == "latest":
        raise SettingsError(
            "superposed users send images, of which each has its place; leave tx.source and "
            "tx.when_busy out."
        )
    if tx.target_psnr_db is not None or tx.target_fps is not None:
        raise SettingsError(
            "superposed frames have as many symbols as their ratio says; leave tx.target_psnr_db "
            "and tx.target_fps out."
        )
    if len(points_of(settings)) > 1:
        raise SettingsError(
            "superposed users send at one operating point; give one kind of channel, one SNR and "
            "one bandwidth ratio."
        )
    user: Literal[0, 1] = 0 if tx.name == names[0] else 1
    return Mine(user, names[1 - user], feed.places)


def check_encoder(encoder: Encoder, blank: ToEncode) -> None:
    """Raises ``SettingsError`` for one that cannot share its channel uses. ``blank``: an image to
    try it on."""
    if encoder.rounds > 1:
        raise SettingsError("a codec with feedback cannot share its channel uses.")
    signal = encoder.encode(blank)
    if signal.side or len(signal.symbols) != encoder.k(blank.size, blank.ratio):
        raise SettingsError(
            "a codec that sends side information, or as many symbols as an image needs, cannot "
            "share its channel uses; take another --codec."
        )


class SuperposedTransmitter(Transmitter):
    """Its frames are delivered, or wait: one that ended otherwise would leave the other user's
    without what is to be sent beside it. So what would be their end is that of the process."""

    def __init__(self, mine: Mine, memory: Memory, *given: Any) -> None:
        super().__init__(*given)
        self._mine, self._memory = mine, memory
        self._shared: set[bytes] = set()  # frames that were granted beside another one
        self._partner: m.Partner | None = None
        if known := memory.get(PARTNER):
            frames, _, run = known.partition(" ")
            self._partner = m.Partner(run=run, frames=int(frames))

    @property
    def waiting_for(self) -> str | None:
        flights = self.flights.values()
        alone = flights and all(f.state == "asking" and f.attempts > 1 for f in flights)
        here = super().waiting_for
        if here or not alone:
            return here
        return f"frames here wait for those of tx {self._mine.other}, which are sent with them"

    def _request(self, job: Job, loaded: Loaded) -> m.Request:
        places = self._mine.places
        here, user = places[job.frame_id], self._mine.user
        place = m.Place(user=user, index=here, frames=len(places), partner=self._partner)
        return replace(super()._request(job, loaded), place=place)

    def _granted(self, grant: m.Grant, parts: Sequence[Any], now: float) -> None:
        """The ledger has the word on the other user before a frame of its is on the air: that one
        may end with it, and nobody else could say that there is no more to wait for."""
        if grant.partner is not None and grant.partner != self._partner:
            self._memory.require(PARTNER, f"{grant.partner.frames} {grant.partner.run}")
            self._partner = grant.partner
        if grant.partner is not None:
            self._shared.add(grant.frame_id)
        super()._granted(grant, parts, now)

    def worked(self, event: Loaded | Encoded | Refused, now: float) -> None:
        """Symbols that are sent beside those of the other user are in the order of this one."""
        if isinstance(event, Encoded) and event.frame_id in self._shared:
            code = scrambling(self._mine.user, len(event.symbols))
            event = dataclasses.replace(event, symbols=code.done(event.symbols))
        super().worked(event, now)

    def _forget(self, frame_id: bytes, row: Mapping[str, Any]) -> None:
        self._shared.discard(frame_id)
        super()._forget(frame_id, row)

    def _close(self, frame_id: bytes, status: str, reason: str) -> None:
        """Raises ``DeliveryError``."""
        name = self.jobs[frame_id].name if frame_id in self.jobs else frame_id.hex()
        raise DeliveryError(
            f"{name} cannot be sent ({reason.rstrip('.')}), and the frame of tx "
            f"{self._mine.other} that goes with it waits; put it right and start tx again."
        )
