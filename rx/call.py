"""What a call of the pipeline is given: looked at before anything runs."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from rx.color import COLOR_FIXES
from rx.conditions import CONDITIONS
from rx.sampler import GUIDANCE
from simulator.errors import SettingsError
from simulator.jscc.checks import check_csi, check_images
from simulator.jscc.csi import Csi


def csi_for(csi: Csi, conditions: Collection[str]) -> Csi | None:
    """What the denoiser sees of the channel; nothing without the SNR."""
    if "snr" not in conditions:
        return None
    return csi if "h" in conditions else Csi(csi.snr_db, torch.ones_like(csi.h))


def generators_of(
    given: torch.Generator | list[torch.Generator] | None, batch: int
) -> list[torch.Generator] | None:
    """One generator an image."""
    if given is None:
        return None
    generators = [given] * batch if isinstance(given, torch.Generator) else list(given)
    if len(generators) != batch:
        raise SettingsError(f"{len(generators)} generators for {batch} images: give one an image.")
    return generators


def check_warm(image: Tensor, before: Tensor | None, share: float) -> None:
    """Raises ``SettingsError`` where sampling cannot go on from earlier images."""
    if not 0 <= share <= 1:
        raise SettingsError(f"warm_start {share}: give a share of the steps, from 0 to 1.")
    if before is not None and before.shape != image.shape:
        raise SettingsError(
            f"images before are {tuple(before.shape)}, not {tuple(image.shape)}: give one for each "
            f"image, of its size."
        )


def check_captions(captions: object) -> None:
    """Raises ``SettingsError`` for one text, whose letters would be taken for captions."""
    if isinstance(captions, str):
        raise SettingsError("captions are one text: give a list with one for each image.")


def check_call(
    image: Tensor,
    csi: Csi,
    captions: Sequence[str | None] | None,
    rule: str,
    scale: float,
    repeat: int,
    fix: str,
    conditions: Collection[str],
    output_type: str,
    every: tuple[int, int],
) -> None:
    """Raises ``SettingsError`` where an argument of a call cannot be used."""
    check_images(image)
    batch = len(image)
    check_csi(csi, batch)
    check_captions(captions)
    if captions is not None and len(captions) != batch:
        raise SettingsError(f"{len(captions)} captions for {batch} images: give one each.")
    if rule not in GUIDANCE:
        raise SettingsError(f"there is no guidance {rule!r}; use one of {', '.join(GUIDANCE)}.")
    if not (math.isfinite(scale) and scale >= 0) or repeat < 0:
        raise SettingsError(
            f"guidance scale {scale} repeated {repeat} times: give a scale from 0 on, repeated "
            f"at least once, or 0 times for as often as the number of steps asks for."
        )
    if fix not in COLOR_FIXES:
        raise SettingsError(f"there is no color_fix {fix!r}; use one of {', '.join(COLOR_FIXES)}.")
    unknown = sorted(set(conditions) - set(CONDITIONS))
    if unknown:
        raise SettingsError(
            f"there is no condition {unknown[0]!r}; use some of {', '.join(CONDITIONS)}."
        )
    if min(every) < 1:
        raise SettingsError(
            f"control_every {every[0]} and deep_every {every[1]}: give numbers of steps from 1 on."
        )
    if output_type not in ("pt", "pil"):
        raise SettingsError(f"there is no output_type {output_type!r}; use pt or pil.")
