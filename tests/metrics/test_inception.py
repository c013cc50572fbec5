"""FID's Inception network: names, shapes and values against a second writing of it; weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from simulator.errors import ModelError
from simulator.metrics import inception_weights
from simulator.metrics.inception import (
    FEATURES,
    load_inception,
    mixed_6a,
    resize_tf1,
    weight_shapes,
)


class Reference:
    """The network as functions. Weights are drawn when a layer is first met, under the names of
    the published file, so that names and shapes are those of this writing."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self._generator = torch.Generator().manual_seed(0)

    def drawn(self, name: str, shape: tuple[int, ...], make: Callable[[Tensor], Tensor]) -> Tensor:
        if name not in self.weights:
            self.weights[name] = make(torch.randn(shape, generator=self._generator))
        return self.weights[name]

    def unit(self, x: Tensor, name: str, out: int, kh: int, kw: int, **options: object) -> Tensor:
        inputs = x.shape[1]
        gain = (2 / (inputs * kh * kw)) ** 0.5
        kernel = self.drawn(f"{name}.conv.weight", (out, inputs, kh, kw), lambda t: t * gain)
        scale = self.drawn(f"{name}.bn.weight", (out,), lambda t: 1 + 0.2 * t)
        shift = self.drawn(f"{name}.bn.bias", (out,), lambda t: 0.1 * t)
        mean = self.drawn(f"{name}.bn.running_mean", (out,), lambda t: 0.1 * t)
        var = self.drawn(f"{name}.bn.running_var", (out,), lambda t: 1 + 0.2 * t.tanh())
        x = functional.conv2d(x, kernel, **options)  # type: ignore[arg-type]
        x = (x - mean[:, None, None]) / (var[:, None, None] + 0.001).sqrt()
        return (x * scale[:, None, None] + shift[:, None, None]).clamp(min=0)

    def mean_3x3(self, x: Tensor) -> Tensor:
        """Of those of the nine that are inside the image."""
        ones = torch.ones_like(x[:1, :1])
        box = torch.ones(1, 1, 3, 3)
        inside = functional.conv2d(ones, box, padding=1)
        sums = functional.conv2d(x.transpose(0, 1), box, padding=1).transpose(0, 1)
        return sums / inside

    def block_35(self, x: Tensor, n: str, pooled: int) -> Tensor:
        a = self.unit(x, f"{n}.branch1x1", 64, 1, 1)
        b = self.unit(x, f"{n}.branch5x5_1", 48, 1, 1)
        b = self.unit(b, f"{n}.branch5x5_2", 64, 5, 5, padding=2)
        c = self.unit(x, f"{n}.branch3x3dbl_1", 64, 1, 1)
        c = self.unit(c, f"{n}.branch3x3dbl_2", 96, 3, 3, padding=1)
        c = self.unit(c, f"{n}.branch3x3dbl_3", 96, 3, 3, padding=1)
        d = self.unit(self.mean_3x3(x), f"{n}.branch_pool", pooled, 1, 1)
        return torch.cat([a, b, c, d], 1)

    def block_17(self, x: Tensor, n: str, c7: int) -> Tensor:
        across, down = {"padding": (0, 3)}, {"padding": (3, 0)}
        a = self.unit(x, f"{n}.branch1x1", 192, 1, 1)
        b = self.unit(x, f"{n}.branch7x7_1", c7, 1, 1)
        b = self.unit(b, f"{n}.branch7x7_2", c7, 1, 7, **across)
        b = self.unit(b, f"{n}.branch7x7_3", 192, 7, 1, **down)
        c = self.unit(x, f"{n}.branch7x7dbl_1", c7, 1, 1)
        c = self.unit(c, f"{n}.branch7x7dbl_2", c7, 7, 1, **down)
        c = self.unit(c, f"{n}.branch7x7dbl_3", c7, 1, 7, **across)
        c = self.unit(c, f"{n}.branch7x7dbl_4", c7, 7, 1, **down)
        c = self.unit(c, f"{n}.branch7x7dbl_5", 192, 1, 7, **across)
        d = self.unit(self.mean_3x3(x), f"{n}.branch_pool", 192, 1, 1)
        return torch.cat([a, b, c, d], 1)

    def block_8(self, x: Tensor, n: str, pooled: Tensor) -> Tensor:
        across, down = {"padding": (0, 1)}, {"padding": (1, 0)}
        a = self.unit(x, f"{n}.branch1x1", 320, 1, 1)
        b = self.unit(x, f"{n}.branch3x3_1", 384, 1, 1)
        b1 = self.unit(b, f"{n}.branch3x3_2a", 384, 1, 3, **across)
        b2 = self.unit(b, f"{n}.branch3x3_2b", 384, 3, 1, **down)
        c = self.unit(x, f"{n}.branch3x3dbl_1", 448, 1, 1)
        c = self.unit(c, f"{n}.branch3x3dbl_2", 384, 3, 3, padding=1)
        c1 = self.unit(c, f"{n}.branch3x3dbl_3a", 384, 1, 3, **across)
        c2 = self.unit(c, f"{n}.branch3x3dbl_3b", 384, 3, 1, **down)
        d = self.unit(pooled, f"{n}.branch_pool", 192, 1, 1)
        return torch.cat([a, b1, b2, c1, c2, d], 1)

    def features(self, pixels: Tensor) -> Tensor:
        """(B, 2048) of (B, 3, 299, 299) pixels in [0, 255]."""
        x = (pixels - 128) / 128
        x = self.unit(x, "Conv2d_1a_3x3", 32, 3, 3, stride=2)
        x = self.unit(x, "Conv2d_2a_3x3", 32, 3, 3)
        x = self.unit(x, "Conv2d_2b_3x3", 64, 3, 3, padding=1)
        x = functional.max_pool2d(x, 3, 2)
        x = self.unit(x, "Conv2d_3b_1x1", 80, 1, 1)
        x = self.unit(x, "Conv2d_4a_3x3", 192, 3, 3)
        x = functional.max_pool2d(x, 3, 2)
        for letter, pooled in (("b", 32), ("c", 64), ("d", 64)):
            x = self.block_35(x, f"Mixed_5{letter}", pooled)
        a = self.unit(x, "Mixed_6a.branch3x3", 384, 3, 3, stride=2)
        b = self.unit(x, "Mixed_6a.branch3x3dbl_1", 64, 1, 1)
        b = self.unit(b, "Mixed_6a.branch3x3dbl_2", 96, 3, 3, padding=1)
        b = self.unit(b, "Mixed_6a.branch3x3dbl_3", 96, 3, 3, stride=2)
        x = torch.cat([a, b, functional.max_pool2d(x, 3, 2)], 1)
        for letter, c7 in (("b", 128), ("c", 160), ("d", 160), ("e", 192)):
            x = self.block_17(x, f"Mixed_6{letter}", c7)
        a = self.unit(x, "Mixed_7a.branch3x3_1", 192, 1, 1)
        a = self.unit(a, "Mixed_7a.branch3x3_2", 320, 3, 3, stride=2)
        b = self.unit(x, "Mixed_7a.branch7x7x3_1", 192, 1, 1)
        b = self.unit(b, "Mixed_7a.branch7x7x3_2", 192, 1, 7, padding=(0, 3))
        b = self.unit(b, "Mixed_7a.branch7x7x3_3", 192, 7, 1, padding=(3, 0))
        b = self.unit(b, "Mixed_7a.branch7x7x3_4", 192, 3, 3, stride=2)
        x = torch.cat([a, b, functional.max_pool2d(x, 3, 2)], 1)
        x = self.block_8(x, "Mixed_7b", self.mean_3x3(x))
        x = self.block_8(x, "Mixed_7c", functional.max_pool2d(x, 3, 1, 1))
        return x.flatten(2).mean(2)


