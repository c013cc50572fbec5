"""CLIP score: the cosine between what CLIP makes of an image and of a text.

    image -preprocess-> vision tower -> projection -> unit length -.
                                                                    dot product
    text  -tokenizer--> text tower   -> projection -> unit length -'

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML
2021. It is the plain cosine in [-1, 1]; Hessel et al. (CLIPScore, EMNLP 2021) multiply by 2.5,
other tools by 100. Values of different CLIPs are not comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from simulator.metrics.hub import fingerprint, load_network, load_parts, transformers_for

#: What papers of this field use most; any CLIP of transformers will do.
SUGGESTED = "openai/clip-vit-base-patch16"

Embeddings = NDArray[np.float64]


class Clip:
    """``model``: a hub id, or a folder in the hub's layout, of a CLIPModel.

    Raises ModelError where it cannot be loaded, MissingPackageError without transformers.
    """

    def __init__(self, model: str = SUGGESTED, device: torch.device | str = "cpu") -> None:
        library = transformers_for("the CLIP score")
        self.device = device
        parts = load_parts(
            model,
            "the CLIP",
            lambda place: (
                load_network(library.CLIPModel, place),
                # By name: the automatic choice warns where there is no torchvision.
                library.CLIPImageProcessorPil.from_pretrained(place),
                library.AutoTokenizer.from_pretrained(place),
            ),
        )
        self._network: Any
        self._processor: Any
        self._tokenizer: Any
        self._network, self._processor, self._tokenizer = parts
        self.name = f"clip-{fingerprint(self._network, self._processor)}"
        self._network.to(device)

    def images(self, pictures: Sequence[NDArray[np.uint8]]) -> Embeddings:
        """(B, d) of unit length, of B (H, W, 3) uint8 RGB images of any sizes."""
        seen = self._processor(list(pictures), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            vision = self._network.vision_model(pixel_values=seen.to(self.device))
            return unit(self._network.visual_projection(vision.pooler_output))

    def texts(self, captions: Sequence[str]) -> Embeddings:
        """(B, d) of unit length, of B texts; what is longer than CLIP reads (77 tokens) is cut."""
        length = self._network.config.text_config.max_position_embeddings
        tokens = self._tokenizer(
            list(captions), padding=True, truncation=True, max_length=length, return_tensors="pt"
        ).to(self.device)
        with torch.inference_mode():
            text = self._network.text_model(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            )
            return unit(self._network.text_projection(text.pooler_output))


def unit(vectors: torch.Tensor) -> Embeddings:
    found: Embeddings = functional.normalize(vectors.double(), dim=1).cpu().numpy()
    return found
