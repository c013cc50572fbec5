"""The pipeline on tiny random models: equations (7) to (17) and Algorithm 1 end to end."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pipeline_world import KINDS, csi_of, generators, photograph
from torch.utils.flop_counter import FlopCounterMode

from rx.color import low_frequencies, wavelet_color_fix
from rx.conditions import CONDITIONS, Conditions
from rx.pipeline import DiffJSCCPipeline
from rx.sampler import make_scheduler, sample, to_sample
from simulator.errors import SettingsError
from simulator.jscc.csi import Csi
from tests.bench.pipeline import FULL, call, full_size


@pytest.fixture(scope="module")
def loaded(folders):
    return {name: DiffJSCCPipeline.from_pretrained(folder) for name, folder in folders.items()}


@pytest.fixture
def compact(loaded):
    return loaded["compact"]


# --- the equations ---


@pytest.mark.parametrize("kind", KINDS)
def test_spatial_features(loaded, kind):
    """Equation (7): the posterior's mode, scaled."""
    pipeline, image = loaded[kind], photograph(2)
    with torch.no_grad():
        mode = pipeline.vae.encode(2 * image - 1).latent_dist.mean
    factor = {"compact": 0.7, "sd21": 0.18215}[kind]
    torch.testing.assert_close(pipeline.spatial_features(image), mode * factor)
    assert mode.shape == (2, pipeline.unet.config["in_channels"], 8, 12)


