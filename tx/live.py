"""The transmitter process for pictures that come while it runs: a source, and a link."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from simulator.process import Stopper
from simulator.settings import Settings
from tx.link import Link, Listen
from tx.pictures import pump, source_of

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
    then is finished. Raises as ``source_of`` and ``Link`` do."""

    def __init__(self, settings: Settings, folder: Path, retry_dead: bool, listen: Listen) -> None:
        self._tx = settings.tx
        self._source = source_of(settings.tx)
        self.link = Link(
            settings, folder, retry_dead=retry_dead, source=settings.tx.source, listen=listen
        )
        self._known = set(self.link.service.ledger.images())
        self._error: Exception | None = None

    def run(self, stop: Stopper) -> bool:
        """True where all that was sent has its row. Raises what has ended source or link."""
        thread = threading.Thread(target=self._pump, args=(stop,), name="source", daemon=True)
        thread.start()
        done = self.link.run(AtOnce(stop))
        if self._error is not None:
            raise self._error
        return done

    def _pump(self, stop: Stopper) -> None:
        try:
            known, self._known = self._known, set()
            shots = self._source.shots(lambda: bool(stop), known)
            pump(self.link, shots, self._tx, lambda: bool(stop))
        except Exception as error:  # told when what was sent has its rows
            self._error = error
        finally:
            self.link.finish()
            if stop:
                log.info("stopping; what is under way is finished first")

    def close(self) -> None:
        self.link.close()
