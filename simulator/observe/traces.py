"""One trace for each frame, by OTLP over HTTP.

frame                     tx: from loading to the row
  tx       load, grant_wait, encode
  channel  airtime_observed, channel_queue
  rx       rx_queue, equalize, decode, ..., save

The id of a trace is that of its frame, and the id of the span above is a hash of the frame and of
its name: every process knows it without being told, and a collector joins the spans. They are
placed by the clock of the machine that they were measured on. The SDK's batch processor sends them
from a thread of its own: a collector that is slow or away costs spans, never a frame.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from simulator.errors import SettingsError, missing_package
from simulator.link.steps import STEPS, steps_of
from simulator.observe.seen import Seen
from simulator.version import __version__

try:
    from opentelemetry import trace as api
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import (
        BatchSpanProcessor,
        SpanExporter,
        SpanExportResult,
    )
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
except ImportError:
    raise missing_package(
        "observe.traces_endpoint",
        "opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http",
        "traces",
    ) from None

QUEUE = 8192  # spans that wait for the collector, at most
PAUSE_S = 1.0  # between two batches
TIMEOUT_S = 5.0  # of one batch, all tries together
CLOSE_S = 2.0  # for what is left when the process ends
PATH = "/v1/traces"
ROOT = "frame"
#: Keys of a row that describe a frame in its trace.
DESCRIBED = ("image", "repeat", "channel", "cbr", "snr_db", "k", "receiver", "attempts")


def span_id(frame_id: bytes, name: str) -> int:
    """64 bits, not 0: the same in every process."""
    return int.from_bytes(hashlib.sha256(frame_id + name.encode()).digest()[:8], "big") or 1


def endpoint_of(text: str) -> str:
    """The address that spans are posted to. Raises ``SettingsError``."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise SettingsError(
            f"observe.traces_endpoint: {text!r} is not an address such as http://127.0.0.1:4318."
        )
    return text if parts.path.strip("/") else parts._replace(path=PATH).geturl()


class Ids(IdGenerator):
    """Returns the ids that were set last."""

    def __init__(self) -> None:
        self.trace_id = self.span_id = 1

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id

    def is_trace_id_random(self) -> bool:
        return True  # frame ids are hashes


class Told(SpanExporter):
    """An exporter that says once when the collector does not take spans, and once when it does
    again."""

    def __init__(self, inner: SpanExporter, endpoint: str, log: logging.Logger) -> None:
        self._inner, self._endpoint, self._log = inner, endpoint, log
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed and not self._failing:
            self._log.warning(
                "the collector at %s takes no spans; frames go on, and traces are lost until it "
                "does",
                self._endpoint,
            )
        elif self._failing and not failed:
            self._log.info("the collector at %s takes spans again", self._endpoint)
        self._failing = failed
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


class Traces:
    """The spans of one process. Raises ``SettingsError`` for what is no address."""

    def __init__(self, process: str, name: str, endpoint: str, ratio: float) -> None:
        endpoint = endpoint_of(endpoint)
        quiet = logging.getLogger("opentelemetry")  # each failed try would be a line
        quiet.addHandler(logging.NullHandler())
        quiet.propagate = False
        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=TIMEOUT_S)
        self._exporter = Told(exporter, endpoint, logging.getLogger(process))
        self._process, self._name, self._ids = process, name, Ids()
        resource = Resource(
            {
                "service.name": f"diffjscc-{process}",
                "service.instance.id": name,
                "service.version": __version__,
            }
        )
        self._provider = TracerProvider(
            sampler=TraceIdRatioBased(ratio),
            resource=resource,
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter, max_queue_size=QUEUE, schedule_delay_millis=1000 * PAUSE_S
            )
        )
        self._tracer = self._provider.get_tracer("diffjscc", __version__)

    def frame(self, seen: Seen, now: float) -> None:
        """The spans of a frame. ``now``: by the clock of this process."""
        frame_id, status, values = seen.frame_id, seen.status, seen.values
        wall_s = time.time() - now
        began = now if seen.began_at is None else seen.began_at
        process = self._process
        if process == "tx":
            what = {f"diffjscc.{k}": v for k in DESCRIBED if (v := values.get(k)) is not None}
            what |= {"diffjscc.frame_id": frame_id.hex(), "diffjscc.status": status}
            self._span(frame_id, ROOT, ROOT, "", (began + wall_s, now + wall_s), what, values)
        if seen.began_at is None:
            return
        # A frame may come twice to one process, or to two receivers.
        own = f"{process}/{self._name}/{now!r}"
        anchor = values.get(STEPS[process][0])
        steps = list(steps_of(process, values))
        shift = wall_s + began - (0.0 if anchor is None else anchor)
        ended = max((step.at_s + step.seconds + shift for step in steps), default=began + wall_s)
        about = {"diffjscc.name": self._name, "diffjscc.status": status}
        self._span(frame_id, own, process, ROOT, (began + wall_s, ended), about, values)
        for step in steps:
            during = (step.at_s + shift, step.at_s + step.seconds + shift)
            self._span(frame_id, f"{own}/{step.name}", step.name, own, during, {}, {})

    def _span(
        self,
        frame_id: bytes,
        key: str,
        name: str,
        parent: str,
        during: tuple[float, float],
        attributes: Mapping[str, Any],
        values: Mapping[str, Any],
    ) -> None:
        """``key`` and ``parent``: of whose hash the ids are; ``during``: seconds of the epoch."""
        self._ids.trace_id = int.from_bytes(frame_id, "big") or 1
        self._ids.span_id = span_id(frame_id, key)
        context = Context()
        if parent:
            above = api.SpanContext(
                trace_id=self._ids.trace_id,
                span_id=span_id(frame_id, parent),
                is_remote=True,
                trace_flags=api.TraceFlags(api.TraceFlags.SAMPLED),
            )
            context = api.set_span_in_context(api.NonRecordingSpan(above), context)
        began, ended = (round(1e9 * moment) for moment in during)
        span = self._tracer.start_span(name, context, attributes=attributes, start_time=began)
        if reason := values.get("reason"):
            span.set_status(api.StatusCode.ERROR, str(reason))
        span.end(end_time=ended)

    def close(self) -> None:
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(CLOSE_S)
        if ending.is_alive():  # the collector is slow or away: what is left is lost
            self._exporter.shutdown()
