"""A warm start: sampling goes on from the frame before, under the noise of its stream."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.configuration_utils import FrozenDict
from helpers import sentence
from pipeline_world import csi_of, generators, photograph

from rx.pipeline import DiffJSCCPipeline
from rx.refiner import Refiner, ToRefine
from rx.sampler import SOLVERS, make_scheduler, sample, warmed
from rx.streams import MOST, Streams, stream_generator
from simulator.errors import SettingsError
from simulator.receiving import RxSettings
from simulator.settings import make_settings, settings_hash
from tests.tiny import SD21_SCHEDULER

LATENTS = torch.linspace(-1, 1, 24).reshape(1, 1, 4, 6)


@pytest.mark.parametrize(("share", "left"), [(0.0, 10), (0.5, 5), (0.94, 1), (1.0, 1)])
def test_the_share_of_steps_is_left_out_and_one_stays(share: float, left: int) -> None:
    scheduler, timesteps = make_scheduler("ddim", SD21_SCHEDULER, 10)
    noise = torch.zeros_like(LATENTS)
    z, steps = warmed(scheduler, timesteps, noise, LATENTS, share)
    assert steps == timesteps[10 - left :]
    torch.testing.assert_close(z, scheduler.alphas_cumprod[steps[0]].sqrt() * LATENTS)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_comes_to_what_is_predicted_from_the_middle_on(solver: str) -> None:
    """With a denoiser that knows the image, whatever the sampling began with."""
    scheduler, timesteps = make_scheduler(solver, SD21_SCHEDULER, 10)
    noise = torch.randn(LATENTS.shape, generator=torch.Generator().manual_seed(1))
    z, steps = warmed(scheduler, timesteps, noise, -LATENTS, 0.6)
    asked: list[int] = []

    def predict(z: torch.Tensor, t: int) -> torch.Tensor:
        asked.append(t)
        return LATENTS

    found = sample(predict, scheduler, steps, z, LATENTS, generators=generators(3))
    assert asked == timesteps[6:]
    torch.testing.assert_close(found, LATENTS, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def compact(folders: Any) -> DiffJSCCPipeline:
    return DiffJSCCPipeline.from_pretrained(folders["compact"])


def refined(pipeline: DiffJSCCPipeline, **given: Any) -> torch.Tensor:
    options = {"solver": "ddim", "steps": 4, "generator": generators(5)} | given
    images: torch.Tensor = pipeline(photograph(), csi_of(), ["sea"], **options).images
    return images


def test_the_image_before_counts_where_a_share_is_given(compact: DiffJSCCPipeline) -> None:
    cold = refined(compact)
    before = photograph(seed=9)
    assert torch.equal(refined(compact, before=before), cold)
    assert torch.equal(refined(compact, warm_start=0.5), cold)  # the first frame of a stream
    warm = refined(compact, before=before, warm_start=0.5)
    assert not torch.equal(warm, cold)
    assert not torch.equal(warm, refined(compact, before=photograph(seed=8), warm_start=0.5))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"warm_start": 1.5}, "give a share of the steps"),
        ({"before": photograph(size=(64, 64)), "warm_start": 0.5}, "of its size"),
    ],
)
def test_what_cannot_be_gone_on_from_is_a_sentence(
    compact: DiffJSCCPipeline, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError) as error:
        refined(compact, **given)
    assert words in sentence(error)


# At the receiver


class Pipeline:
    """Makes an image of its first draw, and remembers what it went on from."""

    sampled, captioner = True, None

    def __init__(self) -> None:
        self.config = FrozenDict(diffusion=True, solver="ddim", steps=3, guidance_scale=0.0)
        self.before: list[torch.Tensor | None] = []
        self.batches: list[int] = []

    def __call__(self, image: torch.Tensor, csi: Any, **given: Any) -> Any:
        self.before.append(given.get("before"))
        self.batches.append(len(image))
        draws = [torch.rand(1, generator=generator).item() for generator in given["generator"]]
        images = torch.stack([0 * each + draw for each, draw in zip(image, draws, strict=True)])
        return SimpleNamespace(
            images=images, captions=[""] * len(image), seconds={"diffusion_s": 0.0}
        )


def job(i: int, stream: str, size: tuple[int, int] = (8, 16)) -> ToRefine:
    return ToRefine(np.full((*size, 3), i, np.uint8), 1.0, 1, bytes([i]) * 32, stream=stream)


def refine(refiner: Refiner, *jobs: ToRefine) -> list[int]:
    results = [refiner.refine([each], lambda *_: None)[0] for each in jobs]
    return [int(result.pixels[0, 0, 0]) for result in results]


def test_each_stream_goes_on_from_its_own_image_with_its_own_noise() -> None:
    pipeline = Pipeline()
    refiner = Refiner(pipeline, "m", RxSettings(warm_start=0.5))
    a, b, again, larger = refine(
        refiner, job(1, "a"), job(2, "b"), job(3, "a"), job(4, "a", (16, 16))
    )
    assert a == again == larger != b
    first, second, third, other_size = pipeline.before
    assert first is None and second is None and other_size is None
    assert third is not None and round(third.max().item() * 255) == a
    assert refiner.limit((8, 16)) == 1  # an image needs the one before it


def test_without_a_share_nothing_is_kept_and_noise_is_each_frames_own() -> None:
    pipeline = Pipeline()
    a, again = refine(Refiner(pipeline, "m", RxSettings()), job(1, "a"), job(3, "a"))
    assert a != again and pipeline.before == [None, None]


def test_the_memory_of_streams_is_bounded() -> None:
    streams, image = Streams(), torch.zeros(1, 3, 4, 4)
    for i in range(MOST + 1):
        streams.keep(str(i), image)
    assert streams.find("0", image) is None and streams.find(str(MOST), image) is image
    assert streams.find("1", torch.zeros(1, 3, 4, 5)) is None


def test_noise_of_a_stream_depends_on_its_name_alone() -> None:
    a, b, c = (torch.randn(4, generator=stream_generator(name)) for name in ("tx", "tx", "other"))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_a_warm_start_changes_results_and_needs_a_sampler() -> None:
    def name(**given: float) -> str:
        overrides = {f"rx.{key}": value for key, value in given.items()}
        return settings_hash(make_settings(overrides=overrides).rx_hash_fields("codec", "m"))

    assert name() == name(warm_start=0) != name(warm_start=0.5)
    restoring = SimpleNamespace(sampled=False, config=FrozenDict())
    with pytest.raises(SettingsError, match=r"rx\.warm_start: this receiver refines in one pass"):
        Refiner(restoring, "m", RxSettings(warm_start=0.5))
