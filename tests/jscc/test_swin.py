"""SwinJSCC: sizes, windows, both modulations, training, and a run through the link."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers import make_photographs
from link_world import linked_torch

from simulator.errors import ModelError
from simulator.jscc import Csi, load_codec
from simulator.jscc.chain import transmit
from simulator.jscc.checkpoint import save_codec
from simulator.jscc.export import export_encoder
from simulator.jscc.swin import SwinCodec
from simulator.jscc.swin_blocks import SwinBlock, attention_mask, departition, partition
from simulator.training.codec import train_codec
from simulator.training.codec_loss import distortion_of, draw_channel, send_crops
from simulator.training.options import CodecTraining
from simulator.training.photographs import Photographs

TINY = {"widths": (8, 8, 16, 16), "depths": (1, 1, 2, 1), "heads": (1, 1, 2, 2), "window": 4,
        "channels": (2, 4, 8, 16)}  # fmt: skip


def tiny(seed: int = 0) -> SwinCodec:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SwinCodec(**TINY).eval()


def photograph(size=(64, 64), batch: int = 1) -> torch.Tensor:
    coarse = torch.rand(batch, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")


def test_base_model_has_the_official_number_of_parameters():
    """19,004,696 and 14,068,792, counted in the authors' code with both ModNets; our decoder
    has a linear layer more."""
    codec = SwinCodec()
    count = {half: sum(p.numel() for p in getattr(codec, half).parameters()) for half in
             ("encoder", "decoder")}  # fmt: skip
    assert count == {"encoder": 19_004_696, "decoder": 14_068_792 + 320 * 321}


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 33), (64, 48), (50, 100)])
@torch.inference_mode()
def test_any_size_there_and_back(size):
    codec = tiny()
    csi = Csi.of(7.0, 0.5 + 0.5j, batch=2)
    for ratio in codec.bandwidth_ratios:
        symbols = codec.encode(photograph(size, 2), csi, ratio).symbols
        cells = -(-size[0] // 16) * -(-size[1] // 16)
        assert symbols.shape == (2, cells * ratio * 768)
        assert torch.allclose(symbols.abs().square().mean(dim=1), torch.ones(2), atol=1e-4)
        result = codec.decode(symbols, csi, size)
        assert result.shape == (2, 3, *size)
        assert result.isfinite().all() and result.min() >= 0 and result.max() <= 1


def test_windows_there_and_back():
    x = torch.arange(2 * 8 * 12 * 3.0).reshape(2, 8, 12, 3)
    windows = partition(x, 4)
    assert windows.shape == (2, 6, 16, 3)
    assert torch.equal(windows[0, 1], x[0, :4, 4:8].reshape(16, 3))
    assert torch.equal(departition(windows, 4, 8, 12), x)


def test_who_sees_whom():
    assert attention_mask(8, 8, 4, 0) is None
    padded = attention_mask(5, 4, 4, 0)
    assert padded is not None and padded.shape == (2, 1, 16, 16)
    assert padded[0].all()
    row = torch.arange(16) // 4
    same = (row == 0)[:, None] == (row == 0)[None, :]
    assert torch.equal(padded[1, 0], same)  # one row of the map, three of padding
    shifted = attention_mask(8, 8, 4, 2)
    assert shifted is not None and shifted[0].all() and not shifted[1].all()


@torch.inference_mode()
def test_padding_and_wrapping_leak_nothing():
    """A cell beyond the reach of the windows around another does not change it."""
    torch.manual_seed(0)
    blocks = [SwinBlock(8, 2, 4, shifted, 2).eval() for shifted in (False, True)]
    x = torch.randn(1, 10, 10, 8)
    other = x.clone()
    other[0, 9, 9] += 1
    for block in blocks:
        changed = (block(x) - block(other)).abs().amax(dim=-1)[0] > 0
        assert changed[9, 9] and not changed[:6].any() and not changed[:, :6].any()
    # Cut where windows end, a map gives the same in its parts: padding has no say.
    assert torch.allclose(blocks[0](x)[:, 8:, 8:], blocks[0](x[:, 8:, 8:]), atol=1e-6)


@torch.inference_mode()
def test_snr_and_rate_change_what_is_sent_and_what_is_made_of_it():
    codec, image = tiny(), photograph()
    base = codec.analyse(image, Csi.of(10.0), 4)
    noise = torch.full_like(base, 0.1)
    assert not torch.allclose(base, codec.analyse(image, Csi.of(0.0), 4), rtol=1e-3)
    assert not torch.allclose(base, codec.analyse(image, Csi.of(10.0), 8)[:, :4], rtol=1e-3)
    faded = codec.analyse(image, Csi.of(10.0, 10**-0.5 * 1j), 4)
    assert torch.allclose(faded, codec.analyse(image, Csi.of(0.0), 4), atol=1e-6)
    assert not torch.equal(
        codec.synthesise(base, Csi.of(10.0), noise), codec.synthesise(base, Csi.of(0.0), noise)
    )


def test_gradient_reaches_everything():
    codec = tiny().train()
    csi, noise = Csi.of(10.0, batch=2), torch.randn(2, 256, dtype=torch.complex64)
    result = transmit(codec, photograph(batch=2), csi, csi, noise, Fraction(1, 96))
    result.square().mean().backward()
    dead = [n for n, p in codec.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


def test_sizes_that_do_not_fit(tmp_path):
    with pytest.raises(ModelError, match="every stage"):
        SwinCodec(widths=(8, 8), depths=(1,), heads=(1, 1))
    with pytest.raises(ModelError, match="multiples of its heads"):
        SwinCodec(**TINY | {"heads": (1, 1, 2, 3)})
    with pytest.raises(ModelError, match="at most 16"):
        SwinCodec(**TINY | {"channels": (32,)})
    save_codec(tiny(), tmp_path, {})
    manifest = tmp_path / "codec.json"
    manifest.write_text(manifest.read_text().replace('"window": 4', '"window": "four"'))
    with pytest.raises(ModelError, match="does not fit swin"):
        load_codec(tmp_path)


TINY_WORDS = tuple(f"{name}={list(v) if isinstance(v, tuple) else v}" for name, v in TINY.items())


def test_it_learns_and_runs_in_the_link(tmp_path):
    make_photographs(tmp_path / "photos", 3)
    options = CodecTraining(
        codec="swin", config=TINY_WORDS, channel="awgn", snr_db=(10, 10),
        data=(str(tmp_path / "photos"),),
        steps=60, batch=2, crop=64, learning_rate=1e-2, threads=1, device="cpu",
        drawn=0.0, zoom=0.0,
    )  # fmt: skip
    folder = train_codec(options, tmp_path / "codec")
    assert "SwinJSCC" in (folder / "README.md").read_text()
    codec = load_codec(folder)
    crops = Photographs([tmp_path / "photos"], 64, 2, seed=1)

    def distortion(codec, index):
        batch = {"image": crops.at(index) / 255, "seed": index}
        result, _ = send_crops(codec, draw_channel(codec, batch, options))
        return float(distortion_of(result, batch["image"], True).detach())

    before, after = (
        np.mean([distortion(c, i) for i in range(8)]) for c in (tiny(options.seed), codec)
    )
    assert after < before - 0.3  # log of the squared error
    assert codec.name == "swin" and codec.config["widths"] == [8, 8, 16, 16]
    given = {"tx.bandwidth_ratio": "1/96"}
    rows = linked_torch(tmp_path / "photos", folder, tmp_path / "run", **given)
    assert [row["status"] for row in rows] == ["delivered"] * 3
    assert all(row["codec"].startswith("swin-") and row["k"] == 384 for row in rows)


def test_it_has_no_onnx_form(tmp_path):
    save_codec(tiny(), tmp_path, {})
    with pytest.raises(ModelError, match="tx.runtime=torch"):
        export_encoder(str(tmp_path))


def test_an_interrupted_training_goes_on(tmp_path):
    make_photographs(tmp_path / "photos", 2)
    options = CodecTraining(
        codec="swin",
        config=TINY_WORDS,
        data=(str(tmp_path / "photos"),),
        steps=4,
        batch=1,
        crop=48,
        threads=1,
    )
    whole = train_codec(options, tmp_path / "whole")
    stops = iter([False, True])
    with pytest.raises(KeyboardInterrupt):
        train_codec(options, tmp_path / "parts", stop=lambda: next(stops))
    parts = train_codec(options, tmp_path / "parts")
    a, b = (load_codec(folder).state_dict() for folder in (whole, parts))
    assert all(torch.equal(a[key], b[key]) for key in a)
    with pytest.raises(ModelError, match="lpips"):
        train_codec(replace(options, lpips=0.1), tmp_path / "parts")
