"""Pretrained networks of transformers, by hub id or folder, without torchvision.

Only safetensors are read. What cannot be loaded is one sentence.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from simulator.errors import ModelError, missing_package, path_from

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def transformers_for(what: str) -> Any:
    """The library. Raises MissingPackageError."""
    try:
        library = import_module("transformers")
    except ImportError:
        raise missing_package(what, "transformers", "eval") from None
    library.utils.logging.disable_progress_bar()  # ours would be torn by it
    # It tells of every attempt to reach the hub; where all fail, our sentence does.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    return library


def place_of(name: str, what: str) -> str:
    """``name`` as the library wants it; a path that is not there is no id to be downloaded."""
    path = path_from(name)
    if path.is_dir():
        if not any(path.glob("*.safetensors")):
            raise ModelError(f"{path} has no weights as safetensors; pickles are never loaded.")
        return str(path)
    if not HUB_ID.fullmatch(name):
        raise ModelError(f"there is no folder {name}, where {what} should be, nor is it a hub id.")
    return name


def look_up(hub_id: str) -> None:
    """One look for a repository, in the hub's cache or the hub; raises what the client raises.

    transformers itself asks six times for each file that a model may have, and so says only after
    minutes that there is no network.
    """
    import_module("huggingface_hub").snapshot_download(hub_id, allow_patterns=["config.json"])


def load_parts(name: str, what: str, load: Callable[[str], Any]) -> Any:
    """What ``load`` makes of the place. Raises ModelError, with one sentence, for any trouble."""
    place = place_of(name, what)
    try:
        if not Path(place).is_dir():
            look_up(place)
        return load(place)
    except ModelError:
        raise
    except Exception as error:  # of a damaged file or an absent network: anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        if Path(place).is_dir():
            raise ModelError(f"{what} in {name} cannot be loaded ({reason}).") from None
        raise ModelError(
            f"{what} {name} is not on this machine and cannot be fetched ({reason}); on a machine "
            f"with a network run: hf download {name} --local-dir FOLDER, and name that folder."
        ) from None


def load_network(kind: Any, place: str) -> nn.Module:
    """Frozen weights of a class of transformers. Raises ModelError where some would be random."""
    network, loading = kind.from_pretrained(place, use_safetensors=True, output_loading_info=True)
    if loading["missing_keys"]:
        first = min(loading["missing_keys"])
        raise ModelError(f"{place} lacks weights of {kind.__name__}, {first!r} for one.")
    frozen: nn.Module = network.requires_grad_(False).eval()
    return frozen


def fingerprint(network: nn.Module, processor: Any) -> str:
    """Names a network and its preprocessing by their content; 16 hexadecimal digits."""
    digest = hashlib.sha256(processor.to_json_string().encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()[:16]
