"""The authors' Swin codec: the parameters of ``DeepJSCC_SWIN``, and the names of its tensors."""

from __future__ import annotations

from typing import Any

from simulator.importer.config import Params
from simulator.importer.source import Tensors
from simulator.jscc.swin import MODULATIONS

TARGET = "DeepJSCC_SWIN"
NETWORKS = ("encoder.", "decoder.")
# Made anew for each size of image, or never used by the authors' forward pass.
LEFT_OUT = ("attn_mask", "relative_position_index", "absolute_pos_embed")
# ours -> theirs, within a block.
BLOCK = {
    "norm1": "norm1",
    "attention": "attn",
    "attention.bias": "attn.relative_position_bias_table",
    "norm2": "norm2",
    "mlp.0": "mlp.fc1",
    "mlp.2": "mlp.fc2",
}


def swin_config(params: Params) -> dict[str, Any]:
    """The arguments of ``OfficialSwinCodec``; defaults are the authors'.

    Raises ``ModelError`` for a network or channel that it lacks: their training on Rayleigh
    fading hands the decoder symbols that were never equalised.
    """
    params.require(
        in_chans=3, patch_size=2, mlp_ratio=4.0, qkv_bias=True, qk_scale=None, channel="AWGN"
    )
    c_channel = params.get("bottleneck_dim", 16)
    if c_channel % 2:
        raise params.wrong("bottleneck_dim", "an even number: two real channels make a complex one")
    lists = {
        "widths": ("embed_dims", [128, 192, 256, 320]),
        "depths": ("depths", [2, 2, 6, 2]),
        "heads": ("num_heads", [4, 6, 8, 10]),
        "widths_d": ("embed_dims_d", [320, 256, 192, 128]),
        "depths_d": ("depths_d", [2, 6, 2, 2]),
        "heads_d": ("num_heads_d", [10, 8, 6, 4]),
    }
    sizes = {
        ours: params.integers(theirs) if params.values.get(theirs) is not None else default
        for ours, (theirs, default) in lists.items()
    }
    return {"c_channel": c_channel, "window": params.get("window_size", 8), **sizes}


def swin_tensors(official: Tensors) -> Tensors:
    """Encoder and decoder, without what is left out and the metric they were judged by."""
    return {
        name: tensor
        for name, tensor in official.items()
        if name.startswith(NETWORKS) and name.rpartition(".")[2] not in LEFT_OUT
    }


def swin_table(config: dict[str, Any]) -> dict[str, str]:
    """ours -> theirs."""
    table = {"encoder.patches": "encoder.patch_embed.proj"}
    halves = (
        ("encoder", "depths", "merge", "downsample"),
        ("decoder", "depths_d", "divide", "upsample"),
    )
    for half, depths, ours, theirs in halves:
        table[f"{half}.head"] = f"{half}.head_list"
        table |= modnet_table(f"{half}.snr", half)
        for index, depth in enumerate(config[depths]):
            before, after = f"{half}.stages.{index}", f"{half}.layers.{index}"
            table[f"{before}.{ours}"] = f"{after}.{theirs}"
            table |= blocks_table(before, after, depth)
    return table


def modnet_table(ours: str, half: str, number: str = "") -> dict[str, str]:
    """Of a ModNet, ``ours``; ``number``: of a half of theirs that has several."""
    return {f"{ours}.linear": f"{half}.sm_list{number}"} | {
        f"{ours}.factor.{i}.layers": f"{half}.bm_list{number}.{i}.fc" for i in range(MODULATIONS)
    }


def blocks_table(before: str, after: str, depth: int) -> dict[str, str]:
    """Of the blocks of a stage, ``before`` in our names."""
    return {
        f"{before}.blocks.{block}.{a}": f"{after}.blocks.{block}.{b}"
        for block in range(depth)
        for a, b in BLOCK.items()
    }
