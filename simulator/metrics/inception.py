"""The Inception network of 2015, by whose 2048 features FID is defined.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer
Vision", CVPR 2016, as published in TensorFlow on 5 December 2015; Heusel et al., "GANs Trained by
a Two Time-Scale Update Rule", NIPS 2017. Published ports need torchvision; this is the network
with their names of layers, and reads their weights (``inception_weights``). It differs from the
paper in two ways, which belong to the published numbers: means do not count the padding, and the
last block takes a maximum where the others take a mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from simulator.metrics.inception_weights import find_weights

FEATURES = 2048
SIDE_PX = 299

_CPU_PART, _GPU_PART = 4, 64


class Unit(nn.Module):
    """convolution -> batch normalisation -> ReLU. Strided ones are not padded."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int] = (1, 1),
        stride: int = 1,
        padded: bool = True,
    ) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if padded and stride == 1 else (0, 0)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))

    def fold(self) -> None:
        """Take the normalisation into the convolution; for a network in eval mode."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.bn)
            self.bn = nn.Identity()


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class Maximum(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(x, 3, stride=self.stride, padding=self.stride % 2)


# A step of a path: name, outputs, kernel, stride. A list is a fork: each step sees what came
# before it, and what they give is joined. A module without weights stands for itself.
Step = tuple[str, int, tuple[int, int], int]
Path_ = Sequence[Step | list[Step] | nn.Module]


def step(name: str, outputs: int, *kernel: int, stride: int = 1) -> Step:
    """``kernel``: nothing for 1x1, a side, or height and width."""
    height, width = {0: (1, 1), 1: kernel * 2, 2: kernel}[len(kernel)]
    return name, outputs, (height, width), stride


class Mixed(nn.Module):
    """Paths side by side: each sees the input, and their outputs are joined in order.

    x -+- path 1 -+
       +- path 2 -+- concatenated channels
       '- ...    -'
    """

    def __init__(self, inputs: int, *paths: Path_) -> None:
        super().__init__()
        self.paths: list[list[list[str] | nn.Module]] = []
        self.outputs = 0
        for path in paths:
            width, names = inputs, list[list[str] | nn.Module]()
            for each in path:
                if isinstance(each, nn.Module):
                    names.append(each)
                    continue
                fork = each if isinstance(each, list) else [each]
                for name, outputs, kernel, stride in fork:
                    self.add_module(name, Unit(width, outputs, kernel, stride))
                names.append([name for name, *_ in fork])
                width = sum(outputs for _, outputs, *_ in fork)
            self.paths.append(names)
            self.outputs += width

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._follow(path, x) for path in self.paths], dim=1)

    def _follow(self, path: list[list[str] | nn.Module], x: Tensor) -> Tensor:
        for each in path:
            if isinstance(each, nn.Module):
                x = each(x)
            else:
                x = torch.cat([self.get_submodule(name)(x) for name in each], dim=1)
        return x


def mixed_5(inputs: int, pooled: int) -> Mixed:
    """35 x 35 positions."""
    return Mixed(
        inputs,
        [step("branch1x1", 64)],
        [step("branch5x5_1", 48), step("branch5x5_2", 64, 5)],
        [step("branch3x3dbl_1", 64), step("branch3x3dbl_2", 96, 3), step("branch3x3dbl_3", 96, 3)],
        [Mean(), step("branch_pool", pooled)],
    )


def mixed_6a(inputs: int) -> Mixed:
    """35 x 35 to 17 x 17."""
    return Mixed(
        inputs,
        [step("branch3x3", 384, 3, stride=2)],
        [
            step("branch3x3dbl_1", 64),
            step("branch3x3dbl_2", 96, 3),
            step("branch3x3dbl_3", 96, 3, stride=2),
        ],
        [Maximum(stride=2)],
    )


def mixed_6(inputs: int, inner: int) -> Mixed:
    """17 x 17 positions; the 7 x 7 kernels are factorised."""
    return Mixed(
        inputs,
        [step("branch1x1", 192)],
        [
            step("branch7x7_1", inner),
            step("branch7x7_2", inner, 1, 7),
            step("branch7x7_3", 192, 7, 1),
        ],
        [
            step("branch7x7dbl_1", inner),
            step("branch7x7dbl_2", inner, 7, 1),
            step("branch7x7dbl_3", inner, 1, 7),
            step("branch7x7dbl_4", inner, 7, 1),
            step("branch7x7dbl_5", 192, 1, 7),
        ],
        [Mean(), step("branch_pool", 192)],
    )


def mixed_7a(inputs: int) -> Mixed:
    """17 x 17 to 8 x 8."""
    return Mixed(
        inputs,
        [step("branch3x3_1", 192), step("branch3x3_2", 320, 3, stride=2)],
        [
            step("branch7x7x3_1", 192),
            step("branch7x7x3_2", 192, 1, 7),
            step("branch7x7x3_3", 192, 7, 1),
            step("branch7x7x3_4", 192, 3, stride=2),
        ],
        [Maximum(stride=2)],
    )


def mixed_7(inputs: int, pool: nn.Module) -> Mixed:
    """8 x 8 positions; two paths end in a fork."""
    return Mixed(
        inputs,
        [step("branch1x1", 320)],
        [
            step("branch3x3_1", 384),
            [step("branch3x3_2a", 384, 1, 3), step("branch3x3_2b", 384, 3, 1)],
        ],
        [
            step("branch3x3dbl_1", 448),
            step("branch3x3dbl_2", 384, 3),
            [step("branch3x3dbl_3a", 384, 1, 3), step("branch3x3dbl_3b", 384, 3, 1)],
        ],
        [pool, step("branch_pool", 192)],
    )


class Inception(nn.Module):
    """The network; ``load_inception`` gives it its weights.

    image -> 299 x 299 -> [-1, 1) -> Conv2d_1a ... 4a -> Mixed_5b ... 7c -> mean over positions
                                                                                  |
                                                                              features
    """

    name = "inception-2015"

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, (3, 3), stride=2)
        self.Conv2d_2a_3x3 = Unit(32, 32, (3, 3), padded=False)
        self.Conv2d_2b_3x3 = Unit(32, 64, (3, 3))
        self.Conv2d_3b_1x1 = Unit(64, 80)
        self.Conv2d_4a_3x3 = Unit(80, 192, (3, 3), padded=False)
        self.Mixed_5b = mixed_5(192, pooled=32)
        self.Mixed_5c = mixed_5(256, pooled=64)
        self.Mixed_5d = mixed_5(288, pooled=64)
        self.Mixed_6a = mixed_6a(288)
        self.Mixed_6b = mixed_6(768, inner=128)
        self.Mixed_6c = mixed_6(768, inner=160)
        self.Mixed_6d = mixed_6(768, inner=160)
        self.Mixed_6e = mixed_6(768, inner=192)
        self.Mixed_7a = mixed_7a(768)
        self.Mixed_7b = mixed_7(1280, Mean())
        self.Mixed_7c = mixed_7(2048, Maximum(stride=1))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 2048) features of (B, 3, H, W) images in [0, 1], of any size."""
        x = (255 * resize_tf1(images, SIDE_PX) - 128) / 128
        for layer in (self.Conv2d_1a_3x3, self.Conv2d_2a_3x3, self.Conv2d_2b_3x3):
            x = layer(x)
        x = functional.max_pool2d(x, 3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = functional.max_pool2d(x, 3, stride=2)
        for name, mixed in self.named_children():
            if name.startswith("Mixed"):
                x = mixed(x)
        return x.mean(dim=(2, 3))

    def features(self, images: Tensor) -> Tensor:
        """As ``forward`` without gradients, of a batch of any length."""
        length = _CPU_PART if images.device.type == "cpu" else _GPU_PART
        with torch.inference_mode():
            return torch.cat([self(part) for part in torch.split(images, length)])

    def fold(self) -> None:
        for module in self.modules():
            if isinstance(module, Unit):
                module.fold()


def resize_tf1(images: Tensor, side: int) -> Tensor:
    """(B, C, H, W) to (B, C, side, side), bilinear as in TensorFlow 1.

    Output position i looks at i * (in / out), without the half-pixel offset that is usual today,
    and nothing is blurred before it is made smaller. FID is defined with this.
    """
    for dim in (3, 2):
        length = images.shape[dim]
        at = torch.arange(side, dtype=torch.float32, device=images.device)
        at = at * torch.tensor(length / side, dtype=torch.float32)
        low = at.long()
        high = (low + 1).clamp(max=length - 1)
        part = (at - low).to(images.dtype).unsqueeze(1) if dim == 2 else (at - low).to(images.dtype)
        below, above = images.index_select(dim, low), images.index_select(dim, high)
        images = below + (above - below) * part
    return images


def load_inception(path: Path | None = None, device: torch.device | str = "cpu") -> Inception:
    """The network with the published weights, frozen.

    ``path`` is a weight file; without it they are looked for as ``inception_weights`` says.
    Raises ModelError where there are none or they do not fit.
    """
    with torch.device("meta"):
        network = Inception()
    network.load_state_dict(find_weights(weight_shapes(), path), strict=False, assign=True)
    network.requires_grad_(False).eval().fold()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.to(device)


def weight_shapes() -> dict[str, tuple[int, ...]]:
    """The names in the published file of what features need, and their shapes."""
    with torch.device("meta"):
        state = Inception().state_dict()
    counters = "num_batches_tracked"
    return {name: tuple(t.shape) for name, t in state.items() if not name.endswith(counters)}
