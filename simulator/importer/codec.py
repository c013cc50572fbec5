"""The JSCC codec: ``preprocess_config``, names below ``preprocess_model.``; or a codec alone.

``simulator.jscc.cnn`` has the authors' names already; ``swin`` is about the other network.
"""

from __future__ import annotations

from typing import Any

import torch

from simulator.errors import ModelError
from simulator.importer import swin
from simulator.importer.config import Params
from simulator.importer.names import pull
from simulator.importer.source import Source, Tensors

PREFIX = "preprocess_model."
NETWORKS = ("E.", "G.")


def codec_of(source: Source) -> tuple[Any, Tensors]:
    """The codec of a checkpoint, on the meta device, and its tensors.

    Of the whole model, or of the authors' first stage, where there is nothing else. Raises
    ``ModelError``.
    """
    alone = source.config.alone()
    if alone is None:
        target, params = source.config.target("codec"), source.config.part("codec")
        prefix = PREFIX
    else:
        (target, params), prefix = alone, ""
    official = source.part(prefix)
    with torch.device("meta"):
        if target.endswith(swin.TARGET):
            from simulator.jscc.swin_official import OfficialSwinCodec

            config = swin.swin_config(params)
            network: Any = built(OfficialSwinCodec, config, params.where)
            tensors, table = swin.swin_tensors(official), swin.swin_table(config)
        else:
            from simulator.jscc.cnn import CnnCodec

            network = built(CnnCodec, codec_config(params), params.where)
            tensors, table = codec_tensors(official), {}
    return network, pull(network, tensors, table, prefix)


def built(kind: Any, config: dict[str, Any], where: str) -> Any:
    try:
        return kind(**config)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ModelError(f"{where} describes a codec that cannot be built: {reason}.") from None


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
