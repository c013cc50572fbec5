"""``doctor`` shows every check, and says how to get what is missing or broken."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.doctor import machine as doctor
from simulator.errors import ModelError


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
