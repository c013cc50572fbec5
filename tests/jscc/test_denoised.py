"""CDDM: a denoiser of received symbols around a codec."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import make_photographs

from simulator.jscc import Csi, load_codec
from simulator.jscc.air import Air
from simulator.jscc.chain import complex_normal
from simulator.jscc.checkpoint import save_codec
from simulator.jscc.denoised import DenoisedCodec
from simulator.jscc.padc import PadcCodec
from simulator.jscc.wrap import wrap
from simulator.training.codec import train_codec
from simulator.training.options import CodecTraining


def inner() -> PadcCodec:
    """Of two ratios, so that the denoiser meets two numbers of maps."""
    torch.manual_seed(0)
    return PadcCodec(maps=4, steps=2, width=4, blocks=0).eval()


@torch.inference_mode()
def test_without_a_training_nothing_changes() -> None:
    codec = inner()
    image, csi = torch.rand(2, 3, 30, 41), Csi.of(3.0, 0.6 - 0.2j, batch=2)
    around = DenoisedCodec(codec).eval()
    for ratio in codec.bandwidth_ratios:
        noise = complex_normal((2, codec.k(ratio, (30, 41))), torch.Generator().manual_seed(0))
        air = Air(csi, csi, noise)
        made = around.through(image, air, ratio)
        assert torch.allclose(made, codec.through(image, air, ratio), atol=1e-5)


@pytest.mark.parametrize("steps", [1, 4])
@torch.inference_mode()
def test_who_predicts_the_noise_gets_what_was_sent(steps: int) -> None:
    """Whatever the variance of each symbol; and each step gets the variance of what is left."""
    codec = DenoisedCodec(inner(), steps=steps)
    generator = torch.Generator().manual_seed(1)
    sent, noise = torch.randn(2, 1, 4, 6, 8, generator=generator)
    variance = 0.05 + torch.rand(1, 4, 6, 8, generator=generator)
    told = []

    class Oracle(torch.nn.Module):
        def forward(self, x: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
            told.append((left, (x / 2**0.5 - sent).square() * 2 / noise.square()))
            return noise

    codec.denoiser = Oracle()
    received = sent + (variance / 2).sqrt() * noise
    assert torch.allclose(codec.denoised(received, variance), sent, atol=1e-5)
    assert len(told) == steps
    for left, found in told:
        assert torch.allclose(left, found, rtol=0.02, atol=1e-3)


def test_a_training_moves_the_denoiser_alone(tmp_path: Path) -> None:
    make_photographs(tmp_path / "photos", 2)
    save_codec(inner(), tmp_path / "inner", {})
    before = load_codec(wrap("cddm", str(tmp_path / "inner"), tmp_path / "cddm"))
    options = CodecTraining(
        codec="cddm", init=str(tmp_path / "cddm"), steps=3, data=(str(tmp_path / "photos"),),
        batch=2, crop=64, threads=1, device="cpu", ema=0.0, warmup=1,
    )  # fmt: skip
    after = load_codec(train_codec(options, tmp_path / "trained"))
    moved = [n for n, p in after.named_parameters() if not torch.equal(p, before.get_parameter(n))]
    assert moved and all(name.startswith("denoiser.") for name in moved)
