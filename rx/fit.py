"""Whether the parts of a model folder are there, are safe to load, and fit each other."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from simulator.errors import ModelError

WITH_WEIGHTS = ("restoration", "vae", "unet", "control", "text_encoder")
NO_RESTORATION = (
    "this model has no restoration: without diffusion there is nothing to refine by, and no "
    "fidelity (rx.fidelity) to choose."
)
LOADING = (
    *(OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError),
    SafetensorError,
)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# What a control module must have of the UNet that it controls.
SHAPES = (
    "in_channels",
    "block_out_channels",
    "layers_per_block",
    "down_block_types",
    "mid_block_type",
    "cross_attention_dim",
)


def check_weights(folder: Path, names: Collection[str]) -> None:
    """Raises ``ModelError`` unless each of these networks that a model folder has comes as
    safetensors."""
    for name in names:
        if not (folder / name).is_dir():
            continue  # an optional one
        files = sorted(file.name for file in (folder / name).iterdir())
        if any(file.endswith(".safetensors") for file in files):
            continue
        pickles = [file for file in files if file.endswith(PICKLES)]
        if pickles:
            raise ModelError(
                f"{folder / name / pickles[0]} is a pickle, which can run any code when it is "
                f"read; convert it to safetensors first."
            )
        raise ModelError(f"{folder / name} has no weights (*.safetensors); copy the whole folder.")


@contextmanager
def one_sentence(name: str | Path) -> Iterator[None]:
    """What loading the model raises, as ``ModelError``."""
    try:
        yield
    except LOADING as error:
        reason = " ".join(str(error).split()).rstrip(".")[:300] or type(error).__name__
        raise ModelError(f"model {name} cannot be loaded: {reason}.") from error


def check_fit(
    vae: Mapping[str, Any],
    unet: Mapping[str, Any],
    control: Mapping[str, Any],
    text_encoder: Mapping[str, Any],
) -> None:
    """Raises ``ModelError`` where the configurations of two networks do not go together."""
    latent, channels = vae["latent_channels"], unet["in_channels"]
    if latent != channels:
        raise ModelError(
            f"the VAE has {latent} latent channels and the UNet takes {channels}: they are of "
            f"different models."
        )
    for name in SHAPES:
        ours, theirs = plain(control["unet"].get(name)), plain(unet[name])
        if ours != theirs:
            raise ModelError(
                f"the control module was made for a UNet with {name} {ours}, and this one has "
                f"{theirs}: they are of different models."
            )
    if control["hint_channels"] != latent:
        raise ModelError(
            f"the control module takes spatial features of {control['hint_channels']} channels "
            f"and the VAE gives {latent}: they are of different models."
        )
    sketch = control.get("sketch_channels", 0)
    if sketch not in (0, 1, 4, 16):
        raise ModelError(
            f"the control module takes a sketch of {sketch} cells for each of the latent's: there "
            f"can be 1, 4 or 16."
        )
    width = text_encoder["hidden_size"]
    crossed = plain(unet["cross_attention_dim"])
    if any(each != width for each in (crossed if isinstance(crossed, list) else [crossed])):
        raise ModelError(
            f"the text encoder is {width} wide and the UNet's cross_attention_dim is {crossed}: "
            f"they are of different models."
        )


def plain(value: Any) -> Any:
    """A value as it reads from JSON, so that tuples equal lists."""
    return json.loads(json.dumps(value))
