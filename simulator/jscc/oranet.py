"""OraNet: the PSNR that an image will have at a bandwidth ratio and a channel state.

    maps of the ratio, pixels, state -features-> (F,) -> 48 -> 48 -> PSNR in dB

After PADC (predictive and adaptive deep coding): a small network judges the maps of a frozen
encoder, so that a transmitter knows what arrives before it sends. PADC gives it the mean and the
deviation of every map, and its ratios are prefixes of the same maps. Here each ratio has maps of
its own, and a crop shows those of one ratio alone; so their statistics are summed up over the maps.
Beside them stands the detail of the pixels at several scales, in luminance and in chrominance. From
2,700 crops, the mean absolute error on 670 others was 0.52 dB so, 0.70 dB with the statistics of
each map beside the luminance, and 1.85 dB with those alone. Statistics are logarithms, because a
PSNR is one; the fading gain is a feature, too.

numpy alone: the transmitter has no torch. The file is one of numpy's (``.npz``, never a pickle),
because safetensors would be one package more for the board that sends.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from simulator.errors import ModelError, SettingsError
from simulator.jscc.folder import ORANET, WEIGHTLESS, CodecFolder, how_to_make
from simulator.phy.state import ChannelState
from simulator.wholefile import whole

WIDTH = 48  # of both hidden layers
CLIP_DB = 30.0  # of SNR and gain: outside the codec's own span the state says no more
MIDDLE_DB, SCALE_DB = 25.0, 5.0  # the network's output is (PSNR - 25 dB) / 5 dB
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
# Sides of squares, in pixels: what is finer than each is measured.
FINE, FINE_IN_COLOUR, PATCH = (2, 4, 8, 16, 32), (4, 16), 8
FLOOR = 0.003  # before a logarithm: about one level of 255
FLOOR_OF_MAPS = 0.05
LAYERS = ("0", "1", "2")
# What reading a file that is something else may end with.
DAMAGE = (
    *(OSError, ValueError, LookupError, TypeError, EOFError, ArithmeticError, RuntimeError),
    *(SettingsError, zipfile.BadZipFile, zlib.error, struct.error),
)


@dataclass(frozen=True)
class Features:
    """What the network sees. ``ratios``: the codec's, from the smallest on."""

    ratios: tuple[Fraction, ...]

    @property
    def count(self) -> int:
        """F."""
        return 4 + len(self.ratios) + 2 + 1 + len(FINE) + 2 + 1 + len(FINE_IN_COLOUR) + 1

    def of(
        self, maps: np.ndarray, detail: np.ndarray, state: ChannelState, ratio: Fraction
    ) -> np.ndarray:
        """(F,) float32. ``maps``: (C, h, w) of ``ratio`` before power normalisation; ``detail``:
        as ``detail_of`` gives it."""
        which = [float(each == ratio) for each in self.ratios]
        gain_db = 20 * np.log10(max(abs(state.gain), 1e-6))
        levels = np.clip([state.snr_db, gain_db], -CLIP_DB, CLIP_DB) / 10
        means, deviations = maps.mean(axis=(1, 2)), maps.std(axis=(1, 2))
        found = [*summary_of(means, deviations), *which, *levels, *detail]
        return np.array(found, np.float32)


def summary_of(means: np.ndarray, deviations: np.ndarray) -> list[float]:
    """Of (C,) statistics of maps, in logarithms: the root mean square of the deviations, their
    geometric mean, the root mean square of the means, the largest deviation."""
    spread = deviations + FLOOR_OF_MAPS
    level = (np.mean(means**2) + 1e-4) ** 0.5
    logs = np.log([np.mean(spread**2) ** 0.5, level, spread.max()])
    return [float(logs[0]), float(np.log(spread).mean()), float(logs[1]), float(logs[2])]


