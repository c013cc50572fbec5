"""Traces of frames: what a collector gets, and what happens where there is none."""

from __future__ import annotations

import logging
import sys
import time

import pytest
from collector_world import Collector, collecting
from helpers import sentence, wait_for

from simulator.errors import MissingPackageError, SettingsError
from simulator.observe.observer import Observer
from simulator.observe.seen import Seen
from simulator.observed import ObserveSettings

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra traces")
NOW = 1000.0  # of a process's own clock
TX = {"tx_at_s": 5.0, "load_s": 0.25, "grant_wait_s": 0.5, "encode_s": 1.0, "image": "a.png"}
AIR = {"channel_at_s": 990.0, "airtime_observed_s": 0.5, "channel_queue_s": 2.0}
RX = {"rx_at_s": 7.0, "rx_queue_s": 1.0, "equalize_s": 0.0, "decode_s": 0.5, "restore_s": 3.0,
      "refine_at_s": 9.0, "save_s": 0.25}  # fmt: skip


def frame(number: int) -> bytes:
    return bytes([number]) * 16


def observer(process: str, collector: Collector, **settings: object) -> Observer:
    endpoint = f"http://127.0.0.1:{collector.port}"
    given = ObserveSettings.model_validate({"traces_endpoint": endpoint, **settings})
    return Observer(process, f"{process}-1", given, lambda: NOW)  # type: ignore[arg-type]


def placed(collector: Collector, trace_id: str, wall_s: float) -> dict[str, tuple[float, float]]:
    """Begin and end of each span, by the clock of its process."""
    at = 1e-9
    return {
        span.name: (
            round(span.start_time_unix_nano * at - wall_s, 1),
            round(span.end_time_unix_nano * at - wall_s, 1),
        )
        for span in collector.spans[trace_id]
    }


def test_three_processes_make_one_trace() -> None:
    with collecting() as collector:
        wall_s = time.time() - NOW
        for process, status, values, began in (
            ("rx", "stored", RX, 995.0),
            ("channel", "passed_on", AIR, 990.0),
            ("tx", "delivered", TX, 985.0),
        ):
            one = observer(process, collector)
            one.frame(Seen(frame(7), status, values, began))
            one.close()
    spans = collector.spans[frame(7).hex()]
    (root,) = [span for span in spans if not span.parent_span_id]
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans)
    above = {s.name: by_id[s.parent_span_id].name for s in spans if s.parent_span_id}
    assert root.name == "frame"
    assert above == {
        **dict.fromkeys(("tx", "channel", "rx"), "frame"),
        **dict.fromkeys(("load", "grant_wait", "encode"), "tx"),
        **dict.fromkeys(("airtime_observed", "channel_queue"), "channel"),
        **dict.fromkeys(("rx_queue", "equalize", "decode", "restore", "save"), "rx"),
    }
    services = {s.name: collector.services[s.span_id] for s in spans}
    assert (services["frame"], services["encode"]) == ("diffjscc-tx", "diffjscc-tx")
    assert services["channel_queue"] == "diffjscc-channel" and services["save"] == "diffjscc-rx"
    where = placed(collector, frame(7).hex(), wall_s)
    assert where["frame"][0] == pytest.approx(985, abs=1)
    shift = where["tx"][0] - 985  # between the two looks at the clock of the wall
    assert where["encode"] == pytest.approx((985.75 + shift, 986.75 + shift), abs=0.11)
    assert where["airtime_observed"] == pytest.approx((990, 990.5), abs=1)
    # Refining begins when its batch did, two seconds behind the arrival.
    assert where["restore"][0] - where["rx"][0] == pytest.approx(2, abs=0.11)
    assert where["rx"][1] == pytest.approx(where["save"][1])


def test_a_refused_frame_is_an_error_and_one_of_an_earlier_life_has_no_steps() -> None:
    with collecting() as collector:
        tx = observer("tx", collector)
        tx.frame(Seen(frame(1), "refused", {"reason": "no image"}, None))
        tx.close()
    (root,) = collector.spans[frame(1).hex()]
    assert (root.name, root.status.message, root.status.code) == ("frame", "no image", 2)


def test_processes_with_the_same_share_choose_the_same_frames() -> None:
    with collecting() as collector:
        for process in ("tx", "rx"):
            one = observer(process, collector, traces_ratio=0.5)
            for number in range(256):
                one.frame(Seen(frame(number), "delivered", {**TX, **RX}, 985.0))
            one.close()
        none = observer("tx", collector, traces_ratio=0.0)
        none.frame(Seen(frame(1), "delivered", TX, 985.0))
        none.close()
    assert 100 < len(collector.spans) < 156
    assert all({"tx", "rx"} <= collector.names(trace_id) for trace_id in collector.spans)


def test_a_collector_that_is_away_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with collecting(status=400) as collector:
        tx = observer("tx", collector)
        with caplog.at_level(logging.INFO):
            for number in (1, 2):
                tx.frame(Seen(frame(number), "delivered", TX, 985.0))
                wait_for(lambda number=number: collector.posts >= number)  # type: ignore[misc]
            collector.status = 200
            tx.frame(Seen(frame(3), "delivered", TX, 985.0))
            wait_for(lambda: frame(3).hex() in collector.spans)
            tx.close()
    assert not logging.getLogger("opentelemetry").propagate  # each failed try would be a line
    said = [record.getMessage() for record in caplog.records if record.name == "tx"]
    assert len([text for text in said if "takes no spans" in text]) == 1
    assert len([text for text in said if "takes spans again" in text]) == 1 and len(said) == 2


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4318", "ftp://a", "http://", "http://a:b"])
def test_what_is_no_collector(endpoint: str) -> None:
    with pytest.raises(SettingsError) as error:
        Observer("tx", "tx", ObserveSettings(traces_endpoint=endpoint))
    assert "http://127.0.0.1:4318" in sentence(error)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "simulator.observe.traces", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingPackageError) as error:
        Observer("tx", "tx", ObserveSettings(traces_endpoint="http://127.0.0.1:4318"))
    assert "diffjscc[traces]" in sentence(error)
