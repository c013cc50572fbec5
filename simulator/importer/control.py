"""The control module: ``control_stage_config`` and the names below ``control_model.``.

The official CSI embedding takes the SNR alone; ours takes Re h and Im h beside it, so the
imported first layer has two zero columns and gives the same (METHOD, "Official layouts").
"""

from __future__ import annotations

from typing import Any

import torch

from simulator.importer.config import Params
from simulator.importer.source import Tensors
from simulator.importer.unet import encoder_table, unet_config

PREFIX = "control_model."


def control_config(params: Params) -> dict[str, Any]:
    """The arguments of ``rx.control.ControlModule``; its ``unet`` still without defaults."""
    return {
        "unet": unet_config(params),
        "hint_channels": params.need("hint_channels", int),
        "snr_scale": params.get("snr_scale", 1.0),
        "min_snr": params.get("min_snr", 0.0),
        "use_csi": params.get("use_snr", True),
    }


def control_table(config: dict[str, Any]) -> dict[str, str]:
    """ours -> official."""
    unet = config["unet"]
    skips = sum(unet["layers_per_block"]) + len(unet["block_out_channels"])
    return encoder_table(unet) | {
        "csi_embedding.linear_1": "snr_embed.0",
        "csi_embedding.linear_2": "snr_embed.2",
        **{f"zero_convs.{n}": f"zero_convs.{n}.0" for n in range(skips)},
        "mid_zero_conv": "middle_block_out.0",
    }


def control_tensors(official: Tensors, config: dict[str, Any], middle_only: bool) -> Tensors:
    """The official tensors with what the configuration changes in them.

    ``middle_only``: the authors then add the middle block's output and none of the skips'.
    """
    tensors = dict(official)
    if not config["use_csi"]:  # present and unused
        return {n: t for n, t in tensors.items() if not n.startswith("snr_embed.")}
    first = "snr_embed.0.weight"
    if first in tensors:
        weight = tensors[first]
        tensors[first] = torch.cat([weight, weight.new_zeros(weight.shape[0], 2)], dim=1)
    if middle_only:
        silent = [name for name in tensors if name.startswith("zero_convs.")]
        tensors |= {name: torch.zeros_like(tensors[name]) for name in silent}
    return tensors
