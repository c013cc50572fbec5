"""BLIP-2, of any size, as captioner: the one of the paper.

Li, Li, Savarese, Hoi, "BLIP-2: Bootstrapping Language-Image Pre-training with Frozen Image
Encoders and Large Language Models", ICML 2023. Greedy decoding, so that a caption depends on
its image alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rx.captioner_file import write_manifest
from simulator.errors import ModelError, missing_package
from simulator.metrics.hub import look_up
from simulator.tensors import as_pixels
from simulator.textfile import read_text

HUB_ID = "Salesforce/blip2-opt-2.7b"
MAX_NEW_TOKENS = 32


class Blip2Captioner:
    """``model``: a folder in the hub's layout, or a hub id. Weights are safetensors.

    ``dtype`` None: float16 on a GPU, float32 on a CPU. Raises ModelError where a part is
    missing, damaged or of another kind, and MissingPackageError without transformers.
    """

    name = "blip2"

    def __init__(
        self,
        model: str | Path = HUB_ID,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        try:
            import transformers
        except ImportError:
            raise missing_package("BLIP-2", "transformers", "rx") from None
        self.model = str(model)
        self._local = Path(model).is_dir()
        check_folder(Path(model)) if self._local else check_hub_id(self.model)
        half = torch.device(device).type != "cpu"
        dtype = dtype or (torch.float16 if half else torch.float32)
        try:
            if not self._local:
                look_up(self.model)
            # By name: the automatic choice warns where there is no torchvision.
            self._processor: Any = transformers.BlipImageProcessorPil.from_pretrained(self.model)
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(self.model)
            loaded: Any = transformers.Blip2ForConditionalGeneration.from_pretrained(
                self.model, dtype=dtype, use_safetensors=True, output_loading_info=True
            )
        except Exception as error:  # of a damaged file: anything
            raise ModelError(self._refusal(error)) from None
        network, loading = loaded
        if loading["missing_keys"]:  # they would be random
            first = min(loading["missing_keys"])
            raise ModelError(f"the BLIP-2 in {model} lacks weights, {first!r} for one.")
        self._network = network.to(device).requires_grad_(False).eval()
        check_image_token(self._network.config, self.model)

    def _refusal(self, error: Exception) -> str:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        if self._local:
            return f"the BLIP-2 in {self.model} cannot be loaded ({reason}); copy it again."
        return (
            f"the BLIP-2 {self.model} is not on this machine and cannot be fetched ({reason}); "
            f"on a machine with a network run: hf download {self.model} --local-dir FOLDER."
        )

    def caption(self, images: Tensor, names: Sequence[str] | None = None) -> list[str]:
        """B captions, of at most 32 tokens, of (B, 3, H, W) images in [0, 1]."""
        pictures = list(as_pixels(images))
        seen = self._processor(pictures, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            tokens = self._network.generate(
                pixel_values=seen.to(self._network.device),
                max_new_tokens=MAX_NEW_TOKENS,
                do_sample=False,
            )
        texts = self._tokenizer.batch_decode(self._said(tokens), skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _said(self, tokens: Tensor) -> Tensor:
        """Without the places of the image and the start, where the model repeats them."""
        config = self._network.config
        start = [config.image_token_index] * config.num_query_tokens
        start += [config.text_config.bos_token_id]
        repeated = tokens[:, : len(start)].tolist() == [start] * len(tokens)
        return tokens[:, len(start) :] if repeated else tokens

    def to(self, device: torch.device | str) -> Blip2Captioner:
        self._network.to(device)
        return self

    def save_pretrained(self, folder: Path | str) -> None:
        """A local model is copied in the hub's layout; of one of the hub, the id is kept."""
        if not self._local:
            write_manifest(folder, name=self.name, model=self.model)
            return
        write_manifest(folder, name=self.name)
        self._network.save_pretrained(folder)
        self._processor.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    @classmethod
    def from_record(
        cls,
        record: dict[str, Any],
        folder: Path | None,
        device: torch.device | str,
        dtype: torch.dtype | None,
    ) -> Blip2Captioner:
        """As ``captioner.json`` says: a ``model`` elsewhere, or the one beside it."""
        return cls(record.get("model") or folder or HUB_ID, device, dtype)


def check_image_token(config: Any, model: str) -> None:
    """Which token stands for the image in what the language model is given.

    Folders of before 2024 name none: the authors' version of transformers put the image's
    features before the text without one. Any token does that is not the text's first, because
    what stands in its places is replaced. Raises ModelError for one that there is not.
    """
    vocabulary, start = config.text_config.vocab_size, config.text_config.bos_token_id
    if config.image_token_index is None:
        config.image_token_index = vocabulary - 1 if start != vocabulary - 1 else vocabulary - 2
    token = config.image_token_index
    if not 0 <= token < vocabulary or token == start or not config.num_query_tokens:
        raise ModelError(
            f"the BLIP-2 in {model} has image_token_index {token}, num_query_tokens "
            f"{config.num_query_tokens} and {vocabulary} tokens that begin with {start}, which "
            f"do not go together; copy its config.json again."
        )


def check_hub_id(model: str) -> None:
    """A path that is not there must not be taken for the name of something to download."""
    if model.count("/") != 1 or model.startswith(("/", ".", "~")):
        raise ModelError(f"there is no folder {model}, where the BLIP-2 captioner should be.")


def check_folder(folder: Path) -> None:
    """Each part must be there, because the loaders' own words for its absence are a page."""
    try:
        kind = json.loads(read_text(folder / "config.json")).get("model_type")
    except FileNotFoundError:
        raise ModelError(f"{folder} has no config.json, so it holds no BLIP-2.") from None
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder / 'config.json'} cannot be read ({error}).") from None
    if kind != "blip-2":
        raise ModelError(f"{folder} holds a model of kind {kind!r}, not blip-2.")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} has no weights as safetensors; pickles (.bin) are never loaded."
        )
    if not (folder / "preprocessor_config.json").is_file():
        raise ModelError(f"{folder} has no preprocessor_config.json: the processor is missing.")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise ModelError(f"{folder} has no tokenizer.json: the tokenizer is missing.")
