"""A method of your own, in every figure: block transform coding without any learning.

    diffjscc sweep figure-5 --plugin configs/examples/own_method.py \
        --methods dct --methods jscc --metrics psnr --metrics edges --only snr_db=1,13

A codec is two functions; the rest (packing, unit power, channel, equaliser, scores, curves) is
the project's. This one sends the lowest DCT coefficients of each 16x16 block of the image as
amplitudes: no training and no bits, and it fades gracefully.
"""

import math

import numpy as np
import torch

from simulator.jscc.codec import JsccCodec
from simulator.jscc.rates import BANDWIDTH_RATIOS
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
        order = sorted(range(256), key=lambda i: (i // 16 + i % 16, i))  # low frequencies first
        atoms = torch.einsum("ui,vj->uvij", basis, basis).reshape(256, 1, 16, 16)[order]
        self.register_buffer("atoms", torch.cat([atoms] * 3, 1) / 3**0.5)  # of grey

    def analyse(self, image, csi, channels):
        return torch.nn.functional.conv2d(image - 0.5, self.atoms[:channels], stride=16)

    def synthesise(self, latent, csi, noise_variance):
        """Power is normalised and not signalled: a usual contrast is assumed."""
        atoms, scale = self.atoms[: latent.shape[1]], (80 / latent.shape[1]) ** 0.5
        return torch.nn.functional.conv_transpose2d(latent * scale, atoms, stride=16) + 0.5


registry.register_codec(DctCodec)
registry.register_method("dct", lambda context: codec_method("dct", "DCT", DctCodec(), context))


# --- a channel: a tenth of the symbols meets a burst, at the same average SNR -----------------
def bursts(snr_db, generator, n):
    loud = generator.random(n) < 0.1
    return complex_normal(generator, n) * np.where(loud, 7.3**0.5, 0.3**0.5).astype("f4")


registry.register_channel("bursts", noise=bursts)


# --- a metric ------------------------------------------------------------------------------------
def edges(sent, original):
    """Mean difference of the gradients along rows."""
    return float(np.abs(np.diff(sent.pixels.astype(int) - original, axis=1)).mean())


metric.register_metric("edges", "edge error", edges, digits=2, better="lower")
