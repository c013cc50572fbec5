"""Captions of training photographs, and a small tokenizer made from them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor
from transformers import CLIPTokenizer

from simulator.errors import SettingsError
from simulator.textfile import read_text

CONTEXT = 77  # tokens of a caption, as in CLIP


def captions_of_folder(folder: Path) -> dict[str, list[str]]:
    """Captions by file name, or by path below the folder, from what lies beside the photographs;
    empty where nothing does.

    ``captions.json`` is a list of {"file", "captions"}; ``metadata.jsonl`` is the layout of
    Hugging Face's image folders, {"file_name", "text"} a line. Raises ``SettingsError``.
    """
    found: dict[str, list[str]] = {}
    path = folder / "captions.json"
    try:
        if path.is_file():
            for entry in json.loads(read_text(path)):
                found[entry["file"]] = [" ".join(text.split()) for text in entry["captions"]]
        path = folder / "metadata.jsonl"
        if path.is_file():
            for line in read_text(path).splitlines():
                entry = json.loads(line)
                found.setdefault(entry["file_name"], []).append(" ".join(entry["text"].split()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"{path} is not a list of captions ({error}).") from None
    return found


def captions_of(paths: Sequence[Path], data: Sequence[Path] = ()) -> list[list[str]]:
    """The captions that people gave to each photograph; an empty list where there are none.

    They lie beside the photograph or in a folder above it, up to that of ``data``, which names
    it by its path.
    """
    known: dict[Path, dict[str, list[str]]] = {}

    def of(path: Path) -> list[str]:
        roots = [root for root in data if root in path.parents]
        for folder in path.parents:
            if folder not in known:
                known[folder] = captions_of_folder(folder)
            if found := known[folder].get(path.relative_to(folder).as_posix()):
                return found
            if not roots or folder in roots:
                break
        return []

    return [of(path) for path in paths]


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> CLIPTokenizer:
    """A byte-pair tokenizer of CLIP's kind with at most ``vocabulary`` tokens."""
    empty = CLIPTokenizer()
    tokenizer: CLIPTokenizer = empty.train_new_from_iterator(texts, vocabulary, show_progress=False)
    tokenizer.model_max_length = CONTEXT
    return tokenizer


def tokens_of(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """(B, T) token ids, padded and cut to the tokenizer's length."""
    ids: Tensor = tokenizer(
        list(texts),
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids
    return ids
