"""What ``diffjscc watch`` is given: folders of runs, or one channel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from simulator.errors import SettingsError, path_from
from simulator.watch.source import Source

SCHEMES = ("tcp://", "ipc://")


@contextmanager
def opened(what: Sequence[str], keys: Path | None = None) -> Iterator[Source]:
    """The source, closed at the end. ``keys``: for a channel alone. Raises ``SettingsError``,
    ``StorageError``, ``KeysError``, ``AddressError`` and ``RejectedError``."""
    channels = [each for each in what if each.startswith(SCHEMES)]
    if channels and len(what) > 1:
        raise SettingsError("watch one channel alone, or folders of runs; start another for both.")
    if keys and not channels:
        raise SettingsError("--keys are for a channel that is watched; folders need none.")
    source = of_channel(channels[0], keys) if channels else of_folders(what)
    try:
        yield source
    finally:
        source.close()


def of_folders(what: Sequence[str]) -> Source:
    from simulator.watch.folders import RunFolders

    return RunFolders([path_from(each) for each in what])


def of_channel(endpoint: str, keys: Path | None) -> Source:
    """Raises ``RejectedError`` where the channel refuses the key at once; one that does not answer
    may be started later."""
    from simulator.watch.channel import WatchedChannel

    source = WatchedChannel(endpoint, str(keys) if keys else "")
    try:
        source.greet()
    except BaseException:
        source.close()
        raise
    return source
