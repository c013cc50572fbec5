"""Tiny random model folders: every part of a receiver, at a size that a test can afford."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from rx.captioner_file import write_manifest
from rx.control import ControlModule
from rx.pipeline import DiffJSCCPipeline
from rx.restore import RestorationNetwork
from simulator.jscc.adaptive import AdaptiveCodec
from simulator.jscc.checkpoint import save_codec
from tests.tiny_blip2 import build_tiny_blip2

Kind = Literal["compact", "sd21"]

# Stable Diffusion 2.1-base, as published; the tiny one keeps its structure.
SD21_UNET: dict[str, Any] = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280],
    "cross_attention_dim": 1024,
    "attention_head_dim": [5, 10, 20, 20],
    "use_linear_projection": True,
    "layers_per_block": 2,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
OWN_CAPTIONER = {"compact": "keywords", "sd21": "blip2"}
SD21_SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}


def tiny_unet(kind: Kind = "compact") -> UNet2DConditionModel:
    if kind == "sd21":
        small = {
            "block_out_channels": [8, 16, 16, 16],
            "attention_head_dim": [1, 2, 2, 2],
            "cross_attention_dim": 24,
            "norm_num_groups": 4,
        }
        return UNet2DConditionModel(**SD21_UNET | small).eval()
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=6,
        out_channels=6,
        block_out_channels=(8, 16, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2,
        cross_attention_dim=16,
        norm_num_groups=4,
    ).eval()


def tiny_vae(kind: Kind = "compact") -> AutoencoderKL:
    """f = 8, as every model of this project."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4 if kind == "sd21" else 6,
        scaling_factor=0.18215 if kind == "sd21" else 0.7,
        sample_size=64,
    ).eval()


def tiny_tokenizer(folder: Path) -> CLIPTokenizer:
    """Letters only, in the file format of CLIP's tokenizer."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    words = [*letters, *(letter + "</w>" for letter in letters)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def tiny_text_encoder(tokenizer: CLIPTokenizer, kind: Kind = "compact") -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=24 if kind == "sd21" else 16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=77,
            hidden_act="gelu" if kind == "sd21" else "quick_gelu",
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=tokenizer.bos_token_id,
        )
    ).eval()


def tiny_scheduler(kind: Kind = "compact") -> Any:
    if kind == "sd21":
        return PNDMScheduler(**SD21_SCHEDULER)
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        clip_sample=False,
    )


def tiny_restoration() -> RestorationNetwork:
    return RestorationNetwork(width=8, growth=4, blocks=1).eval()


def build_tiny_model(
    folder: Path,
    kind: Kind = "compact",
    captioner: str | None = None,
    codec: bool = False,
    awake: bool = True,
    restoration: bool = False,
    seed: int = 0,
) -> Path:
    """Write a model folder of random weights that ``DiffJSCCPipeline.from_pretrained`` reads.

    ``captioner``: a name for ``captioner.json``, "" for none; the kind's own where it is not
    given. ``codec``: a random one in ``jscc/``. ``awake``: whether the control module acts.
    ``restoration``: whether it has one.
    """
    folder = Path(folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = tiny_unet(kind)
        control = ControlModule.from_unet(unet).eval()
        tokenizer = tiny_tokenizer(folder / "tokenizer")
        DiffJSCCPipeline(
            vae=tiny_vae(kind),
            unet=unet,
            control=awaken(control) if awake else control,
            text_encoder=tiny_text_encoder(tokenizer, kind),
            tokenizer=tokenizer,
            scheduler=tiny_scheduler(kind),
            restoration=tiny_restoration() if restoration else None,
            steps=4,
            solver="ddpm" if kind == "sd21" else "dpm++",
        ).save_pretrained(folder)
        if codec:
            save_codec(AdaptiveCodec(), folder / "jscc", {})
    name = OWN_CAPTIONER[kind] if captioner is None else captioner
    if name == "blip2":
        build_tiny_blip2(folder / "captioner")
    if name:
        write_manifest(folder / "captioner", name=name)
        index = json.loads((folder / "model_index.json").read_text())
        index["captioner"] = ["rx.captioner", name]
        (folder / "model_index.json").write_text(json.dumps(index, indent=2))
    return folder


def awaken(control: ControlModule, scale: float = 0.1) -> ControlModule:
    """Random output convolutions, as after training: a fresh module controls nothing."""
    for conv in [*control.zero_convs, control.mid_zero_conv]:
        torch.nn.init.normal_(conv.weight, std=scale)
    torch.nn.init.normal_(control.conv_in.weight, std=scale)
    return control
