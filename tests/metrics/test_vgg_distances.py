"""LPIPS-VGG and DISTS: known answers, their weights, and what a distance must be."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from simulator.errors import ModelError
from simulator.images import load_image, sample_photographs
from simulator.metrics import dists, lpips_weights
from simulator.metrics.known import metric_of
from simulator.metrics.lpips import load_lpips_vgg
from simulator.metrics.metric import Setup
from simulator.tensors import as_tensor

EXAMPLE = Path(__file__).parent.parent / "data" / "lpips_example"
# Of ex_p0 and ex_p1 to ex_ref. DISTS: the package's own code on the same convolutions. LPIPS-VGG
# ranks them as people do, and as LPIPS on AlexNet (0.722, 0.138).
KNOWN = {"lpips_vgg": (0.5686, 0.4217), "dists": (0.3879, 0.2250)}


def pixels_of(name: str) -> np.ndarray:
    return load_image(EXAMPLE / name).pixels


@pytest.mark.parametrize("key", KNOWN)
def test_known_answers(key):
    score = metric_of(key).load(Setup())
    found = [
        score(SimpleNamespace(pixels=pixels_of(name), details={}), pixels_of("ex_ref.png"))
        for name in ("ex_p0.png", "ex_p1.png")
    ]
    assert found == pytest.approx(KNOWN[key], abs=2e-4)


@pytest.mark.parametrize("load", [load_lpips_vgg, dists.load_dists])
def test_a_distance(load):
    """0 for equal images, more for more noise, and a batch is its images."""
    network = load()
    image = as_tensor(load_image(sample_photographs()[0]).pixels[:128, :160])[None]
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    worse = [(image + sigma * noise).clamp(0, 1) for sigma in (0.02, 0.1)]
    zero, low, high = (float(network(each, image)) for each in (image, *worse))
    assert abs(zero) < 1e-6 < low < high
    both = network(torch.cat(worse), torch.cat([image, image]))
    assert both.tolist() == pytest.approx([low, high], rel=1e-3)


def test_small_images_have_no_distance():
    small = np.zeros((15, 40, 3), np.uint8)
    for key in KNOWN:
        assert metric_of(key).load(Setup())(SimpleNamespace(pixels=small), small) is None


def test_texture_elsewhere_is_nearer_than_none():
    """Another draw of a texture: DISTS forgives it, PSNR prefers grey."""
    draws = [torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(i)) for i in (0, 1)]
    grey = torch.full_like(draws[0], 0.5)
    network = dists.load_dists()
    assert network(draws[1], draws[0]) < 0.5 * network(grey, draws[0])
    assert (draws[1] - draws[0]).square().mean() > (grey - draws[0]).square().mean()


def test_weights_are_looked_for_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = dists.find_weights()
    assert {name: tuple(w.shape) for name, w in found.items()} == dict.fromkeys(
        ("alpha", "beta"), (1, 1475, 1, 1)
    )
    monkeypatch.setattr(dists, "package_file", lambda *_: None)
    again = dists.find_weights()
    assert all(torch.equal(found[name], again[name]) for name in found)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    with pytest.raises(ModelError, match="pip install --no-deps dists-pytorch"):
        dists.find_weights()
    (tmp_path / "weights.pt").write_bytes(b"other")
    monkeypatch.setattr(dists, "package_file", lambda *_: tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=r"is not the file of dists-pytorch 0\.1"):
        dists.find_weights()


def test_vgg_has_a_file_of_its_own(monkeypatch, tmp_path):
    assert lpips_weights.cache_file("vgg") != lpips_weights.cache_file()
    monkeypatch.setenv("DIFFJSCC_LPIPS_VGG", str(tmp_path / "none.safetensors"))
    with pytest.raises(ModelError, match="cannot be read"):
        load_lpips_vgg()


def test_the_class_is_kept_or_not():
    score = metric_of("same_class").load(Setup())
    cat = load_image(sample_photographs()[1]).pixels
    coffee = load_image(sample_photographs()[2]).pixels
    assert score(SimpleNamespace(pixels=cat, details={}), cat) == 100.0
    assert score(SimpleNamespace(pixels=coffee, details={}), cat) == 0.0
