"""OFDM-guided JSCC: corrections of channel estimate and equaliser around a codec."""

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
from simulator.jscc.chain import complex_normal
from simulator.jscc.checkpoint import save_codec
from simulator.jscc.ends import CodecEnds
from simulator.jscc.multipath import Gains, MultipathAir, draw_gains, estimated, noise_power
from simulator.jscc.ofdm import OfdmCodec
from simulator.jscc.padc import PadcCodec
from simulator.jscc.wrap import wrap
from simulator.methods.method import Point
from simulator.phy.estimate import Estimator
from simulator.phy.impairments import Clip
from simulator.phy.multipath import Multipath
from simulator.phy.ofdm import zadoff_chu
from simulator.phy.profile import exponential
from simulator.training.codec import train_codec
from simulator.training.options import CodecTraining

RATIO = Fraction(1, 24)
OVER_MULTIPATH: dict[str, Any] = {
    "kind": ["multipath"], "csit": "average", "csir": "estimated",
}  # fmt: skip


def inner() -> PadcCodec:
    """Of two ratios, so that the log of the error is learnt from."""
    torch.manual_seed(0)
    return PadcCodec(maps=8, steps=2, width=4, blocks=0).eval()


def air_over(snr_db: torch.Tensor, k: int) -> MultipathAir:
    generator = torch.Generator().manual_seed(3)
    paths = draw_gains(snr_db, generator)
    noise = complex_normal((len(snr_db), k), generator)
    heard = Csi(snr_db, paths.heard, torch.arange(k) % 64)
    known = Csi(snr_db, torch.ones(len(snr_db)) + 0j)
    return MultipathAir(known, heard, noise, seed=5, paths=paths)


@pytest.mark.parametrize(
    ("lmmse", "clip", "scramble"),
    [(False, 0.0, False), (True, 0.0, False), (True, 1.1, False), (False, 1.1, True)],
)
def test_the_air_of_training_is_that_of_a_frame(lmmse: bool, clip: float, scramble: bool) -> None:
    """The same estimate, symbols and variances from the same gains and noise."""
    n, k, snr_db = 64, 150, 3.0
    estimator: Estimator = "lmmse" if lmmse else "ls"
    law = Multipath(exponential(8), n, 16, 0.0, True, 0, estimator, scramble=scramble)
    rng = np.random.default_rng(0)

    def normal(count: int) -> np.ndarray:
        pair = rng.normal(size=(2, count)) / 2**0.5
        return (pair[0] + 1j * pair[1]).astype(np.complex64)

    h = law.gains(rng, k)
    sent, noise, of_pilots = normal(k), normal(k), normal(n)
    sigma = np.float32(10 ** (-snr_db / 20))
    on_air = np.concatenate([law.pilot_symbols(k), sent])
    if clip:
        samples = Clip(clip)(law.samples(on_air, k), np.empty(0), rng)
        on_air = law.symbols(samples, k)
    received = law.faded(on_air, h, k) + sigma * np.concatenate([of_pilots, noise])
    heard = law.hear(received.astype(np.complex64), np.empty(0, np.complex64), k, snr_db)

    snr = torch.tensor([snr_db])
    true = torch.from_numpy(h)[None]
    seen = torch.from_numpy(of_pilots * zadoff_chu(n).conj())[None]
    estimate, error = estimated(true, noise_power(snr), torch.tensor([lmmse]), seen)
    np.testing.assert_allclose(estimate[0].numpy(), heard.state.h, atol=2e-5)
    assert float(error) == pytest.approx(heard.error, rel=1e-4)
    csi = Csi(snr, estimate, torch.arange(k) % n)
    paths = Gains(true, estimate, error)
    air = MultipathAir(
        csi, csi, torch.from_numpy(noise)[None], None, 0, clip, scramble, paths=paths
    )
    got = air.send(torch.from_numpy(sent)[None])
    variance = heard.noise_variance("zero-forcing")
    assert got.noise_variance is not None and variance is not None
    np.testing.assert_allclose(got.received[0].numpy(), heard.equalised("zero-forcing"), rtol=2e-3)
    np.testing.assert_allclose(got.noise_variance[0].numpy(), variance, rtol=2e-3)


@pytest.mark.parametrize(
    "settings",
    [
        OVER_MULTIPATH,
        OVER_MULTIPATH | {"multipath": {"estimator": "ls"}},
        OVER_MULTIPATH | {"csir": "perfect", "packets": {"size": 40, "loss": 0.3}},
        {"kind": ["rayleigh"]},
    ],
)
def test_without_a_training_nothing_changes(settings: dict[str, Any]) -> None:
    codec = inner()
    pixels, point = photograph(0), Point(settings["kind"][0], RATIO, 5.0)
    draw = Draw.under(AirSettings(**settings), bytes(32), point)
    found = []
    for each in (codec, OfdmCodec(codec)):
        ends = CodecEnds(each)
        found.append(Link(ends, ends).send(pixels, RATIO, draw))
    plain, around = found
    assert np.array_equal(plain.sent, around.sent)
    assert np.abs(plain.pixels.astype(int) - around.pixels).max() <= 1


