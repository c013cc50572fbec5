"""Weights that an autoencoder starts from: colours and coarse edges of each 8x8 cell.

From random weights, an ``AutoencoderKL`` spends its first thousands of steps on finding colour.
Here the skip path carries it from the first step on:

    encoder  colours -mean of 2x2, three times-> 3 means, 5 coarse differences of luma -> latent
    decoder  latent -bilinear, three times-> colours

The residual branches start at zero and learn what is better. Two obstacles stand on that path:
SiLU, passed by pairs, silu(x) - silu(-x) = x; and group normalisation, whose gain depends on the
image: a large constant beside the pairs makes it the same for all.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from simulator.errors import SettingsError

CONSTANT = 12.0
# Luma and two colour differences, orthonormal.
COLOURS = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
COLOURS = COLOURS / COLOURS.norm(dim=1, keepdim=True)
# Deviations of the eight values over training photographs (pixels in -1 ... 1): means of the
# colours, differences along x, y, their second differences, and the mixed one.
DEVIATIONS = torch.tensor([0.85, 0.21, 0.09, 0.16, 0.16, 0.07, 0.07, 0.06])
LOGVAR = -6.0


def start_linear(vae: AutoencoderKL) -> None:
    """Overwrite fresh weights. Raises ``SettingsError`` where the widths leave no room."""
    latent = int(vae.config["latent_channels"])
    encoder: Any = vae.encoder
    decoder: Any = vae.decoder
    groups = encoder.conv_norm_out.num_groups
    room = encoder.conv_norm_out.num_channels // groups
    room_out = decoder.conv_norm_out.num_channels // decoder.conv_norm_out.num_groups
    if latent < 3 or groups < min(8, latent) or room < 4 or room_out < 3 or groups < 3:
        raise SettingsError(
            "this autoencoder is too narrow to start from the linear transform; "
            "give wider --channels, or --start random."
        )
    for module in vae.modules():
        if hasattr(module, "conv_shortcut") and hasattr(module, "conv2"):
            nn.init.zeros_(module.conv2.weight)
            nn.init.zeros_(module.conv2.bias)
            if module.conv_shortcut is not None:
                keep(module.conv_shortcut, 8)
    start_encoder(encoder, latent)
    start_decoder(decoder, latent)
    for layer in (vae.quant_conv, vae.post_quant_conv):
        if layer is not None:
            nn.init.dirac_(layer.weight)
            nn.init.zeros_(layer.bias)


def keep(layer: Any, count: int, kernel: Tensor | None = None) -> None:
    """The first ``count`` channels pass, through ``kernel`` (k, k) where one is given."""
    count = min(count, layer.in_channels, layer.out_channels)
    layer.weight.data[:count] = 0
    layer.bias.data[:count] = 0
    middle = layer.kernel_size[0] // 2
    for index in range(count):
        if kernel is None:
            layer.weight.data[index, index, middle, middle] = 1
        else:
            layer.weight.data[index, index] = kernel


def start_encoder(encoder: Any, latent: int) -> None:
    first = encoder.conv_in
    first.weight.data[:3] = 0
    first.bias.data[:3] = 0
    first.weight.data[:3, :, 1, 1] = COLOURS
    mean, along_x = torch.zeros(3, 3), torch.zeros(3, 3)
    mean[:2, :2] = 0.25
    along_x[:2, 0], along_x[:2, 1] = -0.25, 0.25
    along_y, mixed = along_x.T, torch.zeros(3, 3)
    mixed[:2, :2] = torch.tensor([[0.25, -0.25], [-0.25, 0.25]])
    downs = [block.downsamplers[0].conv for block in encoder.down_blocks if block.downsamplers]
    for index, layer in enumerate(downs):
        last = index == len(downs) - 1
        layer.weight.data[:8] = 0
        layer.bias.data[:8] = 0
        for colour in range(3):
            layer.weight.data[colour, colour] = mean
        layer.weight.data[3, 0], layer.weight.data[4, 0] = along_x, along_y
        if last:
            # Differences of the differences that the layer before has made.
            layer.weight.data[5, 3], layer.weight.data[6, 4] = along_x, along_y
            layer.weight.data[7, 0] = mixed
    # Pairs and constants, a group for each latent channel.
    norm = encoder.conv_norm_out
    room = norm.num_channels // norm.num_groups
    shortcut = encoder.down_blocks[-1].resnets[0].conv_shortcut
    if shortcut is None:
        raise SettingsError("the last two --channels must differ, or --start random.")
    out = encoder.conv_out
    nn.init.zeros_(out.weight)
    nn.init.zeros_(out.bias)
    out.bias.data[latent:] = LOGVAR
    for index in range(min(8, latent)):
        at = room * index
        shortcut.weight.data[at : at + 4] = 0
        shortcut.bias.data[at : at + 4] = 0
        shortcut.weight.data[at, index] = 1 / DEVIATIONS[index]
        shortcut.weight.data[at + 1, index] = -1 / DEVIATIONS[index]
        shortcut.bias.data[at + 2], shortcut.bias.data[at + 3] = CONSTANT, -CONSTANT
        norm.weight.data[at : at + 2] = CONSTANT * (2 / room) ** 0.5
        out.weight.data[index, at, 1, 1], out.weight.data[index, at + 1, 1, 1] = 1, -1


def start_decoder(decoder: Any, latent: int) -> None:
    keep(decoder.conv_in, latent)
    for index in range(3):
        decoder.conv_in.weight.data[index, index, 1, 1] = DEVIATIONS[index]
    line = torch.tensor([0.25, 0.5, 0.25])
    for block in decoder.up_blocks:
        if block.upsamplers:
            # After repetition of pixels this is bilinear interpolation.
            keep(block.upsamplers[0].conv, latent, line[:, None] * line[None])
    norm = decoder.conv_norm_out
    room = norm.num_channels // norm.num_groups
    shortcut = decoder.up_blocks[-1].resnets[0].conv_shortcut
    if shortcut is None:
        raise SettingsError("the first two --channels must differ, or --start random.")
    mean = CONSTANT / room
    deviation = (CONSTANT**2 / room - mean**2) ** 0.5
    out = decoder.conv_out
    out.weight.data *= 0.1
    nn.init.zeros_(out.bias)
    for colour in range(3):
        at = room * colour
        shortcut.weight.data[at : at + 3] = 0
        shortcut.bias.data[at : at + 3] = 0
        shortcut.weight.data[at, colour] = 1
        shortcut.weight.data[at + 1, colour] = -1
        shortcut.bias.data[at + 2] = CONSTANT
        norm.weight.data[at : at + 2] = deviation
        norm.bias.data[at : at + 2] = mean
        out.weight.data[:, at : at + 3] = 0
        out.weight.data[:, at, 1, 1] = COLOURS[colour]
        out.weight.data[:, at + 1, 1, 1] = -COLOURS[colour]
