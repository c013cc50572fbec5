"""A tiny random BLIP-2 in the layout of Salesforce/blip2-opt-2.7b on the hub."""

from __future__ import annotations

import json
import string
from pathlib import Path

import torch
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    BlipImageProcessorPil,
    GPT2Tokenizer,
)

QUERY_TOKENS = 4
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<image>"]


def tiny_gpt2_tokenizer() -> GPT2Tokenizer:
    """OPT's kind of tokenizer: special tokens, a space and the lower-case letters."""
    words = [*SPECIAL, "Ġ", *string.ascii_lowercase]
    tokenizer = GPT2Tokenizer(
        vocab={word: index for index, word in enumerate(words)},
        merges=[],
        bos_token="</s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    return tokenizer


def build_tiny_blip2(folder: Path, seed: int = 1) -> Path:
    """Write it into ``folder``: weights as safetensors, image processor, tokenizer."""
    tokenizer = tiny_gpt2_tokenizer()
    config = Blip2Config(
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        qformer_config={
            "vocab_size": 8,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
        text_config={
            "model_type": "opt",
            "vocab_size": len(tokenizer),
            "hidden_size": 16,
            "word_embed_proj_dim": 16,
            "ffn_dim": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 64,
            "bos_token_id": 2,
            "eos_token_id": 2,
            "pad_token_id": 1,
        },
        num_query_tokens=QUERY_TOKENS,
        image_token_index=SPECIAL.index("<image>"),
    )
    model = Blip2ForConditionalGeneration(config)
    # The published initial deviations are so small that every image would read the same.
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.5, generator=generator)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 28, "width": 28}).save_pretrained(folder)
    (folder / "processor_config.json").write_text(
        json.dumps({"num_query_tokens": QUERY_TOKENS, "processor_class": "Blip2Processor"})
    )
    return folder
