"""A transmitter as slow as a board: measured, slowed down, limited, and written down."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from helpers import sentence

from simulator.edge import EdgeSettings
from simulator.errors import SettingsError
from simulator.jscc.signal import ToEncode
from simulator.phy.state import ChannelState
from simulator.settings import make_settings
from tx import edge, quota
from tx.edge import EdgeEncoder, Measured, emulate
from tx.encoder import NullEncoder
from tx.energy import find_meter
from tx.quota import make_group

PROFILES = sorted((Path(__file__).parents[2] / "configs" / "edge").glob("*.toml"))
RATIO = Fraction(1, 384)
GIVEN = ToEncode(np.zeros((64, 64, 3), np.uint8), ChannelState(10.0), RATIO)


def test_a_pause_makes_each_use_as_long_as_it_is_to_be() -> None:
    times, busy, pauses = iter([10.0, 10.5, 20.0, 20.25, 30.0, 39.0]), iter(range(6)), []
    slow = EdgeEncoder(
        NullEncoder(), 5.0, None, lambda: next(times), lambda: next(busy), pauses.append
    )
    plain = NullEncoder().encode(GIVEN).symbols
    assert np.array_equal(slow.encode(GIVEN).symbols, plain)
    slow.encode(GIVEN)
    slow.encode(GIVEN)  # something else had the processor: it is late already
    assert pauses == [4.5, 4.75]
    assert slow.joules is None and slow.k((64, 64), RATIO) == len(plain)


def test_the_end_of_the_process_does_not_wait_for_a_pause() -> None:
    slow = EdgeEncoder(NullEncoder(), 1e12)  # it would be hours
    slow.release()
    slow.encode(GIVEN)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder that takes 0.1 s here and keeps 1.6 cores busy; no control groups, no meter."""
    monkeypatch.setattr(edge, "measure", lambda *_: Measured(0.1, 0.16))
    monkeypatch.setattr(edge, "make_group", lambda controllers: None)
    monkeypatch.setattr(edge, "find_meter", lambda: None)


def test_the_record_says_what_was_measured_and_what_is_done(tmp_path: Path, here: None) -> None:
    settings = EdgeSettings(profile="board", encode_s=0.4)
    slow = emulate(settings, NullEncoder(), RATIO, tmp_path)
    assert slow is not None
    assert slow.note == "edge board: encoder slowed down to 0.4 s for 768x512 by pauses"
    record = json.loads((tmp_path / "edge.json").read_text())
    assert record["measured_encode_s"] == 0.1 and record["target_encode_s"] == 0.4
    assert (record["slowed"], record["by"], record["quota_cpus"]) == (4.0, "pause", None)
    assert record["energy"] is None and record["memory_by"] is None


def test_a_machine_that_is_too_slow_says_so(
    here: None, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    slow = emulate(EdgeSettings(profile="board", encode_s=0.05), NullEncoder(), RATIO, tmp_path)
    assert slow is not None and "not slowed down" in slow.note
    assert "this machine is too slow for it" in caplog.text
    assert json.loads((tmp_path / "edge.json").read_text())["by"] == "nothing"


def test_nothing_is_measured_where_nothing_is_asked_for(tmp_path: Path) -> None:
    assert emulate(EdgeSettings(), NullEncoder(), RATIO, tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_a_quota_that_cannot_be_is_refused(here: None) -> None:
    with pytest.raises(SettingsError) as error:
        emulate(EdgeSettings(encode_s=0.4, by="quota"), NullEncoder(), RATIO, None)
    assert "no control group" in sentence(error)
    with pytest.raises(SettingsError) as error:
        emulate(EdgeSettings(encode_s=40, by="quota"), NullEncoder(), RATIO, None)
    assert "would starve the link" in sentence(error)


def control_groups(root: Path, controllers: str) -> Path:
    """As version 2 of cgroups looks: this process in a.slice/b.scope."""
    own = root / "own"
    for folder in (root / "a.slice" / "b.scope", root / "a.slice", root):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.subtree_control").write_text(controllers if folder != root else "")
    own.write_text("4:cpu:/old\n0::/a.slice/b.scope\n")
    return own


def test_a_quota_is_written_to_a_group_beside_the_own_one(
    tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = control_groups(tmp_path, "cpu memory")

    def made(controllers: set[str]) -> quota.Group | None:
        return make_group(controllers, tmp_path, own, pid=77)

    monkeypatch.setattr(edge, "make_group", made)
    settings = EdgeSettings(encode_s=0.4, memory_mb=10**6)
    slow = emulate(settings, NullEncoder(), RATIO, tmp_path)
    assert slow is not None and slow.note.endswith("slowed down to 0.4 s for 768x512 by a quota")
    group = tmp_path / "a.slice" / "diffjscc-tx-77"
    assert (group / "cgroup.procs").read_text() == "77"
    assert (group / "cpu.max").read_text() == "40000 100000"  # 0.16 s of 0.4 s
    assert (group / "memory.max").read_text() == str(10**12)
    record = json.loads((tmp_path / "edge.json").read_text())
    assert (record["by"], record["memory_by"]) == ("quota", "cgroup")
    assert record["emulated_encode_s"] == 0.1  # measured again, as it is now


def test_there_is_no_group_where_the_controllers_are_not_delegated(tmp_path: Path) -> None:
    own = control_groups(tmp_path, "memory pids")
    assert make_group({"cpu"}, tmp_path, own, pid=77) is None
    assert make_group(set(), tmp_path, own, pid=77) is None
    assert not (tmp_path / "a.slice" / "diffjscc-tx-77").exists()


def test_memory_is_limited_and_less_than_there_is_refused() -> None:
    code = (
        "from tx.edge import limit_memory, data_bytes; import numpy as np;"
        "mb = data_bytes() // 10**6 + 100; print(limit_memory(mb, None));"
        "np.ones(50 * 10**6, np.uint8)\n"
        "try: np.ones(10**9, np.uint8)\n"
        "except MemoryError: print('refused')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["rlimit", "refused"]
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(SettingsError) as error:
        edge.limit_memory(1, None)
    assert "is less than tx itself needs here" in sentence(error)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_energy_is_that_of_all_packages_and_its_counter_wraps(tmp_path: Path) -> None:
    for index, name in enumerate(("package-0", "dram", "package-1")):
        folder = tmp_path / f"intel-rapl:{index}"
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        (folder / "energy_uj").write_text("9000000\n")
        (folder / "max_energy_range_uj").write_text("9999999\n")
    meter = find_meter(tmp_path)
    assert meter is not None
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("9500000\n")
    (tmp_path / "intel-rapl:2" / "energy_uj").write_text("500000\n")  # it has begun again
    assert meter.joules() == pytest.approx(0.5 + 1.5)
    meter.restart()
    assert meter.joules() == 0
    assert find_meter(tmp_path / "none") is None


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_profiles(path: Path) -> None:
    settings = make_settings(path)
    assert settings.tx.edge.profile == path.stem and settings.tx.edge.encode_s > 0
    assert settings.tx.threads and settings.channel.airtime == "sleep"
    assert settings.channel.downlink.delay_s and settings.channel.downlink.loss


def test_there_are_profiles() -> None:
    assert len(PROFILES) == 5
