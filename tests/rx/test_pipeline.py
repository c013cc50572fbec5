"""The pipeline on tiny random models: equations (7) to (17) and Algorithm 1 end to end."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rx.color import low_frequencies, wavelet_color_fix
from rx.conditions import CONDITIONS, Conditions
from rx.pipeline import DiffJSCCPipeline
from rx.sampler import make_scheduler, sample, to_sample
from rx.tiling import tiled, windows
from simulator.errors import ModelError, SettingsError
from simulator.jscc.csi import Csi
from tests.bench.pipeline import FULL, call, full_size
from tests.tiny import build_tiny_model

KINDS = ("compact", "sd21")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    built = {kind: build_tiny_model(root / kind, kind, captioner="") for kind in KINDS}
    return built | {"asleep": build_tiny_model(root / "asleep", captioner="", awake=False)}


@pytest.fixture(scope="module")
def loaded(folders):
    return {name: DiffJSCCPipeline.from_pretrained(folder) for name, folder in folders.items()}


@pytest.fixture
def compact(loaded):
    return loaded["compact"]


def photograph(batch: int = 1, size=(64, 96), seed: int = 0) -> torch.Tensor:
    """Smooth, in [0, 1]."""
    coarse = torch.rand(batch, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def csi_of(batch: int = 1) -> Csi:
    return Csi(
        torch.linspace(2.0, 9.0, batch), torch.linspace(0.4, 1.1, batch) * torch.tensor(0.6 + 0.8j)
    )


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


def test_latents_of_a_shifted_vae(folders):
    """Some VAEs have a shift_factor; encoding and decoding are still each other's inverse."""
    pipeline = DiffJSCCPipeline.from_pretrained(folders["compact"])
    image = photograph()
    plain = pipeline.spatial_features(image)
    decoded = pipeline.decode(plain)
    pipeline.vae.register_to_config(shift_factor=0.25)
    shifted = pipeline.spatial_features(image)
    torch.testing.assert_close(shifted, plain - 0.25 * 0.7)
    torch.testing.assert_close(pipeline.decode(shifted), decoded)


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


def test_windows_cover_and_overlap():
    for length in (8, 9, 16, 31, 200):
        starts = windows(length, 8)
        assert starts[0] == 0
        assert starts[-1] + 8 == length if length > 8 else starts == [0]
        assert all(1 <= after - before <= 6 for before, after in pairwise(starts))