def detail_of(pixels: np.ndarray) -> np.ndarray:
    """What (H, W, 3) uint8 has of detail, (12,) float32, in logarithms.

    Luminance: its deviation, that within squares of ``FINE`` pixels, and within squares of
    ``PATCH`` pixels the geometric and the arithmetic mean: they differ where detail is in few
    places. Chrominance: its deviation, and that within squares of ``FINE_IN_COLOUR``. Last, how far
    the mean luminance is from grey.
    """
    image = pixels.astype(np.float32) / 255
    y = image @ LUMINANCE
    colour = [(image[..., 2] - y) * np.float32(0.564), (image[..., 0] - y) * np.float32(0.713)]
    patches = variances(y, PATCH) ** 0.5
    energies = [y.var(), *(variances(y, side).mean() for side in FINE)]
    in_colour = [sum(each.var() for each in colour)]
    in_colour += [sum(variances(each, side).mean() for each in colour) for side in FINE_IN_COLOUR]
    found = [
        *np.sqrt(energies),
        np.exp(np.log(patches + FLOOR).mean()),
        patches.mean(),
        *np.sqrt(in_colour),
        abs(y.mean() - 0.5),
    ]
    detail: np.ndarray = np.log(np.array(found, np.float32) + np.float32(FLOOR))
    return detail


def variances(plane: np.ndarray, side: int) -> np.ndarray:
    """Of each square of (H, W); edges that fill no square have no part in it. Of the whole, where
    there is no square."""
    height, width = (length // side * side for length in plane.shape)
    if not height or not width:
        return np.array([plane.var()])
    squares = plane[:height, :width].reshape(height // side, side, width // side, side)
    found: np.ndarray = squares.var(axis=(1, 3))
    return found


@dataclass(frozen=True)
class OraNet:
    """The network of one codec. ``weights``: by ``0.weight`` (48, F), ``0.bias`` ... ``2.bias``.
    ``codec``: SHA-256 of the weights that it was trained for."""

    features: Features
    codec: str
    weights: Mapping[str, np.ndarray]

    def predict(self, x: np.ndarray) -> np.ndarray:
        """PSNR in dB, (...,), of features (..., F)."""
        for name in LAYERS:
            x = x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
            if name != LAYERS[-1]:
                x = np.maximum(x, 0)
        predicted: np.ndarray = MIDDLE_DB + SCALE_DB * x[..., 0]
        return predicted

    def save(self, path: Path) -> None:
        """Raises ``StorageError``."""
        record = {
            "codec": self.codec,
            "ratios": list(map(str, self.features.ratios)),
        }
        held = {name: np.asarray(value, np.float32) for name, value in self.weights.items()}
        with whole(path) as temporary, temporary.open("wb") as file:
            np.savez(file, record=np.array(json.dumps(record, allow_nan=False)), **held)  # type: ignore[arg-type]


def shapes_of(features: Features) -> dict[str, tuple[int, ...]]:
    sizes: Sequence[int] = (features.count, WIDTH, WIDTH, 1)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, inputs, outputs in zip(LAYERS, sizes[:-1], sizes[1:], strict=True):
        shapes |= {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
    return shapes


def check_predictable(folder: CodecFolder) -> None:
    """Raises ``ModelError`` for a codec that has no rate control."""
    if folder.name in WEIGHTLESS:
        raise ModelError(
            f"codec {folder.name!r} carries no image, so that its PSNR has no target; give another "
            f"codec, or no target."
        )
    if "inner" in folder.config:
        raise ModelError(
            f"codec {folder.name!r} has no rate control: PSNR is predicted for codecs that wrap no "
            f"other; give the codec inside, or no target."
        )


def load_oranet(folder: CodecFolder) -> OraNet:
    """The predictor of a codec folder. Raises ``ModelError`` where it has none that fits."""
    check_predictable(folder)
    path = folder.file(ORANET)
    try:
        with path.open("rb") as held, np.load(held, allow_pickle=False) as file:
            record = json.loads(str(file["record"]))
            features = Features(tuple(map(Fraction, record["ratios"])))
            weights = {name: file[name] for name in shapes_of(features)}
            codec = str(record["codec"])
        found = {name: value.shape for name, value in weights.items()}
        if found != shapes_of(features) or not all(np.isfinite(v).all() for v in weights.values()):
            raise ValueError("its weights have another form")
    except DAMAGE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{path} is no predictor of PSNR ({reason}); run: {how_to_train(folder)}"
        ) from None
    if codec != folder.weights_sha256:
        raise ModelError(
            f"{path} was trained for other weights than {folder.path} holds; "
            f"run: {how_to_train(folder)}"
        )
    return OraNet(features, codec, weights)


def how_to_train(folder: CodecFolder) -> str:
    assert folder.path is not None
    return how_to_make(folder.path, ORANET)


def digest_of(folder: CodecFolder) -> str:
    """Names the file: what is sent depends on it."""
    return hashlib.sha256(folder.file(ORANET).read_bytes()).hexdigest()[:12]
