"""Encoder runtimes: ONNX Runtime by default, the torch reference, and the null codec.

pixels -edge padding-> encoder -slice of the ratio-> pack (1) -> normalize_power (2)
"""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import numpy as np

from simulator.errors import ModelError, SettingsError, missing_package
from simulator.jscc.folder import (
    ENCODER,
    ENCODER_INT8,
    USE_TORCH,
    WEIGHTLESS,
    CodecFolder,
    how_to_make,
)
from simulator.jscc.oranet import load_oranet
from simulator.jscc.rates import BANDWIDTH_RATIOS, layout_of, null_symbols, pack
from simulator.jscc.signal import Signal, ToEncode
from simulator.phy.power import normalize_power
from simulator.phy.state import ChannelState
from simulator.settings import TxSettings
from tx.interface import Encoder, FolderEncoder
from tx.rate import RateEncoder
from tx.wrapped import next_round, wrapped

ONNX = {"onnx": ENCODER, "onnx-int8": ENCODER_INT8}  # file of a codec folder, by ``tx.runtime``


class NullEncoder:
    """Symbols without information. With several rounds, each sends the error of those before."""

    ratios = BANDWIDTH_RATIOS  # of those that a codec has; it takes any other, too

    def __init__(self, rounds: int = 1) -> None:
        self.rounds = rounds

    def k(self, size: tuple[int, int], ratio: Fraction) -> int:
        return self.rounds * (layout_of(ratio, size).k // self.rounds)

    def encode(self, given: ToEncode) -> Signal[np.ndarray]:
        if given.heard:
            return Signal(next_round(given.heard, given.state))
        return Signal(null_symbols(self.k(given.size, given.ratio) // self.rounds))


class OnnxEncoder:
    """``encoder.onnx`` of a codec folder, or its other ``name``. Raises ``ModelError`` where it
    does not fit. ``ratios``: those that it has."""

    rounds = 1

    def __init__(self, folder: CodecFolder, threads: int = 0, name: str = ENCODER) -> None:
        try:
            import onnxruntime as ort
        except ImportError:
            raise missing_package("the ONNX encoder", "onnxruntime", "tx", USE_TORCH) from None
        path = folder.file(name)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # Worker threads that spin while they wait would take a small board's cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            # Its second try with the same provider would print a banner of its own.
            self._session = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
            meta = json.loads(self._session.get_modelmeta().custom_metadata_map["diffjscc"])
        except Exception as error:  # onnxruntime has no common base of its own
            reason = str(error).splitlines()[0]
            raise ModelError(f"{path} is not an encoder of this project: {reason}") from None
        if meta["weights_sha256"] != folder.weights_sha256:
            raise ModelError(
                f"{path} was exported from other weights than {folder.path} holds; "
                f"run: {how_to_make(path.parent, name)}"
            )
        self._inputs = {i.name for i in self._session.get_inputs()}
        self._slices: dict[str, list[int]] = meta["slices"]
        self.ratios = tuple(map(Fraction, self._slices))
        self._n_downsample, self._min_cells = int(meta["n_downsample"]), int(meta["min_cells"])
        self._name = folder.name

    def _slice(self, ratio: Fraction) -> slice:
        if str(ratio) not in self._slices:
            raise SettingsError(
                f"codec {self._name!r} has no bandwidth ratio {ratio}; it has "
                f"{', '.join(self._slices)}."
            )
        return slice(*self._slices[str(ratio)])

    def k(self, size: tuple[int, int], ratio: Fraction) -> int:
        self._slice(ratio)
        return layout_of(ratio, size, self._n_downsample, self._min_cells).k

    def encode(self, given: ToEncode) -> Signal[np.ndarray]:
        return Signal(self.modulated(self.maps(given.pixels, given.state, given.ratio)))

    def modulated(self, maps: np.ndarray) -> np.ndarray:
        """(C, h, w) -> (K,) complex64 of mean power 1."""
        symbols: np.ndarray = normalize_power(pack(maps[None]))[0]
        return symbols

    def maps(self, pixels: np.ndarray, state: ChannelState, ratio: Fraction) -> np.ndarray:
        """(C, h, w) float32 of a ratio, before power normalisation."""
        kept = self._slice(ratio)  # first: it says which ratios there are
        (maps,) = self._session.run(None, self.feed(pixels, state, ratio))
        own: np.ndarray = maps[0, kept]
        return own

    def feed(self, pixels: np.ndarray, state: ChannelState, ratio: Fraction) -> dict[str, Any]:
        """The inputs of the graph for (H, W, 3) uint8."""
        height, width = pixels.shape[:2]
        layout = layout_of(ratio, (height, width), self._n_downsample, self._min_cells)
        cell = 2**self._n_downsample
        pad = ((0, layout.height * cell - height), (0, layout.width * cell - width), (0, 0))
        padded = np.pad(pixels, pad, mode="edge").transpose(2, 0, 1)[None]
        one_hot = [[float(name == str(ratio)) for name in self._slices]]
        feed: dict[str, Any] = {
            "image": np.ascontiguousarray(padded, dtype=np.float32) / np.float32(255),
            "snr_db": np.array([state.snr_db], dtype=np.float32),
            "h": np.array([[state.gain.real, state.gain.imag]], dtype=np.float32),
            "ratio": np.array(one_hot, dtype=np.float32),
        }
        return {name: value for name, value in feed.items() if name in self._inputs}


def torch_encoder(folder: CodecFolder, threads: int = 0) -> FolderEncoder:
    """The reference encoder; needs the ``rx`` extra."""
    try:
        import torch
    except ImportError:
        raise missing_package(
            'tx.runtime = "torch"', "torch", "rx", "use the default, --set tx.runtime=onnx"
        ) from None
    from simulator.jscc.checkpoint import load_codec
    from simulator.jscc.ends import CodecEnds

    if threads:
        torch.set_num_threads(threads)
    return CodecEnds(load_codec(str(folder.path or folder.name)))


def make_encoder(settings: TxSettings, folder: CodecFolder) -> Encoder:
    """The encoder of a codec folder under ``tx.runtime`` and ``tx.target_psnr_db``."""
    target = settings.target_psnr_db
    oranet = None if target is None else load_oranet(folder)
    if folder.name in WEIGHTLESS:
        return NullEncoder(2 if folder.name == "null-feedback" else 1)
    encoder: FolderEncoder
    if settings.runtime == "torch":
        encoder = torch_encoder(folder, settings.threads)
    else:
        encoder = OnnxEncoder(folder, settings.threads, ONNX[settings.runtime])
    if target is not None and oranet is not None:
        return RateEncoder(encoder, oranet, target)
    return encoder if settings.runtime == "torch" else wrapped(encoder, folder.name, folder.config)
