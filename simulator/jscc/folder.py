"""A codec folder without torch: what it holds, and whose weights they are.

codec.json          name, config, sha256 of the weights, training record
codec.safetensors   weights, fp16
encoder.onnx        the encoder alone, for tx (``diffjscc export``)
encoder-int8.onnx   the same in 8-bit integers (``diffjscc export --int8``)
oranet.npz          the predictor of PSNR, for rate control (``diffjscc train oranet``)
README.md           the model card
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulator.errors import ModelError
from simulator.jscc.own import OWN
from simulator.models.folder import CODEC, INDEX, SHIPPED, codec_owner, find_model
from simulator.textfile import read_text

MANIFEST = "codec.json"
WEIGHTS = "codec.safetensors"
ENCODER, ENCODER_INT8 = "encoder.onnx", "encoder-int8.onnx"
ORANET = "oranet.npz"
# What to do without an encoder in ONNX: a setting of tx, and of an experiment.
USE_TORCH = "use --set tx.runtime=torch (in a sweep: --set runtime=torch)"
WEIGHTLESS = ("null", "null-feedback")  # the latter in two rounds


@dataclass(frozen=True)
class CodecFolder:
    """What ``codec.json`` says. ``path`` is None for a codec without weights."""

    name: str
    config: dict[str, Any]
    weights_sha256: str
    path: Path | None
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Names the codec and its weights: both ends of a link must have the same."""
        text = json.dumps(
            [self.name, self.config, self.weights_sha256], sort_keys=True, allow_nan=False
        )
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def file(self, name: str) -> Path:
        """The path of a file of this folder; raises ``ModelError`` where it is missing."""
        if self.path is None:
            more = f"; {USE_TORCH}" if name in (ENCODER, ENCODER_INT8) else ""
            raise ModelError(f"codec {self.name!r} has no weights and so no {name}{more}.")
        path = self.path / name
        if not path.is_file():
            raise ModelError(f"{self.path} has no {name}; run: {how_to_make(self.path, name)}")
        return path


def how_to_make(folder: Path, name: str) -> str:
    """The command that makes a file of a codec folder."""
    export = f"diffjscc export {folder}"
    ways = {
        ENCODER: export,
        ENCODER_INT8: f"{export} --int8 --data PHOTOGRAPHS",
        ORANET: f"diffjscc train oranet --codec {folder} --data PHOTOGRAPHS --minutes 10 "
        f"--out {folder}",
    }
    return ways.get(name, "diffjscc train codec")


def resolve(name_or_path: str) -> Path:
    """The codec folder of a shipped model (``compact``), a model folder or id, or itself.

    Raises ``ModelError`` for a model folder that names a codec which does not ship.
    """
    path = find_model(name_or_path, CODEC)
    if owner := codec_owner(path):
        return resolve(owner)
    is_model = name_or_path in SHIPPED or (path / CODEC / MANIFEST).is_file()
    return path / CODEC if is_model else path


def read_codec_folder(name_or_path: str) -> CodecFolder:
    """Read ``codec.json`` of a shipped name, a folder, or a codec without weights, a plugin's
    included.

    Raises ``ModelError`` with one sentence where the folder is missing or damaged.
    """
    if name_or_path in WEIGHTLESS:
        return CodecFolder(name_or_path, {}, "", None)
    if name_or_path in OWN:  # its code is all that there is of it
        return CodecFolder(name_or_path, {}, OWN[name_or_path], None)
    path = resolve(name_or_path)
    manifest = path / MANIFEST
    if (path / INDEX).is_file():
        raise ModelError(f"model folder {path} has no {CODEC}/; name a codec with --codec.")
    if not manifest.is_file():
        raise ModelError(
            f"{name_or_path} is not a codec, nor a model with one: there is no {manifest}; give a "
            f"folder written by 'diffjscc train', or one of {', '.join(SHIPPED + WEIGHTLESS)}."
        )
    try:
        record = json.loads(read_text(manifest))
        return CodecFolder(
            str(record["name"]),
            dict(record["config"]),
            str(record["weights_sha256"]),
            path,
            dict(record.get("training", {})),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{manifest} is damaged ({error}); write the folder again.") from None
