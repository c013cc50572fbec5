"""Learned methods that others are compared with, on tiny random models."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers import draw_at

from rx.pipeline import DiffJSCCPipeline
from simulator.chain import Draw
from simulator.errors import ModelError, SettingsError
from simulator.jscc import Csi
from simulator.jscc.adaptive import AdaptiveCodec
from simulator.jscc.chain import transmit
from simulator.jscc.checkpoint import save_codec
from simulator.jscc.cnn import CnnCodec
from simulator.jscc.swin import SwinCodec
from simulator.methods.learned.codecs import Codecs
from simulator.methods.learned.diffcom import DiffCom
from simulator.methods.learned.inversejscc import InverseJscc
from simulator.methods.learned.methods import METHODS
from simulator.methods.learned.padding import padded
from simulator.methods.learned.yilmaz import Yilmaz, average, correction, repeat, sample_null_space
from simulator.methods.method import Context, Point
from simulator.metrics.lpips import Lpips
from simulator.tensors import as_pixels, as_tensor
from tests.tiny import build_tiny_model

POINT = Point("awgn", Fraction(1, 96), 10.0)
SMALL_CNN = {"ngf": 4, "max_ngf_e": 8, "max_ngf_d": 8, "n_blocks_e": 1, "n_blocks_d": 1}
TINY_SWIN = {"widths": (8, 8, 8, 8), "depths": (1, 1, 1, 1), "heads": (1, 1, 1, 1), "window": 4,
             "channels": (4, 8)}  # fmt: skip


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return Context(str(build_tiny_model(folder, codec=True, captioner="")))


@pytest.fixture(scope="module")
def networks(context):
    return DiffJSCCPipeline.from_pretrained(context.model), Codecs([context.model])


@pytest.fixture(scope="module")
def image():
    """(40, 56, 3), smooth, no whole number of cells."""
    coarse = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, size=(40, 56), mode="bilinear")
    return as_pixels(smooth[0])


def draw(seed: int = 0, h: complex = 1.0, point: Point = POINT, **settings) -> Draw:
    return draw_at(point, seed, h, **settings)


# -- what they share ---------------------------------------------------------------------------


@torch.no_grad()
def test_what_arrives_is_what_the_differentiable_chain_gives(context, image):
    codecs = Codecs([context.model])
    faded = draw(h=0.6 - 0.3j)
    arrived = codecs.send(image, POINT, faded)
    csi = Csi.of(10.0, 0.6 - 0.3j)
    noise = torch.tensor(faded.medium.noise(faded.key, "noise", POINT, arrived.k))[None]
    expected = transmit(codecs.codecs[0], as_tensor(image)[None], csi, csi, noise, POINT.cbr)
    assert arrived.k == arrived.equalised.shape[1] == arrived.noise_variance.shape[1] == 96
    assert torch.allclose(arrived.noise_variance, torch.tensor(0.1 / abs(0.6 - 0.3j) ** 2))
    assert torch.equal(arrived.csi.h, csi.h) and torch.equal(arrived.csi.snr_db, csi.snr_db)
    assert (arrived.preview - expected).abs().max() <= 0.5 / 255 + 1e-5
    assert as_pixels(as_tensor(image)).tolist() == image.tolist()


def test_each_ratio_finds_its_codec(tmp_path):
    for channels in (4, 8):
        save_codec(CnnCodec(channels, **SMALL_CNN), tmp_path / str(channels), {})
    codecs = Codecs([str(tmp_path / "4"), str(tmp_path / "8")])
    assert codecs.at(Fraction(1, 192)).config["c_channel"] == 8
    with pytest.raises(SettingsError, match="1/48; they have 1/384, 1/192"):
        codecs.at(Fraction(1, 48))


# -- codecs ------------------------------------------------------------------------------------


def test_deepjscc_adv_and_swinjscc(tmp_path, image, context):
    torch.manual_seed(0)  # of the weights: some of them make flat images
    adv = {"options": {"adversarial": 0.05}}
    for channels, training in ((4, adv), (8, adv), (16, {"options": {"adversarial": 0.1}})):
        save_codec(CnnCodec(channels, **SMALL_CNN), tmp_path / f"adv{channels}", training)
    save_codec(SwinCodec(**TINY_SWIN), tmp_path / "swin", {})
    both = f"{tmp_path / 'adv4'}+{tmp_path / 'adv8'}"
    method = METHODS["deepjscc-adv"](context, codec=both)
    assert method.name == "deepjscc-adv" and method.label == "DeepJSCC-adv, alpha = 0.05"
    swin = METHODS["swinjscc"](replace(context, codec=str(tmp_path / "swin")))
    for each in (method, swin):
        for ratio, k in ((Fraction(1, 384), 24), (Fraction(1, 192), 48)):
            sent = each.send(image, replace(POINT, cbr=ratio), draw())
            assert sent.k == k and not sent.outage
            assert sent.pixels.shape == image.shape and sent.pixels.dtype == np.uint8
            again = each.send(image, replace(POINT, cbr=ratio), draw())
            assert (sent.pixels == again.pixels).all()
    with pytest.raises(ModelError, match=r"different alphas \(0.05, 0.1\)"):
        METHODS["deepjscc-adv"](context, codec=f"{both}+{tmp_path / 'adv16'}")
    with pytest.raises(ModelError, match="--adversarial"):
        METHODS["deepjscc-adv"](context, codec=str(tmp_path / "swin"))
    with pytest.raises(ModelError, match="'cnn'"):
        METHODS["swinjscc"](context, codec=str(tmp_path / "adv4"))
    for name in ("deepjscc-adv", "swinjscc"):
        with pytest.raises(SettingsError, match=f"{name}:codec=FOLDER"):
            METHODS[name](context)
    mmse = METHODS["deepjscc-adv"](replace(context, equalizer="mmse"), codec=both)
    at = replace(POINT, cbr=Fraction(1, 192))
    results = [each.send(image, at, draw(h=0.3, point=at)).pixels for each in (method, mmse)]
    assert (results[0] != results[1]).any()


# -- Yilmaz et al. -----------------------------------------------------------------------------


def test_range_and_null_space():
    """A A+ is the identity, A+ A a projection, and the correction changes the range alone."""
    x = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    y = torch.rand(1, 3, 4, 6, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(average(repeat(y, 4), 4), y, atol=1e-6)
    corrected = x + correction(x, y, 4)
    assert torch.allclose(average(corrected, 4), y, atol=1e-6)
    null = x - repeat(average(x, 4), 4)
    assert torch.allclose(corrected - repeat(y, 4), null, atol=1e-6)


def test_sampler_finds_what_prior_and_channel_agree_on():
    """With a prior that knows z0, and no correction, its answer; with one, the corrected answer.
    The noise between has the variance of the schedule, whatever eta is."""
    alphas_bar = torch.linspace(0.999, 0.01, 100)
    steps = list(range(99, -1, -3))
    known = torch.full((1, 4, 32, 32), 2.0)
    noise = torch.randn(known.shape, generator=torch.Generator().manual_seed(0))
    for eta in (0.0, 0.85, 1.0):
        levels = []

        def predict(z, t, levels=levels):
            left = (z - alphas_bar[t].sqrt() * known) / (1 - alphas_bar[t]).sqrt()
            levels.append(float(left.std()))
            return known

        g = torch.Generator().manual_seed(3)
        z = sample_null_space(predict, lambda z0: z0, alphas_bar, steps, noise, eta, g)
        assert torch.equal(z, known)
        assert all(abs(level - 1) < 0.05 for level in levels)
    g = torch.Generator().manual_seed(3)
    z = sample_null_space(lambda z, t: known, lambda z0: z0 - 1, alphas_bar, steps, noise, 0.85, g)
    assert torch.equal(z, known - 1)


def test_yilmaz_keeps_to_the_range_and_to_its_seed(networks, image):
    pipeline, codecs = networks
    method = Yilmaz(pipeline, codecs, scale=8, steps=3)
    sent = method.send(image, POINT, draw())
    assert sent.pixels.shape == image.shape and sent.k == 96 and sent.details["caption"] == ""
    assert (sent.pixels == method.send(image, POINT, draw()).pixels).all()
    assert (sent.pixels != method.send(image, POINT, draw(seed=1)).pixels).any()


def test_yilmaz_uses_the_prior_without_its_control_module(networks, image, monkeypatch):
    pipeline, codecs = networks
    monkeypatch.setattr(pipeline.control, "forward", None)
    seen = []
    spoken = pipeline.text_features
    monkeypatch.setattr(pipeline, "text_features", lambda told: seen.append(told) or spoken(told))
    Yilmaz(pipeline, codecs, steps=1).send(image, POINT, draw())
    assert seen == [[""]]


def test_yilmaz_corrects_a_latent_by_what_its_image_lacks(networks):
    """With A the identity, the image becomes what arrived; without a difference, nothing moves."""
    pipeline, codecs = networks
    method = Yilmaz(pipeline, codecs, scale=1, steps=1)
    target = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        encoded = pipeline.spatial_features(target)
        z0 = 0.1 * torch.ones_like(encoded)
        image = pipeline.decode(z0)
        moved = method._corrector(target)(z0)
        assert torch.allclose(moved - z0, encoded - pipeline.spatial_features(image), atol=1e-5)
        assert torch.allclose(method._corrector(image)(z0), z0, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "word"),
    [({"eta": 2.0}, "eta 2.0"), ({"scale": 7}, "divisor"), ({"steps": 0}, "0 sampling steps"),
     ({"captions": True}, "no captioner")],
)  # fmt: skip
def test_yilmaz_says_what_it_cannot(networks, image, given, word):
    pipeline, codecs = networks
    with pytest.raises(SettingsError, match=word):
        Yilmaz(pipeline, codecs, **{"steps": 1} | given).send(image, POINT, draw())


# -- InverseJSCC -------------------------------------------------------------------------------


def lpips_of_random_weights() -> Lpips:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Lpips()
    for head in network.heads:
        head.weight.data.abs_()
    return network.requires_grad_(False).eval()


def test_inversejscc_fits_what_was_received(networks, image):
    pipeline, codecs = networks
    lpips = lpips_of_random_weights()
    method = InverseJscc(pipeline, codecs, lpips, steps=12, learning_rate=0.1)
    sent = method.send(image, POINT, draw())
    assert sent.pixels.shape == image.shape and sent.k == 96
    assert sent.details["last_loss"] < 0.8 * sent.details["first_loss"]
    assert "StyleGAN" in method.label and "VAE" in method.label
    quick = InverseJscc(pipeline, codecs, None, steps=2)
    with torch.no_grad():  # whoever calls
        first = quick.send(image, POINT, draw())
    assert (first.pixels == quick.send(image, POINT, draw()).pixels).all()
    other = quick.send(image, POINT, draw(seed=1))
    assert other.details["last_loss"] != first.details["last_loss"]


def test_inversejscc_says_what_it_cannot(networks, image):
    pipeline, codecs = networks
    with pytest.raises(SettingsError, match="not with mmse"):
        InverseJscc(pipeline, Codecs([], equalizer="mmse"), None)
    with pytest.raises(SettingsError, match="above 0"):
        InverseJscc(pipeline, codecs, None, steps=0)
    method = InverseJscc(pipeline, codecs, lpips_of_random_weights())
    with pytest.raises(SettingsError, match="31 px"):
        method.send(image[:16], POINT, draw())


# -- DiffCom -----------------------------------------------------------------------------------


def test_diffcom_is_drawn_to_what_was_received(networks, image):
    pipeline, codecs = networks
    last = {}
    for rate in (0.0, 2.0):
        method = DiffCom(pipeline, codecs, steps=3, rate=rate)
        sent = method.send(image, POINT, draw())
        assert sent.pixels.shape == image.shape and sent.k == 96
        last[rate] = sent.details["last_loss"]
        with torch.no_grad():  # whoever calls
            assert (sent.pixels == method.send(image, POINT, draw()).pixels).all()
        assert (sent.pixels != method.send(image, POINT, draw(seed=1)).pixels).any()
    assert last[2.0] < last[0.0]


def test_diffcom_starts_from_the_preview_and_asks_the_prior_alone(networks, image, monkeypatch):
    pipeline, codecs = networks
    monkeypatch.setattr(pipeline.control, "forward", None)
    times = []
    forward = pipeline.unet.forward
    monkeypatch.setattr(
        pipeline.unet,
        "forward",
        lambda z, t, *a, **k: times.append(int(t)) or forward(z, t, *a, **k),
    )
    DiffCom(pipeline, codecs, steps=4, start=0.25).send(image, POINT, draw())
    assert len(times) == 4 and times[-1] == 0
    assert max(times) == times[0] < 0.3 * len(pipeline.scheduler.alphas_cumprod)


def test_diffcom_counts_a_symbol_by_its_own_noise(networks, image):
    """Where the first half of the symbols is almost lost, only the rest says anything."""
    pipeline, codecs = networks
    method = DiffCom(pipeline, codecs, steps=1)
    arrived = codecs.send(image, POINT, draw())
    variance, wrong = arrived.noise_variance.clone(), arrived.equalised.clone()
    variance[:, :48] *= 1e8
    wrong[:, :48] += 3
    with torch.no_grad():
        z0 = pipeline.spatial_features(padded(arrived.preview, pipeline))
        losses = [
            float(method._loss(z0, replace(arrived, **given), POINT, (40, 56)))
            for given in (
                {"noise_variance": variance},
                {"noise_variance": variance, "equalised": wrong},
            )
        ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize(
    ("given", "word"), [({"steps": 0}, "give steps"), ({"start": 0.0}, "a start above 0")]
)
def test_diffcom_says_what_it_cannot(networks, given, word):
    pipeline, codecs = networks
    with pytest.raises(SettingsError, match=word):
        DiffCom(pipeline, codecs, **given)
    with pytest.raises(SettingsError, match="not behind mmse"):
        DiffCom(pipeline, Codecs([], equalizer="mmse"))


# -- by name -----------------------------------------------------------------------------------


def test_methods_by_name(context, image, tmp_path):
    """Codec and prior are the model's unless they are named."""
    inverse = METHODS["inversejscc"](context, steps=1, lpips_weight=0)
    assert inverse.send(image, POINT, draw()).k == 96
    save_codec(CnnCodec(4, **SMALL_CNN), tmp_path / "codec", {})
    named = METHODS["yilmaz"](context, steps=1, codec=str(tmp_path / "codec"), prior=context.model)
    with pytest.raises(SettingsError, match="they have 1/384"):
        named.send(image, POINT, draw())
    assert AdaptiveCodec.name == METHODS["yilmaz"](context).codecs.codecs[0].name
