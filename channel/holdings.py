"""What the channel holds of each frame, in which order, and for whom: the counters agree."""

from __future__ import annotations

from collections import OrderedDict

from channel.frames import Entry
from channel.peers import Guests
from channel.quotas import Quota, Quotas
from simulator.settings import ChannelSettings


class Holdings:
    """Frames by id, and ordered sets of ids: those that wait for a grant, that are between two
    rounds, and that are queued for a receiver."""

    def __init__(self, settings: ChannelSettings) -> None:
        self.settings = settings
        self.guests = Guests()
        self.quotas = Quotas(settings)
        self.entries: OrderedDict[bytes, Entry] = OrderedDict()
        self.waiting: OrderedDict[bytes, None] = OrderedDict()  # ordered sets of frame ids
        self.returning: OrderedDict[bytes, None] = OrderedDict()
        self.queue: OrderedDict[bytes, None] = OrderedDict()
        self.held_bytes = 0
        self.admitted = 0  # entries granted, queued or leased

    def has_room(self, count: int = 1) -> bool:
        """For that many frames."""
        frames, size = self.settings.queue_frames, self.settings.queue_bytes
        return self.admitted + count <= frames and self.held_bytes < size

    def is_held_back(self, entry: Entry, over: dict[str, Quota], now: float) -> bool:
        """Whether its tx is over a quota. ``over``: those that are known to be."""
        quota = over.get(entry.tx) or self.quotas.obstacle(entry.tx, now)
        if not quota:
            return False
        over[entry.tx] = quota
        if not entry.held_back:
            entry.held_back = True
            self.quotas.meet(quota)
        return True

    def admit(self, frame_id: bytes, entry: Entry) -> None:
        """A frame waits no longer."""
        del self.waiting[frame_id]
        self.admitted += 1
        self.quotas.grant(entry.tx)
        entry.take("admitted")

    def hold(self, entry: Entry, nbytes: int) -> None:
        """Symbols of a frame have come, or are forgotten."""
        entry.nbytes += nbytes
        self.held_bytes += nbytes
        if nbytes:
            self.quotas.hold(entry.tx, nbytes)

    def drop(self, frame_id: bytes) -> None:
        """Forget a frame; tx will ask again if it still needs it."""
        entry = self.entries.pop(frame_id)
        self.release(frame_id, entry)
        self.waiting.pop(frame_id, None)
        self.queue.pop(frame_id, None)
        self.returning.pop(frame_id, None)
        if entry.state != "waiting":
            self.admitted -= 1
        self.quotas.drop(entry.tx, entry.state == "waiting", entry.nbytes)
        self.held_bytes -= entry.nbytes
        entry.take("dropped")

    def give_to(self, entry: Entry, tx: str, now: float) -> None:
        """A frame that holds no symbols yet is asked for under another name."""
        if entry.tx != tx:
            self.quotas.move(entry.tx, tx, entry.state == "waiting", now)
            entry.tx = tx

    def release(self, frame_id: bytes, entry: Entry) -> None:
        peer = self.guests.doors["back"].get(entry.receiver)
        if peer is not None:
            peer.leases.discard(frame_id)
        entry.receiver = b""
