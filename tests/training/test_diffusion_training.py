"""Autoencoder, prior and control module: they learn, resume exactly, and say what is wrong."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from helpers import make_photographs
from safetensors.torch import load_file
from tiny import build_tiny_model

from rx.captioner import NoCaptioner
from simulator.errors import ModelError, SettingsError
from simulator.jscc import load_codec
from simulator.jscc.checkpoint import save_codec
from simulator.jscc.sketched import SketchCodec
from simulator.metrics.lpips import load_lpips_vgg
from simulator.models.folder import find_model
from simulator.training.autoencoder import train_autoencoder
from simulator.training.control import ControlStage, train_control
from simulator.training.critic import Critic, balanced, critic_loss, fooled
from simulator.training.diffusion import draw_times, target_of
from simulator.training.discriminator import PatchDiscriminator, hinge_loss
from simulator.training.latents import Item, LatentCache, crop_of
from simulator.training.loop import make_accelerator
from simulator.training.model_card import RECORD, card, write_record
from simulator.training.options import AutoencoderTraining, ControlTraining, PriorTraining
from simulator.training.prior import build_scheduler, train_prior
from simulator.training.schedule import learning_rate
from simulator.training.texts import captions_of_folder, tokens_of, train_tokenizer
from tests.fuzz.brought.commands import invoke

SIZE = (64, 80)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    make_photographs(folder, 4, SIZE)
    spoken = [{"file": "photo00.png", "captions": ["two  dogs on a beach", "dogs play"]}]
    (folder / "captions.json").write_text(json.dumps(spoken))
    return folder


@pytest.fixture(scope="module")
def common(photographs):
    return {
        "data": (str(photographs),),
        "steps": 4,
        "batch": 2,
        "crop": 48,
        "device": "cpu",
        "threads": 1,
        "checkpoint_minutes": 0.0,
    }


@pytest.fixture(scope="module")
def autoencoder_options(common):
    return AutoencoderTraining(**common, channels=(8, 8, 8, 8), latent_channels=4, start="random")


@pytest.fixture(scope="module")
def prior_options(common):
    return PriorTraining(
        **common,
        captioner="none",
        channels=(16, 16, 16),
        vocabulary=300,
        text_width=16,
        text_layers=1,
        head_width=8,
    )


@pytest.fixture(scope="module")
def control_options(common):
    return ControlTraining(**common, captioner="none", codec="compact", sampling_steps=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory, autoencoder_options, prior_options):
    """A model folder with a trained autoencoder and prior."""
    folder = tmp_path_factory.mktemp("model")
    train_autoencoder(autoencoder_options, folder)
    train_prior(prior_options, folder)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


class Interrupt(Exception):
    pass


def interrupted(train, options, out: Path) -> None:
    """Train in three pieces: torn down in step 3, stopped, and to the end."""

    def report(progress):
        if progress.step == 2:
            raise Interrupt

    with pytest.raises(Interrupt):
        train(options, out, report)
    with pytest.raises(KeyboardInterrupt):
        train(options, out, stop=after(1))
    train(options, out)


def after(steps: int):
    """A ``stop`` that says yes once a checkpoint's step is made."""
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > steps

    return stop


def test_autoencoder_resumes_exactly(autoencoder_options, tmp_path):
    options = replace(autoencoder_options, adversarial=0.1, adversarial_start=0.25)
    train_autoencoder(options, tmp_path / "whole")
    interrupted(train_autoencoder, options, tmp_path / "parts")
    assert same(weights(tmp_path / "whole" / "vae"), weights(tmp_path / "parts" / "vae"))


