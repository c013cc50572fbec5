"""Bursts in SigMF recordings: written, played through an air, read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from burst_world import burst, through
from helpers import sentence

from channel.radio import Media
from channel.sigmf import Writer, files_of, read_recording
from simulator.errors import SettingsError
from simulator.link.messages import WireError, WirePoint
from simulator.phy.pilots import pilot_symbols
from simulator.settings import ChannelSettings

K = 600
POINT = WirePoint(channel="radio", snr_db=12.0, bandwidth_ratio="1/48")


def settings(**radio: Any) -> ChannelSettings:
    return ChannelSettings.model_validate(
        {
            "kind": "radio",
            "csir": "estimated",
            "csit": "average",
            "radio": {"via": "sigmf", "sps": 2} | radio,
        }
    )


def frame(name: int) -> np.ndarray:
    return np.concatenate([pilot_symbols(16), burst(name, K)[1][-K:]])


def key(name: int) -> bytes:
    return bytes([name]) * 32


def transmitted(given: ChannelSettings, *names: int) -> list[Any]:
    with zmq.Context() as context:
        media = Media(given, context)
        got = [media.medium.transmit(key(name), POINT, K, frame(name)) for name in names]
        media.close()
    return got


def play(name: Path, heard: Path, snr_db: float, rate: float = 2e6, **meta: Any) -> None:
    """What a radio and a recorder would make of a recording."""
    sent = np.fromfile(name.with_suffix(".sigmf-data"), "<c8")
    rng = np.random.default_rng(3)
    air = through(sent, 2, snr_db, rng, delay=1234.56, offset=-0.003, gain=0.3 - 0.1j)
    air.tofile(heard.with_suffix(".sigmf-data"))
    told = {"core:datatype": "cf32_le", "core:sample_rate": rate, "core:version": "1.0.0"} | meta
    tree = {"global": told, "captures": [{"core:sample_start": 0}], "annotations": []}
    heard.with_suffix(".sigmf-meta").write_text(json.dumps(tree))


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    transmitted(settings(write=str(tmp_path / "sent")), 1, 2, 3)
    return tmp_path / "sent"


def test_a_recording_is_what_sigmf_says(sent: Path) -> None:
    samples = np.fromfile(sent.with_suffix(".sigmf-data"), "<c8")
    tree = json.loads(sent.with_suffix(".sigmf-meta").read_text())
    assert tree["global"]["core:datatype"] == "cf32_le"
    assert tree["global"]["core:sample_rate"] == 2e6
    assert tree["global"]["core:version"] == "1.0.0"
    assert tree["captures"] == [{"core:sample_start": 0}]
    places = [a["core:sample_start"] for a in tree["annotations"]]
    assert places == sorted(places) and len(places) == 3
    for each in tree["annotations"]:
        first, count = each["core:sample_start"], each["core:sample_count"]
        assert np.all(np.abs(samples[first : first + 4]) < 0.2)
        assert np.mean(np.abs(samples[first : first + count]) ** 2) > 0.03
        assert not samples[first - 300 : first].any() and len(each["core:label"]) < 20
        assert "16 pilots, 600 symbols" in each["core:comment"]


def test_a_written_burst_is_heard_in_emulated_noise_that_is_a_function_of_the_draw(
    tmp_path: Path,
) -> None:
    (got,) = transmitted(settings(write=str(tmp_path / "a")), 1)
    (same,) = transmitted(settings(write=str(tmp_path / "b")), 1)
    assert np.array_equal(got.symbols, same.symbols)
    assert got.snr_db == pytest.approx(12, abs=0.6)
    noise = np.mean(np.abs(got.symbols - frame(1)) ** 2)
    assert -10 * np.log10(noise) == pytest.approx(12, abs=0.8)


def test_what_was_played_is_found_in_any_order(sent: Path, tmp_path: Path) -> None:
    play(sent, tmp_path / "heard", 15)
    got = transmitted(settings(read=str(tmp_path / "heard.sigmf-meta")), 3, 1, 2, 2)
    for name, each in zip((3, 1, 2, 2), got, strict=True):
        noise = np.mean(np.abs(each.symbols - frame(name)) ** 2)
        assert -10 * np.log10(noise) == pytest.approx(15, abs=0.8)
        assert each.snr_db == pytest.approx(15, abs=0.6)
    assert np.array_equal(got[2].symbols, got[3].symbols)  # a file is the same every time


def test_a_frame_that_was_not_recorded(sent: Path, tmp_path: Path) -> None:
    play(sent, tmp_path / "heard", 15)
    with pytest.raises(WireError) as error:
        transmitted(settings(read=str(tmp_path / "heard")), 4)
    assert error.value.code == "unsupported"
    assert error.value.reason.startswith("none of the 3 bursts of the recording is this frame's")


def test_a_recording_that_ends_within_a_burst_and_one_that_has_it_twice(
    sent: Path, tmp_path: Path
) -> None:
    heard = tmp_path / "heard"
    play(sent, heard, 15)
    data = heard.with_suffix(".sigmf-data")
    whole = np.fromfile(data, "<c8")
    cut = whole[: len(whole) - 1500 - 1000]
    cut.tofile(data)
    with pytest.raises(WireError, match="end within the burst"):
        transmitted(settings(read=str(heard)), 3)
    np.concatenate([cut, np.zeros(5000, "<c8"), whole]).tofile(data)
    (got,) = transmitted(settings(read=str(heard)), 3)
    assert np.mean(np.abs(got.symbols - frame(3)) ** 2) < 0.05


def test_a_recording_goes_on_after_a_kill_and_has_each_burst_once(sent: Path) -> None:
    data = sent.with_suffix(".sigmf-data")
    size = data.stat().st_size
    transmitted(settings(write=str(sent)), 2)
    assert data.stat().st_size == size
    with data.open("ab") as file:
        file.write(bytes(8 * 40 + 3))
    transmitted(settings(write=str(sent)), 4)
    assert data.stat().st_size % 8 == 0
    tree = json.loads(sent.with_suffix(".sigmf-meta").read_text())
    assert len(tree["annotations"]) == 4
    (got,) = transmitted(settings(read=str(sent)), 4)
    assert np.mean(np.abs(got.symbols - frame(4)) ** 2) < 1e-4


def rewritten(meta: Path, **fields: Any) -> None:
    tree = json.loads(meta.read_text())
    tree["global"] |= fields
    meta.write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"core:datatype": "ci16_le"}, "samples of type ci16_le; record them as cf32_le"),
        ({"core:sample_rate": 1e6}, "has 1e+06 samples per second"),
        ({"core:num_channels": 2}, "has 2 channels"),
        ({"core:datatype": 7}, "samples of type 7"),
        ({"core:sample_rate": "much"}, "is no metadata of SigMF"),
    ],
)
@pytest.mark.parametrize("way", ["read", "write"])
def test_metadata_that_do_not_fit(sent: Path, fields: Any, told: str, way: str) -> None:
    rewritten(sent.with_suffix(".sigmf-meta"), **fields)
    with pytest.raises(SettingsError) as error:
        transmitted(settings(**{way: str(sent)}))
    assert told in sentence(error)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"global": 3}', '{"global": {}}', "{" * 5000, "[" * 100_000]
)
def test_metadata_that_are_none(sent: Path, text: str) -> None:
    sent.with_suffix(".sigmf-meta").write_text(text)
    with pytest.raises(SettingsError, match="is no metadata of SigMF") as error:
        transmitted(settings(read=str(sent)))
    sentence(error)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "has 0 bytes"),
        (bytes(13), "has 13 bytes"),
        (np.full(9, np.nan, "<c8").tobytes(), "not finite"),
        (bytes(8 * 9000), "no preamble was found"),
    ],
)
def test_data_that_are_none(sent: Path, data: bytes, told: str) -> None:
    sent.with_suffix(".sigmf-data").write_bytes(data)
    with pytest.raises(SettingsError) as error:
        transmitted(settings(read=str(sent)))
    assert told in sentence(error)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="sigmf-meta cannot be read: No such file") as error:
        read_recording(str(tmp_path / "none"), 1.0)
    sentence(error)
    (tmp_path / "x.sigmf-data").write_bytes(bytes(8))
    with pytest.raises(SettingsError, match="has no metadata; name another"):
        Writer(str(tmp_path / "x"), 1.0)


def test_a_recording_is_named_by_either_file_or_neither() -> None:
    expected = (Path("a.b.sigmf-data"), Path("a.b.sigmf-meta"))
    for name in ("a.b", "a.b.sigmf-data", "a.b.sigmf-meta"):
        assert files_of(name) == expected


def test_a_recording_of_another_maker_is_not_written_to(sent: Path) -> None:
    rewritten(sent.with_suffix(".sigmf-meta"), **{"core:recorder": "someone"})
    with pytest.raises(SettingsError, match="name another recording"):
        transmitted(settings(write=str(sent)))


def test_too_much_emulated_noise_is_told(tmp_path: Path) -> None:
    faint = WirePoint(channel="radio", snr_db=-25.0, bandwidth_ratio="1/48")
    with zmq.Context() as context:
        media = Media(settings(write=str(tmp_path / "x")), context)
        with pytest.raises(WireError, match="no preamble") as error:
            media.medium.transmit(key(1), faint, K, frame(1))
        media.close()
    assert error.value.code == "unsupported"
