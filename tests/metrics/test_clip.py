"""CLIP through transformers, without torchvision; and how captions agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_hub import build_tiny_clip
from transformers import CLIPModel

from simulator.errors import ModelError
from simulator.metrics.captions import f1, jaccard, words
from simulator.metrics.clip import Clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clip(folder: Path) -> Clip:
    return Clip(str(folder))


def pictures(count: int, height: int = 40, width: int = 60) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]


def test_embeddings_are_those_of_the_whole_model(folder: Path, clip: Clip) -> None:
    """``CLIPModel`` gives cosines itself; its inputs are prepared here by hand: resized (none is
    needed at 32 x 32), and normalised by CLIP's published means and deviations."""
    images, texts = pictures(2, 32, 32), ["a boat", "two dogs"]
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    tokens = clip._tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        out = CLIPModel.from_pretrained(folder).eval()(
            pixel_values=(pixels - mean) / std,
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
        )
    assert np.allclose(clip.images(images), out.image_embeds.numpy(), atol=1e-5)
    assert np.allclose(clip.texts(texts), out.text_embeds.numpy(), atol=1e-5)


def test_a_cosine_is_one_for_the_same_and_smaller_for_others(clip: Clip) -> None:
    a, b = clip.images(pictures(2))
    assert a @ a == pytest.approx(1)
    assert -1 <= a @ b < 0.999
    said = clip.texts(["a boat", "a boat", "two dogs", ""])
    assert said[0] @ said[1] == pytest.approx(1)
    assert said[0] @ said[2] < 0.999


def test_a_text_is_embedded_alike_alone_and_beside_longer_ones(clip: Clip) -> None:
    alone = clip.texts(["a boat"])
    beside = clip.texts(["a boat", "boats and dogs and more boats than anyone will ever count"])
    assert np.allclose(alone[0], beside[0], atol=1e-6)


def test_a_name_tells_networks_apart(folder: Path, clip: Clip, tmp_path: Path) -> None:
    assert Clip(str(folder)).name == clip.name
    assert Clip(str(build_tiny_clip(tmp_path, seed=2))).name != clip.name


def test_what_is_no_clip_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no folder /no/where"):
        Clip("/no/where")
    with pytest.raises(ModelError, match="no weights as safetensors"):
        Clip(str(tmp_path))
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="the CLIP in .* cannot be loaded") as caught:
        Clip(str(tmp_path))
    assert "\n" not in str(caught.value)


# Captions


def test_words_of_a_caption() -> None:
    assert words("A dog, a DOG's toy; 2 cafés!") == {"a", "dog", "dog's", "toy", "2", "cafés"}
    assert words(" ,. ") == frozenset()


def test_agreement_by_hand() -> None:
    """a, red, boat and a, boat, sails: two words of three each, of four in all."""
    assert f1("a red boat", "A boat sails.") == pytest.approx(2 / 3)
    assert jaccard("a red boat", "A boat sails.") == pytest.approx(2 / 4)
    assert f1("seashore, lakeside", "lakeside, seashore, pier") == pytest.approx(4 / 5)


@pytest.mark.parametrize("measure", [f1, jaccard])
def test_limits_of_agreement(measure: object) -> None:
    assert callable(measure)
    assert measure("a boat", "boat, a") == 1
    assert measure("", "") == 1
    assert measure("a boat", "") == 0
    assert measure("a boat", "two dogs") == 0