def test_autoencoder_learns_and_its_latents_have_unit_deviation(autoencoder_options, tmp_path):
    losses = []
    options = replace(autoencoder_options, steps=40, learning_rate=3e-3, warmup=5, lpips=0.0)
    train_autoencoder(options, tmp_path, lambda progress: losses.append(progress.loss))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    vae = AutoencoderKL.from_pretrained(tmp_path / "vae").float()
    image = torch.rand(2, 3, 32, 32)
    latent = vae.encode(image * 2 - 1).latent_dist.mode() * vae.config.scaling_factor
    assert latent.shape == (2, 4, 4, 4)
    record = json.loads((tmp_path / "training.json").read_text())["autoencoder"]
    assert record["progress"]["step"] == 40
    assert record["options"]["data"] == [Path(options.data[0]).name]  # a name, not a path


def test_prior_resumes_exactly(prior_options, model, tmp_path):
    options = replace(prior_options, model=str(model), steps=3)
    train_prior(options, tmp_path / "whole")
    interrupted(train_prior, options, tmp_path / "parts")
    for part in ("unet", "text_encoder"):
        assert same(weights(tmp_path / "whole" / part), weights(tmp_path / "parts" / part))


def test_under_minutes_a_model_says_how_many_photographs_it_has_seen(
    prior_options, model, tmp_path, monkeypatch
):
    """Time goes on by ten seconds whenever it is asked for."""
    ticks = count(step=10.0)
    for name in ("monotonic", "process_time"):
        monkeypatch.setattr(time, name, lambda: next(ticks))
    cache = str(tmp_path / "latents")
    options = replace(prior_options, model=str(model), steps=0, minutes=0.9, cache=cache)
    train_prior(options, tmp_path)
    used = json.loads((tmp_path / "training" / "prior-photographs.json").read_text())
    assert 1 <= len(used) < 4
    record = json.loads((tmp_path / RECORD).read_text())["prior"]
    assert record["photographs"] == f"{len(used)} of 4"
    assert 0 < record["progress"]["before_s"] < record["progress"]["wall_s"]
    assert f"| photographs | {len(used)} of 4 |" in (tmp_path / "README.md").read_text()
    train_prior(options, tmp_path)  # it is over
    again = json.loads((tmp_path / RECORD).read_text())["prior"]
    assert again["photographs"] == record["photographs"]
    assert again["progress"]["step"] == record["progress"]["step"]


@pytest.mark.parametrize("unfreeze", ["none", "decoder"])
def test_control_resumes_exactly_and_leaves_what_is_frozen(
    control_options, model, tmp_path, unfreeze
):
    options = replace(control_options, model=str(model), steps=3, unfreeze=unfreeze, warmup=1)
    train_control(options, tmp_path / "whole")
    interrupted(train_control, options, tmp_path / "parts")
    whole = tmp_path / "whole"
    for part in ("unet", "control"):
        assert same(weights(whole / part), weights(tmp_path / "parts" / part))
    for part in ("vae", "text_encoder"):
        assert same(weights(whole / part), weights(model / part))
    before, now = weights(model / "unet"), weights(whole / "unet")
    moved = {key.split(".")[0] for key in before if not torch.equal(before[key], now[key])}
    assert moved <= {"up_blocks", "conv_norm_out", "conv_out"}
    assert bool(moved) == (unfreeze == "decoder")
    control = weights(whole / "control")
    assert any(control[key].abs().max() > 0 for key in control if "zero_convs" in key)
    assert load_codec(whole).name == "adaptive"


def test_training_starts_from_the_plain_prior(control_options, model):
    """With outputs at zero the loss of stage 2 is the prior's own."""
    stage = ControlStage(replace(control_options, model=str(model)), model)
    stage.cache.fill(torch.device("cpu"))
    batch = stage.batch(0, 0, 0)
    with torch.no_grad():
        loss = stage.players[0].network(batch, 0)["noise"]
        text = stage.text(batch["tokens"]).last_hidden_state
        noise, times = batch["noise"], batch["times"]
        z_t = stage.scheduler.add_noise(batch["z0"], noise, times)
        alone = stage.unet(z_t, times, text).sample
    target = target_of(stage.scheduler, batch["z0"], noise, times)
    assert loss == torch.nn.functional.mse_loss(alone, target)


