"""Whose a folder is: a start that is refused writes nothing, the same one goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import cli, make_photographs, start_cli, wait_for

from simulator import claim
from simulator.claim import has_rows
from simulator.cli.simulate import simulate as command
from simulator.doctor.run import examine_run
from simulator.errors import SettingsError, StorageError
from simulator.evaluation.store import open_store
from simulator.launch import resumable, simulate, stored_frames
from simulator.link.ledger import TxLedger
from simulator.prepare import absolute, prepare
from simulator.runfolder import RUN_FILE, name_run, write_run_file
from simulator.settings import Section, Settings, make_settings
from tests.fuzz.brought.commands import Done, invoke

PICTURE = Path(__file__).parent.parent / "simulator" / "report" / "example.jpg"
NULL = {"codec": "null", "rx.reference": "none"}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def run_in(folder: Path, **options: Any) -> Settings:
    return name_run(make_settings(overrides={**NULL, "out": str(folder), **options}))


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """The folder of a run that was interrupted before its first frame."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_run_file(run_in(folder, run="first"), folder)
    ledger = TxLedger(folder / "tx.db")
    ledger.require("run", "first")
    ledger.close()
    return folder


def test_an_interrupted_run_goes_on_by_the_same_command(tmp_path: Path) -> None:
    photographs = make_photographs(tmp_path / "photographs", 6) and tmp_path / "photographs"
    out = tmp_path / "run"
    quick = ("--codec", "null", "--reference", "none", "--set", "rx.decode_s=0.3")
    command = ("simulate", photographs, "--out", out, *quick)
    run = start_cli(*command)
    wait_for(lambda: stored_frames(out) >= 2)
    run.send_signal(2)
    run.communicate(timeout=60)
    assert run.returncode == 130 and stored_frames(out) < 6
    first = json.loads((out / "results.jsonl").read_text().splitlines()[0])["run"]

    before = contents(out)
    other = invoke(*command, "--snr-db", 3)
    assert other.code == 8 and "--resume" in other.err and "snr_db" in other.err
    assert contents(out) == before

    again = invoke(*command)
    assert again.code == 0, again.err
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert len(rows) == 6 and {row["run"] for row in rows} == {first}
    assert invoke(*command).code == 0  # a finished one, too
    assert invoke("doctor", "--run", out).code == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 1), ("codec", "compact"), ("run", "second"), ("tx.repeats", 2),
        ("tx.images", [str(PICTURE)]), ("tx.bandwidth_ratio", "1/96"), ("channel.kind", "rician"),
        ("channel.snr_db", [1, 2]), ("channel.csit", "average"), ("channel.symbol_rate_hz", 2e6),
        ("rx.equalizer", "mmse"), ("rx.reference", "attached"), ("rx.lpips", False),
    ],
)  # fmt: skip
def test_a_run_with_other_settings_is_refused_and_nothing_is_written(
    begun: Path, name: str, value: Any
) -> None:
    before = contents(begun)
    options = {"rx.refine": False, name: value}
    with pytest.raises(StorageError, match=r"holds run first.*--resume") as caught:
        simulate(run_in(begun, **options))
    assert name in str(caught.value) or name in ("codec", "run")
    assert contents(begun) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [("tx.window", 4), ("receivers", 3), ("rx.threads", 1), ("channel.front", "tcp://[::1]:9"),
     ("keys", True), ("name", "other"), ("rx.slots", 2), ("durability", "full")],
)  # fmt: skip
def test_how_the_work_is_spread_may_change(begun: Path, name: str, value: Any) -> None:
    settings = run_in(begun, **{name: value})
    run = prepare(settings)
    with claim.claimed(run) as folder:
        assert folder == begun and run.settings.run == "first"


def test_options_beside_resume_are_not_passed_over(begun: Path) -> None:
    before = contents(begun)
    with pytest.raises(StorageError, match=r"another channel.snr_db \(\[10.0\], not \[3.0\]\)"):
        command(out=begun, resume=True, snr_db=[3.0])
    assert contents(begun) == before


def test_a_run_of_before_draws_had_versions_goes_on_with_the_first(begun: Path) -> None:
    path = begun / RUN_FILE
    assert "draws = 2\n" in path.read_text()
    path.write_text(path.read_text().replace("draws = 2\n", ""))
    again = make_settings(resumable(begun), overrides={"out": str(begun)})
    for settings in (run_in(begun), name_run(again)):
        with claim.claimed(prepare(settings)):
            assert settings.channel.draws == 1
    newer = run_in(begun, **{"channel.draws": 2})
    other = pytest.raises(StorageError, match=r"channel.draws \(1, not 2\)")
    with other, claim.claimed(prepare(newer)):
        pass
    write_run_file(run_in(begun), begun)
    assert "draws = 1\n" in path.read_text()


