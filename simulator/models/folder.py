"""Where a model is: a shipped name, a folder, or an id on the hub. No torch.

A model folder is a diffusers pipeline (``model_index.json``, one sub-folder a component) with
its codec in ``jscc/``, or with the name of a shipped model that has its codec.
"""

from __future__ import annotations

import hashlib
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

from simulator.errors import ModelError, missing_package, path_from
from simulator.textfile import read_text

SHIPPED = ("compact", "quick")
INDEX = "model_index.json"
CODEC = "jscc"
RECORD = "training.json"  # for people, like the card
# What a model folder has, by the class of its receiver; a captioner and, for the first, a
# restoration are optional.
COMPONENTS = {
    "DiffJSCCPipeline": ("vae", "unet", "control", "text_encoder", "tokenizer", "scheduler"),
    "RestorePipeline": ("restoration",),
}
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def find_model(name: str, part: str = "") -> Path:
    """The folder of a shipped name, a path, or a hub id (from the hub's cache, or fetched).

    ``part``: a sub-folder, where only that is needed of a hub id. A path is returned whether it
    exists or not. Raises ``ModelError`` where the hub cannot give it, ``MissingPackageError``.
    """
    if name in SHIPPED:
        return Path(str(resources.files("simulator.models"))) / name
    path = path_from(name)
    if path.exists() or not HUB_ID.fullmatch(name):
        return path
    return fetch_model(name, part)


def model_at(name: str, part: str = "") -> Path:
    """``find_model``, where there is a folder. Raises ``ModelError`` where there is none, too."""
    path = find_model(name, part)
    if not path.is_dir():
        raise ModelError(
            f"there is no model {name}; give {', '.join(SHIPPED)}, a folder or a hub id."
        )
    return path


def fetch_model(hub_id: str, part: str) -> Path:
    """A snapshot of a hub repository, without the pickles that it may hold."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        what = f"{hub_id} is no folder here, and a hub id"
        raise missing_package(what, "huggingface_hub", "rx") from None
    names = ["*.json", "*.safetensors", "*.txt", "*.model", "*.onnx"]
    try:
        wanted = [INDEX, *(f"{part}/{name}" for name in names)] if part else names
        return Path(snapshot_download(hub_id, allow_patterns=wanted))
    except Exception as error:  # the hub's client raises many types, some of other packages
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ModelError(
            f"there is no folder {hub_id}, and the hub does not give a model of this id: {reason}."
        ) from None


def codec_owner(path: Path) -> str:
    """The shipped model whose codec a model folder without ``jscc/`` was made for; empty: it names
    none, or is no model folder. Raises ``ModelError`` where it names another."""
    file = path / INDEX
    if (path / CODEC).is_dir() or not file.is_file():
        return ""
    owner = str(read_index(file).get("codec") or "")
    if owner and owner not in SHIPPED:
        raise ModelError(f"{file} names the codec {owner}, which is none of {', '.join(SHIPPED)}.")
    return owner


def read_index(file: Path) -> dict[str, Any]:
    """Raises ``ModelError``."""
    try:
        return dict(json.loads(read_text(file)))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{file} is damaged ({error}); copy the model again.") from None


def read_model_index(name: str) -> tuple[Path, dict[str, Any]]:
    """The folder of a model and its ``model_index.json``.

    Raises ``ModelError`` with one sentence where the folder or a component is missing.
    """
    path = model_at(name)
    file = path / INDEX
    if not file.is_file():
        raise ModelError(
            f"{path} has no {INDEX}, so it is no model folder and nothing can be refined with "
            f"it; name another with --model, or add --refine off."
        )
    index = read_index(file)
    kind = str(index.get("_class_name"))
    if kind not in COMPONENTS:
        raise ModelError(
            f"{path} is a model for {kind}, which is no receiver here; there are "
            f"{', '.join(COMPONENTS)}."
        )
    lost = [each for each in COMPONENTS[kind] if not (path / each).is_dir()]
    if lost:
        raise ModelError(f"model folder {path} is incomplete: it has no {', '.join(lost)}.")
    return path, index


def fingerprint(name: str, path: Path) -> str:
    """Names a model by its content: equal on two machines where names and files are equal.

    The codec has a fingerprint of its own and does not count, nor do files for people.
    """
    digest = hashlib.sha256()
    files = [each for each in path.rglob("*") if each.suffix in (".json", ".safetensors", ".txt")]
    for file in sorted(files):
        inside = file.relative_to(path)
        if inside.parts[0] != CODEC and str(inside) != RECORD:
            digest.update(str(inside).encode() + b"\0")
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return f"{Path(name).name[:60]}-{digest.hexdigest()[:12]}"