def test_it_decodes_in_bfloat16() -> None:
    codec, air = OfdmCodec(inner()), AirSettings(**OVER_MULTIPATH)
    draw, found = Draw.under(air, bytes(32), Point("multipath", RATIO, 5.0)), []
    for half in (False, True):
        ends = CodecEnds(codec, half=half)
        found.append(Link(ends, ends).send(photograph(0), RATIO, draw).pixels.astype(int))
    assert np.abs(found[0] - found[1]).max() < 16


def test_symbols_that_did_not_come_say_nothing_of_the_gains() -> None:
    """A subcarrier's power is the mean over those that came, and what is lost stays lost."""
    codec, k = OfdmCodec(inner()).eval(), 640
    air = air_over(torch.tensor([8.0]), k)
    sent = complex_normal((1, k), torch.Generator().manual_seed(1))
    got = air.send(sent)
    assert got.noise_variance is not None
    lost = torch.arange(k)[None] % 5 == 0
    variance = torch.where(lost, 1e12, got.noise_variance)
    seen: list[tuple[torch.Tensor, ...]] = []
    codec.channel_subnet.register_forward_pre_hook(lambda _, given: seen.append(given))
    found = codec.corrected(got.received.masked_fill(lost, 0), air.decoder, variance)
    power, count = seen[0][3:]
    payload = (got.received * air.decoder.h[:, air.decoder.block]).abs().square()
    for place in (0, 17, 63):
        came = ~lost[0, place::64]
        assert int(count[0, place]) == int(came.sum())
        assert float(power[0, place]) == pytest.approx(float(payload[0, place::64][came].mean()))
    assert (found.symbols[lost] == 0).all() and (found.variance[lost] > 1e9).all()
    error = air.paths.error
    assert torch.allclose(seen[0][2], error, rtol=1e-3)


def test_a_training_corrects_the_gains_and_leaves_the_codec_alone(tmp_path: Path) -> None:
    """Least squares has noise in all taps, of which the profile has eight."""
    make_photographs(tmp_path / "photos", 2)
    save_codec(inner(), tmp_path / "inner", {})
    folder = wrap("ofdm-jscc", str(tmp_path / "inner"), tmp_path / "ofdm")
    before = load_codec(folder)
    options = CodecTraining(
        codec="ofdm-jscc", init=str(folder), steps=50, data=(str(tmp_path / "photos"),),
        channel="multipath", batch=1, crop=48, threads=1, device="cpu", ema=0.0, warmup=1,
        learning_rate=5e-3,
    )  # fmt: skip
    for wrong in ("both", "awgn"):
        with pytest.raises(SettingsError, match="learns over multipath alone: --channel multipath"):
            train_codec(replace(options, channel=wrong), tmp_path / "refused")  # type: ignore[arg-type]
    assert not (tmp_path / "refused").exists()
    after = load_codec(train_codec(options, tmp_path / "trained"))
    moved = [n for n, p in after.named_parameters() if not torch.equal(p, before.get_parameter(n))]
    assert {name.split(".")[0] for name in moved} == {"channel_subnet", "equaliser_subnet"}

    snr_db = torch.full((200,), 3.0)
    air = air_over(snr_db, 640)
    sent = complex_normal((200, 640), torch.Generator().manual_seed(1))
    got = air.send(sent)
    assert isinstance(after, OfdmCodec) and got.noise_variance is not None
    with torch.inference_mode():
        found = after.corrected(got.received, air.decoder, got.noise_variance)
    least = air.paths.error == noise_power(snr_db)  # one OFDM symbol of pilots, not filtered
    missed = (found.gains - air.paths.true).abs().square()[least].mean()
    first = (air.paths.heard - air.paths.true).abs().square()[least].mean()
    assert missed < 0.5 * first
    assert 0.4 < float(missed / found.errors[least].mean()) < 2.5  # it knows how wrong it is


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"multipath": {"doppler_hz": 50.0}}, "doppler_hz and comb out"),
        ({"multipath": {"comb": 4}}, "doppler_hz and comb out"),
        ({"multipath": {"subcarriers": 128}}, "set channel.multipath.subcarriers=64"),
        ({"kind": ["mimo"], "mimo": {"scheme": "multiplexing"}}, "gains of 64 subcarriers"),
    ],
)
def test_gains_that_it_has_not_learnt(settings: dict[str, Any], words: str) -> None:
    ends = CodecEnds(OfdmCodec(inner()))
    air = AirSettings(**OVER_MULTIPATH | settings)
    draw = Draw.under(air, bytes(32), Point(air.kind[0], RATIO, 5.0))
    with pytest.raises(SettingsError, match=words):
        Link(ends, ends).send(photograph(0), RATIO, draw)


def test_mistakes() -> None:
    with pytest.raises(ModelError, match="networks of width 0 cannot be"):
        OfdmCodec(inner(), width=0)
    ends = CodecEnds(OfdmCodec(inner()))
    with pytest.raises(SettingsError, match="zero forcing gives, not mmse; leave the equalizer"):
        Link(ends, ends, "mmse")