def test_other_weights_of_the_same_name_are_refused(begun: Path) -> None:
    text = (begun / RUN_FILE).read_text()
    (begun / RUN_FILE).write_text(text.replace('codec = "null-', 'codec = "null-0'))
    with pytest.raises(StorageError, match="another codec"), claim.claimed(prepare(run_in(begun))):
        pass


def test_one_start_at_a_time(begun: Path) -> None:
    with claim.claimed(prepare(run_in(begun))):
        before = contents(begun)
        done = cli("simulate", "--out", begun, "--codec", "null", "--set", "rx.reference=none")
        assert done.returncode == 8 and "another run is at work" in done.stderr
        assert contents(begun) == before
    with claim.claimed(prepare(run_in(begun))):
        pass


def test_folders_of_others(begun: Path, tmp_path: Path) -> None:
    """A receiver's, a run's, a sweep's, and a ledger that lost its run.toml: each says what."""
    (tmp_path / "rx").mkdir()
    receiver = make_settings(overrides={**NULL, "out": str(tmp_path / "rx")})
    with claim.claimed_by_receiver(receiver) as folder:
        write_run_file(receiver, folder)
    lone, sweep = tmp_path / "lone", tmp_path / "sweep"
    lone.mkdir()
    sweep.mkdir()
    TxLedger(lone / "tx.db").close()
    (sweep / "sweep.toml").touch()
    before = contents(tmp_path)

    def refused(words: str, holder: Any, what: Any) -> None:
        with pytest.raises(StorageError, match=words), holder(what):
            raise AssertionError("it was let in")

    def refused_run(words: str, settings: Settings) -> None:
        refused(words, claim.claimed, prepare(settings))

    refused_run("folder of receiver rx", run_in(tmp_path / "rx", run="r"))
    refused_run("ledger of a run, but no run.toml", run_in(lone, run="r"))
    refused_run("holds a sweep", run_in(sweep, run="r"))
    into_run = make_settings(overrides={**NULL, "out": str(begun)})
    refused("holds run first", claim.claimed_by_receiver, into_run)
    into_lone = make_settings(overrides={**NULL, "out": str(lone)})
    refused("holds the ledger of a run", claim.claimed_by_receiver, into_lone)
    with pytest.raises(SettingsError, match="holds something else"), open_store(begun, {}, {}):
        pass
    assert contents(tmp_path) == before
    with claim.claimed_by_receiver(receiver):
        refused("receiver rx is at work", claim.claimed_by_receiver, receiver)


def test_a_sweep_that_is_refused_writes_nothing(tmp_path: Path) -> None:
    with open_store(tmp_path / "sweep", {"name": "a"}, {"seed": 1}):
        pass
    (tmp_path / "sweep" / ".lock").unlink()
    before = contents(tmp_path)
    with (
        pytest.raises(SettingsError, match="seed was 1 and is 2"),
        open_store(tmp_path / "sweep", {"name": "a"}, {"seed": 2}),
    ):
        pass
    assert contents(tmp_path) == before


def test_doctor_sees_a_run_file_of_another_run(begun: Path) -> None:
    def sound() -> bool:
        return all(finding.ok is not False for finding in examine_run(begun))

    assert sound()
    write_run_file(run_in(begun, run="second"), begun)
    assert not sound()


def test_a_ledger_that_was_being_made_holds_no_row(tmp_path: Path) -> None:
    assert not has_rows(tmp_path)
    (tmp_path / "rx-rx.db").touch()  # its process was stopped before it had a table
    assert not has_rows(tmp_path)
    (tmp_path / "tx.db").write_bytes(b"no ledger at all" * 100)
    assert has_rows(tmp_path)  # nobody knows


# Paths hold in any working directory.

PATHS = {
    "model", "codec", "tx.images", "tx.captions", "tx.keys", "tx.token", "channel.snr_trace",
    "channel.keys", "channel.snr_source", "channel.radio.write", "channel.radio.read",
    "rx.preview", "rx.captioner", "rx.reference", "rx.keys", "plugins",
}  # fmt: skip
#: Texts that are no paths. ``out`` is given anew by --out.
TEXTS = {
    *(f"{role}.observe.{name}" for role in ("tx", "channel", "rx")
      for name in ("metrics_address", "traces_endpoint")),
    "tx.edge.profile", "tx.edge.by",
    "run", "name", "out", "durability", "log_format", "tx.name", "tx.bandwidth_ratio", "tx.runtime",
    "tx.reference", "tx.connect", "tx.when_busy", "tx.returns", "tx.return_format",
    "channel.kind", "channel.csit", "channel.csir", "channel.superposed",
    "channel.airtime", "channel.side", "rx.compile", "channel.multipath.profile",
    "channel.multipath.estimator", "channel.multipath.power", "channel.radio.via",
    "channel.radio.sockets",
    "channel.radio.send", "channel.radio.receive", "channel.impairments",
    "channel.mimo.scheme", "channel.mimo.detector",
    "channel.front", "channel.back", "channel.watch", "rx.name", "rx.solver", "rx.guidance",
    "tx.white", "rx.color_fix", "rx.conditions", "rx.dtype", "rx.decoder_dtype", "rx.offload",
    "rx.equalizer", "rx.device", "rx.connect", "rx.receiver",
}  # fmt: skip