@pytest.fixture(scope="module")
def begun(control_options, model, tmp_path_factory):
    """A control module after two steps, and options that go on with it on samples."""
    first = replace(control_options, model=str(model), steps=2, crop=96, warmup=1, batch=1)
    start = train_control(first, tmp_path_factory.mktemp("begun") / "first")
    more = replace(first, model=str(start), fresh=False, sampled=True, adversarial=0.5)
    return start, more


def test_control_goes_on_with_what_few_steps_make(begun, tmp_path):
    start, more = begun
    stage = ControlStage(more, tmp_path / "stage")
    assert same(
        stage.control.state_dict(), {k: v.float() for k, v in weights(start / "control").items()}
    )
    stage.place(torch.device("cpu"), torch.float32)
    stage.cache.fill(torch.device("cpu"))
    batch = stage.batch(0, 0, 0)
    generator, critic = (player.network for player in stage.players)
    terms = generator(batch, 0)
    assert set(terms) == {"noise", "l1", "lpips", "adversarial"}
    for term in ("l1", "lpips", "adversarial"):
        stage.control.zero_grad()
        terms[term].backward(retain_graph=True)
        assert any(p.grad is not None and bool(p.grad.any()) for p in stage.control.parameters())
    # The generator's turn leaves the critic alone, and the other way about.
    assert all(p.grad is None for p in critic.parameters())
    assert critic(batch, 0)["hinge"] > 0
    # A sampler that hits the latent has nothing left to learn from L1 and LPIPS.
    generator.judge, generator.sampled = None, lambda batch: batch["z0"]
    with torch.no_grad():
        perfect = generator(batch, 0)
    assert float(perfect["l1"]) == float(perfect["lpips"]) == 0


def test_under_a_codec_that_sends_sketches_control_learns_to_take_them(begun, tmp_path):
    start, more = begun
    codec = tmp_path / "codec"
    save_codec(SketchCodec(load_codec("compact"), cell=4, share=0.2), codec, {})
    options = replace(more, codec=str(codec), adversarial=0.0, sketch_dropout=0.5)
    out = train_control(options, tmp_path / "out")
    was, now = (weights(each / "control")["conv_in.weight"] for each in (start, out))
    taken = now.shape[1] - was.shape[1]
    assert taken == 4 and now[:, -taken:].any()
    assert load_codec(out).name == "sketch"
    stage = ControlStage(replace(options, model=str(out)), out)
    batches = [stage.batch(step, 0, 0)["sketch"] for step in range(16)]
    assert batches[0].shape == (1, 4, 12, 12)
    assert set(torch.cat(batches).unique().tolist()) == {-1.0, 0.0, 1.0}
    blank = [not bool(each.any()) for batch in batches for each in batch]
    assert 2 <= sum(blank) <= 14


def test_gradient_runs_through_every_step_of_the_solver(begun, tmp_path):
    _, more = begun
    stage = ControlStage(more, tmp_path)
    stage.cache.fill(torch.device("cpu"))
    generator = stage.players[0].network
    batch = stage.batch(0, 0, 0)
    times, output = [], generator.controlled.output

    def watched(z, at, told):
        assert z.requires_grad == bool(times)  # pure noise first, then what depends on weights
        times.append(int(at[0]))
        return output(z, at, told)

    generator.controlled.output = watched
    assert generator.sampled(batch).requires_grad
    assert len(times) == more.sampling_steps and times == sorted(times, reverse=True)


def test_sampled_training_resumes_exactly_with_its_critic(begun, tmp_path):
    start, more = begun
    more = replace(more, steps=3)
    out = train_control(more, tmp_path / "whole")
    interrupted(train_control, more, tmp_path / "parts")
    assert same(weights(out / "control"), weights(tmp_path / "parts" / "control"))
    assert not same(weights(out / "control"), weights(start / "control"))
    record = json.loads((out / RECORD).read_text())
    assert list(record)[-2:] == ["control", "control, continued"]
    command = record["control, continued"]["command"]
    assert all(word in command for word in ("--go-on", "--sampled", "--adversarial 0.5"))
    assert str(tmp_path) not in "".join(path.read_text() for path in out.rglob("*.json"))


