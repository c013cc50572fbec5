"""Configurations and checkpoints in the authors' layout, small."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import yaml

VOCABULARY = 514  # of the tiny tokenizer
RELATIVE = 1e-3
SIZE = (64, 32)

SD21_LIKE: dict[str, Any] = {
    "target": "model.cldm.ControlLDM",
    "params": {
        "linear_start": 0.00085,
        "linear_end": 0.0120,
        "timesteps": 1000,
        "scale_factor": 0.18215,
        "use_ema": False,
        "only_mid_control": False,
        "control_stage_config": {
            "target": "model.cldm.ControlNet",
            "params": {
                "in_channels": 4,
                "hint_channels": 4,
                "model_channels": 32,
                "attention_resolutions": [2, 1],
                "num_res_blocks": 2,
                "channel_mult": [1, 2, 2],
                "num_head_channels": 16,
                "use_spatial_transformer": True,
                "use_linear_in_transformer": True,
                "transformer_depth": 1,
                "context_dim": 64,
                "legacy": False,
                "use_snr": True,
                "min_snr": 0,
                "snr_scale": 100,
            },
        },
        "unet_config": {
            "target": "model.cldm.ControlledUnetModel",
            "params": {
                "in_channels": 4,
                "out_channels": 4,
                "model_channels": 32,
                "attention_resolutions": [2, 1],
                "num_res_blocks": 2,
                "channel_mult": [1, 2, 2],
                "num_head_channels": 16,
                "use_spatial_transformer": True,
                "use_linear_in_transformer": True,
                "transformer_depth": 1,
                "context_dim": 64,
                "legacy": False,
            },
        },
        "first_stage_config": {
            "target": "ldm.models.autoencoder.AutoencoderKL",
            "params": {
                "embed_dim": 4,
                "ddconfig": {
                    "double_z": True,
                    "z_channels": 4,
                    "resolution": 256,
                    "in_channels": 3,
                    "out_ch": 3,
                    "ch": 32,
                    "ch_mult": [1, 2, 1, 1],
                    "num_res_blocks": 1,
                    "attn_resolutions": [],
                    "dropout": 0.0,
                },
                "lossconfig": {"target": "torch.nn.Identity"},
            },
        },
        "cond_stage_config": {
            "target": "ldm.modules.encoders.modules.FrozenOpenCLIPEmbedder",
            "params": {"freeze": True, "layer": "penultimate"},
        },
        "preprocess_config": {
            "target": "model.deepjscc_cnn.DeepJSCC",
            "params": {
                "input_nc": 3,
                "ngf": 4,
                "max_ngf_E": 24,
                "max_ngf_D": 16,
                "n_downsample": 4,
                "norm": "batch",
                "C_channel": 4,
                "output_nc": 3,
                "n_blocks_E": 2,
                "n_blocks_D": 3,
                "channel": "AWGN",
            },
        },
    },
}

# What differs from SD21_LIKE, by part.
ANOTHER: dict[str, dict[str, Any]] = {
    "": {"linear_start": 0.002, "linear_end": 0.02, "timesteps": 800, "scale_factor": 0.5},
    "both": {
        "in_channels": 6,
        "model_channels": 64,
        "channel_mult": [1, 2],
        "num_res_blocks": [1, 2],
        "attention_resolutions": [2],
        "num_heads": 4,
        "num_head_channels": None,
        "use_linear_in_transformer": False,
        "use_scale_shift_norm": True,
        "context_dim": 128,
        "legacy": True,
    },
    "unet_config": {"out_channels": 6},
    "control_stage_config": {"hint_channels": 6, "snr_scale": 1, "min_snr": -5},
    "first_stage_config": {"embed_dim": 6},
    "ddconfig": {
        "z_channels": 6,
        "resolution": 32,
        "ch": 64,
        "ch_mult": [1, 2],
        "num_res_blocks": 2,
        "attn_resolutions": [16],
    },
    "cond_stage_config": {"layer": "last"},
    "preprocess_config": {
        "ngf": 8,
        "n_downsample": 2,
        "C_channel": 6,
        "n_blocks_E": 1,
        "n_blocks_D": 1,
        "channel": "Rayleigh",
    },
}
DEAF = {"control_stage_config": {"use_snr": False}}


def varied(changes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """``SD21_LIKE`` with some values of some parts changed; None takes one out."""
    config = deepcopy(SD21_LIKE)
    p = config["params"]
    places = {name: p[name]["params"] for name in p if name.endswith("_config")}
    places |= {"": p, "ddconfig": places["first_stage_config"]["ddconfig"]}
    both = [places["unet_config"], places["control_stage_config"]]
    for part, values in changes.items():
        for place in both if part == "both" else [places[part]]:
            place |= values
            for name in [name for name, value in values.items() if value is None]:
                del place[name]
    return config


def write_source(folder: Path, config: dict[str, Any], state: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.save({"state_dict": state, "epoch": 3}, folder / "model.ckpt")
    return folder
