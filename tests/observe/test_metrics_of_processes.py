"""Metrics of a process: what is counted, who may read it, and what is refused."""

from __future__ import annotations

import sys

import pytest
from collector_world import scrape
from helpers import sentence

from simulator.children import free_ports
from simulator.errors import AddressError, MissingPackageError
from simulator.observe.observer import Observer
from simulator.observe.seen import Seen
from simulator.observed import ObserveSettings
from simulator.version import __version__

pytest.importorskip("prometheus_client", reason="needs the extra metrics")
ROW = {
    "k": 3072, "encode_s": 0.02, "grant_wait_s": 0.5, "time_to_preview_s": 1.5,
    "time_to_refined_s": None, "restore_s": 2.0, "vae_s": 0.25, "equalize_s": 0.001,
    "decode_s": 0.002,
}  # fmt: skip


def observed(process: str, **settings: object) -> tuple[Observer, str]:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    given = ObserveSettings.model_validate({"metrics_address": address, **settings})
    return Observer(process, "board-1", given), given.metrics_address  # type: ignore[arg-type]


def test_frames_symbols_and_seconds_of_a_transmitter() -> None:
    tx, address = observed("tx")
    try:
        before = scrape(address)
        assert before['diffjscc_frames_total{status="dropped"}'] == 0
        labels = f'name="board-1",process="tx",version="{__version__}"'
        assert before[f"diffjscc_process_info{{{labels}}}"] == 1
        tx.frame(Seen(bytes(15) + b"1", "delivered", ROW, 1.0))
        tx.frame(Seen(bytes(15) + b"2", "refused", {"k": 9}, None))
        after = scrape(address)
    finally:
        tx.close()
    assert after['diffjscc_frames_total{status="delivered"}'] == 1
    assert after['diffjscc_frames_total{status="refused"}'] == 1
    assert after["diffjscc_symbols_total"] == 3072  # a budget that was not sent does not count
    assert after["diffjscc_encode_seconds_sum"] == 0.02
    assert after['diffjscc_encode_seconds_bucket{le="0.01"}'] == 0
    assert after['diffjscc_encode_seconds_bucket{le="0.025"}'] == 1
    assert after["diffjscc_grant_wait_seconds_sum"] == 0.5
    assert after["diffjscc_time_to_refined_seconds_count"] == 0
    assert after["process_resident_memory_bytes"] > 1e6 and "process_cpu_seconds_total" in after
    assert scrape(address) == {}  # closed


def test_refining_is_the_sum_of_its_steps() -> None:
    rx, address = observed("rx")
    try:
        rx.frame(Seen(bytes(16), "stored", ROW, 1.0))
        found = scrape(address)
    finally:
        rx.close()
    assert found["diffjscc_refine_seconds_sum"] == 2.25
    assert found["diffjscc_decode_seconds_sum"] == pytest.approx(0.003)


def test_readings_are_taken_when_they_are_asked_for() -> None:
    channel, address = observed("channel")
    queue, refused = [1, 2], {"stale": 1}
    try:
        channel.read("queue_frames", lambda: len(queue), queue="queued")
        channel.counts("refused_messages", refused, "code")
        assert channel.traffic is not None
        channel.traffic.sent = 7
        first = scrape(address)
        queue.clear()
        refused["key"] = 3
        second = scrape(address)
    finally:
        channel.close()
    name = 'diffjscc_queue_frames{queue="queued"}'
    assert (first[name], second[name]) == (2, 0)
    assert second['diffjscc_refused_messages_total{code="key"}'] == 3
    assert second["diffjscc_link_sent_bytes_total"] == 7
    assert second["diffjscc_loop_age_seconds"] >= first["diffjscc_loop_age_seconds"] >= 0


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("0.0.0.0:9100", "--set rx.observe.metrics_open=true"),
        ("9100", "is not an address such as 127.0.0.1:9100"),
        ("127.0.0.1:99999", "is not an address"),
        ("no.such.host.invalid:9100", "cannot be served"),
    ],
)
def test_addresses_that_are_refused(address: str, words: str) -> None:
    with pytest.raises(AddressError) as error:
        Observer("rx", "rx", ObserveSettings(metrics_address=address))
    assert words in sentence(error)


def test_an_address_that_is_taken_is_said() -> None:
    first, address = observed("tx")
    try:
        with pytest.raises(AddressError) as error:
            Observer("rx", "rx", ObserveSettings(metrics_address=address))
    finally:
        first.close()
    assert "in use" in sentence(error) and "rx.observe.metrics_address" in sentence(error)


def test_an_open_address_is_served_where_it_was_asked_for() -> None:
    port = free_ports(1)[0]
    tx, _ = observed("tx", metrics_address=f"0.0.0.0:{port}", metrics_open=True)
    try:
        assert scrape(f"127.0.0.1:{port}")
    finally:
        tx.close()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingPackageError) as error:
        observed("tx")
    assert "diffjscc[metrics]" in sentence(error)
