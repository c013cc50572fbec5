"""Codecs of the literature: sizes, ratios, what is particular to each, training, the link."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import make_photographs
from link_world import linked_torch
from system_world import SYSTEMS, System, system

from simulator.errors import ModelError, SettingsError
from simulator.jscc import Csi, load_codec
from simulator.jscc.air import Air
from simulator.jscc.chain import complex_normal, transmit
from simulator.jscc.checkpoint import save_codec
from simulator.jscc.codec import JsccCodec
from simulator.jscc.export import export_encoder
from simulator.jscc.gdn import Gdn
from simulator.jscc.registry import make_codec
from simulator.jscc.signal import ToEncode
from simulator.phy.state import ChannelState
from simulator.settings import TxSettings
from simulator.training.card import KINDS
from simulator.training.codec import build_codec, train_codec
from simulator.training.options import CodecTraining
from simulator.training.photographs import Photographs
from tx.encoder import make_encoder

every = pytest.mark.parametrize("system", SYSTEMS, ids=[each.name for each in SYSTEMS])


def photograph(size: tuple[int, int] = (64, 64), batch: int = 1) -> torch.Tensor:
    coarse = torch.rand(batch, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")


def air(codec: JsccCodec, size: tuple[int, int], snr_db: float, batch: int = 1) -> Air:
    csi = Csi.of(snr_db, batch=batch)
    k = codec.k(codec.bandwidth_ratios[-1], size)
    return Air(csi, csi, complex_normal((batch, k), torch.Generator().manual_seed(1)))


@every
@torch.inference_mode()
def test_any_size_there_and_back(system: System) -> None:
    codec = system.make()
    assert tuple(map(str, codec.bandwidth_ratios)) == system.ratios
    cell = 2**codec.n_downsample
    for size, ratio in itertools.product([(1, 1), (17, 33), (64, 48)], codec.bandwidth_ratios):
        image, csi = photograph(size, 2), Csi.of(7.0, 0.5 + 0.5j, batch=2)
        rounds, side = codec.sent_over(image, air(codec, size, 7.0, 2), ratio)
        cells = [max(codec.min_cells, -(-side // cell)) for side in size]
        pixels = cells[0] * cells[1] * cell**2
        most = int(ratio * 3 * pixels) // codec.rounds
        for each in rounds:
            assert each.sent.dtype == torch.complex64 and each.sent.shape[1] <= most
            power = each.sent.abs().square().mean(dim=1)
            assert torch.allclose(power, torch.ones(2), atol=1e-4)
        symbols = torch.cat([each.received for each in rounds], dim=1)
        result = codec.decode(symbols, csi, size, side=side)
        assert result.shape == image.shape
        assert result.isfinite().all() and result.min() >= 0 and result.max() <= 1


@every
def test_what_is_saved_is_loaded(system: System, tmp_path: Path) -> None:
    codec = system.make()
    save_codec(codec, tmp_path, {})
    again = load_codec(tmp_path)
    assert again.name == system.name and again.config == codec.config
    image, csi = photograph(), Csi.of(3.0)
    with torch.inference_mode():
        a, b = (each.encode(image, csi).symbols for each in (codec, again))
    assert torch.allclose(a, b, atol=2e-3)  # weights are saved in fp16


@every
def test_the_transmitter_without_torch_sends_the_same(system: System, tmp_path: Path) -> None:
    save_codec(system.make(), tmp_path, {})
    if not system.onnx:
        with pytest.raises(ModelError, match="tx.runtime=torch"):
            export_encoder(str(tmp_path))
        return
    export_encoder(str(tmp_path))
    from simulator.jscc.folder import read_codec_folder

    folder = read_codec_folder(str(tmp_path))
    ends = [make_encoder(TxSettings(runtime=r), folder) for r in ("onnx", "torch")]
    pixels = (photograph((50, 70))[0].permute(1, 2, 0) * 255).byte().numpy()
    for ratio in map(Fraction, system.ratios):
        given = ToEncode(pixels, ChannelState(4.0, np.array([0.4 - 0.3j])), ratio)
        a, b = (each.encode(given).symbols for each in ends)
        assert np.abs(a - b).max() < 2e-3


@every
def test_it_learns(system: System, tmp_path: Path) -> None:
    """A few steps on a few photographs, and the error of the reconstruction falls."""
    make_photographs(tmp_path / "photos", 3)
    options = CodecTraining(
        codec=system.name, config=system.words, channel="awgn", snr_db=(10, 10), steps=50,
        data=(str(tmp_path / "photos"),), batch=2, crop=64, learning_rate=3e-3, threads=1,
        device="cpu", drawn=0.0, zoom=0.0, ema=0.0, warmup=5,
    )  # fmt: skip
    before = build_codec(options).eval()
    after = load_codec(train_codec(options, tmp_path / "codec"))
    image = Photographs([tmp_path / "photos"], 64, 4, seed=1).at(0) / 255
    with torch.inference_mode():
        errors = [
            float((codec.through(image, air(codec, (64, 64), 10.0, 4)) - image).square().mean())
            for codec in (before, after)
        ]
    assert errors[1] < 0.8 * errors[0]
    assert KINDS[system.name] in (tmp_path / "codec" / "README.md").read_text()


@pytest.mark.parametrize("name", ["deepjscc-f", "policy", "ntscc"])
def test_it_runs_in_the_link(name: str, tmp_path: Path) -> None:
    """Rounds that need the image again, a number of symbols that the codec decides, and side
    information."""
    small = system(name)
    make_photographs(tmp_path / "photos", 2)
    save_codec(small.make(), tmp_path / "codec", {})
    given = {"tx.bandwidth_ratio": small.ratios[-1], "channel.kind": "rayleigh"}
    rows = linked_torch(tmp_path / "photos", tmp_path / "codec", tmp_path / "run", **given)
    assert [row["status"] for row in rows] == ["delivered"] * 2
    codec = load_codec(tmp_path / "codec")
    for row in rows:
        k = codec.k(Fraction(small.ratios[-1]), (row["height"], row["width"]))
        assert row["k"] == k if codec.rounds > 1 else 0 < row["k"] <= k


def test_a_training_asks_for_a_ratio(tmp_path: Path) -> None:
    def made(codec: str, ratio: str, **config: Any) -> JsccCodec:
        words = tuple(f"{key}={value}" for key, value in config.items())
        options = CodecTraining(data=("none",), codec=codec, bandwidth_ratio=ratio, config=words)
        return build_codec(options)

    assert made("deepjscc", "1/16").config == {"c_channel": 6, "width_multiplier": 1}
    assert made("deepjscc-f", "1/24", width=4).config["c_channel"] == 2
    assert made("deepjscc-f", "1/16", width=4, rounds=3).bandwidth_ratio == Fraction(1, 16)
    with pytest.raises(SettingsError, match="for example 1/48"):
        made("deepjscc", "1/384")
    with pytest.raises(SettingsError, match="is not made with colour; --config takes c_channel"):
        made("deepjscc", "", colour="red")
    with pytest.raises(SettingsError, match="is not made with width=wide: "):
        made("adjscc", "", width="wide")
    with pytest.raises(SettingsError, match="has 1/768, .*, whatever --cbr says"):
        made("adaptive", "1/24")
    with pytest.raises(SettingsError, match="diffjscc wrap cddm CODEC"):
        made("cddm", "")
    with pytest.raises(SettingsError, match="leave out --config and --cbr"):
        build_codec(CodecTraining(data=("none",), init="compact", config=("width=8",)))
    with pytest.raises(SettingsError, match="--config width_multiplier: write NAME=VALUE"):
        build_codec(CodecTraining(data=("none",), codec="deepjscc", config=("width_multiplier",)))


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("deepjscc", {"c_channel": 3}),
        ("adjscc", {"width": 0}),
        ("witt", {"heads": [3, 1, 1, 1]}),
        ("witt", {"depths": [1]}),
        ("mamba", {"depths": [1]}),
        ("mamba", {"states": 0}),
        ("deepjscc-l", {"layers": 99}),
        ("padc", {"maps": 10, "steps": 3}),
        ("deepjscc-f", {"rounds": 1}),
        ("feedback-vit", {"rounds": 5}),
        ("feedback-vit", {"heads": 3}),
        ("feedback-vit", {"layers": 0}),
        ("policy", {"always": 9}),
        ("policy", {"temperature": 0.0}),
        ("generative", {"width": 0}),
        ("generative", {"generator": {"latent_channels": 8}}),
        ("generative", {"generator": "no/such/folder"}),
        ("ntscc", {"rates": [16]}),
        ("ntscc", {"rates": [32, 16]}),
        ("ntscc", {"rates": [15, 16]}),
        ("ntscc", {"heads": [3, 3, 3, 3]}),
        ("ntscc", {"depths": [1]}),
        ("ntscc", {"shared": 0}),
        ("ntscc", {"eta": 0.0}),
    ],
)
def test_sizes_that_cannot_be_are_said(name: str, config: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"\.$"):
        make_codec(name, config)


# What is particular to each


def test_gdn_is_its_definition_and_the_inverse_undoes_it() -> None:
    torch.manual_seed(0)
    gdn, back = Gdn(3), Gdn(3, inverse=True)
    gdn.gamma.data = torch.rand(3, 3)
    x = torch.randn(1, 3, 2, 2)
    pixel = x[0, :, 1, 1]
    wanted = pixel / (1 + (gdn.gamma.square() @ pixel.square())).sqrt()
    assert torch.allclose(gdn(x)[0, :, 1, 1], wanted, atol=1e-6)
    assert torch.allclose(back(x), x * (1 + 0.1 * x.square()).sqrt(), atol=1e-5)


def test_the_snr_is_told_to_those_that_use_it() -> None:
    image = photograph()
    differs = {}
    for each in SYSTEMS:
        codec = each.make()
        for parameter in codec.parameters():  # zeros at the start hide what a state changes
            parameter.data += 0.05 * torch.ones_like(parameter)
        with torch.inference_mode():
            a, b = (codec.encode(image, Csi.of(snr)).symbols for snr in (0.0, 15.0))
        differs[each.name] = a.shape != b.shape or not torch.equal(a, b)
    assert differs == {
        "deepjscc": False, "adjscc": True, "witt": True, "mamba": True, "deepjscc-l": False,
        "padc": True, "deepjscc-f": True, "feedback-vit": True, "policy": True, "ntscc": True,
        "generative": True,
    }  # fmt: skip


@torch.inference_mode()
def test_a_layer_is_the_same_whatever_follows_it() -> None:
    codec = system("deepjscc-l").make()
    image, csi = photograph((48, 32)), Csi.of(10.0)
    one, two, three = (codec.encode(image, csi, r).symbols for r in codec.bandwidth_ratios)
    assert torch.allclose(two[:, : one.shape[1]], one, atol=1e-6)
    assert torch.allclose(three[:, : two.shape[1]], two, atol=1e-6)


@pytest.mark.parametrize("name", ["deepjscc-f", "feedback-vit"])
@torch.inference_mode()
def test_a_later_round_depends_on_what_was_received(name: str) -> None:
    codec = system(name).make()
    image = photograph()
    csi = Csi.of(0.0)
    noise = [complex_normal((1, 512), torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    first, second = (codec.sent_over(image, Air(csi, csi, each))[0] for each in noise)
    assert torch.equal(first[0].sent, second[0].sent)
    assert not torch.equal(first[1].sent, second[1].sent)
    received = [each.received for each in first]
    for lost in range(codec.rounds):  # the image is made of all rounds
        without = [torch.zeros_like(r) if i == lost else r for i, r in enumerate(received)]
        whole, rest = (codec.decode(torch.cat(r, 1), csi, (64, 64)) for r in (received, without))
        assert not torch.equal(whole, rest)


def test_a_policy_keeps_to_its_budget_and_learns_to_pay() -> None:
    codec = system("policy").make()
    image, csi = photograph(), Csi.of(10.0)
    last = codec.policy[-1]
    with torch.inference_mode():
        last.bias += torch.tensor([0.0, 0.0, 100.0])  # all that it can
        for ratio in codec.bandwidth_ratios:
            assert codec.encode(image, csi, ratio).symbols.shape[1] == codec.k(ratio, (64, 64))
        last.bias += torch.tensor([200.0, 0.0, 0.0])
        small = codec.encode(image, csi, codec.bandwidth_ratios[-1]).symbols
        assert small.shape[1] == codec.k(codec.bandwidth_ratios[0], (64, 64))
    codec.train()
    made, terms = codec.trained_through(image, air(codec, (64, 64), 10.0), Fraction(1, 12))
    assert made.shape == image.shape
    assert terms["groups"].item() == pytest.approx(2 * codec.price)
    terms["groups"].backward()
    assert last.bias.grad is not None and last.bias.grad.isfinite().all()


def test_who_pays_for_a_rate_pays_by_the_error_itself() -> None:
    """A price in units of the squared error means nothing beside its log."""
    made = {each.name: each.make().logarithmic for each in SYSTEMS}
    assert {name for name, log in made.items() if log} == {"deepjscc-l", "padc"}


def test_what_a_policy_trains_is_what_it_sends() -> None:
    """With the choice that the policy makes, both ways give the same image."""
    codec = system("policy").make()
    image, ratio = photograph(), Fraction(1, 12)
    codec.policy[-1].bias.data += torch.tensor([0.0, 100.0, 0.0])
    got = air(codec, (64, 64), 300.0)
    with torch.inference_mode():
        made, _ = codec.trained_through(image, got, ratio)
        sent = codec.through(image, got, ratio)
    assert torch.allclose(made.clamp(0, 1), sent, atol=1e-4)


def test_transmit_is_the_codecs_own_way() -> None:
    codec, image = system("deepjscc").make(), photograph()
    got = air(codec, (64, 64), 5.0)
    with torch.inference_mode():
        a = transmit(codec, image, got.encoder, got.decoder, got.noise)
        assert torch.equal(a, codec.through(image, got))