def test_a_card_keeps_what_the_shipped_model_says_of_itself(control_options, tmp_path):
    options = replace(control_options, model="compact", fresh=False)
    progress = {"step": 4, "steps": 4, "cpu_s": 1.0, "wall_s": 1.0}
    shipped = json.loads((find_model("compact") / RECORD).read_text())
    write_record(tmp_path, "control", options, progress, {})
    record = json.loads((tmp_path / RECORD).read_text())
    assert {key: record[key] for key in shipped} == shipped
    assert len(record) == len(shipped) + 1
    assert (tmp_path / "README.md").read_text() == card(record)


def test_balanced_term_pulls_as_hard_as_asked():
    at = torch.tensor([1.0, 2.0], requires_grad=True)
    reference, term = (3 * at).sum(), 100 * at[0]
    (pull,) = torch.autograd.grad(balanced(0.5, reference, term, at), at)
    assert pull.norm() == pytest.approx(0.5 * 3 * 2**0.5, rel=1e-5)


def test_critic_learns_to_tell_flat_from_rough():
    torch.manual_seed(0)
    lpips, critic = load_lpips_vgg(), Critic()
    rough, flat = torch.rand(4, 3, 64, 64), torch.full((4, 3, 64, 64), 0.5)
    taps = [lpips.features(image) for image in (rough, flat)]
    adam = torch.optim.Adam(critic.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        loss = critic_loss(critic(rough, taps[0]), critic(flat, taps[1]))
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    with torch.no_grad():
        assert fooled(critic(rough, taps[0])) < fooled(critic(flat, taps[1]))


def test_batches_are_functions_of_step_and_process(control_options, model):
    stage = ControlStage(replace(control_options, model=str(model)), model)
    stage.cache.fill(torch.device("cpu"))
    first, again, other = stage.batch(5, 0, 0), stage.batch(5, 0, 0), stage.batch(5, 1, 0)
    assert torch.equal(first["noise"], again["noise"]) and torch.equal(first["z0"], again["z0"])
    assert not torch.equal(first["noise"], other["noise"])


def test_cache_is_a_function_of_seed_and_photograph(photographs, model, tmp_path):
    vae = AutoencoderKL.from_pretrained(model / "vae").float()
    codec = load_codec("compact")
    caches = [
        LatentCache(tmp_path / name, [photographs], vae, NoCaptioner(), 0, 2, codec)
        for name in ("a", "b")
    ]
    with pytest.raises(KeyboardInterrupt):
        caches[1].fill(torch.device("cpu"), stop=after(3))
    for cache in caches:
        cache.fill(torch.device("cpu"))
    for index in range(len(caches[0].paths)):
        for variant in (0, 1):
            one, two = (cache.item(index, variant) for cache in caches)
            assert torch.equal(one.z0, two.z0) and torch.equal(one.f_v, two.f_v)
            assert (one.snr_db, one.h) == (two.snr_db, two.h) and -5 <= one.snr_db <= 20
            assert one.z0.shape == (4, SIZE[0] // 8, SIZE[1] // 8)
    assert not torch.equal(caches[0].item(0, 0).z0, caches[0].item(0, 1).z0)


def test_crops_of_latent_and_preview_are_of_one_place():
    grid = torch.arange(6 * 7).reshape(1, 6, 7).half()
    item = Item(grid, "", "", grid + 1000, 0.0, 1)
    rng = np.random.default_rng(0)
    for cells in (4, 9):  # 9: larger than the item, extended by reflection
        z0, f_v, _ = crop_of(item, cells, rng)
        assert z0.shape == (1, cells, cells)
        assert torch.equal(z0 + 1000, f_v)


def test_times_cover_the_schedule():
    for how in ("uniform", "logit-normal"):
        times = draw_times(20_000, 1000, how, torch.Generator().manual_seed(0))
        assert times.min() >= 0 and times.max() <= 999
        assert abs(times.float().mean() - 499.5) < 10
    assert times.float().std() < 230  # logit-normal; a uniform one has 289


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_targets_give_back_the_latent(prior_options, kind):
    from rx.sampler import to_sample

    scheduler = build_scheduler(replace(prior_options, prediction=kind))
    z0, noise = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    times = torch.tensor([100, 700])
    z_t = scheduler.add_noise(z0, noise, times)
    target = target_of(scheduler, z0, noise, times)
    alpha = scheduler.alphas_cumprod[times].reshape(2, 1, 1, 1)
    assert torch.allclose(to_sample(target, z_t, alpha, kind), z0, atol=1e-4)


def test_hinge_and_frozen_judge():
    torch.manual_seed(0)
    critic, image = PatchDiscriminator(8, 2), torch.rand(1, 3, 16, 16, requires_grad=True)
    assert torch.equal(critic.judge_frozen(image), critic(image))
    critic.judge_frozen(image).sum().backward()
    assert image.grad.abs().sum() > 0
    assert all(p.grad is None for p in critic.parameters())
    assert hinge_loss(torch.tensor(2.0), torch.tensor(-2.0)) == 0
    assert hinge_loss(torch.tensor(0.0), torch.tensor(0.0)) == 1


def test_tokenizer_is_small_and_pads():
    tokenizer = train_tokenizer(["a dog on the beach", "seashore, lakeside"] * 5, 300)
    tokens = tokens_of(tokenizer, ["a dog", "", "word " * 200])
    assert tokens.shape == (3, 77) and len(tokenizer) <= 300
    assert tokens[0, 0] == tokenizer.bos_token_id and tokens[2, -1] == tokenizer.eos_token_id
    assert not torch.equal(tokens[0], tokens[1])


def test_captions_beside_photographs(photographs, tmp_path):
    found = captions_of_folder(photographs)
    assert found == {"photo00.png": ["two dogs on a beach", "dogs play"]}
    line = {"file_name": "x.jpg", "text": "a  cat"}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(line) + "\n")
    assert captions_of_folder(tmp_path) == {"x.jpg": ["a cat"]}
    (tmp_path / "captions.json").write_text("[1]")
    with pytest.raises(SettingsError, match="is not a list of captions"):
        captions_of_folder(tmp_path)


def test_learning_rate_warms_up_and_ends_at_zero():
    assert learning_rate(0, 0.0, 1.0, 10) == pytest.approx(0.1)
    assert learning_rate(50, 0.5, 1.0, 10) == pytest.approx(0.5)
    assert learning_rate(100, 1.0, 1.0, 10) == pytest.approx(0)


def test_mistakes_are_one_sentence(autoencoder_options, control_options, model, tmp_path):
    with pytest.raises(SettingsError, match="--steps N or --minutes M"):
        train_autoencoder(replace(autoencoder_options, steps=0), tmp_path)
    with pytest.raises(SettingsError, match="--data FOLDER"):
        train_autoencoder(replace(autoencoder_options, data=()), tmp_path)
    with pytest.raises(SettingsError, match="multiple of 16"):
        train_autoencoder(replace(autoencoder_options, crop=50), tmp_path)
    with pytest.raises(SettingsError, match="CUDA_VISIBLE_DEVICES"):
        make_accelerator(replace(autoencoder_options, device="cuda:1"))
    for given, words in (
        ({"sampled": True}, "--crop 96 or more"),
        ({"sampled": True, "crop": 96, "solver": "ddpm"}, "without draws"),
        ({"adversarial": 0.5}, "belongs to --sampled"),
    ):
        with pytest.raises(SettingsError, match=words):
            train_control(replace(control_options, model=str(model), **given), tmp_path / "out")
    with pytest.raises(ModelError, match="has no vae that can be read"):
        train_control(replace(control_options, model=str(tmp_path)), tmp_path / "out")
    train_autoencoder(replace(autoencoder_options, steps=1), tmp_path / "a")
    with pytest.raises(ModelError, match=r"other settings \(--seed\)"):
        train_autoencoder(replace(autoencoder_options, steps=1, seed=1), tmp_path / "a")
    checkpoint = tmp_path / "a" / "training" / "autoencoder.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(ModelError, match="delete it to start anew"):
        train_autoencoder(replace(autoencoder_options, steps=1), tmp_path / "a")


def test_commands(photographs, model, tmp_path):
    """The command line of all three, on a copy of a model folder."""
    out = tmp_path / "mine"
    shutil.copytree(model, out)
    shutil.rmtree(out / "training")
    words = [
        "--data",
        photographs,
        "--validation",
        photographs / "photo00.png",
        "--out",
        out,
        "--steps",
        1,
    ]
    words += ["--batch", 1, "--crop", 64, "--device", "cpu", "--threads", 1]
    small = ["--channels", 8, 8, 8, 8, "--latent-channels", 4, "--start", "random"]
    done = invoke("train", "autoencoder", *words, *small)
    assert done.code == 0, done.err
    small = ["--channels", 16, 16, 16, "--text-width", 32, "--vocabulary", 300]
    done = invoke("train", "prior", *words, *small, "--captioner", "none")
    assert done.code == 0, done.err
    control = ["--codec", "compact", "--captioner", "none", "--checked", 1]
    done = invoke("train", "control", *words, *control, "--sampling-steps", 2)
    assert done.code == 0, done.err
    assert {"model_index.json", "control", "jscc"} <= {p.name for p in out.iterdir()}
    assert len(list((out / "training").glob("*.jpg"))) == 3
    assert UNet2DConditionModel.from_pretrained(out / "unet").config.in_channels == 4


def test_linear_start_carries_colour(photographs, autoencoder_options):
    """From the first step on, means of cells come through; narrow widths say so."""
    from simulator.images import load_image
    from simulator.training.autoencoder import build_vae

    options = replace(autoencoder_options, channels=(24, 32, 48, 64), latent_channels=8)
    pixels = load_image(photographs / "photo00.png").pixels
    image = torch.tensor(pixels).permute(2, 0, 1)[None] / 127.5 - 1
    errors = {}
    for start in ("linear", "random"):
        vae = build_vae(replace(options, start=start)).eval()
        with torch.no_grad():
            made = vae.decode(vae.encode(image).latent_dist.mode()).sample
        errors[start] = float((made - image)[..., 8:-8, 8:-8].square().mean())
    assert errors["linear"] < 0.01 < errors["random"]
    with pytest.raises(SettingsError, match="too narrow"):
        build_vae(replace(options, channels=(8, 16, 16, 16), start="linear"))


def test_the_same_command_trains_the_control_module_of_stable_diffusion(control_options, tmp_path):
    """A folder of Stable Diffusion 2.1's shape, BLIP-2 as captioner, trained and run."""
    from rx.pipeline import DiffJSCCPipeline
    from simulator.jscc import Csi

    build_tiny_model(tmp_path / "sd21", "sd21")
    options = replace(
        control_options,
        model=str(tmp_path / "sd21"),
        captioner=str(tmp_path / "sd21" / "captioner"),
        steps=1,
        crop=64,
        variants=1,
        gradient_checkpointing=True,
        solver="ddpm",
    )
    before = weights(tmp_path / "sd21" / "unet")
    out = train_control(options, tmp_path / "out")
    pipeline = DiffJSCCPipeline.from_pretrained(out, torch_dtype=torch.float32)
    now = pipeline.unet.state_dict()
    assert all(torch.equal(before[key].half().float(), now[key]) for key in before)
    assert pipeline.captioner.name == "blip2" and pipeline.config.solver == "ddpm"
    images = pipeline(torch.rand(1, 3, 64, 64), Csi.of(5.0), generator=torch.Generator()).images
    assert images.shape == (1, 3, 64, 64) and images.isfinite().all()