@pytest.mark.parametrize("grain", [(1, 1), (4, 1), (1, 4)])
def test_tiles_of_a_field_are_the_field(grain):
    """Where tiles agree, blending them gives back what they were cut from."""
    before, after = grain
    field = torch.randn(2, 3, 17 * after, 11 * after)
    x = torch.randn(2, 5, 17 * before, 11 * before)

    def call(piece, top, left):
        assert torch.equal(
            piece,
            x[
                ...,
                top * before : top * before + piece.shape[-2],
                left * before : left * before + piece.shape[-1],
            ],
        )
        height, width = (side // before * after for side in piece.shape[-2:])
        return field[..., top * after :, left * after :][..., :height, :width]

    torch.testing.assert_close(tiled(call, x, 6, grain), field)


def test_conditions_of_a_tile():
    conditions = Conditions(torch.randn(2, 4, 8, 12), torch.randn(2, 7, 5), csi_of(2))
    tile = conditions.crop(2, 3, 4, 5)
    assert torch.equal(tile.spatial_features, conditions.spatial_features[:, :, 2:6, 3:8])
    row = conditions.rows(slice(1, 2))
    assert torch.equal(row.text_features, conditions.text_features[1:])
    assert torch.equal(row.csi.h, conditions.csi.h[1:])
    half = conditions.to("cpu", torch.bfloat16)
    assert half.spatial_features.dtype == half.text_features.dtype == torch.bfloat16
    assert half.csi.snr_db.dtype == torch.float32


# --- colour ---


def test_color_fix():
    """Detail of the sample, colours of what was received."""
    torch.manual_seed(0)
    received = photograph(size=(64, 96)) * 0.5 + 0.25
    detail = 0.02 * (torch.arange(96) % 2 * 2 - 1.0).expand(1, 3, 64, 96)
    sampled = received + 0.1 + detail  # too bright, but sharp
    fixed = wavelet_color_fix(sampled, received)
    inside = (..., slice(31, 33), slice(31, 65))  # where no edge is repeated
    torch.testing.assert_close(fixed[inside], (received + detail)[inside], atol=1e-5, rtol=0)
    torch.testing.assert_close(fixed, received + detail, atol=5e-3, rtol=0)
    assert torch.equal(wavelet_color_fix(received, received), received)
    flat = torch.full((1, 3, 40, 40), 0.3)
    torch.testing.assert_close(low_frequencies(flat), flat)
    assert low_frequencies(detail)[..., 40:56].abs().max() < 1e-6


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


def test_the_folder_gives_the_defaults(folders, tmp_path):
    folder = shutil.copytree(folders["compact"], tmp_path / "model")
    index = folder / "model_index.json"
    changed = {"steps": 7, "solver": "ddpm", "color_fix": "wavelet", "guidance_scale": 30.0}
    index.write_text(json.dumps(json.loads(index.read_text()) | changed))
    pipeline = DiffJSCCPipeline.from_pretrained(folder)
    seen = []
    own = pipeline(
        photograph(),
        csi_of(),
        ["sea"],
        generator=generators(1),
        callback_on_step_end=lambda *step: seen.append(step),
    ).images
    said = pipeline(photograph(), csi_of(), ["sea"], generator=generators(1), **changed).images
    assert len(seen) == 7
    assert torch.equal(own, said)


def test_captioner_is_part_of_the_folder(tmp_path):
    folder = build_tiny_model(tmp_path / "one", captioner="none")
    pipeline = DiffJSCCPipeline.from_pretrained(folder)
    assert pipeline.captioner.name == "none"
    pipeline.save_pretrained(tmp_path / "two")
    index = json.loads((tmp_path / "two/model_index.json").read_text())
    assert index["captioner"] == ["rx.captioner", "NoCaptioner"]
    assert DiffJSCCPipeline.from_pretrained(tmp_path / "two").captioner.name == "none"
    assert DiffJSCCPipeline.from_pretrained(folder, captioner=None).captioner is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(folders, dtype):
    pipeline = DiffJSCCPipeline.from_pretrained(folders["sd21"], torch_dtype=dtype)
    assert pipeline.unet.dtype == pipeline.control.dtype == dtype
    # The range of fp16 is too small for Stable Diffusion's VAE.
    assert pipeline.vae.dtype == (torch.float32 if dtype is torch.float16 else dtype)
    out = pipeline(photograph(), csi_of(), ["sea"], generator=generators(1), tile=64)
    exact = DiffJSCCPipeline.from_pretrained(folders["sd21"])
    reference = exact(photograph(), csi_of(), ["sea"], generator=generators(1), tile=64)
    assert out.images.dtype == torch.float32
    assert (out.images - reference.images).abs().mean() < 0.02


def test_attention_slicing(folders):
    pipeline = DiffJSCCPipeline.from_pretrained(folders["sd21"])
    run = {"csi": csi_of(), "captions": ["sea"], "steps": 2}
    whole = pipeline(photograph(), generator=generators(1), **run).images
    pipeline.enable_attention_slicing("max")
    sliced = pipeline(photograph(), generator=generators(1), **run).images
    torch.testing.assert_close(sliced, whole, rtol=1e-3, atol=1e-4)


# --- errors: one sentence each ---


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


def refuse(folder, sentence: str) -> None:
    with pytest.raises(ModelError) as caught:
        DiffJSCCPipeline.from_pretrained(folder)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def edit(file, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.fixture
def broken(folders, tmp_path):
    return shutil.copytree(folders["compact"], tmp_path / "model")


def test_missing_folder(tmp_path):
    refuse(tmp_path / "nowhere", "nowhere; give compact, a folder or a hub id")


def test_unknown_hub_id(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refuse("nobody/nothing", "no folder nobody/nothing, and the hub does not give a model")


@pytest.mark.parametrize("name", ["vae", "unet", "control", "text_encoder", "tokenizer"])
def test_missing_component(broken, name):
    shutil.rmtree(broken / name)
    refuse(broken, f"incomplete: it has no {name}")


def test_missing_weights(broken):
    (broken / "control/diffusion_pytorch_model.safetensors").unlink()
    refuse(broken, "control has no weights (*.safetensors)")


def test_pickle(broken):
    file = broken / "unet/diffusion_pytorch_model.safetensors"
    file.rename(file.with_suffix(".bin"))
    refuse(broken, "diffusion_pytorch_model.bin is a pickle, which can run any code")


def test_damaged_weights(broken):
    file = broken / "vae/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    refuse(broken, "cannot be loaded")


def test_weights_of_another_shape(broken, folders):
    name = "unet/diffusion_pytorch_model.safetensors"
    shutil.copy(folders["sd21"] / name, broken / name)
    refuse(broken, "cannot be loaded")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("control", "the control module was made for a UNet with in_channels 4, and this one has"),
        ("vae", "the VAE has 4 latent channels and the UNet takes 6"),
        ("text_encoder", "the text encoder is 24 wide and the UNet's cross_attention_dim is 16"),
    ],
)
def test_component_of_another_model(broken, folders, name, sentence):
    shutil.rmtree(broken / name)
    shutil.copytree(folders["sd21"] / name, broken / name)
    refuse(broken, sentence)


def test_control_of_another_hint(broken):
    from rx.control import ControlModule
    from tests.tiny import tiny_unet

    ControlModule.from_unet(tiny_unet(), hint_channels=3).save_pretrained(broken / "control")
    refuse(broken, "spatial features of 3 channels and the VAE gives 6")


def test_scheduler_of_another_kind(broken):
    edit(broken / "scheduler/scheduler_config.json", prediction_type="flow_prediction")
    refuse(broken, "prediction_type 'flow_prediction' is not one of epsilon")


def test_plain_stable_diffusion_folder(broken):
    """As downloaded, without a control module."""
    shutil.rmtree(broken / "control")
    edit(broken / "model_index.json", _class_name="StableDiffusionPipeline")
    refuse(broken, "a model for StableDiffusionPipeline, which is no receiver here")
