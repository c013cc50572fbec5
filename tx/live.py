"""The transmitter process for pictures that come while it runs: a source or a door, and a link."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from pathlib import Path

from simulator.errors import DiffJsccError, SettingsError, path_from
from simulator.process import POLL_S, Stopper
from simulator.settings import Settings, TxSettings
from simulator.textfile import read_text
from tx.door import Door
from tx.link import Link, Listen
from tx.pictures import Source, pump, source_of
from tx.shot import Stopped

log = logging.getLogger("tx")


class AtOnce(Stopper):
    """True where a stop was asked for twice, or nobody is there any more who could ask."""

    def __init__(self, stop: Stopper) -> None:
        super().__init__()
        self._stop = stop

    def __bool__(self) -> bool:
        return self._stop.insisted or self._stop.orphaned


class LiveService:
    """Sends what its source gives until that ends or the process is stopped; what is under way
    then is finished. Raises as ``source_of``, ``Link`` and ``Door`` do."""

    def __init__(self, settings: Settings, folder: Path, retry_dead: bool, listen: Listen) -> None:
        self._tx = tx = settings.tx
        kind, _, address = tx.source.partition(":")
        source = None if kind == "http" and address else source_of(tx)
        token = token_of(tx.token) if source is None else ""
        self.link = Link(settings, folder, retry_dead=retry_dead, source=tx.source, listen=listen)
        if source is None:
            try:
                door = Door(self.link, address, token, white=tx.white)
            except DiffJsccError:
                self.link.close()
                raise
            self._give = partial(at_the_door, door)
        else:
            known = set(self.link.service.ledger.images())
            self._give = partial(pumped, self.link, source, tx, known)
        self._error: Exception | None = None

    def run(self, stop: Stopper) -> bool:
        """True where all that was sent has its row. Raises what has ended source or link."""
        thread = threading.Thread(target=self._work, args=(stop,), name="source", daemon=True)
        thread.start()
        done = self.link.run(AtOnce(stop))
        if self._error is not None:
            raise self._error
        return done

    def _work(self, stop: Stopper) -> None:
        try:
            self._give(lambda: bool(stop))
        except Exception as error:  # told when what was sent has its rows
            self._error = error
        finally:
            self.link.finish()
            if stop:
                log.info("stopping; what is under way is finished first")

    def close(self) -> None:
        self.link.close()


def pumped(
    link: Link, source: Source, settings: TxSettings, known: set[str], stopped: Stopped
) -> None:
    pump(link, source.shots(stopped, known), settings, stopped)


def at_the_door(door: Door, stopped: Stopped) -> None:
    """Open until ``stopped``."""
    door.start()
    try:
        while not stopped():
            time.sleep(POLL_S)
    finally:
        door.close()


def token_of(path: str) -> str:
    """What the file holds; empty where none is named. Raises ``SettingsError``."""
    if not path:
        return ""
    try:
        token = read_text(path_from(path)).strip()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"the token in {path} cannot be read: {reason}.") from None
    if not token:
        raise SettingsError(f"{path} holds no token; write one into it.")
    return token
