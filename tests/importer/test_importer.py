"""``import-official`` against a reference of the authors' layout (``official_reference``)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from importer_world import (
    ANOTHER,
    DEAF,
    RELATIVE,
    SIZE,
    VOCABULARY,
    varied,
    write_source,
)
from official_reference import Official
from torch import Tensor

from simulator.importer.folder import import_official
from simulator.jscc.checkpoint import load_codec
from simulator.jscc.csi import Csi


@pytest.fixture(scope="module", params=["sd21-like", "another", "deaf"])
def pair(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tokenizer: Path,
) -> SimpleNamespace:
    """The reference, and what the importer made of its checkpoint."""
    from rx.pipeline import DiffJSCCPipeline

    changes = {"sd21-like": {}, "another": ANOTHER, "deaf": DEAF}[request.param]
    config = varied(changes)
    torch.manual_seed(7)
    official = Official(config, VOCABULARY)
    root = tmp_path_factory.mktemp(request.param)
    source = write_source(root / "source", config, official.state_dict())
    import_official(str(source), root / "model", tokenizer=tokenizer)
    pipeline = DiffJSCCPipeline.from_pretrained(root / "model", captioner=None)
    batch = 2
    csi = Csi(torch.tensor([1.0, 9.5]), torch.tensor([0.6 - 0.4j, -0.2 + 1.1j]))
    z = torch.randn(batch, pipeline.unet.config.in_channels, SIZE[0] // 8, SIZE[1] // 8)
    return SimpleNamespace(
        official=official,
        folder=root / "model",
        pipeline=pipeline,
        codec=load_codec(root / "model"),
        csi=csi,
        image=torch.rand(batch, 3, *SIZE),
        z=z,
        spatial=torch.randn_like(z),
        text=torch.randn(batch, 77, pipeline.unet.config.cross_attention_dim),
        tokens=torch.randint(VOCABULARY, (batch, 77)),
        hears=changes is not DEAF,
    )


def close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    error = (ours - theirs).norm() / theirs.norm()
    assert error < RELATIVE, f"relative error {error:.2e}"


def padded_tokens(pair: SimpleNamespace, captions: list[str]) -> Tensor:
    tokens = pair.pipeline.tokenizer(
        captions, padding="max_length", max_length=77, return_tensors="pt"
    )
    return tokens.input_ids


@torch.inference_mode()
def test_codec(pair: SimpleNamespace) -> None:
    state = pair.official.state(pair.csi.snr_db, pair.csi.h)
    theirs = pair.official.preprocess_model.E(pair.image, state)
    close(pair.codec.encode(pair.image, pair.csi).symbols, theirs)
    received = theirs + 0.2 * torch.randn_like(theirs)
    cell = 2**pair.codec.n_downsample
    grid = received.unflatten(1, (-1, SIZE[0] // cell, SIZE[1] // cell))
    reconstruction = pair.official.preprocess_model.G(grid, state)
    close(pair.codec.decode(received, pair.csi, SIZE), reconstruction)


@torch.inference_mode()
def test_features_and_vae(pair: SimpleNamespace) -> None:
    close(pair.pipeline.spatial_features(pair.image), pair.official.spatial_features(pair.image))
    ours = pair.pipeline.text_encoder(pair.tokens).last_hidden_state
    close(ours, pair.official.text_features(pair.tokens))
    close(pair.pipeline.decode(pair.z), pair.official.decode(pair.z))


@torch.inference_mode()
def test_text_features_of_captions(pair: SimpleNamespace) -> None:
    captions = ["a cat", "two dogs at the sea"]
    theirs = pair.official.text_features(padded_tokens(pair, captions))
    close(pair.pipeline.text_features(captions), theirs)


@torch.inference_mode()
def test_noise(pair: SimpleNamespace) -> None:
    from rx.conditions import Conditions

    conditions = Conditions(pair.spatial, pair.text, pair.csi)
    seen = []
    for t in (0, 20, 411, 799):
        times = torch.tensor([t, t])
        theirs = pair.official.predict_noise(
            pair.z, times, pair.text, pair.spatial, pair.csi.snr_db
        )
        close(pair.pipeline.predict_noise(pair.z, t, conditions), theirs)
        seen.append(theirs)
    assert (seen[0] - seen[-1]).norm() > 0.01 * seen[0].norm()
    # That the comparison can fail: the control module and, where it hears it, the SNR count.
    quiet = Csi(pair.csi.snr_db + 3, pair.csi.h)
    other = pair.pipeline.predict_noise(pair.z, t, Conditions(pair.spatial, pair.text, quiet))
    change = float((other - theirs).norm() / theirs.norm())
    assert (change > 2 * RELATIVE) is pair.hears


@torch.inference_mode()
def test_ddpm_sample_with_given_noises(pair: SimpleNamespace) -> None:
    from rx.conditions import Conditions
    from rx.sampler import make_scheduler, sample, to_sample

    steps, batch = 7, len(pair.z)
    conditions = Conditions(pair.spatial, pair.text, pair.csi)
    scheduler, timesteps = make_scheduler("ddpm", pair.pipeline.scheduler.config, steps)

    def generators() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(n) for n in range(batch)]

    def draw(each: list[torch.Generator]) -> Tensor:
        return torch.cat([torch.randn(1, *pair.z.shape[1:], generator=g) for g in each])

    def predict(z: Tensor, t: int) -> Tensor:
        eps = pair.pipeline.predict_noise(z, t, conditions)
        return to_sample(eps, z, scheduler.alphas_cumprod[t], "epsilon")

    drawn = generators()
    noises = [draw(drawn) for _ in range(steps + 1)]
    ours = generators()
    start = draw(ours)
    result = sample(predict, scheduler, timesteps, start, pair.spatial, generators=ours)
    close(result, pair.official.sample(noises, pair.text, pair.spatial, pair.csi.snr_db))


@torch.inference_mode()
def test_pipeline_from_reconstruction_to_image(pair: SimpleNamespace) -> None:
    steps, captions = 3, ["a cat", ""]
    latent = pair.pipeline.spatial_features(pair.image)
    generators = [torch.Generator().manual_seed(n) for n in range(2)]
    noises = [
        torch.cat([torch.randn(latent[:1].shape, generator=g) for g in generators])
        for _ in range(steps + 1)
    ]
    generators = [g.manual_seed(n) for n, g in enumerate(generators)]
    ours = pair.pipeline(pair.image, pair.csi, captions, steps=steps, generator=generators).images
    text = pair.official.text_features(padded_tokens(pair, captions))
    spatial = pair.official.spatial_features(pair.image)
    theirs = pair.official.sample(noises, text, spatial, pair.csi.snr_db)
    close(ours, pair.official.decode(theirs))


def test_folder(pair: SimpleNamespace) -> None:
    assert pair.pipeline.config["steps"] == 50
    assert pair.pipeline.config["solver"] == "ddpm"
    assert pair.pipeline.scheduler.config["clip_sample"] is False
    assert "blip2-opt-2.7b" in (pair.folder / "captioner" / "captioner.json").read_text()
    assert not list(pair.folder.parent.glob(".*"))
