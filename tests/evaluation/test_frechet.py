"""FD-EffNet: the distance against closed forms, the patches, and a run folder's values."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from simulator.errors import ModelError, SettingsError
from simulator.evaluation import evaluate as evaluation
from simulator.evaluation.kept import kept_images
from simulator.evaluation.measured import set_of_run
from simulator.images import file_sha256, sample_photographs
from simulator.link.rows import make_row
from simulator.metrics import effnet
from simulator.metrics.effnet import FEATURES, EffNet, load_effnet
from simulator.metrics.frechet import (
    FdEffnet,
    frechet_distance,
    frechet_of_features,
    patch_features,
    patches,
    starts,
)
from simulator.metrics.known import PatchFeatures, metric_of
from simulator.png import save_png
from simulator.report.results import write_results
from tests.helpers import cli

FD = metric_of("fd_effnet")


@pytest.fixture(scope="module")
def network() -> EffNet:
    return load_effnet()


def covariance(rng: np.random.Generator, d: int) -> np.ndarray:
    root = rng.normal(size=(d, d))
    return root @ root.T / d


# The distance


def test_distributions_that_commute_have_a_closed_form() -> None:
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    a, b = rng.uniform(0, 3, 12), rng.uniform(0, 3, 12)
    m1, m2 = rng.normal(size=12), rng.normal(size=12)
    expected = np.square(m1 - m2).sum() + np.square(np.sqrt(a) - np.sqrt(b)).sum()
    found = frechet_distance(m1, axes * a @ axes.T, m2, axes * b @ axes.T)
    assert found == pytest.approx(expected, rel=1e-10)


def test_two_dimensions_have_a_closed_form_even_where_they_do_not_commute() -> None:
    """tr (C1 C2)^(1/2) = sqrt(tr C1 C2 + 2 sqrt(det C1 C2)) for 2 x 2."""
    rng = np.random.default_rng(1)
    zero = np.zeros(2)
    for _ in range(20):
        c1, c2 = covariance(rng, 2), covariance(rng, 2)
        product = c1 @ c2
        root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
        expected = np.trace(c1) + np.trace(c2) - 2 * root
        assert frechet_distance(zero, c1, zero, c2) == pytest.approx(expected, rel=1e-9)


def test_it_equals_the_trace_of_the_square_root_of_the_product() -> None:
    """By the eigenvalues of C1 C2, which are those of a positive semidefinite matrix."""
    rng = np.random.default_rng(2)
    c1, c2, zero = covariance(rng, 40), covariance(rng, 40), np.zeros(40)
    root = np.sqrt(np.linalg.eigvals(c1 @ c2).real.clip(0)).sum()
    expected = np.trace(c1) + np.trace(c2) - 2 * root
    assert frechet_distance(zero, c1, zero, c2) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(("n", "m"), [(5, 7), (7, 100), (200, 100), (30, 30)])
def test_features_give_what_their_moments_give_whatever_the_rank(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, 30)), rng.normal(1, 2, size=(m, 30))
    expected = frechet_distance(x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))
    assert frechet_of_features(x, y) == pytest.approx(expected, rel=1e-9)
    assert frechet_of_features(y, x) == pytest.approx(expected, rel=1e-9)


def test_a_set_is_at_distance_0_of_itself_in_any_order() -> None:
    rng = np.random.default_rng(3)
    for n in (1, 2, 50, 1500):
        x = rng.uniform(0, 6, size=(n, FEATURES if n < 1500 else 64))
        scale = np.square(x).sum() / n
        assert frechet_of_features(x, rng.permutation(x)) <= 1e-10 * scale


def test_single_rows_are_compared_by_their_means_and_empty_sets_not_at_all() -> None:
    one, other = np.zeros((1, 4)), np.full((1, 4), 2.0)
    assert frechet_of_features(one, other) == pytest.approx(16)
    with pytest.raises(ValueError, match="no features"):
        frechet_of_features(one, np.zeros((0, 4)))


# Patches


def test_patches_of_a_kodak_image_are_half_overlapping() -> None:
    image = torch.arange(512 * 768).reshape(1, 512, 768).expand(3, -1, -1)
    parts = patches(image)
    assert len(parts) == 3 * 5
    assert {tuple(part.shape) for part in parts} == {(3, 256, 256)}
    assert torch.equal(parts[6], image[:, 128:384, 128:384])
    assert parts[6].data_ptr() == image[:, 128:, 128:].data_ptr()


@pytest.mark.parametrize(
    ("side", "expected"),
    [(1, [0]), (256, [0]), (257, [0, 1]), (384, [0, 128]), (400, [0, 128, 144])],
)
def test_patches_reach_every_edge(side: int, expected: list[int]) -> None:
    assert starts(side) == expected


def test_an_image_below_the_size_of_a_patch_is_taken_whole(network: EffNet) -> None:
    (part,) = patches(torch.zeros(3, 100, 40))
    assert part.shape == (3, 100, 40)
    assert [tuple(p.shape) for p in patches(torch.zeros(3, 100, 300))] == [(3, 100, 256)] * 2
    for size in ((1, 1), (8, 8), (100, 300)):
        features = patch_features(network, torch.rand(3, *size))
        assert features.shape[1] == FEATURES
        assert features.dtype == np.float64
        assert np.isfinite(features).all()


# The network


@pytest.mark.parametrize("size", [(256, 256), (100, 77), (31, 8), (1, 1)])
def test_folding_and_padding_change_nothing(network: EffNet, size: tuple[int, int]) -> None:
    """Against the package's own network, which normalises and pads in steps of their own."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    plain = package.EfficientNet.from_name("efficientnet-lite0", image_size=None).eval()
    file = effnet._weight_file()
    assert file is not None
    plain.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        maps = plain.extract_features((image - 127 / 255) / (128 / 255))
        assert torch.allclose(network.features(image), maps.mean(dim=(2, 3)), atol=1e-4)


