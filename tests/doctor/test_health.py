"""``doctor --health``: what a running process says of itself, and what is said where none does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from helpers import cli, sentence

from simulator.children import free_ports
from simulator.doctor.health import examine_health
from simulator.errors import AddressError
from simulator.observe.observer import Observer
from simulator.observed import ObserveSettings

pytest.importorskip("prometheus_client", reason="needs the extra metrics")


@contextmanager
def process(clock: list[float], connected: bool = True) -> Iterator[str]:
    """The address of one that was at work until ``clock[0]`` was set to something later."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    settings = ObserveSettings(metrics_address=address)
    observer = Observer("rx", "gpu-1", settings, lambda: clock[0])
    observer.read("channel_connected", lambda: connected)
    try:
        yield address
    finally:
        observer.close()


def test_a_process_that_lives() -> None:
    with process([10.0]) as address:
        findings = examine_health(address)
        told = cli("doctor", "--health", address)
    assert [(f.what, f.ok) for f in findings] == [("rx", True), ("channel", True)]
    assert told.returncode == 0 and "its loop went round 0.0 s ago" in told.stdout


def test_one_whose_loop_stands_or_whose_channel_is_away() -> None:
    clock = [10.0]
    with process(clock, connected=False) as address:
        clock[0] = 50.0
        findings = examine_health(address)
        told = cli("doctor", "--health", address)
    assert [(f.what, f.ok) for f in findings] == [("rx", False), ("channel", False)]
    assert told.returncode == 5 and "does not answer it" in told.stdout


def test_nobody_and_strangers() -> None:
    with pytest.raises(AddressError) as error:
        examine_health(f"127.0.0.1:{free_ports(1)[0]}")
    assert "nobody answers" in sentence(error)
    with pytest.raises(AddressError) as error:
        examine_health("9100")
    assert "is not an address" in sentence(error)

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"diffjscc_loop_age_seconds soon\n\xff")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        with pytest.raises(AddressError) as error:
            examine_health(f"127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert "no process of diffjscc" in sentence(error)
