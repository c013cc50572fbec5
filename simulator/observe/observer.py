"""What one process tells of its frames to those who watch it: metrics, traces, or nothing.

The packages for both are imported where they are asked for, and never else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from simulator.link.clock import Clock, monotonic
from simulator.link.traffic import Traffic
from simulator.observe.seen import Seen
from simulator.observed import ObserveSettings

if TYPE_CHECKING:
    from simulator.observe.metrics import Metrics
    from simulator.observe.traces import Traces

Process = Literal["tx", "channel", "rx"]
Reading = Callable[[], float]


class Observer:
    """False where nothing is observed. ``name``: of the process, as in rows.

    Raises ``AddressError``, ``SettingsError`` and ``MissingPackageError``. Every method but
    ``close`` belongs to the thread of the socket, and none of them waits.
    """

    def __init__(
        self,
        process: Process,
        name: str,
        settings: ObserveSettings,
        clock: Clock = monotonic,
    ) -> None:
        self._clock, self._turned_at = clock, clock()
        self._metrics: Metrics | None = None
        self._traces: Traces | None = None
        self.traffic: Traffic | None = None  # bytes are counted where somebody reads them
        if settings.traces_endpoint:
            from simulator.observe.traces import Traces

            self._traces = Traces(process, name, settings.traces_endpoint, settings.traces_ratio)
        if settings.metrics_address:
            from simulator.observe.metrics import Metrics

            self.traffic = traffic = Traffic()
            try:
                self._metrics = metrics = Metrics(process, name, settings)
            except BaseException:
                self.close()
                raise
            metrics.read("loop_age_seconds", lambda: max(0.0, clock() - self._turned_at))
            metrics.read("link_sent_bytes", lambda: traffic.sent)
            metrics.read("link_received_bytes", lambda: traffic.received)

    def __bool__(self) -> bool:
        return self._metrics is not None or self._traces is not None

    def read(self, name: str, reading: Reading, **labels: str) -> None:
        """A metric that is read when it is asked for; ``name``: of ``metrics.READINGS``."""
        if self._metrics:
            self._metrics.read(name, reading, labels)

    def counts(self, name: str, counts: Mapping[str, int], label: str) -> None:
        """The same of a mapping that grows: one count for each of its keys."""
        if self._metrics:
            self._metrics.counts(name, counts, label)

    def turn(self) -> None:
        """The loop of the process goes round: it lives."""
        self._turned_at = self._clock()

    def frame(self, seen: Seen) -> None:
        """This process is done with a frame."""
        if self._metrics:
            self._metrics.frame(seen.status, seen.values)
        if self._traces:
            self._traces.frame(seen, self._clock())

    def close(self) -> None:
        """Sends what is left of the traces, within ``traces.CLOSE_S``."""
        if self._metrics:
            self._metrics.close()
        if self._traces:
            self._traces.close()
