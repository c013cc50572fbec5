"""Algorithm 1: from noise to a latent, one step of the schedule at a time.

z_T ~ N(0, I) -> predict z0~ -> guide towards f_v (17) -> posterior (12) -> ... -> z_0

Schedulers are diffusers' own, and all are fed z0~: eq. (12) and (17) speak of it, and every
kind of network output turns into it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from torch import Tensor

from simulator.errors import ModelError, SettingsError

# The one list of solvers: the class, and what it is told beside the noise schedule.
SOLVERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ddpm": (DDPMScheduler, {"variance_type": "fixed_small", "clip_sample": False}),
    # DDIM is the first order of DPM-Solver++. diffusers' DDIMScheduler steps back by a whole
    # number of training steps, which is off where their number is not a multiple of ours.
    "ddim": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 1}),
    "dpm++": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++"}),
    "unipc": (UniPCMultistepScheduler, {}),
}
GUIDANCE = ("official", "paper")
# The paper's sampler pulls once in each of fifty steps; so often we do at least, in fewer too.
PULLS = 50
PREDICTIONS = ("epsilon", "v_prediction", "sample")
# What a scheduler's configuration says about the noise that the network was trained with.
NOISE_SCHEDULE = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)


def spaced_timesteps(n: int, n_train: int = 1000) -> list[int]:
    """``n`` ascending time steps from 0 to ``n_train`` - 1: a running float sum, rounded.

    The sum is the official one; a closed form differs from it for some ``n``. One step alone
    is the last, where sampling starts from.
    """
    if n == 1:
        return [n_train - 1]
    stride = (n_train - 1) / (n - 1)
    position = 0.0
    steps = []
    for _ in range(n):
        steps.append(round(position))
        position += stride
    return steps


def make_scheduler(
    solver: str, scheduler_config: Mapping[str, Any], steps: int
) -> tuple[Any, list[int]]:
    """A scheduler that takes z0~ as model output, and its time steps from noise to image.

    ``scheduler_config`` is the model folder's; only its noise schedule counts. Every solver
    starts at the last step of training, because sampling starts from pure noise. Raises
    ``SettingsError`` for an unknown solver or a number of steps that the schedule does not have.
    """
    if solver not in SOLVERS:
        raise SettingsError(f"there is no solver {solver!r}; use one of {', '.join(SOLVERS)}.")
    schedule = {name: scheduler_config[name] for name in NOISE_SCHEDULE if name in scheduler_config}
    if "beta_schedule" not in schedule and schedule.get("trained_betas") is None:
        raise ModelError(
            "the scheduler of this model has no beta_schedule, so it is not a diffusion of the "
            "DDPM kind; use a folder with such a scheduler."
        )
    cls, options = SOLVERS[solver]
    n_train = int(schedule.get("num_train_timesteps", 1000))
    if not 1 <= steps <= n_train:
        raise SettingsError(f"{steps} sampling steps: give a number from 1 to {n_train}.")
    scheduler = cls(**schedule, **options, prediction_type="sample", timestep_spacing="trailing")
    if solver == "ddpm":
        # Explicit, so that the step before each is the next of the list (eq. 12 with the
        # betas recomputed between the kept steps).
        scheduler.set_timesteps(timesteps=spaced_timesteps(steps, n_train)[::-1])
    else:
        scheduler.set_timesteps(steps)
    return scheduler, scheduler.timesteps.tolist()


def prediction_of(scheduler_config: Mapping[str, Any]) -> str:
    """What the network predicts; raises ``ModelError`` for a kind that is not known."""
    kind = str(scheduler_config.get("prediction_type", "epsilon"))
    if kind not in PREDICTIONS:
        raise ModelError(
            f"the scheduler's prediction_type {kind!r} is not one of {', '.join(PREDICTIONS)}."
        )
    return kind


def to_sample(output: Tensor, z: Tensor, alpha_bar: Tensor, prediction: str) -> Tensor:
    """z0~ from what the network predicts at z_t. ``alpha_bar``: scalar or (B, 1, 1, 1)."""
    if prediction == "sample":
        return output
    signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    if prediction == "v_prediction":
        return signal * z - noise * output
    return (z - noise * output) / signal


def to_epsilon(output: Tensor, z: Tensor, alpha_bar: Tensor, prediction: str) -> Tensor:
    """The noise in z_t from what the network predicts. ``alpha_bar`` as in ``to_sample``."""
    if prediction == "epsilon":
        return output
    signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    if prediction == "v_prediction":
        return noise * z + signal * output
    return (z - signal * output) / noise


def guide(
    z0: Tensor,
    spatial_features: Tensor,
    scale: float,
    rule: str = "official",
    repeat: int = 1,
    weight_in_mean: float = 1.0,
) -> Tensor:
    """Equation (17): z0~ drawn towards f_v, lambda = ``scale``, per cell of a whole latent.

    ``paper`` moves z0~ itself. ``official`` moves the mean of the posterior (12) by half of what
    z0~ would have moved: here z0~ moves by so much that (12), in which it has the weight
    ``weight_in_mean``, moves its mean by that. A shift of z_t afterwards would be the same for
    DDPM alone: UniPC corrects it away, and what DDIM and DPM-Solver++ carry on counts twice. Each
    repeat starts from where the last one left z0~.
    """
    weight = scale / math.prod(z0.shape[1:])
    moved = z0
    for _ in range(repeat if scale else 0):
        moved = moved + weight * (spatial_features - moved)
    if moved is z0 or rule == "paper":
        return moved
    return z0 + (0.5 / weight_in_mean) * (moved - z0)


def weights_in_mean(scheduler: Any, timesteps: Sequence[int]) -> list[float]:
    """What z0~ counts for in the mean of (12), at each of these steps: 1 at the last."""
    now = [float(scheduler.alphas_cumprod[t]) for t in timesteps]
    return [
        math.sqrt(then) * (1 - alpha_bar / then) / (1 - alpha_bar)
        for alpha_bar, then in zip(now, [*now[1:], 1.0], strict=True)
    ]


def repeats_for(steps: int) -> int:
    """Pulls in each of ``steps``: with one, lambda would count for next to nothing where they
    are few."""
    return max(1, round(PULLS / steps))


def warmed(
    scheduler: Any, timesteps: list[int], noise: Tensor, latents: Tensor, share: float
) -> tuple[Tensor, list[int]]:
    """Where sampling starts that goes on from earlier ``latents``, and the steps that are left.

    ``share``: of the steps that are left out; one is left at least. The latents are noised to the
    first step that is left, as in SDEdit: z_t = sqrt(alpha_bar_t) z_0 + sqrt(1 - alpha_bar_t) n.
    """
    first = min(round(share * len(timesteps)), len(timesteps) - 1)
    left = timesteps[first:]
    alpha_bar = float(scheduler.alphas_cumprod[left[0]])
    if hasattr(scheduler, "set_begin_index"):  # those of several steps count them
        scheduler.set_begin_index(first)
    return math.sqrt(alpha_bar) * latents + math.sqrt(1 - alpha_bar) * noise, left


def sample(
    predict: Callable[[Tensor, int], Tensor],
    scheduler: Any,
    timesteps: Sequence[int],
    noise: Tensor,
    spatial_features: Tensor,
    guidance_scale: float = 0.0,
    guidance: str = "official",
    guidance_repeat: int = 1,
    generators: list[torch.Generator] | None = None,
    on_step: Callable[[int, int], None] | None = None,
    on_estimate: Callable[[int, int, Tensor], None] | None = None,
) -> Tensor:
    """z_0, (B, C, H, W) fp32, from ``noise`` z_T.

    ``predict(z_t, t)`` gives z0~. ``scheduler`` and ``timesteps`` are ``make_scheduler``'s.
    ``generators``: one an image, for what DDPM adds at every step but the last.
    ``on_step(done, of)`` is called after each step, ``on_estimate(done, of, z0~)`` before it.
    """
    z = noise
    drawn = {"generator": generators} if isinstance(scheduler, DDPMScheduler) else {}
    weights = weights_in_mean(scheduler, timesteps)
    for done, (t, weight) in enumerate(zip(timesteps, weights, strict=True), 1):
        z0 = predict(z, t)
        z0 = guide(z0, spatial_features, guidance_scale, guidance, guidance_repeat, weight)
        z = scheduler.step(z0, t, z, **drawn, return_dict=False)[0]
        if on_estimate is not None:
            on_estimate(done, len(timesteps), z0)
        if on_step is not None:
            on_step(done, len(timesteps))
    return z
