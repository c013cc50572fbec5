"""Checkpoints of NTSCC against a reference of their layout."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import make_photographs
from official_ntscc import OfficialNtscc
from torch.nn import functional as F

from simulator.chain import Draw, load_link
from simulator.errors import ModelError, SettingsError
from simulator.images import load_image
from simulator.importer.folder import import_official
from simulator.jscc.air import Air
from simulator.jscc.checkpoint import load_codec
from simulator.jscc.csi import Csi
from simulator.jscc.ntscc_official import OfficialNtsccCodec
from simulator.jscc.swin_blocks import SwinBlock
from simulator.link.ids import draw_key
from simulator.methods.method import Point
from simulator.settings import AirSettings

SMALL: dict[str, Any] = {
    "dims": [8, 16], "depths": [1, 2], "heads": 2, "window": 4, "jscc": 2, "jscc_window": 16,
    "hyper": 6, "rising": [10, 12], "rates": [10, 12, 14, 16],
}  # fmt: skip
SIZE = (64, 128)


def official(**changed: Any) -> OfficialNtscc:
    torch.manual_seed(5)
    network = OfficialNtscc(SMALL | changed).eval()
    network.ha[4].bias.data += 3.0  # so that rounding counts
    for layer in (network.hs[0], network.hs[2]):
        layer.weight.data *= 4
    network.hs[4].bias.data[: len(network.hs[4].bias) // 2] += 1.2
    return network


def imported(path: Path, state: dict[str, Any]) -> OfficialNtsccCodec:
    torch.save(state, path / "net.pth")
    import_official(str(path / "net.pth"), path / "codec")
    codec = load_codec(path / "codec")
    assert isinstance(codec, OfficialNtsccCodec)
    return codec


@torch.inference_mode()
def test_rates_and_images_are_theirs(tmp_path: Path) -> None:
    theirs = official()
    ours = imported(tmp_path, theirs.state_dict())
    image, snr = torch.rand(1, 3, *SIZE), 6.0
    image[..., :64] *= 0.1
    y = theirs.ga(image)
    bits = ours.encoder.prior(y.permute(0, 2, 3, 1), None)[0]
    wanted_bits = (-theirs.likelihoods(y).log2()).clamp_min(0).sum(dim=1)
    torch.testing.assert_close(bits, wanted_bits, rtol=1e-3, atol=1e-3)
    ours.eta = eta = 11.7 / float(wanted_bits.median())
    # A cell at the border of two rates would have the one that this processor's rounding gives it.
    borders = torch.tensor(SMALL["rates"])
    assert (eta * wanted_bits.flatten()[:, None] - borders).abs().min() > 1e-3
    values, sent, numbers = theirs.sent(image, eta)
    assert len(set(numbers.tolist())) > 2
    noise = torch.randn_like(values)
    received = theirs.received(values, sent, snr, noise)
    wanted = theirs.image(received, numbers, (16, 32))
    signal = ours.encode(image, Csi.of(snr))
    assert signal.symbols.shape[1] == int(sent.sum()) // 2
    # Values of a cell, two to a symbol, cell by cell.
    own = torch.cat([noise[:, n][sent[:, n]] for n in range(noise.shape[1])])
    sigma = (1 / (2 * 10 ** (snr / 10))) ** 0.5
    symbols = signal.symbols + sigma * torch.complex(own[0::2], own[1::2])
    got = ours.decode(symbols, Csi.of(snr), SIZE, side=signal.side)
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)
    assert wanted.std() > 0.05
    # The power is part of the side information: without it the image is another one.
    with pytest.raises(SettingsError, match="a power that no image has"):
        ours.decode(symbols, Csi.of(snr), SIZE, side=b"\xff" * len(signal.side))
    with pytest.raises(SettingsError, match="fewer than the 4"):
        ours.decode(symbols, Csi.of(snr), SIZE, side=b"\x00")


@torch.inference_mode()
def test_padding_is_seen_as_theirs() -> None:
    torch.manual_seed(0)
    block, x = SwinBlock(8, 2, 4, True, 4).eval(), torch.randn(1, 6, 5, 8)
    block.sees_padding = True
    whole = block._attend(F.pad(block.norm1(x), (0, 0, 0, 3, 0, 2)))[:, :6, :5]
    wanted = x + whole
    wanted = wanted + block.mlp(block.norm2(wanted))
    torch.testing.assert_close(block(x), wanted)
    block.sees_padding = False
    assert not torch.allclose(block(x), wanted, atol=1e-4)


def test_sizes_of_the_published_model() -> None:
    """Its authors' configuration: the codec of their checkpoint is that of the defaults."""
    base = {
        "dims": [256] * 4, "depths": [1, 1, 2, 4], "heads": 8, "window": 8, "jscc": 4,
        "jscc_window": 16, "hyper": 192, "rising": [256, 384],
        "rates": [16, 32, 48, 64, 80, 96, 102, 118, 134, 160, 186, 192, 208, 224, 240, 256],
    }  # fmt: skip
    from simulator.importer.ntscc import codec_of

    with torch.device("meta"):
        theirs = OfficialNtscc(base)
        ours = OfficialNtsccCodec()
    state = dict(theirs.state_dict())
    state["fe.rate_choice_tensor"] = torch.tensor(base["rates"])
    _, config, _, _ = codec_of(state)
    assert config | {"eta": 0.2} == ours.config
    unused = {"entropy_bottleneck.quantiles", "entropy_bottleneck._matrix0"}
    count = sum(p.numel() for n, p in theirs.named_parameters() if n not in unused)
    assert sum(p.numel() for p in ours.parameters()) == count + 192  # the medians


