"""Saving and loading codec folders (torch side). Safetensors only, never a pickle."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from simulator.errors import ModelError
from simulator.jscc.codec import JsccCodec
from simulator.jscc.folder import MANIFEST, WEIGHTS, CodecFolder, read_codec_folder
from simulator.jscc.registry import codec_class, make_codec
from simulator.link.text import to_json
from simulator.wholefile import whole, write_whole

ANOTHER_VERSION = (
    "use the version that it was made with, or train it anew: diffjscc train codec --help"
)


def load_codec(folder: str | Path, device: str | torch.device = "cpu") -> JsccCodec:
    """A codec in fp32 and evaluation mode from a folder or a shipped name (``compact``).

    Raises ``ModelError`` where something is missing, damaged or does not fit.
    """
    record = read_codec_folder(str(folder))
    try:
        codec = make_codec(record.name, record.config)
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"{record.path}/{MANIFEST} does not fit {record.name}: {error}; {ANOTHER_VERSION}."
        ) from None
    if record.path is None and any(True for _ in codec.parameters()):
        raise ModelError(
            f"codec {record.name!r} has parameters, which are trained first: diffjscc train codec "
            f"--codec {record.name} --plugin FILE --out FOLDER; then give that folder."
        )
    if record.path is not None:
        weights = record.file(WEIGHTS)
        if hashlib.sha256(weights.read_bytes()).hexdigest() != record.weights_sha256:
            raise ModelError(
                f"{weights} is not the file that {MANIFEST} was written for "
                f"(its sha256 differs); copy the whole folder again."
            )
        try:
            state = {name: tensor.float() for name, tensor in load_file(weights).items()}
        except (SafetensorError, RuntimeError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"{weights} cannot be loaded: {reason}") from None
        check_layout(codec, state, weights)
        codec.load_state_dict(state, strict=False)
    return codec.to(device).eval()


def check_layout(codec: JsccCodec, state: dict[str, Tensor], weights: Path) -> None:
    """Raises ``ModelError`` for weights that are not those of ``codec``, as of another version."""
    wanted, found = (
        {name: t.shape for name, t in tensors.items() if "num_batches" not in name}
        for tensors in (codec.state_dict(), state)
    )
    differs = [name for name in wanted | found if wanted.get(name) != found.get(name)]
    if differs:
        raise ModelError(
            f"{weights} has another layout than codec {codec.name!r} of this version "
            f"({differs[0]} and {len(differs) - 1} more tensors differ); {ANOTHER_VERSION}."
        )


def check_same_encoder(folder: str, other: str) -> None:
    """Two codecs of one transmitter. Raises ``ModelError`` where their encoders differ."""
    first, second = read_codec_folder(folder), read_codec_folder(other)
    same = (first.name, first.config) == (second.name, second.config)
    if not same or _encoder_weights(first) != _encoder_weights(second):
        raise ModelError(
            f"{other} cannot decode what {folder} sends: its encoder is another one; train it "
            f"with: diffjscc train codec --init {folder} --freeze encoder."
        )


def _encoder_weights(record: CodecFolder) -> dict[str, bytes]:
    """Tensors of the transmitter's half, as bytes."""
    prefix = f"{codec_class(record.name).encoder_name}."
    state = load_file(record.file(WEIGHTS))
    return {n: t.numpy().tobytes() for n, t in state.items() if n.startswith(prefix)}


def save_codec(
    codec: JsccCodec,
    folder: Path,
    training: dict[str, Any],
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write ``codec.safetensors`` (``dtype``; normalisation statistics fp32) and ``codec.json``.
    Raises ``StorageError``."""
    folder.mkdir(parents=True, exist_ok=True)
    parameters = {name for name, _ in codec.named_parameters()}
    state = {
        name: (t.to(dtype) if name in parameters else t.float()).contiguous().cpu()
        for name, t in codec.state_dict().items()
        if t.is_floating_point()  # BatchNorm's step counter is of no use here
    }
    with whole(folder / WEIGHTS) as temporary:
        save_file(state, temporary)
    record = {
        "name": codec.name,
        "config": codec.config,
        "weights_sha256": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
        "training": training,
    }
    write_whole(folder / MANIFEST, to_json(record, indent=2) + "\n")
