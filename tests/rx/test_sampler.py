"""The sampler: time steps, equation (12), guidance, and that every solver samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rx.sampler import (
    SOLVERS,
    guide,
    make_scheduler,
    prediction_of,
    repeats_for,
    sample,
    spaced_timesteps,
    to_epsilon,
    to_sample,
)
from simulator.errors import ModelError, SettingsError
from tests.tiny import SD21_SCHEDULER


def official_alphas_bar() -> np.ndarray:
    """Betas are squares of a linear ramp (METHOD), in double precision."""
    return np.cumprod(1 - np.linspace(0.00085**0.5, 0.0120**0.5, 1000) ** 2)


def test_spaced_timesteps():
    fifty = spaced_timesteps(50)
    assert fifty[:5] == [0, 20, 41, 61, 82]
    assert fifty[-1] == 999
    # Where the running sum and the closed form part ways.
    assert spaced_timesteps(21)[10] == 499
    assert spaced_timesteps(43)[21] == 499
    assert spaced_timesteps(43)[35] == 833
    assert spaced_timesteps(1000) == list(range(1000))
    assert spaced_timesteps(1) == [999]


@pytest.mark.parametrize("n", [2, 7, 30, 99, 640])
def test_spaced_timesteps_are_distinct(n):
    steps = spaced_timesteps(n)
    assert len(set(steps)) == n
    assert steps == sorted(steps)
    assert steps[-1] == 999


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("steps", [1, 4, 10, 50])
def test_starts_where_training_ended(solver, steps):
    scheduler, timesteps = make_scheduler(solver, SD21_SCHEDULER, steps)
    assert timesteps[0] == 999
    assert len(timesteps) == steps
    assert timesteps == sorted(timesteps, reverse=True)
    np.testing.assert_allclose(scheduler.alphas_cumprod, official_alphas_bar(), rtol=1e-4)


def test_ddpm_step_by_hand():
    """Equation (12), with betas recomputed between the kept steps and "fixed small" variance."""
    kept = spaced_timesteps(50)
    alphas_bar = official_alphas_bar()[kept]
    previous = np.concatenate([[1.0], alphas_bar[:-1]])
    betas = 1 - alphas_bar / previous
    torch.manual_seed(0)
    shape = (2, 4, 3, 5)
    z, z0 = torch.randn(shape), torch.randn(shape)
    scheduler, timesteps = make_scheduler("ddpm", SD21_SCHEDULER, 50)
    for index in (49, 30, 1, 0):
        t = kept[index]
        assert timesteps[49 - index] == t
        draws = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
        noise = torch.cat(
            [torch.randn(1, 4, 3, 5, generator=torch.Generator().manual_seed(s)) for s in (1, 2)]
        )
        (got,) = scheduler.step(z0, t, z, generator=draws, return_dict=False)[:1]
        mean = (
            betas[index] * previous[index] ** 0.5 / (1 - alphas_bar[index]) * z0.double()
            + (1 - previous[index]) * (1 - betas[index]) ** 0.5 / (1 - alphas_bar[index]) * z
        )
        variance = betas[index] * (1 - previous[index]) / (1 - alphas_bar[index])
        expected = mean + variance**0.5 * noise * (index > 0)
        torch.testing.assert_close(got, expected.float(), rtol=1e-3, atol=1e-3)
    assert torch.equal(got, z0)  # the last step is the mean alone


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_predictions_mean_the_same(prediction):
    torch.manual_seed(0)
    alpha_bar = torch.tensor(0.37)
    z0, noise = torch.randn(2, 2, 4, 3, 3)
    z = alpha_bar.sqrt() * z0 + (1 - alpha_bar).sqrt() * noise
    output = {
        "epsilon": noise,
        "v_prediction": alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * z0,
        "sample": z0,
    }[prediction]
    torch.testing.assert_close(to_sample(output, z, alpha_bar, prediction), z0)
    torch.testing.assert_close(to_epsilon(output, z, alpha_bar, prediction), noise)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("steps", "rescale"), [(100, False), (100, True), (400, False)])
def test_samples_a_known_distribution(solver, steps, rescale):
    """With the exact z0~ of N(1, 0.3^2), what comes out has that mean and that deviation."""
    config = SD21_SCHEDULER | {"rescale_betas_zero_snr": rescale}
    scheduler, timesteps = make_scheduler(solver, config, steps)
    mean, deviation = 1.0, 0.3

    def predict(z, t):
        alpha_bar = scheduler.alphas_cumprod[t]
        gain = alpha_bar.sqrt() * deviation**2
        gain = gain / (alpha_bar * deviation**2 + 1 - alpha_bar)
        return mean + gain * (z - alpha_bar.sqrt() * mean)

    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 4, 64, 64, generator=generator)
    # What training's last step leaves of the image, which without rescaling is a little.
    left = scheduler.alphas_cumprod[999]
    start = left.sqrt() * mean + (1 - left + left * deviation**2).sqrt() * noise
    z = sample(predict, scheduler, timesteps, start, noise, generators=[generator])
    assert abs(float(z.mean()) - mean) < 0.01
    assert abs(float(z.std()) - deviation) < 0.035


def test_ddim_by_hand():
    """Deterministic steps along the predicted noise, at a number that does not divide 1000."""
    scheduler, timesteps = make_scheduler("ddim", SD21_SCHEDULER, 7)
    alphas_bar = official_alphas_bar()
    torch.manual_seed(0)
    z = torch.randn(1, 4, 3, 5)
    got = sample(lambda z, t: (0.3 * z).sin(), scheduler, timesteps, z, z)
    for t, after in zip(timesteps, [*timesteps[1:], None], strict=True):
        now, then = alphas_bar[t], 1.0 if after is None else alphas_bar[after]
        z0 = (0.3 * z).sin()
        noise = (z - now**0.5 * z0) / (1 - now) ** 0.5
        z = then**0.5 * z0 + (1 - then) ** 0.5 * noise
    torch.testing.assert_close(got, z, rtol=1e-4, atol=1e-4)


def test_guidance_by_hand():
    """(C, H, W) = (2, 4, 5): lambda 8 moves z0~ by a fifth of the way, then a fifth of the rest."""
    z0, target = torch.full((1, 2, 4, 5), 1.0), torch.full((1, 2, 4, 5), 6.0)
    torch.testing.assert_close(guide(z0, target, 8.0, "paper"), torch.full_like(z0, 2.0))
    torch.testing.assert_close(guide(z0, target, 8.0, "official"), torch.full_like(z0, 1.5))
    torch.testing.assert_close(guide(z0, target, 8.0, "paper", 2), torch.full_like(z0, 2.8))
    torch.testing.assert_close(guide(z0, target, 8.0, "official", 2), torch.full_like(z0, 1.9))
    # With a tenth of the weight in the mean it has to move ten times as far.
    far = guide(z0, target, 8.0, "official", 1, 0.1)
    torch.testing.assert_close(far, torch.full_like(z0, 6.0))
    assert guide(z0, target, 0.0) is z0


@pytest.mark.parametrize(("steps", "pulls"), [(1, 50), (2, 25), (10, 5), (50, 1), (1000, 1)])
def test_guidance_pulls_at_least_fifty_times_an_image(steps, pulls):
    assert repeats_for(steps) == pulls


def test_guidance_does_not_depend_on_the_batch():
    one, two = torch.zeros(1, 2, 4, 5), torch.zeros(2, 2, 4, 5)
    assert torch.equal(guide(one, one + 1, 8.0, "paper"), guide(two, two + 1, 8.0, "paper")[:1])


def sampled_of_a_gaussian(solver, steps, deviation, scale, rule):
    """Mean and deviation of what comes of N(0, deviation^2), its z0~ exact, drawn towards 1."""
    scheduler, timesteps = make_scheduler(solver, SD21_SCHEDULER, steps)

    def predict(z, t):
        alpha_bar = scheduler.alphas_cumprod[t]
        gain = alpha_bar.sqrt() * deviation**2
        return gain / (alpha_bar * deviation**2 + 1 - alpha_bar) * z

    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 4, 64, 64, generator=generator)
    target, repeat = torch.ones_like(noise), repeats_for(steps)
    z = sample(
        predict, scheduler, timesteps, noise, target, scale, rule, repeat, [generator]
    )  # fmt: skip
    return float(z.mean()), float(z.std())


@pytest.mark.parametrize(("rule", "least"), [("official", 0.75), ("paper", 0.4)])
@pytest.mark.parametrize(("steps", "deviation"), [(25, 0.3), (50, 0.3), (50, 1.0), (100, 1.0)])
def test_guidance_pulls_every_solver_as_far(steps, deviation, rule, least):
    """Lambda 100 on 4 x 64 x 64 cells. The authors' sampler is the measure.

    By the paper's rule a solver without noise goes half as far: what z0~ moved late counts once,
    where DDPM's mean has it twice.
    """
    pulled = {
        solver: sampled_of_a_gaussian(solver, steps, deviation, 100.0, rule) for solver in SOLVERS
    }
    measure = pulled["ddpm"][0]
    assert measure > 0.015
    for solver, (mean, spread) in pulled.items():
        assert least < mean / measure < 1.25, (solver, mean, measure)
        assert 0.7 * deviation < spread < 1.02 * deviation, (solver, spread)
    (_, free), (_, still) = (
        sampled_of_a_gaussian("unipc", steps, deviation, scale, rule) for scale in (0.0, 100.0)
    )
    assert still < free


def test_official_guidance_moves_the_mean_of_each_step():
    """Two steps, z0~ always 0, f_v 1, noise 0: the shift of the first is carried by eq. (12)."""
    scheduler, timesteps = make_scheduler("ddpm", SD21_SCHEDULER, 2)
    zero = torch.zeros(1, 1, 1, 2)
    still = [_Still()]
    z = sample(lambda z, t: zero, scheduler, timesteps, zero, zero + 1, 0.5, "official", 1, still)
    # The last step gives z0~ = 0 whatever z was, and then its own shift.
    torch.testing.assert_close(z, zero + 0.5 * 0.5 / 2)


class _Still(torch.Generator):
    """Draws do not matter where the last step forgets them."""


def test_an_images_draws_do_not_depend_on_its_batch():
    scheduler, timesteps = make_scheduler("ddpm", SD21_SCHEDULER, 5)
    noise = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def run(rows):
        draws = [torch.Generator().manual_seed(10 + row) for row in rows]
        part = noise[list(rows)]
        return sample(lambda z, t: z * 0.5, scheduler, timesteps, part, part, generators=draws)

    together = run([0, 1, 2])
    for row in range(3):
        assert torch.equal(run([row])[0], together[row])


def test_steps_are_reported():
    scheduler, timesteps = make_scheduler("dpm++", SD21_SCHEDULER, 3)
    seen = []
    zero = torch.zeros(1, 1, 2, 2)
    sample(
        lambda z, t: z, scheduler, timesteps, zero, zero, on_step=lambda *step: seen.append(step)
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_errors():
    with pytest.raises(SettingsError, match="no solver 'euler'; use one of ddpm, ddim"):
        make_scheduler("euler", SD21_SCHEDULER, 10)
    for steps in (0, 1001):
        with pytest.raises(SettingsError, match=f"{steps} sampling steps: give a number from 1"):
            make_scheduler("ddpm", SD21_SCHEDULER, steps)
    with pytest.raises(ModelError, match="no beta_schedule"):
        make_scheduler("ddpm", {"shift": 3.0}, 10)
    with pytest.raises(ModelError, match="'flow' is not one of epsilon"):
        prediction_of({"prediction_type": "flow"})
