"""A codec, a channel, a receiver and a metric of your own, in every figure and over the link.

    diffjscc sweep figure-5 --plugin configs/examples/own_method.py --only snr_db=1,13 \
        --methods dct --methods jscc --methods sharp --metrics psnr --metrics edges
    diffjscc simulate --plugin configs/examples/own_method.py \
        --codec dct --set tx.runtime=torch --channel bursts --set rx.receiver=sharp

A codec is two functions; the rest (packing, unit power, channel, equaliser, scores, curves) is
the project's. This one sends the DCT coefficients of each 16x16 block as amplitudes, without
training and without bits, so that it fades gracefully: those of which photographs have most, each
scaled by the inverse fourth root of its variance, which is the best linear scaling at high SNR
(Jakubczak and Katabi, SoftCast, 2011), and estimated with the least squared error.
"""

import math

import numpy as np
import torch

from simulator import plugins
from simulator.jscc.codec import JsccCodec
from simulator.jscc.power_side import read_powers, write_powers
from simulator.jscc.rates import BANDWIDTH_RATIOS
from simulator.jscc.signal import Signal
from simulator.methods import registry
from simulator.methods.diffjscc import codec_method
from simulator.metrics import metric
from simulator.phy.streams import complex_normal


# --- a codec and its method ----------------------------------------------------------------
class DctCodec(JsccCodec):
    name, config = "dct", {}
    bandwidth_ratio, bandwidth_ratios = BANDWIDTH_RATIOS[1], BANDWIDTH_RATIOS

    def __init__(self):
        super().__init__()
        k, n = torch.arange(16.0)[:, None], torch.arange(16.0)
        basis = torch.cos(math.pi * (n + 0.5) * k / 16) * torch.where(k > 0, 2, 1).sqrt() / 4
        axes = torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]])  # light, two of colour
        axes /= axes.norm(dim=1, keepdim=True)
        atoms = torch.einsum("ac,ui,vj->auvcij", axes, basis, basis).reshape(768, 3, 16, 16)
        f = 0.2 + k**2 + n**2
        variance = torch.stack([4.5 / f**1.4, 0.2 / f**1.8, 0.05 / f**1.7]).reshape(768)
        order = variance.argsort(descending=True)
        self.register_buffer("atoms", atoms[order])
        self.register_buffer("variance", variance[order, None, None])

    def analyse(self, image, csi, channels):
        maps = torch.nn.functional.conv2d(image - 0.45, self.atoms[:channels], stride=16)
        return maps / self.variance[:channels] ** 0.25

    def signal_of(self, image, csi, budget):
        """The power that normalising takes away is side information, which is charged."""
        values = self.pack(self.maps(image, csi, budget))
        return Signal(self.modulate(values), write_powers(values.abs().square().mean(1).tolist()))

    def restored(self, latent, side):
        power = torch.tensor(read_powers(side, len(latent))[0])
        return latent * power.sqrt()[:, None, None, None]

    def synthesise(self, latent, csi, noise_variance):
        variance = self.variance[: latent.shape[1]]
        received = latent.square().mean((1, 2, 3), keepdim=True)
        noise = noise_variance * received / (1 + noise_variance.mean((1, 2, 3), keepdim=True))
        maps = latent * variance**0.75 / (variance**0.5 + noise)
        atoms = self.atoms[: latent.shape[1]]
        return torch.nn.functional.conv_transpose2d(maps, atoms, stride=16) + 0.45


plugins.register_codec(DctCodec)
registry.register_method("dct", lambda context: codec_method("dct", "DCT", DctCodec(), context))


# --- a channel: a tenth of the symbols meets a burst, at the same average SNR -----------------
def bursts(snr_db, generator, n):
    loud = generator.random(n) < 0.1
    return complex_normal(generator, n) * np.where(loud, 7.3**0.5, 0.3**0.5).astype("f4")


plugins.register_channel("bursts", noise=bursts)


# --- a receiver: what refines the previews of any codec ------------------------------------------
def sharp(device):
    """Unsharp masking, less of it where the channel was bad. Made once, called for every batch."""
    blur = torch.nn.AvgPool2d(5, stride=1, padding=2, count_include_pad=False).to(device)

    def refine(preview, csi):  # (B, 3, H, W) in [0, 1], and the channel states of B frames
        strength = (csi.snr_db / 20).clamp(0, 1).to(preview)[:, None, None, None]
        return preview + strength * (preview - blur(preview))

    return refine


plugins.register_receiver("sharp", sharp)


# --- a metric ------------------------------------------------------------------------------------
def edges(sent, original):
    """Mean difference of the gradients along rows."""
    return float(np.abs(np.diff(sent.pixels.astype(int) - original, axis=1)).mean())


metric.register_metric("edges", "edge error", edges, digits=2, better="lower")
