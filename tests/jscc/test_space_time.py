"""Space-time JSCC: corrections of two antennas' streams around a codec."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import make_photographs, photograph

from simulator.air import AirSettings
from simulator.chain import Draw, Link
from simulator.errors import ModelError, SettingsError
from simulator.jscc import Csi, load_codec
from simulator.jscc.checkpoint import save_codec
from simulator.jscc.ends import CodecEnds
from simulator.jscc.mimo import PILOTS, MimoAir, Streams
from simulator.jscc.padc import PadcCodec
from simulator.jscc.space_time import SpaceTimeCodec
from simulator.jscc.wrap import wrap
from simulator.methods.method import Point
from simulator.phy.antennas import Antennas
from simulator.phy.mimo import Mimo
from simulator.training.codec import train_codec
from simulator.training.options import CodecTraining

RATIO = Fraction(1, 24)
MULTIPLEXED: dict[str, Any] = {
    "kind": ["mimo"], "mimo": {"scheme": "multiplexing"}, "csit": "average",
}  # fmt: skip


SMALL: dict[str, Any] = {
    "steps": 2, "batch": 2, "crop": 48, "threads": 1, "device": "cpu", "ema": 0.0, "warmup": 1
}  # fmt: skip


def inner() -> PadcCodec:
    torch.manual_seed(0)
    return PadcCodec(maps=8, steps=2, width=4, blocks=0).eval()


def send(codec: PadcCodec | SpaceTimeCodec, settings: dict[str, Any]) -> np.ndarray:
    ends, air = CodecEnds(codec), AirSettings(**settings)
    draw = Draw.under(air, bytes(32), Point(air.kind[0], RATIO, 5.0))
    return Link(ends, ends).send(photograph(0), RATIO, draw).pixels


@pytest.mark.parametrize("each", [0, PILOTS])
def test_the_air_of_training_is_that_of_a_frame(each: int) -> None:
    """The same symbols, variances and gains of the same noise, with as many pilots or none."""
    k, snr_db = 151, 3.0
    law = Mimo(Antennas(scheme="multiplexing"), each)
    rng = np.random.default_rng(0)

    def normal(count: int) -> np.ndarray:
        pair = rng.normal(size=(2, count)) / 2**0.5
        return (pair[0] + 1j * pair[1]).astype(np.complex64)

    h, sent = law.gains(rng, k), normal(k)
    of_pilots, of_symbols = law.received(k)
    noise, n0 = normal(of_pilots + of_symbols), np.float32(10 ** (-snr_db / 10))
    on_air = law.faded(np.concatenate([law.pilot_symbols(k), sent]), h, k) + n0**0.5 * noise
    heard = law.hear(on_air, h[:0] if each else h, k, snr_db)
    assert heard.mixing is not None

    snr, true = torch.tensor([snr_db]), torch.from_numpy(h.reshape(1, 2, 2)) / 2**0.5
    error = n0 / PILOTS if each else 0.0
    streams = Streams(
        true, torch.from_numpy(heard.mixing)[None], torch.tensor([n0 + error / (1 + error)])
    )
    csi = Csi(snr, streams.gains(snr), torch.arange(k) % 2, streams.heard)
    air = MimoAir(csi, csi, torch.from_numpy(noise[of_pilots:])[None], streams=streams)
    got = air.send(torch.from_numpy(sent)[None])
    variance = heard.noise_variance("zero-forcing")
    assert got.noise_variance is not None and variance is not None
    np.testing.assert_allclose(csi.h[0].numpy(), heard.state.h, rtol=1e-4)
    np.testing.assert_allclose(got.noise_variance[0].numpy(), variance, rtol=1e-3)
    np.testing.assert_allclose(got.received[0].numpy(), heard.equalised("zero-forcing"), atol=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        MULTIPLEXED,
        MULTIPLEXED | {"csir": "estimated", "packets": {"size": 40, "loss": 0.3}},
        {"kind": ["mimo"]},
        {"kind": ["rayleigh"]},
    ],
)
def test_without_a_training_nothing_changes(settings: dict[str, Any]) -> None:
    codec = inner()
    plain, around = send(codec, settings), send(SpaceTimeCodec(codec), settings)
    assert np.abs(plain.astype(int) - around).max() <= 1


def test_what_it_corrects_changes_over_two_streams_alone() -> None:
    codec = SpaceTimeCodec(inner())
    torch.nn.init.constant_(codec.subnet[-1].bias, 0.5)
    for settings, same in ((MULTIPLEXED, False), ({"kind": ["mimo"]}, True)):
        assert np.array_equal(send(codec, settings), send(codec.codec, settings)) == same


def test_a_training_moves_network_and_codec(tmp_path: Path) -> None:
    make_photographs(tmp_path / "photos", 2)
    save_codec(inner(), tmp_path / "inner", {})
    folder = wrap("space-time", str(tmp_path / "inner"), tmp_path / "space-time")
    before = load_codec(folder)
    photos = (str(tmp_path / "photos"),)
    options = CodecTraining(
        codec="space-time", init=str(folder), data=photos, channel="mimo", **SMALL
    )
    with pytest.raises(SettingsError, match="learns over mimo alone: --channel mimo"):
        train_codec(replace(options, channel="both"), tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    after = load_codec(train_codec(options, tmp_path / "trained"))
    moved = {n for n, p in after.named_parameters() if not torch.equal(p, before.get_parameter(n))}
    for part in ("subnet.", "codec.encoder.", "codec.decoder."):
        assert any(name.startswith(part) for name in moved)


def test_mistakes() -> None:
    codec = SpaceTimeCodec(inner())
    three = MULTIPLEXED | {"mimo": {"scheme": "multiplexing", "transmit": 3, "receive": 3}}
    with pytest.raises(SettingsError, match="2 streams at 2 antennas, not 3 at 3"):
        send(codec, three)
    with pytest.raises(ModelError, match="networks of width 0 cannot be"):
        SpaceTimeCodec(inner(), width=0)
    ends = CodecEnds(codec)
    with pytest.raises(SettingsError, match="zero forcing gives, not mmse"):
        Link(ends, ends, "mmse")
