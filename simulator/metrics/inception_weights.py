"""Where the weights of the 2015 Inception network come from. Nothing is downloaded here.

In this order:

1. a file that is given, or named by the environment variable ``DIFFJSCC_INCEPTION``: the
   published one, or one of the cache
2. the cache, ``~/.cache/diffjscc/inception-2015.safetensors``
3. torch.hub's folder of checkpoints, where torch-fidelity and pytorch-fid keep the published
   file: one file under two names

The published file is a pickle. It is opened only where its hash is the known one, and admits
tensors alone; what is found in 3 is kept in the cache. ``diffjscc fetch inception`` downloads it.
"""

from __future__ import annotations

import hashlib
import os
from io import BytesIO
from pathlib import Path

import torch

from simulator.errors import ModelError
from simulator.metrics.weight_cache import Weights, cache_path, keep, read_weights

SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
FILES = (
    "weights-inception-2015-12-05-6726825d.pth",  # torch-fidelity
    "pt_inception-2015-12-05-6726825d.pth",  # pytorch-fid
)
HOW_TO_GET = "diffjscc fetch inception"

Shapes = dict[str, tuple[int, ...]]


def cache_file() -> Path:
    return cache_path("inception-2015.safetensors")


def find_weights(shapes: Shapes, path: Path | None = None) -> Weights:
    """The tensors of these names and shapes, from the first place that has them.

    Raises ModelError where no place has them, and where a file is not what it should be.
    """
    named = path or os.environ.get("DIFFJSCC_INCEPTION")
    if named:
        return _from_file(Path(named), shapes)
    if cache_file().is_file():
        return _from_file(cache_file(), shapes)
    published = published_file()
    if published is None:
        raise ModelError(
            "The weights of FID's Inception network are not on this machine; run "
            f"{HOW_TO_GET}, or copy {FILES[0]} into {checkpoints()}."
        )
    weights = _from_file(published, shapes)
    keep(weights, cache_file())
    return weights


def checkpoints() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def published_file() -> Path | None:
    found = [checkpoints() / name for name in FILES if (checkpoints() / name).is_file()]
    return found[0] if found else None


def check_published(data: bytes, path: Path) -> None:
    """Raises ModelError where these bytes are not the published file."""
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise ModelError(
            f"{path} is not the published weight file of the 2015 Inception network "
            f"({FILES[0]}); delete it and run {HOW_TO_GET}."
        )


def _from_file(path: Path, shapes: Shapes) -> Weights:
    if path.suffix == ".safetensors":
        return read_weights(path, shapes, "Inception (FID)", HOW_TO_GET)
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"the Inception weights {path} cannot be read: {error.strerror}."
        raise ModelError(message) from None
    check_published(data, path)
    loaded = torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    # It has the classifier, too, and perhaps counters of the normalisations.
    return {name: loaded[name].contiguous() for name in shapes}