def texts_of(model: type[Section], prefix: str = "") -> set[str]:
    found = set()
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            found |= texts_of(kind, f"{prefix}{name}.")
        elif kind is str or "str" in str(kind) or "Literal['" in str(kind):
            found.add(prefix + name)
    return found


def test_every_text_among_the_settings_is_known_to_be_a_path_or_none() -> None:
    assert texts_of(Settings) == PATHS | TEXTS | {"tx.source"}


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in PATHS:
        Path(name).mkdir()
    together = PATHS - {"channel.snr_source"}  # which replaces snr_trace
    given: dict[str, Any] = {name: name for name in together} | {"tx.images": ["tx.images"]}
    settings = absolute(make_settings(overrides=given))
    tree = settings.model_dump()
    for name in together:
        value: Any = tree
        for step in name.split("."):
            value = value[step]
        assert value in (str(tmp_path / name), [str(tmp_path / name)])
    assert absolute(settings) == settings
    for source, expected in {
        "snr.txt": str(tmp_path / "snr.txt"),
        "sub:tcp://127.0.0.1:5562": "sub:tcp://127.0.0.1:5562",
    }.items():
        told = make_settings(overrides={"channel.snr_source": source})
        assert absolute(told).channel.snr_source == expected
    for source, expected in {
        "follow:inbox": f"follow:{tmp_path / 'inbox'}",
        "video:clip.mp4": f"video:{tmp_path / 'clip.mp4'}",
        "video:rtsp://camera/stream": "video:rtsp://camera/stream",
        "video:/dev/video0": "video:/dev/video0",
        "http:127.0.0.1:8080": "http:127.0.0.1:8080",
        "": "",
    }.items():
        assert absolute(make_settings(overrides={"tx.source": source})).tx.source == expected
    given["rx.captioner"] = "given:captions.json"
    captioner = absolute(make_settings(overrides=given)).rx.captioner
    assert captioner == f"given:{tmp_path / 'captions.json'}"
    hub = make_settings(overrides={"model": "someone/model", "rx.captioner": "blip2"})
    assert absolute(hub) == hub


def test_a_run_is_resumed_from_another_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_photographs(tmp_path / "here" / "photographs", 2)
    (tmp_path / "there").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))

    def called(directory: str, *words: str) -> Done:
        monkeypatch.chdir(tmp_path / directory)
        return invoke(*words)

    quick = ("--codec", "null", "--reference", "none")
    done = called("here", "simulate", "photographs", *quick, "--out", "run")
    assert done.code == 0, done.err
    before = (tmp_path / "here" / "run" / "results.jsonl").read_bytes()
    again = called("there", "simulate", "--resume", "--out", "../here/run")
    assert again.code == 0, again.err
    assert (tmp_path / "here" / "run" / "results.jsonl").read_bytes() == before
    healthy = called("there", "doctor", "--run", "../here/run")
    assert "all 2 frames have their row" in healthy.out


REFUSED_BY_A_PROCESS = [  # of each of the three one
    "channel.snr_trace=no.csv",
    "rx.device=gpu",
    "tx.runtime=onnx-int8",
]


@pytest.mark.parametrize("setting", REFUSED_BY_A_PROCESS)
def test_what_one_of_its_processes_refuses_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make_photographs(tmp_path / "in", 1)
    done = invoke("simulate", "in", "--out", "new/run", "--refine", "off", "--set", setting)
    assert done.code in (3, 4), done.err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("role", ["simulate", "tx", "rx"])
def test_a_refused_process_leaves_an_empty_folder_empty(tmp_path: Path, role: str) -> None:
    (photograph,) = make_photographs(tmp_path / "in", 1)
    (tmp_path / "out").mkdir()
    setting, more = {
        "simulate": ("channel.snr_trace=no.csv", ["--codec", "null", "--reference", "none"]),
        "tx": ("tx.keys=nowhere", []),
        "rx": ("rx.device=gpu", ["--refine", "off"]),
    }[role]
    image = [photograph] if role != "rx" else []
    done = cli(role, *image, "--out", tmp_path / "out", "--set", setting, *more)
    assert done.returncode in (3, 4), done.stderr
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_with_rows_or_files_of_others_is_kept(tmp_path: Path) -> None:
    (photograph,) = make_photographs(tmp_path / "in", 1)
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    null = ("--codec", "null", "--reference", "none")
    done = cli("simulate", photograph, "--out", out, "--set", "channel.snr_trace=no.csv", *null)
    assert done.returncode == 3 and (out / "notes.txt").read_text() == "mine"
