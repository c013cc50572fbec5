"""The observer of a client of the channel: bytes are counted at its connection."""

from __future__ import annotations

from simulator.connection import Connection
from simulator.link.clock import Clock
from simulator.observe.observer import Observer
from simulator.observed import ObserveSettings


def observed(connection: Connection, settings: ObserveSettings, clock: Clock) -> Observer:
    """Raises as ``Observer`` does; the connection is closed then."""
    try:
        assert connection.role != "watch"  # pages show nothing of themselves
        observer = Observer(connection.role, connection.name, settings, clock)
    except BaseException:
        connection.close()
        raise
    connection.traffic = observer.traffic
    return observer