@pytest.mark.parametrize("kind", KINDS)
def test_text_features(loaded, kind):
    pipeline = loaded[kind]
    text = pipeline.text_features(["a cat", "", "a cat " * 60])
    assert text.shape == (3, 77, pipeline.unet.config["cross_attention_dim"])
    torch.testing.assert_close(text[0, 0], text[1, 0])  # the start token sees only itself
    assert not torch.allclose(text[0, 1], text[1, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_predict_noise(loaded, kind):
    """epsilon of the controlled UNet, whether it predicts noise or velocity."""
    pipeline = loaded[kind]
    torch.manual_seed(0)
    z = torch.randn(2, pipeline.unet.config["in_channels"], 8, 12)
    text = pipeline.text_features(["a", "b"])
    conditions = Conditions(torch.randn_like(z), text, csi_of(2))
    with torch.no_grad():
        down, middle = pipeline.control(z, 500, text, conditions.spatial_features, conditions.csi)
        output = pipeline.unet(
            z,
            500,
            text,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
        plain = pipeline.unet(z, 500, text).sample
    assert not torch.allclose(output, plain, atol=1e-3)
    if kind == "compact":  # v_prediction
        ramp = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.double)
        alpha_bar = (1 - ramp**2).cumprod(0)[500].float()
        output = (1 - alpha_bar).sqrt() * z + alpha_bar.sqrt() * output
    torch.testing.assert_close(
        pipeline.predict_noise(z, 500, conditions), output, rtol=1e-3, atol=1e-4
    )


def test_predict_noise_at_a_time_of_each_image(loaded):
    pipeline = loaded["compact"]
    torch.manual_seed(0)
    z = torch.randn(2, pipeline.unet.config["in_channels"], 8, 8)
    conditions = Conditions(torch.randn_like(z), pipeline.text_features(["a", "b"]), csi_of(2))
    both = pipeline.predict_noise(z, torch.tensor([100, 900]), conditions)
    for row, time in enumerate((100, 900)):
        alone = pipeline.predict_noise(z, time, conditions)[row]
        torch.testing.assert_close(both[row], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("solver", ["ddpm", "dpm++"])
def test_zero_control_is_the_plain_prior(loaded, solver):
    """Bit for bit what a loop with the UNet alone samples."""
    pipeline = loaded["asleep"]
    image = photograph()
    refined = pipeline(
        image, csi_of(), ["sea"], solver=solver, generator=generators(5), steps=6
    ).images
    text = pipeline.text_features(["sea"])
    scheduler, timesteps = make_scheduler(solver, pipeline.scheduler.config, 6)
    (draws,) = generators(5)
    noise = torch.randn(1, 6, 8, 12, generator=draws)

    @torch.no_grad()
    def predict(z, t):
        output = pipeline.unet(z, t, text).sample
        return to_sample(output, z, scheduler.alphas_cumprod[t], "v_prediction")

    z = sample(predict, scheduler, timesteps, noise, noise, generators=[draws])
    assert torch.equal(pipeline.decode(z), refined)


@pytest.mark.parametrize("rule", ["official", "paper"])
@pytest.mark.parametrize("solver", ["ddpm", "ddim", "dpm++", "unipc"])
def test_lambda_draws_towards_the_received_image(compact, monkeypatch, rule, solver):
    """From 0 to 100, every lambda brings the sample closer to f_v."""
    image = photograph()
    target = compact.spatial_features(image)
    sampled = []
    monkeypatch.setattr(
        compact, "_decode", lambda z, tile: sampled.append(z) or torch.zeros(1, 3, 64, 96)
    )
    for scale in (0, 5, 10, 20, 50, 100):
        compact(
            image,
            csi_of(),
            ["sea"],
            guidance=rule,
            guidance_scale=scale,
            solver=solver,
            steps=8,
            generator=generators(1),
        )
    distances = [float((z - target).square().mean()) for z in sampled]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.9 * distances[0]


def test_guidance_is_repeated(compact):
    def run(**options):
        return compact(photograph(), csi_of(), ["sea"], generator=generators(1), **options).images

    once, thrice = (run(guidance_scale=50.0, guidance_repeat=n) for n in (1, 3))
    assert not torch.allclose(once, thrice)


def test_guidance_pulls_at_least_fifty_times(compact):
    def run(**options):
        more = {"guidance_scale": 50.0, "generator": generators(1), **options}
        return compact(photograph(), csi_of(), ["sea"], **more).images

    assert compact.config.guidance_repeat == 0
    assert torch.equal(run(steps=2), run(steps=2, guidance_repeat=25))
    assert torch.equal(run(steps=80), run(steps=80, guidance_repeat=1))


# --- conditions ---


def test_conditions_can_be_switched_off(compact):
    """Each changes the result, and what is off has no influence."""
    image, other = photograph(), photograph(seed=1)

    def run(off: str = "", picture=image, csi=None, caption="sea"):
        told = [name for name in CONDITIONS if name != off]
        out = compact(picture, csi or csi_of(), [caption], conditions=told, generator=generators(3))
        return out.images

    reference = run()
    louder = Csi(csi_of().snr_db + 6, csi_of().h)
    turned = Csi(csi_of().snr_db, csi_of().h.conj())
    assert not torch.allclose(run("spatial"), reference)
    assert torch.equal(run("spatial"), run("spatial", picture=other))
    assert not torch.allclose(run(picture=other), reference)
    assert not torch.allclose(run("snr"), reference)
    assert torch.equal(run("snr"), run("snr", csi=louder))
    assert not torch.allclose(run(csi=louder), reference)
    assert not torch.allclose(run("h"), reference)
    assert torch.equal(run("h"), run("h", csi=turned))
    assert not torch.allclose(run(csi=turned), reference)
    assert not torch.allclose(run("caption"), reference)
    assert torch.equal(run("caption"), run(caption=""))


def test_guidance_keeps_its_target_without_spatial_features(compact):
    told = ("snr", "h", "caption")
    results = [
        compact(
            photograph(),
            csi_of(),
            ["sea"],
            conditions=told,
            guidance_scale=scale,
            generator=generators(3),
            solver="ddpm",
        ).images
        for scale in (0.0, 100.0)
    ]
    received = compact.decode(compact.spatial_features(photograph()))
    distances = [float((result - received).square().mean()) for result in results]
    assert distances[1] < distances[0]


class Parrot:
    """A captioner that says what it was shown."""

    def caption(self, images, names=None):
        return [f"{image.shape[-1]} wide" for image in images]

    def to(self, device):
        return self


def test_captions(compact, monkeypatch):
    run = {"csi": csi_of(2), "generator": generators(1, 2), "steps": 1}
    image = photograph(2, (50, 70))
    assert compact(image, **run).captions == ["", ""]
    assert compact(image, captions=["a", "b"], **run).captions == ["a", "b"]
    monkeypatch.setattr(compact, "captioner", Parrot())
    assert compact(image, **run).captions == ["70 wide"] * 2
    assert compact(image, conditions=("snr",), **run).captions == ["", ""]


# --- batches, sizes, tiles ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ["ddpm", "unipc"])
def test_a_batch_is_its_images(loaded, kind, solver):
    pipeline = loaded[kind]
    image, csi, captions = photograph(2), csi_of(2), ["sea", "a house"]
    both = pipeline(image, csi, captions, solver=solver, generator=generators(1, 2)).images
    assert not torch.allclose(both[0], both[1])
    for row in range(2):
        alone = pipeline(
            image[row : row + 1],
            Csi(csi.snr_db[row : row + 1], csi.h[row : row + 1]),
            captions[row : row + 1],
            solver=solver,
            generator=generators(row + 1),
        ).images
        torch.testing.assert_close(alone[0], both[row], rtol=1e-3, atol=1e-4)


def test_draws_are_the_generators(compact):
    def run(*seeds):
        return compact(photograph(), csi_of(), ["sea"], generator=generators(*seeds)).images

    assert torch.equal(run(1), run(1))
    assert not torch.allclose(run(1), run(2))
    single = compact(photograph(), csi_of(), ["sea"], generator=generators(1)[0]).images
    assert torch.equal(single, run(1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (33, 70), (64, 65)])
def test_any_size(loaded, kind, size):
    out = loaded[kind](photograph(size=size), csi_of(), ["sea"], steps=2, color_fix="wavelet")
    assert out.images.shape == (1, 3, *size)
    assert out.images.isfinite().all()
    assert 0 <= out.images.min() <= out.images.max() <= 1


def test_one_tile_is_the_whole_image(compact):
    def run(tile):
        return compact(
            photograph(size=(60, 90)), csi_of(), ["sea"], tile=tile, generator=generators(1)
        ).images

    whole = run(None)
    assert torch.equal(run(96), whole)
    parts = run(64)
    assert parts.shape == whole.shape
    assert not torch.equal(parts, whole)


# --- colour ---


def test_color_fix_is_applied(compact, monkeypatch):
    """To what the decoder says: here scaled, so that nothing is clipped afterwards."""
    decoded = type(compact)._decode
    monkeypatch.setattr(type(compact), "_decode", lambda *given: 0.1 * decoded(*given) + 0.3)
    run = {"csi": csi_of(), "captions": ["sea"]}
    image = photograph() * 0.4 + 0.3
    plain = compact(image, generator=generators(1), **run).images
    fixed = compact(image, generator=generators(1), color_fix="wavelet", **run).images
    assert fixed.min() > 0 and fixed.max() < 1
    assert (low_frequencies(fixed) - low_frequencies(image)).abs().mean() < 0.01
    assert (low_frequencies(plain) - low_frequencies(image)).abs().mean() > 0.02


def test_colors_are_fixed_before_anything_is_clipped(compact, monkeypatch):
    """A decoder that goes beyond white: as in the authors' code, its detail there counts."""
    image = photograph() * 0.2 + 0.1
    detail = 0.2 * (torch.arange(image.shape[-1]) % 2 * 2 - 1.0).expand_as(image)
    bright = image + 0.8 + detail  # up to 1.3
    monkeypatch.setattr(type(compact), "_decode", lambda *_: bright)
    run = {"csi": csi_of(), "captions": ["sea"], "generator": generators(1)}
    fixed = compact(image, color_fix="wavelet", **run).images
    torch.testing.assert_close(fixed, wavelet_color_fix(bright, image).clamp(0, 1))
    assert (fixed - wavelet_color_fix(bright.clamp(0, 1), image)).abs().max() > 0.05
    assert torch.equal(compact(image, **run).images, bright.clamp(0, 1))
    for images in (fixed, compact.decode(torch.zeros(1, 6, 8, 12))):
        assert 0 <= images.min() <= images.max() <= 1


# --- full size ---


def test_full_size_sd21_on_meta():
    """The whole call at 768x512 on the shapes of Stable Diffusion 2.1, without its memory."""
    case = replace(FULL, device="meta", steps=1)
    pipeline = full_size("meta", torch.bfloat16)
    with FlopCounterMode(display=False) as counter:
        out = call(pipeline, case, 1)()
    assert out.images.shape == (1, 3, 512, 768)
    assert pipeline.text_features([""]).shape == (1, 77, 1024)
    # Autoencoder and one step: 50 steps need 92 TFLOP.
    assert 5e12 < counter.get_total_flops() < 9e12


# --- what a caller gets ---


def test_output(compact):
    seen = []
    out = compact(
        photograph(2),
        csi_of(2),
        ["a", "b"],
        steps=3,
        callback_on_step_end=lambda step, n: seen.append((step, n)),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert list(out.seconds) == ["restore_s", "caption_s", "text_s", "diffusion_s", "vae_s"]
    assert out.seconds["diffusion_s"] > 0
    assert not out.images.requires_grad
    pictures = compact(photograph(2), csi_of(2), ["a", "b"], steps=1, output_type="pil").images
    assert [picture.size for picture in pictures] == [(96, 64)] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(loaded, tmp_path, kind):
    pipeline = loaded[kind]
    pipeline.save_pretrained(tmp_path)
    assert not [file for file in tmp_path.rglob("*") if file.suffix in (".bin", ".pt")]
    again = DiffJSCCPipeline.from_pretrained(tmp_path)
    for name in ("steps", "solver", "color_fix", "guidance", "guidance_scale", "guidance_repeat"):
        assert again.config[name] == pipeline.config[name]
    one, two = (
        each(photograph(), csi_of(), ["sea"], generator=generators(1)).images
        for each in (pipeline, again)
    )
    assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"solver": "euler"}, "no solver 'euler'"),
        ({"steps": 0}, "0 sampling steps: give a number from 1 to 1000"),
        ({"guidance": "strong"}, "no guidance 'strong'; use one of official, paper"),
        ({"guidance_scale": -1.0}, "give a scale from 0 on"),
        ({"guidance_repeat": -1}, "repeated at least once"),
        ({"color_fix": "adain"}, "no color_fix 'adain'; use one of none, wavelet"),
        ({"conditions": ("depth",)}, "no condition 'depth'; use some of spatial, snr, h"),
        ({"captions": ["a", "b"]}, "2 captions for 1 images"),
        ({"csi": csi_of(2)}, "of shape (2,) for 1 images: give one value each"),
        ({"captions": "sea"}, "captions are one text: give a list"),
        ({"generator": generators(1, 2)}, "2 generators for 1 images"),
        ({"image": torch.rand(3, 8, 8)}, "give (B, 3, H, W)"),
        ({"tile": 8}, "tiles of 8 pixels are too small for this model; give at least 32"),
        ({"output_type": "np"}, "no output_type 'np'; use pt or pil"),
    ],
)
def test_a_call_that_cannot_be_made(compact, options, sentence):
    arguments = {"image": photograph(), "csi": csi_of(), "captions": ["sea"]} | options
    with pytest.raises(SettingsError) as caught:
        compact(**arguments)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
