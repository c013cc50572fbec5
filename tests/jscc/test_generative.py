"""GenerativeJSCC: whose generator it is, that it stays so, and that the folder holds it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers import make_photographs

from simulator.errors import ModelError
from simulator.jscc import load_codec
from simulator.jscc.checkpoint import save_codec
from simulator.jscc.generative import GenerativeCodec
from simulator.jscc.generator import Generator
from simulator.models.folder import find_model
from simulator.training.codec import train_codec
from simulator.training.model_folder import load_vae
from simulator.training.options import CodecTraining

SMALL = {"width": 8, "blocks": 0}


def latent() -> torch.Tensor:
    return torch.randn(1, 8, 4, 6, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def test_it_generates_what_the_models_decoder_does() -> None:
    vae = load_vae("compact")
    wanted = vae.decode(latent() / vae.config.scaling_factor).sample / 2 + 0.5
    assert torch.allclose(Generator.of_model("compact").eval()(latent()), wanted, atol=1e-5)


def test_a_training_leaves_the_generator_as_it_was(tmp_path: Path) -> None:
    make_photographs(tmp_path / "photos", 2)
    options = CodecTraining(
        codec="generative", config=("width=8", "blocks=0", "generator=compact"), steps=2,
        data=(str(tmp_path / "photos"),), batch=1, crop=80, lpips=0.03, threads=1, device="cpu",
        ema=0.0, warmup=1,
    )  # fmt: skip
    after = load_codec(train_codec(options, tmp_path / "codec"))
    torch.manual_seed(options.seed)
    before = GenerativeCodec(**SMALL)
    moved = {n for n, p in after.named_parameters() if not torch.equal(p, before.get_parameter(n))}
    assert any(name.startswith("encoder.") for name in moved)
    assert any(name.startswith("decoder.layers.") for name in moved)
    with torch.inference_mode():
        made = after.decoder.generator(latent())
        assert torch.allclose(made, Generator.of_model("compact").eval()(latent()), atol=1e-4)


def test_a_folder_needs_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_codec(GenerativeCodec(**SMALL), tmp_path, {})
    with monkeypatch.context() as patch:
        patch.setattr("simulator.jscc.generator.find_model", lambda *_: tmp_path / "gone")
        codec = load_codec(tmp_path)
    with torch.inference_mode():
        assert torch.equal(
            codec.decoder.generator(latent()), Generator.of_model("compact").eval()(latent())
        )


def test_a_model_that_does_not_fit_is_said(tmp_path: Path) -> None:
    sizes = json.loads((find_model("compact") / "vae" / "config.json").read_text())
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text(json.dumps(sizes | {"latent_channels": 4}))
    with pytest.raises(ModelError, match=r"has no vae that can be read"):
        Generator.of_model(str(tmp_path))
    weights = "diffusion_pytorch_model.safetensors"
    (tmp_path / "vae" / weights).write_bytes((find_model("compact") / "vae" / weights).read_bytes())
    with pytest.raises(ModelError, match=r"has another layout"):
        Generator.of_model(str(tmp_path))
    (tmp_path / "vae" / weights).write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"has no vae that can be read"):
        Generator.of_model(str(tmp_path))
