"""An SNR from outside: its newest value is that of the next frame."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from helpers import sentence, wait_for

from channel.live_snr import LiveSnr, snr_of
from channel.radio import Media
from simulator.children import free_ports
from simulator.errors import AddressError, SettingsError
from simulator.link.messages import WireError, WirePoint
from simulator.settings import ChannelSettings, make_settings
from tx.source import points_of


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"12.5", 12.5),
        (b" -3\n", -3.0),
        (b"1e1", 10.0),
        (np.array([7.25], "<f4").tobytes(), 7.25),
        (np.array([1, 2, 3], "<f4").tobytes(), 3.0),
        (b"", None),
        (b"nan", None),
        (b"inf", None),
        (b"61", None),
        (b"loud", None),
        (b"abc", None),
        (np.array([np.nan], "<f4").tobytes(), None),
    ],
)
def test_what_a_message_says(message: bytes, expected: float | None) -> None:
    assert snr_of(message) == expected


def newest(live: LiveSnr) -> float | None:
    try:
        return live.newest()
    except WireError as error:
        assert error.code == "busy" and "no SNR has come from" in error.reason
        return None


@pytest.mark.parametrize("kind", ["sub", "pull"])
def test_the_newest_of_a_socket(kind: str) -> None:
    (port,) = free_ports(1)
    endpoint = f"tcp://127.0.0.1:{port}"
    with zmq.Context() as context:
        live = LiveSnr(f"{kind}:{endpoint}", context)
        teller = context.socket(zmq.PUB if kind == "sub" else zmq.PUSH)
        (teller.bind if kind == "sub" else teller.connect)(endpoint)
        assert newest(live) is None

        def told() -> bool:  # a subscription takes a moment
            teller.send(b"3.5")
            return newest(live) == 3.5

        wait_for(told)
        for value in (b"4", b"nonsense", b"8.25"):
            teller.send(value)
        wait_for(lambda: newest(live) == 8.25)
        teller.send(b"nonsense")
        time.sleep(0.1)
        assert newest(live) == 8.25
        live.close()
        teller.close(0)


def test_the_last_whole_line_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "snr.txt"
    with zmq.Context() as context:
        live = LiveSnr(str(path), context)
        assert newest(live) is None
        path.write_text("1\n2.5\n")
        assert newest(live) == 2.5
        path.write_text("1\n2.5\n17")  # which may become 17.5
        assert newest(live) == 2.5
        path.write_text("".join(f"{i / 1000}\n" for i in range(9000)) + "\n\n")
        assert newest(live) == 8.999
        path.write_text("8\nwhat\n")
        assert newest(live) == 8.999
        path.unlink()
        assert newest(live) == 8.999
        live.close()


def test_the_medium_asks_it_where_the_point_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "snr.txt"
    settings = ChannelSettings(snr_source=str(path))
    asked = WirePoint(channel="awgn", snr_db=None, bandwidth_ratio="1/48")
    with zmq.Context() as context:
        medium = Media(settings, context).medium
        with pytest.raises(WireError, match="no SNR"):
            medium.snr_db(asked)
        for value in (3.0, 14.5):
            path.write_text(f"{value}\n")
            assert medium.csit(bytes(32), asked, 100).snr_db == value
            got = medium.transmit(bytes(32), asked, 40_000, np.ones(40_000, np.complex64))
            assert got.snr_db == value == pytest.approx(got.received_snr_db, abs=0.1)


def test_a_transmitter_leaves_the_snr_to_it() -> None:
    given: dict[str, Any] = {"channel.snr_source": "snr.txt", "channel.snr_db": [1, 2]}
    assert [point.snr_db for point in points_of(make_settings(overrides=given))] == [None]


def test_what_cannot_be_a_source(tmp_path: Path) -> None:
    with zmq.Context() as context:
        with pytest.raises(SettingsError, match="is a folder") as folder:
            LiveSnr(str(tmp_path), context)
        sentence(folder)
        with pytest.raises(AddressError, match="channel.snr_source: .* is not an address"):
            LiveSnr("sub:nowhere", context)
    with pytest.raises(SettingsError, match="give one of snr_source and snr_trace"):
        make_settings(overrides={"channel.snr_source": "a", "channel.snr_trace": "b"})
