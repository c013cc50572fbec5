"""The Stable Diffusion UNet: ``unet_config`` and the names below ``model.diffusion_model.``.

The tables also serve the control module, which has the same encoder. diffusers' own conversion
is not used, because it takes one ``num_res_blocks`` for all levels and guesses the heads.
"""

from __future__ import annotations

from typing import Any

from simulator.errors import ModelError
from simulator.importer.config import Params

PREFIX = "model.diffusion_model."

# Inside a residual block: ours -> official.
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def unet_config(params: Params) -> dict[str, Any]:
    """A ``UNet2DConditionModel`` configuration from the parameters of an official UNet.

    Raises ``ModelError`` for options whose networks diffusers does not have.
    """
    params.require(
        dims=2,
        conv_resample=True,
        resblock_updown=False,
        use_spatial_transformer=True,
        num_attention_blocks=None,
        num_classes=None,
        n_embed=None,
    )
    model_channels = params.need("model_channels", int)
    widths = [model_channels * mult for mult in params.integers("channel_mult")]
    attended = [
        2**level in params.integers("attention_resolutions") for level in range(len(widths))
    ]
    down = ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attended]
    up = ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attended)]
    only_cross = params.values.get("disable_self_attentions") or [False] * len(widths)
    in_channels = params.need("in_channels", int)
    if params.get("out_channels", in_channels) != in_channels:  # the control module has none
        raise params.wrong("out_channels", f"in_channels, {in_channels}")
    return {
        "in_channels": in_channels,
        "out_channels": in_channels,
        "block_out_channels": widths,
        "down_block_types": down,
        "up_block_types": up,
        "layers_per_block": blocks_per_level(params, len(widths)),
        "transformer_layers_per_block": params.get("transformer_depth", 1),
        "attention_head_dim": heads(params, widths),  # diffusers' name for the number of heads
        "cross_attention_dim": context_width(params),
        "use_linear_projection": params.get("use_linear_in_transformer", False),
        "only_cross_attention": [bool(value) for value in only_cross],
        "mid_block_only_cross_attention": params.get("disable_middle_self_attn", False),
        "resnet_time_scale_shift": (
            "scale_shift" if params.get("use_scale_shift_norm", False) else "default"
        ),
        "sample_size": params.get("image_size", 64),
    }


def blocks_per_level(params: Params, levels: int) -> list[int]:
    counts = params.integers("num_res_blocks")
    counts = counts * levels if len(counts) == 1 else counts
    if len(counts) != levels:
        raise params.wrong("num_res_blocks", f"one number or {levels}")
    return counts


def heads(params: Params, widths: list[int]) -> list[int]:
    """Attention heads of each level: ``num_head_channels`` wide each, or ``num_heads``."""
    width = params.get("num_head_channels", -1)
    if width > 0:
        counts = [w // width for w in widths]
        even = params.get("legacy", True) or not any(w % width for w in widths)
    else:
        counts = [params.need("num_heads", int)] * len(widths)
        even = True
    if not even or any(n < 1 or w % n for w, n in zip(widths, counts, strict=True)):
        raise ModelError(f"{params.where}: its heads do not divide the widths {widths}.")
    return counts


def context_width(params: Params) -> int:
    widths = set(params.integers("context_dim"))
    if len(widths) != 1:
        raise params.wrong("context_dim", "one width for all blocks")
    return widths.pop()


def encoder_table(config: dict[str, Any]) -> dict[str, str]:
    """Time embedding, encoder and middle block: ours -> official."""
    table = {
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "conv_in": "input_blocks.0.0",
    }
    n = 1
    levels = len(config["block_out_channels"])
    for level, count in enumerate(config["layers_per_block"]):
        block = f"down_blocks.{level}"
        for layer in range(count):
            table |= resnet_table(f"{block}.resnets.{layer}", f"input_blocks.{n}.0")
            table[f"{block}.attentions.{layer}"] = f"input_blocks.{n}.1"
            n += 1
        if level < levels - 1:
            table[f"{block}.downsamplers.0.conv"] = f"input_blocks.{n}.0.op"
            n += 1
    table |= resnet_table("mid_block.resnets.0", "middle_block.0")
    table |= resnet_table("mid_block.resnets.1", "middle_block.2")
    table["mid_block.attentions.0"] = "middle_block.1"
    return table


def decoder_table(config: dict[str, Any]) -> dict[str, str]:
    """The decoder half: ours -> official."""
    table = {"conv_norm_out": "out.0", "conv_out": "out.2"}
    n = 0
    last = len(config["block_out_channels"]) - 1
    for level, count in enumerate(reversed(config["layers_per_block"])):
        block = f"up_blocks.{level}"
        for layer in range(count + 1):
            table |= resnet_table(f"{block}.resnets.{layer}", f"output_blocks.{n}.0")
            table[f"{block}.attentions.{layer}"] = f"output_blocks.{n}.1"
            n += 1
        if level < last:
            place = 2 if config["up_block_types"][level].startswith("CrossAttn") else 1
            table[f"{block}.upsamplers.0.conv"] = f"output_blocks.{n - 1}.{place}.conv"
    return table


def resnet_table(ours: str, official: str) -> dict[str, str]:
    return {f"{ours}.{a}": f"{official}.{b}" for a, b in RESNET.items()}
