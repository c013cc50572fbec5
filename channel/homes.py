"""Which receiver the frames of a transmitter go to, where receivers ask for whole streams."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence

from channel.peers import Guests, Peer, remember
from simulator.link import constants as c


class Homes:
    """A transmitter whose frame a receiver with affinity has taken is at home there: its next
    frames wait for that receiver, in their order, as long as it is there. Where it has gone, by
    its name, the next one that takes a frame is the home."""

    def __init__(self, guests: Guests) -> None:
        self._guests = guests
        self._of: OrderedDict[str, str] = OrderedDict()  # tx -> name of a receiver

    def order(self, tx: str, free: Sequence[Peer], codec: str) -> list[Peer]:
        """The receivers with room to which a frame may go now, the best first: its home alone, or
        those with most room; of those with affinity, the ones that fewest transmitters have."""
        free = [peer for peer in free if peer.hello.codec == codec]
        home = self._of.get(tx)
        there = self._guests.named("back", home) if home else ()
        # One that takes nothing any more is about to go.
        if any(peer.affinity and peer.slots and peer.hello.codec == codec for peer in there):
            return [peer for peer in free if peer.hello.name == home]
        guests = Counter(self._of.values())
        return sorted(free, key=lambda p: (p.affinity and guests[p.hello.name], -p.room))

    def took(self, tx: str, receiver: Peer) -> None:
        """A receiver has taken a frame."""
        if receiver.affinity:
            remember(self._of, tx, receiver.hello.name, 4 * c.MAX_CLIENTS)
