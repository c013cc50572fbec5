"""The OpenCLIP text tower: sizes from the tensors, names below ``cond_stage_model.model.``.

``last_hidden_state`` of the imported encoder is f_t: the authors take the penultimate layer
through the final norm, so the last block is left out.
"""

from __future__ import annotations

from typing import Any

from simulator.errors import ModelError
from simulator.importer.config import Params
from simulator.importer.source import Tensors

PREFIX = "cond_stage_model.model."
HEAD_WIDTH = 64
DROPPED = {"penultimate": 1, "last": 0}  # blocks at the end that f_t does not pass
# Not in the way of last_hidden_state.
UNUSED = ("text_projection", "logit_scale", "logit_bias", "attn_mask", "visual.")
# Inside a block: ours -> official.
BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn": "attn",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def text_tensors(official: Tensors, params: Params) -> Tensors:
    """The tensors that f_t depends on; q, k and v, which lie in one, apart."""
    layer = params.get("layer", "last")
    if layer not in DROPPED:
        raise params.wrong("layer", " or ".join(DROPPED))
    kept = block_count(official) - DROPPED[layer]
    tensors: Tensors = {}
    for name, tensor in official.items():
        if name.startswith(UNUSED) or block_of(name) >= kept:
            continue
        stem, found, kind = name.partition(".in_proj_")
        if found:
            for part, share in zip("qkv", tensor.chunk(3), strict=True):
                tensors[f"{stem}.{part}_proj.{kind}"] = share.clone()
        else:
            tensors[name] = tensor
    return tensors


def text_config(tensors: Tensors) -> dict[str, Any]:
    """The arguments of a ``CLIPTextConfig``. Raises ``ModelError`` for another layout."""
    names = ("token_embedding.weight", "positional_embedding")
    first = "transformer.resblocks.0.mlp.c_fc.weight"
    for name in (*names, first):
        if name not in tensors or tensors[name].dim() != 2:
            raise ModelError(f"the checkpoint lacks {PREFIX}{name}.")
    (vocabulary, width), (length, _) = (tensors[name].shape for name in names)
    if width % HEAD_WIDTH:
        raise ModelError(
            f"{PREFIX}token_embedding.weight is {width} wide, not a multiple of the text "
            f"tower's heads, {HEAD_WIDTH}."
        )
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "projection_dim": width,
        "intermediate_size": tensors[first].shape[0],
        "num_hidden_layers": block_count(tensors),
        "num_attention_heads": width // HEAD_WIDTH,
        "max_position_embeddings": length,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": 0,
        "architectures": ["CLIPTextModel"],
    }


def text_table(config: dict[str, Any], stem: str) -> dict[str, str]:
    """ours -> official. ``stem``: what this version of transformers puts before its names."""
    table = {
        f"{stem}embeddings.token_embedding": "token_embedding",
        f"{stem}embeddings.position_embedding.weight": "positional_embedding",
        f"{stem}final_layer_norm": "ln_final",
    }
    for n in range(config["num_hidden_layers"]):
        ours, official = f"{stem}encoder.layers.{n}", f"transformer.resblocks.{n}"
        table |= {f"{ours}.{a}": f"{official}.{b}" for a, b in BLOCK.items()}
    return table


def block_of(name: str) -> int:
    """The number of the block that a tensor belongs to; -1 outside the blocks."""
    parts = name.split(".")
    return int(parts[2]) if name.startswith("transformer.resblocks.") else -1


def block_count(tensors: Tensors) -> int:
    return max((block_of(name) for name in tensors), default=-1) + 1
