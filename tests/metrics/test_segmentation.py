"""mIoU: counts by hand, masks, and segmenters through transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_hub import build_tiny_mask2former, build_tiny_segformer

from simulator.errors import ImageError, ModelError, SettingsError
from simulator.metrics.segmentation import (
    IGNORED,
    Masks,
    Segmenter,
    count,
    find_mask,
    miou,
    read_mask,
)


def test_miou_by_hand() -> None:
    """Class 0: 2 of 3; class 1: 1 of 3; class 2: seen once, nowhere there: 0; class 3: neither."""
    truth = np.array([[0, 0, 1], [1, 255, 255]])
    seen = np.array([[0, 0, 0], [1, 2, 0]])
    counts = count(seen, truth, 4)
    assert counts.tolist() == [[2, 1, 0, 0], [3, 1, 0, 0], [2, 2, 0, 0]]
    assert miou(counts) == pytest.approx((2 / 3 + 1 / 2) / 2)
    seen[1, 0] = 2
    assert miou(count(seen, truth, 4)) == pytest.approx((2 / 3 + 0 + 0) / 3)


def test_pixels_are_pooled_before_the_ratio() -> None:
    """1 of 1 and 0 of 3 are 1 of 4 together, not half."""
    first = count(np.array([[0]]), np.array([[0]]), 2)
    second = count(np.array([[1, 1, 1]]), np.array([[0, 0, 0]]), 2)
    assert miou(first + second) == pytest.approx((1 / 4 + 0) / 2)


def test_nothing_judged_is_no_zero() -> None:
    with pytest.raises(SettingsError, match="no pixel of the masks"):
        miou(count(np.array([[0]]), np.array([[IGNORED]]), 2))


# Masks


def save(values: object, path: Path, mode: str = "L") -> Path:
    Image.fromarray(np.asarray(values, np.uint8), mode=None).convert(mode).save(path)
    return path


def test_zero_is_other_and_classes_begin_at_one(tmp_path: Path) -> None:
    mask = save([[0, 1, 2], [3, 255, 1]], tmp_path / "mask.png")
    assert read_mask(mask, (2, 3), 3, True).tolist() == [[255, 0, 1], [2, 255, 0]]
    assert read_mask(mask, (2, 3), 4, False).tolist() == [[0, 1, 2], [3, 255, 1]]
    with pytest.raises(ImageError, match="has a class 2, and the segmenter knows 2"):
        read_mask(mask, (2, 3), 2, True)


def test_a_mask_is_resized_without_mixing_classes(tmp_path: Path) -> None:
    mask = save([[1, 5], [1, 9]], tmp_path / "mask.png")
    twice = read_mask(mask, (4, 4), 10, False)
    assert twice.tolist() == [[1, 1, 5, 5]] * 2 + [[1, 1, 9, 9]] * 2
    big = save(np.kron([[1, 5], [1, 9]], np.ones((6, 6))), tmp_path / "big.png")
    assert read_mask(big, (4, 4), 10, False).tolist() == twice.tolist()


def test_masks_that_do_not_fit_are_one_sentence(tmp_path: Path) -> None:
    wide = save(np.ones((10, 30)), tmp_path / "wide.png")
    with pytest.raises(ImageError, match="is 30x10, which is no scale of the image's 100x100"):
        read_mask(wide, (100, 100), 5, False)
    colour = save(np.ones((10, 10)), tmp_path / "colour.png", "RGB")
    with pytest.raises(ImageError, match="is a colour image"):
        read_mask(colour, (10, 10), 5, False)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ImageError, match=r"text\.png cannot be read"):
        read_mask(tmp_path / "text.png", (10, 10), 5, False)


def test_a_mask_is_named_as_its_image(tmp_path: Path) -> None:
    mask = save([[1]], tmp_path / "ADE_val_00000001.png")
    assert find_mask(tmp_path, "somewhere/ADE_val_00000001.jpg") == mask
    assert find_mask(tmp_path, "ADE_val_00000002.jpg") is None


def test_masks_of_images_with_one_name(tmp_path: Path) -> None:
    for name in ("a/img.png", "b/img.png", "img.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    masks = Masks(tmp_path)
    assert masks.find("photos/a/img.jpg") == tmp_path / "a" / "img.png"
    assert masks.find("photos/b/img.jpg") == tmp_path / "b" / "img.png"
    assert masks.find("photos/c/img.jpg") == masks.find("photos/c/img.jpg") == tmp_path / "img.png"
    with pytest.raises(SettingsError, match="the mask of photos/c/img.jpg and of photos/d/img.jpg"):
        masks.find("photos/d/img.jpg")


# Segmenters


@pytest.mark.parametrize("build", [build_tiny_segformer, build_tiny_mask2former])
def test_a_segmenter_labels_every_pixel(build: object, tmp_path: Path) -> None:
    assert callable(build)
    segmenter = Segmenter(str(build(tmp_path)))
    assert (segmenter.classes, segmenter.zero_is_other) == (5, True)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    labels = segmenter.predict(pixels)
    assert labels.shape == (40, 60)
    assert labels.min() >= 0 and labels.max() < 5
    assert np.array_equal(labels, segmenter.predict(pixels))


def test_its_own_labels_as_truth_are_perfect(tmp_path: Path) -> None:
    segmenter = Segmenter(str(build_tiny_segformer(tmp_path / "net")))
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    labels = segmenter.predict(pixels)
    assert len(np.unique(labels)) > 1
    truth = segmenter.truth(save(labels + 1, tmp_path / "mask.png"), (40, 60))
    assert miou(count(labels, truth, segmenter.classes)) == 1
    other = segmenter.truth(save(5 - labels, tmp_path / "other.png"), (40, 60))
    assert miou(count(labels, other, segmenter.classes)) < 0.5


def test_masks_that_begin_at_zero(tmp_path: Path) -> None:
    segmenter = Segmenter(str(build_tiny_segformer(tmp_path, reduce=False)))
    assert segmenter.zero_is_other is False


def test_a_folder_without_a_segmenter(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="the segmenter in .* cannot be loaded") as caught:
        Segmenter(str(tmp_path))
    assert "\n" not in str(caught.value)
