"""The last training of a small model: on what the sampler makes of pure noise.

    noise -N steps of the solver, all with gradient-> z0~ -VAE decoder-> image
    loss = L1 + w LPIPS [+ a critic's, balanced] + equation (15) on half the batch

Equation (15) alone weighs a latent by its squares, at times that a sampler of few steps never
visits: its errors add up from step to step. Here the solver of the model folder runs inside the
training, so the network learns what these N steps need (as in adversarial diffusion
distillation, Sauer et al. 2023, with the photograph itself as teacher).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from rx.sampler import make_scheduler, prediction_of, sample, to_sample
from simulator.metrics.lpips import Features, load_lpips_vgg
from simulator.training.critic import Critic, balanced, critic_loss, fooled
from simulator.training.latents import pixels_of
from simulator.training.phase import at_phase
from simulator.training.player import Player
from simulator.training.stage import Batch

SQUARE_CELLS = 12  # side of what is decoded


class Decoder:
    """Latents to pixels, and pixels to the taps of LPIPS-VGG; both frozen."""

    def __init__(self, vae: AutoencoderKL) -> None:
        self.vae = vae
        self.lpips = load_lpips_vgg()

    def to(self, device: torch.device) -> None:
        self.vae.to(device)
        self.lpips.to(device)

    def pixels(self, latents: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 3, 8 h, 8 w), about [0, 1]."""
        return pixels_of(self.vae, latents)


class SampledLosses(nn.Module):
    """``controlled``: ``ControlLosses``, whose networks run here, and whose equation (15) is one
    of the terms. Keeps its last images and their taps for the critic."""

    def __init__(self, controlled: Any, decoder: Decoder) -> None:
        super().__init__()
        self.controlled = controlled
        self.options = controlled.options
        self.judge: Callable[[Tensor, Features], list[Tensor]] | None = None
        self._decoder = [decoder]  # no sub-module: frozen, and placed by the stage
        self.last: tuple[Tensor, Features, Tensor, Features] | None = None

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        options, decoder = self.options, self._decoder[0]
        count = max(1, len(batch["z0"]) // 2)
        half = {name: each[:count] for name, each in batch.items() if isinstance(each, Tensor)}
        terms = dict(self.controlled(half, step))
        top, left = batch["square"]
        square = (..., slice(top, top + SQUARE_CELLS), slice(left, left + SQUARE_CELLS))
        with torch.no_grad():
            real = at_phase(decoder.pixels(batch["z0"][square]), batch["phase"])
            real_taps = decoder.lpips.features(real)
        made = at_phase(decoder.pixels(self.sampled(batch)[square]), batch["phase"])
        taps = decoder.lpips.features(made)
        l1 = (made - real).abs().mean()
        distance = options.lpips * decoder.lpips.compare(taps, real_taps).mean()
        terms |= {"l1": l1, "lpips": distance}
        if self.judge is not None:
            term = fooled(self.judge(made, taps))
            terms["adversarial"] = balanced(options.adversarial, l1 + distance, term, made)
            self.last = (made.detach(), [each.detach() for each in taps], real, real_taps)
        return terms

    def sampled(self, batch: Batch) -> Tensor:
        """z0~ after the solver's steps from the batch's noise, with gradient."""
        options, controlled = self.options, self.controlled
        scheduler, timesteps = make_scheduler(
            options.solver, controlled.scheduler.config, options.sampling_steps
        )
        kind = prediction_of(controlled.scheduler.config)
        conditions = controlled.conditions(batch)

        def predict(z: Tensor, t: int) -> Tensor:
            times = torch.full((len(z),), t, device=z.device)
            output = controlled.output(z, times, conditions)
            return to_sample(output.float(), z, scheduler.alphas_cumprod[t].to(z.device), kind)

        return sample(predict, scheduler, timesteps, batch["noise"], batch["f_v"])


class CriticLosses(nn.Module):
    """Hinge loss on the images that were just made."""

    def __init__(self, critic: Critic, sampled: SampledLosses) -> None:
        super().__init__()
        self.critic = critic
        self._sampled = [sampled]  # not a sub-module: it is trained elsewhere

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        last = self._sampled[0].last
        assert last is not None
        made, made_taps, real, real_taps = last
        return {"hinge": critic_loss(self.critic(real, real_taps), self.critic(made, made_taps))}


def sampled_players(controlled: Any, decoder: Decoder, options: Any) -> list[Player]:
    """The generator and, where asked for, its critic with weights drawn from the seed."""
    losses = SampledLosses(controlled, decoder)
    players = [Player("control", losses, options.learning_rate)]
    if options.adversarial:
        torch.manual_seed(options.seed + 1)
        critic = Critic()
        losses.judge = critic.judge_frozen
        network = CriticLosses(critic, losses)
        players.append(Player("critic", network, options.learning_rate, averaged=False))
    return players