@cache
def state() -> dict[str, Any]:
    """To be copied, not changed."""
    return dict(official().state_dict())


def without(part: str) -> Any:
    return lambda s: {n: t for n, t in s.items() if part not in n}


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (without("ga."), "the names of its tensors are others"),
        (without("quantiles"), "lacks entropy_bottleneck.quantiles"),
        (without("fe.layers"), "lacks fe.layers.0"),
        (without("gs.outconv"), "lacks gs.outconv"),
        (lambda s: s | {"hyprior_refinement.fc1.weight": torch.ones(1)}, "its receiver uses z"),
        (lambda s: s | {"fe.rate_choice_tensor": torch.tensor([10, 12, 13, 16])}, "rates are even"),
        (lambda s: s | {"fe.rate_choice_tensor": torch.tensor([10, 12, 16])}, "has the shape"),
        (lambda s: s | {"ga.other": torch.ones(1)}, "has ga.other, which"),
    ],
)
def test_another_layout_is_refused(edit: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        imported(tmp_path, edit(state()))
    assert str(caught.value).count(". ") == 0 and not (tmp_path / "codec").exists()


def test_it_is_one_of_the_codecs(tmp_path: Path) -> None:
    """Through the chain of the link on an image of any size, and charged for map and power."""
    codec = imported(tmp_path, official().state_dict())
    link = load_link(str(tmp_path / "codec"), runtime="torch")
    (picture,) = make_photographs(tmp_path / "photos", 1)
    pixels = load_image(picture).pixels
    for ratio in codec.bandwidth_ratios[-2:]:
        point = Point("awgn", ratio, snr_db=10.0)
        sent = link.send(pixels, ratio, Draw.under(AirSettings(), draw_key(0, b"0", 0), point))
        assert sent.pixels.shape == pixels.shape and sent.side_uses > 0
        assert 0 < len(sent.sent) <= codec.k(ratio, pixels.shape[:2])
    with pytest.raises(ModelError, match="train ntscc instead"):
        csi = Csi.of(1.0)
        codec.trained_through(torch.rand(1, 3, 64, 64), Air(csi, csi, torch.ones(1, 9)), ratio)
