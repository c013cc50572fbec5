"""What public calls are given: looked at before anything is computed from it.

Each function raises ``SettingsError`` with one sentence that says what was given and how to make
what is wanted of it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from simulator.errors import SettingsError

_ROUNDING = 1e-3  # that images may lie outside of [0, 1]
WANTED = "give (B, 3, H, W) float in [0, 1]"


def check_images(image: Any, values: bool = True) -> None:
    """(B, 3, H, W) float with values in [0, 1]. ``values``: look at its numbers, too.

    They are not looked at where a gradient flows into the image: an optimiser may leave the
    range for a step.
    """
    if not isinstance(image, Tensor):
        raise SettingsError(f"images are a {type(image).__name__}: {WANTED}, as a torch tensor.")
    shape = tuple(image.shape)
    if image.ndim != 4 or shape[1] != 3 or 0 in shape:
        raise SettingsError(f"images of shape {shape}: {WANTED}{_hint(shape)}.")
    if not image.is_floating_point():
        dtype = str(image.dtype).removeprefix("torch.")
        raise SettingsError(f"images of type {dtype}: {WANTED}, for bytes image.float() / 255.")
    if not values or image.requires_grad or image.is_meta:
        return
    low, high = (float(value) for value in torch.aminmax(image.detach()))
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # also true of a NaN
        scale = ", for 0 to 255 image / 255" if 2 < high <= 255 else ""
        scale = ", for -1 to 1 image / 2 + 0.5" if -1.01 < low < 0 and high < 1.01 else scale
        raise SettingsError(f"images with values from {low:g} to {high:g}: {WANTED}{scale}.")


def _hint(shape: tuple[int, ...]) -> str:
    if len(shape) == 4 and shape[1] == 1:
        return ", for grey image.expand(-1, 3, -1, -1)"
    if len(shape) == 4 and shape[1] == 4:
        return ", without transparency: image[:, :3]"
    if len(shape) == 4 and shape[3] == 3:
        return ", for (B, H, W, 3) image.permute(0, 3, 1, 2)"
    if len(shape) == 3 and shape[0] == 3:
        return ", for one image image[None]"
    if len(shape) == 3 and shape[2] == 3:
        return ", for (H, W, 3) image.permute(2, 0, 1)[None]"
    if len(shape) == 2:
        return ", for grey (H, W) image.expand(1, 3, -1, -1)"
    return ""


def check_csi(csi: Any, batch: int, values: bool = True) -> None:
    """A ``Csi`` of ``batch`` images. ``values``: look at its numbers, too."""
    snr_db, h = getattr(csi, "snr_db", None), getattr(csi, "h", None)
    if not isinstance(snr_db, Tensor) or not isinstance(h, Tensor):
        raise SettingsError(
            f"the channel state is a {type(csi).__name__}: give Csi.of(snr_db, h, batch={batch})."
        )
    for name, value in (("snr_db", snr_db), ("h", h)):
        if value.ndim not in (1, 1 + (name == "h")) or len(value) != batch or not value.numel():
            raise SettingsError(
                f"channel state {name} of shape {tuple(value.shape)} for {batch} images: give one "
                f"value each, such as Csi.of(10.0, batch={batch})."
            )
    if snr_db.is_complex():
        raise SettingsError("snr_db is complex: give dB as float, and the gain as h.")
    if values:
        check_finite(snr_db, "snr_db")
        check_finite(h, "h")


def check_finite(values: Tensor, name: str) -> None:
    if not values.is_meta and not bool(torch.isfinite(values).all()):
        raise SettingsError(f"{name} is infinite or not a number somewhere: give finite values.")


def check_symbols(symbols: Any, values: bool = True) -> None:
    """(B, K) complex, finite."""
    if not isinstance(symbols, Tensor) or not symbols.is_complex() or symbols.ndim != 2:
        what = (
            f"of shape {tuple(symbols.shape)} and type {symbols.dtype}"
            if isinstance(symbols, Tensor)
            else f"as a {type(symbols).__name__}"
        )
        raise SettingsError(f"symbols {what}: give (B, K) complex, as encode returns them.")
    if not symbols.shape[0] or not symbols.shape[1]:
        raise SettingsError(f"symbols of shape {tuple(symbols.shape)}: there are none.")
    if values:
        check_finite(symbols, "a symbol")


def check_size(size: Any) -> None:
    """(H, W) in pixels."""
    try:
        height, width = (int(side) for side in size)
        whole = (height, width) == tuple(size) and height > 0 and width > 0
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise SettingsError(f"size {size!r}: give (H, W) of the image, in pixels.")