# FD-EffNet


def photographs() -> list[Image.Image]:
    found = []
    for path in sample_photographs():
        with Image.open(path) as image:
            found.append(image.convert("RGB").crop((0, 0, 256, 256)))
    return found


def tensors(images: list[Image.Image]) -> list[torch.Tensor]:
    return [torch.from_numpy(np.array(i)).permute(2, 0, 1).float() / 255 for i in images]


def test_it_is_0_for_equal_sets_and_grows_with_blur_and_noise(network: EffNet) -> None:
    sent = photographs()
    originals = [patch_features(network, image) for image in tensors(sent)]

    def distance(images: list[torch.Tensor]) -> float:
        arrived = [patch_features(network, image) for image in images]
        return frechet_of_features(np.concatenate(originals), np.concatenate(arrived))

    assert distance(tensors(sent)) == pytest.approx(0, abs=1e-6)
    blurred = [
        distance(tensors([image.filter(ImageFilter.GaussianBlur(radius)) for image in sent]))
        for radius in (0.5, 1, 2, 4)
    ]
    generator = torch.Generator().manual_seed(0)
    noisy = [
        distance(
            [
                (image + sigma * torch.randn(image.shape, generator=generator)).clamp(0, 1)
                for image in tensors(sent)
            ]
        )
        for sigma in (0.02, 0.05, 0.1, 0.2)
    ]
    for values in (blurred, noisy):
        assert values == sorted(values)
        assert values[0] > 0.1
        assert values[-1] > 3 * values[0]


def test_images_are_added_in_any_batches(network: EffNet) -> None:
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    results = images.roll(1, dims=0) ** 2
    metric, again = FdEffnet(network=network), FdEffnet(network=network)
    metric.add(images, results)
    again.add(images[:3], [])
    again.add(list(images[3:]), results)
    assert metric.value() == pytest.approx(again.value())
    assert metric.value() > 0
    with pytest.raises(ValueError, match="needs originals and results"):
        FdEffnet(network=network).value()


# A run folder