PIXELS = torch.randint(0, 256, (1, 3, 299, 299), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def reference() -> tuple[dict[str, Tensor], Tensor]:
    """Random weights, and the features of ``PIXELS`` by them."""
    network = Reference()
    with torch.inference_mode():
        features = network.features(PIXELS.float())
    return {name: tensor.clone() for name, tensor in network.weights.items()}, features


@pytest.fixture(scope="module")
def published(
    reference: tuple[dict[str, Tensor], Tensor], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """As torch-fidelity keeps its file: with a classifier, and counters."""
    weights = dict(reference[0])
    weights |= {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    weights["Conv2d_1a_3x3.bn.num_batches_tracked"] = torch.tensor(0)
    path = tmp_path_factory.mktemp("hub") / "checkpoints" / inception_weights.FILES[0]
    path.parent.mkdir()
    torch.save(weights, path)
    return path


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One without weights; the path of its cache."""
    monkeypatch.delenv("DIFFJSCC_INCEPTION", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "diffjscc" / "inception-2015.safetensors"


def admit(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(inception_weights, "SHA256", digest)


def test_names_and_shapes_are_those_of_the_published_file(
    reference: tuple[dict[str, Tensor], Tensor],
) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in reference[0].items()}
    assert weight_shapes() == expected
    assert len(expected) == 94 * 5  # convolutions, each with its normalisation
    assert reference[1].shape == (1, FEATURES)


def test_features_are_those_of_the_reference_by_a_published_file(
    reference: tuple[dict[str, Tensor], Tensor],
    published: Path,
    machine: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    admit(monkeypatch, published)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(published.parent.parent))
    network = load_inception()
    features = network.features(PIXELS / 255)
    assert features.std() > 0.01
    assert torch.allclose(features, reference[1], atol=1e-4)
    assert set(load_file(machine)) == set(weight_shapes())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "/nowhere")  # from the cache
    assert torch.equal(load_inception().features(PIXELS / 255), features)


def test_a_patch_of_another_size_is_resized_as_tensorflow_did() -> None:
    """Without half-pixel offsets: position i looks at i * 256 / 299, the last row at 255.14."""
    ramp = torch.arange(256.0).expand(1, 1, 256, 256)
    row = resize_tf1(ramp, 299)[0, 0, 0]
    expected = np.minimum(np.arange(299) * 256 / 299, 255)
    assert np.allclose(row, expected, atol=1e-4)
    assert torch.equal(resize_tf1(ramp.mT, 299), resize_tf1(ramp, 299).mT)
    shrunk = resize_tf1(torch.arange(600.0).expand(1, 1, 3, 600), 300)[0, 0]
    assert torch.allclose(shrunk, torch.arange(0, 600, 2.0).expand(300, 300), atol=1e-3)


def test_another_file_is_not_opened(published: Path, machine: Path) -> None:
    with pytest.raises(ModelError, match="is not the published weight file") as caught:
        load_inception(published)
    assert "diffjscc fetch inception" in str(caught.value)
    assert not machine.exists()


def test_missing_and_unfit_weights_say_how_to_get_them(
    tmp_path: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="run diffjscc fetch inception"):
        load_inception()
    path = tmp_path / "given.safetensors"
    save_file({"fc.bias": torch.zeros(1)}, path)
    monkeypatch.setenv("DIFFJSCC_INCEPTION", str(path))
    with pytest.raises(ModelError, match=r"given\.safetensors holds other weights"):
        load_inception()
    monkeypatch.setenv("DIFFJSCC_INCEPTION", str(tmp_path / "gone.pth"))
    with pytest.raises(ModelError, match=r"gone\.pth cannot be read"):
        load_inception()


def test_folding_changes_nothing(reference: tuple[dict[str, Tensor], Tensor]) -> None:
    network = mixed_6a(288).eval()
    state = {
        name.removeprefix("Mixed_6a."): tensor
        for name, tensor in reference[0].items()
        if name.startswith("Mixed_6a.")
    }
    network.load_state_dict(state, strict=False)
    x = torch.rand(1, 288, 9, 9, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        before = network(x)
        for unit in network.children():
            if hasattr(unit, "fold"):
                unit.fold()
        assert torch.allclose(network(x), before, atol=1e-5)
