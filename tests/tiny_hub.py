"""Tiny random networks in the hub's layout: a CLIP and two segmenters."""

from __future__ import annotations

import string
from pathlib import Path

import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessorPil,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessorPil,
    SwinConfig,
)

START, END = "<|startoftext|>", "<|endoftext|>"


def randomise(model: torch.nn.Module, seed: int) -> None:
    """The published initial deviations are so small that every image would look the same."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3, generator=generator)


def build_tiny_clip(folder: Path, seed: int = 1) -> Path:
    """Letters are its words: ``</w>`` ends one, as in CLIP's own tokenizer."""
    letters = [*string.ascii_lowercase, *(f"{c}</w>" for c in string.ascii_lowercase), ",</w>"]
    words = [*letters, START, END]
    tokenizer = CLIPTokenizer(
        vocab={word: index for index, word in enumerate(words)},
        merges=[],
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END,
    )
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    config = CLIPConfig(
        text_config={
            **sizes,
            "num_attention_heads": 2,
            "vocab_size": len(words),
            "max_position_embeddings": 16,
            "bos_token_id": words.index(START),
            "eos_token_id": words.index(END),
        },
        vision_config={**sizes, "num_attention_heads": 2, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    model = CLIPModel(config)
    randomise(model, seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    return folder


def build_tiny_segformer(
    folder: Path, classes: int = 5, reduce: bool = True, seed: int = 1
) -> Path:
    config = SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[3, 3],
        strides=[2, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        num_labels=classes,
    )
    model = SegformerForSemanticSegmentation(config)
    randomise(model, seed)
    model.save_pretrained(folder)
    SegformerImageProcessorPil(
        size={"height": 32, "width": 32}, do_reduce_labels=reduce
    ).save_pretrained(folder)
    return folder


def build_tiny_mask2former(folder: Path, classes: int = 5, seed: int = 1) -> Path:
    config = Mask2FormerConfig(
        backbone_config=SwinConfig(
            image_size=32,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 1, 1],
            window_size=2,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        ),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=6,
        num_labels=classes,
    )
    model = Mask2FormerForUniversalSegmentation(config)
    randomise(model, seed)
    model.save_pretrained(folder)
    Mask2FormerImageProcessorPil(
        size={"height": 64, "width": 64}, do_reduce_labels=True, ignore_index=255
    ).save_pretrained(folder)
    return folder
