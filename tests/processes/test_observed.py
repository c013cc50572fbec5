"""Three processes as they look from outside: a scrape of each, and one trace for each frame."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from collector_world import Collector, collecting, scrape
from helpers import interrupt, make_photographs, start_cli, wait_for

from simulator.children import free_ports, make_children
from simulator.settings import make_settings

FRAMES = 3
TX_STEPS, AIR_STEPS = {"load", "grant_wait", "encode"}, {"airtime_observed", "channel_queue"}
RX_STEPS = {"rx_queue", "equalize", "decode", "save"}


def check_trace(collector: Collector, frame_id: str) -> None:
    """Spans of all three processes, each under its process, and those under the frame."""
    spans = collector.spans[frame_id]
    by_id = {span.span_id: span for span in spans}
    (root,) = [span for span in spans if not span.parent_span_id]
    assert root.name == "frame" and collector.services[root.span_id] == "diffjscc-tx"
    for process, steps in (("tx", TX_STEPS), ("channel", AIR_STEPS), ("rx", RX_STEPS)):
        (own,) = [span for span in spans if span.name == process]
        assert by_id[own.parent_span_id] is root
        below = {span.name for span in spans if span.parent_span_id == own.span_id}
        assert steps <= below
        for span in spans:
            if span.name in below | {process}:
                assert collector.services[span.span_id] == f"diffjscc-{process}"
                assert root.start_time_unix_nano <= span.start_time_unix_nano + 1_000_000_000


def test_metrics_traces_and_logs_of_a_run(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client", reason="needs the extra metrics")
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra traces")
    front, back, *ports = free_ports(5)
    roles = ("tx", "channel", "rx")
    at = {role: f"127.0.0.1:{port}" for role, port in zip(roles, ports, strict=True)}
    make_photographs(tmp_path / "in", FRAMES)
    with collecting() as collector:

        def start(role: str, *options: object) -> subprocess.Popen[str]:
            return start_cli(
                role, *options, "--log", "json", "--set", "codec=null",
                "--set", f"{role}.observe.metrics_address={at[role]}",
                "--set", f"{role}.observe.traces_endpoint=http://127.0.0.1:{collector.port}",
            )  # fmt: skip

        here = "tcp://127.0.0.1"
        started = [
            start("channel", "--set", f"channel.front={here}:{front}",
                  "--set", f"channel.back={here}:{back}"),
            start("rx", "--out", tmp_path / "rx", "--reference", "none",
                  "--set", f"rx.connect={here}:{back}"),
            start("tx", "--follow", tmp_path / "in", "--out", tmp_path / "tx",
                  "--set", f"tx.connect={here}:{front}"),
        ]  # fmt: skip
        try:
            delivered = 'diffjscc_frames_total{status="delivered"}'
            wait_for(lambda: scrape(at["tx"]).get(delivered) == FRAMES, timeout=300)
            tx, channel, rx = (scrape(at[role]) for role in ("tx", "channel", "rx"))
        finally:
            outputs = []
            for process in reversed(started):
                interrupt(process)
                outputs.append(process.communicate(timeout=120)[0])
    rows = [json.loads(line) for line in (tmp_path / "tx/results.jsonl").read_text().splitlines()]
    assert len(rows) == FRAMES

    symbols = sum(row["k"] for row in rows)
    assert tx["diffjscc_symbols_total"] == channel["diffjscc_symbols_total"] == symbols
    assert rx['diffjscc_frames_total{status="stored"}'] == FRAMES
    assert channel['diffjscc_frames_total{status="passed_on"}'] == FRAMES
    assert (tx["diffjscc_receivers_connected"], channel["diffjscc_receivers_connected"]) == (1, 1)
    assert channel["diffjscc_transmitters_connected"] == rx["diffjscc_channel_connected"] == 1
    assert tx['diffjscc_queue_frames{queue="in_flight"}'] == 0
    assert tx["diffjscc_link_sent_bytes_total"] > 8 * symbols
    assert channel["diffjscc_link_received_bytes_total"] > 8 * symbols
    counted = ((tx, "encode"), (tx, "grant_wait"), (channel, "airtime"), (rx, "decode"))
    for metrics, what in counted:
        assert metrics[f"diffjscc_{what}_seconds_count"] == FRAMES
    airtime = sum(row["airtime_modelled_s"] for row in rows)
    assert channel["diffjscc_airtime_seconds_sum"] == pytest.approx(airtime)

    assert set(collector.spans) == {row["frame_id"] for row in rows}
    for row in rows:
        check_trace(collector, row["frame_id"])

    for output in outputs:  # a line for each frame in each process, by its id
        lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        assert {line["frame_id"] for line in lines if "frame_id" in line} == set(collector.spans)


def test_each_receiver_of_a_machine_has_a_port_of_its_own(tmp_path: Path) -> None:
    shown = {"receivers": 3, "rx.observe.metrics_address": "127.0.0.1:9200"}
    settings = make_settings(overrides=shown)
    last = [child.command[-1 - 4] for child in make_children(settings, tmp_path)[2:]]
    assert last[1:] == [f"rx.observe.metrics_address=127.0.0.1:{port}" for port in (9201, 9202)]
    assert "metrics_address" not in last[0]


def test_nothing_of_it_is_loaded_where_it_is_off(tmp_path: Path) -> None:
    code = (
        "import sys; from channel.service import ChannelService;"
        "from simulator.settings import make_settings;"
        f"s = make_settings(overrides={{'channel.front': 'ipc://{tmp_path}/f',"
        f"'channel.back': 'ipc://{tmp_path}/b'}}); ChannelService(s.channel).close();"
        "import tx.service;"
        "print([m for m in sys.modules if m.split('.')[0] in ('prometheus_client',"
        "'opentelemetry', 'requests', 'torch') or m.startswith('simulator.observe.metrics')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
