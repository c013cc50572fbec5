"""The JSCC codec: ``preprocess_config`` and the names below ``preprocess_model.``.

``simulator.jscc.cnn`` has the authors' names already.
"""

from __future__ import annotations

from typing import Any

from simulator.importer.config import Params
from simulator.importer.source import Tensors

PREFIX = "preprocess_model."
NETWORKS = ("E.", "G.")


def codec_config(params: Params) -> dict[str, Any]:
    """The arguments of ``CnnCodec``; defaults are the authors'.

    Raises ``ModelError`` for another norm, colour space or channel.
    """
    params.require(norm="batch", input_nc=3, output_nc=3)
    channel = params.get("channel", "AWGN").lower()
    if channel not in ("awgn", "rayleigh"):
        raise params.wrong("channel", "AWGN or Rayleigh")
    c_channel = params.get("C_channel", 16)
    if c_channel % 2:
        raise params.wrong("C_channel", "an even number: two real channels make a complex one")
    return {
        "c_channel": c_channel,
        "channel": channel,
        "ngf": params.get("ngf", 64),
        "max_ngf_e": params.get("max_ngf_E", 256),
        "max_ngf_d": params.get("max_ngf_D", 384),
        "n_downsample": params.get("n_downsample", 2),
        "n_blocks_e": params.get("n_blocks_E", 2),
        "n_blocks_d": params.get("n_blocks_D", 4),
    }


def codec_tensors(official: Tensors) -> Tensors:
    """Encoder and decoder, without the metric that they were judged by."""
    return {name: tensor for name, tensor in official.items() if name.startswith(NETWORKS)}