def save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(pixels, path)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Two images at two operating points; the previews of 1/96 are perfect, no refined ones
    there; one image was refused."""
    folder, rows = tmp_path / "run", []
    rng = np.random.default_rng(0)
    for i in range(2):
        pixels = rng.integers(0, 256, (96, 128, 3), np.uint8)
        source = tmp_path / f"photo{i}.png"
        save(pixels, source)
        start = file_sha256(source).hex()[:8]
        save(pixels, folder / "images" / "original" / f"photo{i}-{start}.png")
        for cbr, error in (("1/384", 40), ("1/96", 0)):
            name = f"images/preview/{i}{error}.png"
            save((pixels // 2 + 60) if error else pixels, folder / name)
            values: dict[str, Any] = {
                "run": "run", "status": "delivered", "image": str(source), "repeat": 0,
                "channel": "awgn", "cbr": cbr, "snr_db": 1.0, "preview_file": name,
                "psnr_preview": 20.0 + i, "frame_id": f"{len(rows):032x}",
            }  # fmt: skip
            if error:
                values |= {"refined_file": f"images/refined/{i}.png", "lpips_refined": 0.25}
                save(pixels // 4 * 4, folder / values["refined_file"])
            rows.append(make_row(**values))
    rows.append(make_row(**(values | {"status": "refused", "preview_file": None})))
    write_results(folder, rows)
    return folder


def test_a_run_has_a_value_for_each_point_and_stage(run_folder: Path, network: EffNet) -> None:
    kept = kept_images(run_folder, evaluation.read_rows(run_folder))
    seen: list[tuple[int, int]] = []

    def on_progress(done: int, total: int) -> None:
        seen.append((done, total))

    found = set_of_run(kept, FD, PatchFeatures(network), on_progress=on_progress)
    low, high = ("awgn", "1/384", 1.0), ("awgn", "1/96", 1.0)
    values = {place: figures["fd_effnet"] for place, figures in found.items()}
    assert set(values) == {(low, "preview"), (low, "refined"), (high, "preview")}
    assert values[low, "preview"].value > values[low, "refined"].value > 0
    assert values[high, "preview"].value == pytest.approx(0, abs=1e-6)
    assert seen == [(n, 8) for n in range(1, 9)]
    assert (values[low, "preview"].margin or 0) > 0


def test_what_was_computed_is_kept_and_a_damaged_part_is_computed_again(
    run_folder: Path, network: EffNet
) -> None:
    class Counting:
        name = network.name
        images = 0

        def features(self, images: torch.Tensor) -> torch.Tensor:
            self.images += len(images)
            return network.features(images)

    kept = kept_images(run_folder, evaluation.read_rows(run_folder))
    counting, again = Counting(), Counting()
    first = set_of_run(kept, FD, PatchFeatures(counting))
    # Each content once, however many files have it.
    assert counting.images == 6
    arrays = sorted((run_folder / "features" / network.name).iterdir())
    assert len(arrays) == 6
    arrays[0].write_bytes(b"damaged")
    assert set_of_run(kept, FD, PatchFeatures(again)) == first
    assert again.images == 1


def test_a_run_without_images_needs_no_network(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (run_folder / "images" / "original").iterdir():
        path.unlink()
    monkeypatch.setattr(effnet, "_weight_file", lambda: None)
    found = evaluation.evaluate(run_folder)
    assert not any("fd_effnet" in line.metrics for line in found.lines)


def test_evaluate_writes_tables_that_agree(run_folder: Path) -> None:
    result = cli("evaluate", run_folder)
    assert result.returncode == 0, result.stderr
    assert "FD-EffNet" in result.stdout
    assert "…" not in result.stdout  # it fits 80 columns
    drawn, _, why_text = result.stdout.partition("not measured:")
    assert max(map(len, drawn.splitlines())) <= 80
    assert "diffjscc fetch inception" in why_text and "--clip" in why_text
    lines = json.loads((run_folder / "evaluation.json").read_text())
    assert [(line["cbr"], line["stage"], line["images"]) for line in lines] == [
        ("1/384", "preview", 2),
        ("1/384", "refined", 2),
        ("1/96", "preview", 2),
    ]
    assert lines[0]["psnr"] == 20.5
    assert lines[1]["lpips"] == 0.25
    assert lines[1]["psnr"] is None
    with (run_folder / "evaluation.csv").open(newline="") as file:
        told = list(csv.DictReader(file))
    assert [float(line["fd_effnet"]) for line in told] == [line["fd_effnet"] for line in lines]
    text = (run_folder / "evaluation.md").read_text().splitlines()
    assert len(text) == 2 + 3
    assert f"| {lines[0]['fd_effnet']:.1f} |" in text[2]
    assert lines[0]["psnr_high"] - 20.5 == pytest.approx(12.7062 / 2, abs=1e-3)  # t of 2 images
    assert f"| 20.50 | {12.7062 / 2:.2f} |" in text[2]
    summary = json.loads((run_folder / "summary.json").read_text())
    assert summary["points"][0]["fd_effnet_preview"] == lines[0]["fd_effnet"]
    assert "psnr_preview" in summary["points"][0]


def test_evaluate_of_anything_else_is_one_sentence(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match=r"is not the folder of a finished run: no .*\.jsonl"):
        evaluation.evaluate(tmp_path)
    monkeypatch.setattr(effnet, "_weight_file", lambda: None)
    with pytest.raises(ModelError, match="run pip install efficientnet-lite-pytorch"):
        evaluation.evaluate(run_folder)
