"""A model folder decides how its pipeline runs, and a broken one is refused."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from pipeline_world import csi_of, generators, photograph

from rx.pipeline import DiffJSCCPipeline
from simulator.errors import ModelError
from tests.tiny import build_tiny_model


def test_the_folder_gives_the_defaults(folders, tmp_path):
    folder = shutil.copytree(folders["compact"], tmp_path / "model")
    index = folder / "model_index.json"
    changed = {"steps": 7, "solver": "ddpm", "color_fix": "wavelet", "guidance_scale": 30.0}
    index.write_text(json.dumps(json.loads(index.read_text()) | changed))
    pipeline = DiffJSCCPipeline.from_pretrained(folder)
    seen = []
    own = pipeline(
        photograph(),
        csi_of(),
        ["sea"],
        generator=generators(1),
        callback_on_step_end=lambda *step: seen.append(step),
    ).images
    said = pipeline(photograph(), csi_of(), ["sea"], generator=generators(1), **changed).images
    assert len(seen) == 7
    assert torch.equal(own, said)


def test_captioner_is_part_of_the_folder(tmp_path):
    folder = build_tiny_model(tmp_path / "one", captioner="none")
    pipeline = DiffJSCCPipeline.from_pretrained(folder)
    assert pipeline.captioner.name == "none"
    pipeline.save_pretrained(tmp_path / "two")
    index = json.loads((tmp_path / "two/model_index.json").read_text())
    assert index["captioner"] == ["rx.captioner", "NoCaptioner"]
    assert DiffJSCCPipeline.from_pretrained(tmp_path / "two").captioner.name == "none"
    assert DiffJSCCPipeline.from_pretrained(folder, captioner=None).captioner is None


def test_latents_of_a_shifted_vae(folders):
    """Some VAEs have a shift_factor; encoding and decoding are still each other's inverse."""
    pipeline = DiffJSCCPipeline.from_pretrained(folders["compact"])
    image = photograph()
    plain = pipeline.spatial_features(image)
    decoded = pipeline.decode(plain)
    pipeline.vae.register_to_config(shift_factor=0.25)
    shifted = pipeline.spatial_features(image)
    torch.testing.assert_close(shifted, plain - 0.25 * 0.7)
    torch.testing.assert_close(pipeline.decode(shifted), decoded)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(folders, dtype):
    pipeline = DiffJSCCPipeline.from_pretrained(folders["sd21"], torch_dtype=dtype)
    assert pipeline.unet.dtype == pipeline.control.dtype == dtype
    # The range of fp16 is too small for Stable Diffusion's VAE.
    assert pipeline.vae.dtype == (torch.float32 if dtype is torch.float16 else dtype)
    out = pipeline(photograph(), csi_of(), ["sea"], generator=generators(1), tile=64)
    exact = DiffJSCCPipeline.from_pretrained(folders["sd21"])
    reference = exact(photograph(), csi_of(), ["sea"], generator=generators(1), tile=64)
    assert out.images.dtype == torch.float32
    assert (out.images - reference.images).abs().mean() < 0.02


def test_attention_slicing(folders):
    pipeline = DiffJSCCPipeline.from_pretrained(folders["sd21"])
    run = {"csi": csi_of(), "captions": ["sea"], "steps": 2}
    whole = pipeline(photograph(), generator=generators(1), **run).images
    pipeline.enable_attention_slicing("max")
    sliced = pipeline(photograph(), generator=generators(1), **run).images
    torch.testing.assert_close(sliced, whole, rtol=1e-3, atol=1e-4)


# --- errors: one sentence each ---


def refuse(folder, sentence: str) -> None:
    with pytest.raises(ModelError) as caught:
        DiffJSCCPipeline.from_pretrained(folder)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def edit(file, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.fixture
def broken(folders, tmp_path):
    return shutil.copytree(folders["compact"], tmp_path / "model")


def test_missing_folder(tmp_path):
    refuse(tmp_path / "nowhere", "nowhere; give compact, quick, a folder or a hub id")


def test_unknown_hub_id(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refuse("nobody/nothing", "no folder nobody/nothing, and the hub does not give a model")


@pytest.mark.parametrize("name", ["vae", "unet", "control", "text_encoder", "tokenizer"])
def test_missing_component(broken, name):
    shutil.rmtree(broken / name)
    refuse(broken, f"incomplete: it has no {name}")


def test_missing_weights(broken):
    (broken / "control/diffusion_pytorch_model.safetensors").unlink()
    refuse(broken, "control has no weights (*.safetensors)")


def test_pickle(broken):
    file = broken / "unet/diffusion_pytorch_model.safetensors"
    file.rename(file.with_suffix(".bin"))
    refuse(broken, "diffusion_pytorch_model.bin is a pickle, which can run any code")


def test_damaged_weights(broken):
    file = broken / "vae/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    refuse(broken, "cannot be loaded")


def test_weights_of_another_shape(broken, folders):
    name = "unet/diffusion_pytorch_model.safetensors"
    shutil.copy(folders["sd21"] / name, broken / name)
    refuse(broken, "cannot be loaded")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("control", "the control module was made for a UNet with in_channels 4, and this one has"),
        ("vae", "the VAE has 4 latent channels and the UNet takes 6"),
        ("text_encoder", "the text encoder is 24 wide and the UNet's cross_attention_dim is 16"),
    ],
)
def test_component_of_another_model(broken, folders, name, sentence):
    shutil.rmtree(broken / name)
    shutil.copytree(folders["sd21"] / name, broken / name)
    refuse(broken, sentence)


def test_control_of_another_hint(broken):
    from rx.control import ControlModule
    from tests.tiny import tiny_unet

    ControlModule.from_unet(tiny_unet(), hint_channels=3).save_pretrained(broken / "control")
    refuse(broken, "spatial features of 3 channels and the VAE gives 6")


def test_scheduler_of_another_kind(broken):
    edit(broken / "scheduler/scheduler_config.json", prediction_type="flow_prediction")
    refuse(broken, "prediction_type 'flow_prediction' is not one of epsilon")


def test_plain_stable_diffusion_folder(broken):
    """As downloaded, without a control module."""
    shutil.rmtree(broken / "control")
    edit(broken / "model_index.json", _class_name="StableDiffusionPipeline")
    refuse(broken, "a model for StableDiffusionPipeline, which is no receiver here")
