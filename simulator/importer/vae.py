"""The KL autoencoder: ``first_stage_config`` and the names below ``first_stage_model.``."""

from __future__ import annotations

from typing import Any

import torch

from simulator.errors import ModelError
from simulator.importer.config import Params
from simulator.importer.names import listing
from simulator.importer.source import Tensors

PREFIX = "first_stage_model."
CONDITION_PREFIX = "cond_encoder."
HALVES = ("encoder.", "quant_conv.")  # what f_v needs of it

ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def vae_config(params: Params, scaling_factor: float) -> dict[str, Any]:
    """An ``AutoencoderKL`` configuration. Raises ``ModelError`` for networks it does not have."""
    sizes = params.below("ddconfig")
    sizes.require(double_z=True, resamp_with_conv=True, use_linear_attn=False, tanh_out=False)
    if not str(sizes.values.get("attn_type", "vanilla")).startswith("vanilla"):
        raise sizes.wrong("attn_type", "vanilla")
    channels = sizes.need("z_channels", int)
    if params.get("embed_dim", channels) != channels:
        raise params.wrong("embed_dim", f"z_channels, {channels}")
    mults = sizes.integers("ch_mult")
    resolution = sizes.get("resolution", 256)
    attended = [
        resolution // 2**level in sizes.integers("attn_resolutions")
        if sizes.values.get("attn_resolutions")
        else False
        for level in range(len(mults))
    ]
    down = ["AttnDownEncoderBlock2D" if a else "DownEncoderBlock2D" for a in attended]
    up = ["AttnUpDecoderBlock2D" if a else "UpDecoderBlock2D" for a in reversed(attended)]
    return {
        "in_channels": sizes.need("in_channels", int),
        "out_channels": sizes.need("out_ch", int),
        "down_block_types": down,
        "up_block_types": up,
        "block_out_channels": [sizes.need("ch", int) * mult for mult in mults],
        "layers_per_block": sizes.need("num_res_blocks", int),
        "latent_channels": channels,
        "sample_size": resolution,
        "scaling_factor": scaling_factor,
    }


def vae_table(config: dict[str, Any]) -> dict[str, str]:
    """ours -> official."""
    levels = len(config["block_out_channels"])
    layers = config["layers_per_block"]
    table: dict[str, str] = {}
    for half in ("encoder", "decoder"):
        table[f"{half}.conv_norm_out"] = f"{half}.norm_out"
        for n in (0, 1):
            ours = f"{half}.mid_block.resnets.{n}"
            table |= resnet_table(ours, f"{half}.mid.block_{n + 1}")
        table |= attention_table(f"{half}.mid_block.attentions.0", f"{half}.mid.attn_1")
    for level in range(levels):
        ours, official = f"encoder.down_blocks.{level}", f"encoder.down.{level}"
        table |= level_table(ours, official, layers)
        table[f"{ours}.downsamplers.0.conv"] = f"{official}.downsample.conv"
        ours, official = f"decoder.up_blocks.{level}", f"decoder.up.{levels - 1 - level}"
        table |= level_table(ours, official, layers + 1)
        table[f"{ours}.upsamplers.0.conv"] = f"{official}.upsample.conv"
    return table


def level_table(ours: str, official: str, layers: int) -> dict[str, str]:
    table: dict[str, str] = {}
    for n in range(layers):
        table |= resnet_table(f"{ours}.resnets.{n}", f"{official}.block.{n}")
        table |= attention_table(f"{ours}.attentions.{n}", f"{official}.attn.{n}")
    return table


def resnet_table(ours: str, official: str) -> dict[str, str]:
    return {ours: official, f"{ours}.conv_shortcut": f"{official}.nin_shortcut"}


def attention_table(ours: str, official: str) -> dict[str, str]:
    return {f"{ours}.{a}": f"{official}.{b}" for a, b in ATTENTION.items()}


def autoencoder_part(official: Tensors) -> Tensors:
    """Without the loss that the autoencoder was trained with."""
    return {name: t for name, t in official.items() if not name.startswith("loss.")}


def check_condition_encoder(vae: Tensors, copy: Tensors) -> None:
    """The encoder of f_v must be the autoencoder's own; a folder holds it once.

    Raises ``ModelError`` where it is missing or differs.
    """
    own = {name: tensor for name, tensor in vae.items() if name.startswith(HALVES)}
    missing = [CONDITION_PREFIX + name for name in own if name not in copy]
    if missing:
        raise ModelError(f"the checkpoint lacks {listing(missing)}.")
    differing = [
        CONDITION_PREFIX + name
        for name, tensor in own.items()
        if not torch.equal(tensor.float(), copy[name].float())
    ]
    if differing:
        raise ModelError(
            f"the encoder of the spatial features is not the autoencoder's: {listing(differing)} "
            f"differ; a model folder has one encoder for both."
        )
