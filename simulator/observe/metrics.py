"""The metrics of one process, and the address where Prometheus reads them.

Names and units follow the conventions of Prometheus. Counters and histograms grow with each
frame; what is a reading (queues, connections) is taken when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from simulator.address import is_loopback, resolved, split_address
from simulator.errors import AddressError, missing_package
from simulator.link.steps import REFINING
from simulator.observed import ObserveSettings
from simulator.version import __version__

if TYPE_CHECKING:
    from prometheus_client import Metric

PREFIX = "diffjscc"
#: What a process may say of a frame when it is done with it. Symbols count where it went on.
STATUSES = {
    "tx": ("delivered", "refused", "dead", "dropped"),
    "channel": ("passed_on",),
    "rx": ("stored", "failed"),
}
WENT_ON = ("delivered", "passed_on", "stored")
#: Histograms by process: a name, the keys of a row whose sum it is of, what it says.
SECONDS: dict[str, tuple[tuple[str, tuple[str, ...], str], ...]] = {
    "tx": (
        ("encode", ("encode_s",), "Encoder, of all rounds of a frame."),
        ("grant_wait", ("grant_wait_s",), "From the request to the grant."),
        ("time_to_preview", ("time_to_preview_s",), "From loading to the notice of the preview."),
        ("time_to_refined", ("time_to_refined_s",), "From loading to that of the refined image."),
    ),
    "channel": (
        ("airtime", ("airtime_modelled_s",), "Time on the air that a frame takes."),
        ("air_wait", ("airtime_observed_s",), "Time until a frame has left the air."),
        ("channel_queue", ("channel_queue_s",), "Wait for a receiver with room."),
    ),
    "rx": (
        ("rx_queue", ("rx_queue_s",), "From arrival to the start of decoding."),
        ("decode", ("equalize_s", "decode_s"), "Equaliser and decoder."),
        ("refine", REFINING, "All steps of refining; of its whole batch for each frame."),
    ),
}
BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
#: What is read when it is asked for: kind and meaning.
READINGS = {
    "queue_frames": ("gauge", "Frames in each queue of this process."),
    "receivers_connected": ("gauge", "Receivers that the channel has."),
    "transmitters_connected": ("gauge", "Transmitters that the channel has."),
    "channel_connected": ("gauge", "1 where the channel has welcomed this process."),
    "loop_age_seconds": ("gauge", "Time since the last turn of the main loop."),
    "held_bytes": ("gauge", "Bytes of frames that the channel holds."),
    "link_sent_bytes": ("counter", "Bytes of messages sent, without encryption and TCP."),
    "link_received_bytes": ("counter", "Bytes of messages received."),
    "refused_messages": ("counter", "Messages that the channel has refused, by code."),
}


class Readings:
    """A collector of the library: it asks each time."""

    def __init__(self) -> None:
        self._singles: list[tuple[str, Callable[[], float], dict[str, str]]] = []
        self._mappings: list[tuple[str, Mapping[str, int], str]] = []

    def add(self, name: str, reading: Callable[[], float], labels: dict[str, str]) -> None:
        self._singles.append((name, reading, labels))

    def add_mapping(self, name: str, counts: Mapping[str, int], label: str) -> None:
        self._mappings.append((name, counts, label))

    def _samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        for name, reading, labels in self._singles:
            yield name, labels, float(reading())
        for name, counts, label in self._mappings:
            for key, count in dict(counts).items():  # the other thread may add one
                yield name, {label: key}, float(count)

    def collect(self) -> Iterator[Metric]:
        from prometheus_client import Metric

        families: dict[str, Metric] = {}
        for name, labels, value in self._samples():
            kind, text = READINGS[name]
            family = families.get(name)
            if family is None:
                family = families[name] = Metric(f"{PREFIX}_{name}", text, kind)
            suffix = "_total" if kind == "counter" else ""
            family.add_sample(f"{PREFIX}_{name}{suffix}", labels, value)
        yield from families.values()


class Metrics:
    """Counts frames, and answers HTTP in a thread of its own.

    Raises ``MissingPackageError``, and ``AddressError`` where the address cannot be had or can be
    reached by others without ``metrics_open``.
    """

    def __init__(self, process: str, name: str, settings: ObserveSettings) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Histogram, Info
            from prometheus_client.process_collector import ProcessCollector
        except ImportError:
            raise missing_package(
                f"{process}.observe.metrics_address", "prometheus-client", "metrics"
            ) from None
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        info = Info(f"{PREFIX}_process", "Which process this is.", registry=registry)
        info.info({"process": process, "name": name, "version": __version__})
        self._frames = Counter(
            f"{PREFIX}_frames", "Frames that this process is done with.", ["status"],
            registry=registry,
        )  # fmt: skip
        for status in STATUSES[process]:
            self._frames.labels(status)
        self._symbols = Counter(
            f"{PREFIX}_symbols", "Complex symbols of frames that went on.", registry=registry
        )
        self._seconds = {
            keys: Histogram(f"{PREFIX}_{what}_seconds", text, buckets=BUCKETS, registry=registry)
            for what, keys, text in SECONDS[process]
        }
        self._readings = Readings()
        registry.register(self._readings)
        self._server, self._thread = serve(settings, process, registry)

    def read(
        self, name: str, reading: Callable[[], float], labels: dict[str, str] | None = None
    ) -> None:
        self._readings.add(name, reading, labels or {})

    def counts(self, name: str, counts: Mapping[str, int], label: str) -> None:
        self._readings.add_mapping(name, counts, label)

    def frame(self, status: str, values: Mapping[str, Any]) -> None:
        self._frames.labels(status).inc()
        if status not in WENT_ON:
            return
        self._symbols.inc(values.get("k") or 0)
        for keys, histogram in self._seconds.items():
            known = [seconds for key in keys if (seconds := values.get(key)) is not None]
            if known:
                histogram.observe(sum(known))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(settings: ObserveSettings, process: str, registry: Any) -> tuple[Any, Any]:
    """The server and its thread. Raises ``AddressError``."""
    from prometheus_client import start_http_server

    address, setting = settings.metrics_address, f"{process}.observe"
    host, port = split_address(address)
    if not host or not port:
        raise AddressError(
            f"{setting}.metrics_address: {address!r} is not an address such as 127.0.0.1:9100."
        )
    try:
        _, (where, _) = resolved(host, port)
        if not settings.metrics_open and not is_loopback(where):
            raise AddressError(
                f"the metrics at {address} could be read from other machines without a password; "
                f"add --set {setting}.metrics_open=true if that network is yours, or take "
                f"127.0.0.1:{port}."
            )
        server, thread = start_http_server(port, where, registry)
        return server, thread
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AddressError(
            f"metrics cannot be served at {address}: {reason}; set {setting}.metrics_address to "
            f"another address or port."
        ) from None
