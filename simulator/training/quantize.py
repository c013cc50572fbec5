"""The encoder in 8-bit integers, for small boards: ``diffjscc export FOLDER --int8 --data PHOTOS``.

    encoder.onnx, fp32 -> ranges of the activations over crops at every ratio -> encoder-int8.onnx
                                                    images not used for that -> what it costs

Convolutions alone are quantised: weights by channel, with one bit to spare, because processors
without VNNI add two products in 16 bits. The state's layers stay in floating point.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from simulator.errors import ImageError, missing_package
from simulator.images import Pixels, find_images, load_image
from simulator.jscc.checkpoint import load_codec
from simulator.jscc.ends import CodecEnds
from simulator.jscc.export import export_encoder, graph_of, halve_weights
from simulator.jscc.folder import ENCODER, ENCODER_INT8, CodecFolder, read_codec_folder
from simulator.jscc.signal import ToDecode, ToEncode
from simulator.link.clock import monotonic
from simulator.metrics.fidelity import psnr
from simulator.metrics.limits import capped
from simulator.phy.state import ChannelState
from simulator.tensors import as_tensor
from simulator.wholefile import whole, write_whole
from tx.encoder import OnnxEncoder

CALIBRATED = 24  # photographs
MEASURED = 8  # others, for the cost
CROP = 256
SNR_DB = (-5.0, 20.0)
CHECKED = ChannelState(10.0)
HEADING = "## encoder-int8.onnx"


@dataclass(frozen=True)
class Cost:
    """``psnr_db``: by ratio, of both encoders, at 10 dB. ``milliseconds``: per image, of both, one
    thread."""

    psnr_db: dict[str, tuple[float, float]]
    milliseconds: tuple[float, float]
    calibrated: int
    measured: int

    def sentence(self) -> str:
        gains = ", ".join(f"{b - a:+.2f} dB at {name}" for name, (a, b) in self.psnr_db.items())
        before, after = self.milliseconds
        return (
            f"PSNR against the encoder in floating point, at {CHECKED.snr_db:g} dB, mean over "
            f"{self.measured} images: {gains}. {after:.0f} instead of {before:.0f} ms per image, "
            "on one thread of the machine that it was made on."
        )


def export_int8(folder: str, data: Sequence[str], seed: int = 0) -> tuple[Path, Cost]:
    """Write ``encoder-int8.onnx`` into a codec folder, and its cost into the folder's card; where
    there is no ``encoder.onnx`` of these weights, that, too.

    Raises ``MissingPackageError``, ``ModelError``, and ``ImageError`` for fewer than two images.
    """
    try:
        import onnx
        from onnxruntime import quantization
    except ImportError:
        raise missing_package("export --int8", "onnx and onnxruntime", "train,tx") from None
    paths = find_images([Path(each) for each in data])
    if len(paths) < 2:
        raise ImageError("export --int8 needs two photographs or more; name folders by --data.")
    rng = np.random.default_rng(seed)
    chosen = [paths[i] for i in rng.permutation(len(paths))[: CALIBRATED + MEASURED]]
    count = max(1, len(chosen) * CALIBRATED // (CALIBRATED + MEASURED))
    record = read_codec_folder(folder)
    if graph_of(record) is None:
        export_encoder(folder)
    plain_encoder = OnnxEncoder(record, threads=1)
    path = record.file(ENCODER).with_name(ENCODER_INT8)
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain, made = Path(scratch) / "plain.onnx", Path(scratch) / "int8.onnx"
        model = onnx.load(record.file(ENCODER))
        widen_weights(model)
        onnx.save(model, plain)
        level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)  # it advises by warnings of the root's
        try:
            quantization.quantize_static(
                plain,
                made,
                reader(feeds(plain_encoder, chosen[:count], rng)),
                quant_format=quantization.QuantFormat.QDQ,
                # The runtime joins convolutions and their scales on x86 for these types alone.
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
                op_types_to_quantize=["Conv"],
            )
        finally:
            logging.getLogger().setLevel(level)
        small = onnx.load(made)
    halve_weights(small)  # of the state's layers
    meta = {each.key: each.value for each in model.metadata_props}
    onnx.helper.set_model_props(small, {"diffjscc": meta["diffjscc"]})
    with whole(path) as temporary:
        onnx.save(small, temporary)
    encoders = (plain_encoder, OnnxEncoder(record, threads=1, name=ENCODER_INT8))
    cost = cost_of(record, encoders, chosen[count:], count, seed)
    write_section(path.with_name("README.md"), cost)
    return path, cost


def feeds(
    encoder: OnnxEncoder, paths: Sequence[Path], rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """A crop of each photograph at each ratio and some SNR."""
    for path in paths:
        pixels = load_image(path).pixels
        top, left = (int(rng.integers(max(1, side - CROP + 1))) for side in pixels.shape[:2])
        crop = pixels[top : top + CROP, left : left + CROP]
        for ratio in encoder.ratios:
            yield encoder.feed(crop, ChannelState(float(rng.uniform(*SNR_DB))), ratio)


def reader(items: Iterator[dict[str, Any]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Any] | None:
            return next(items, None)

    return Reader()


def widen_weights(model: Any) -> None:
    """Undo ``halve_weights``: what is quantised must be an initializer in fp32."""
    from onnx import numpy_helper

    graph = model.graph
    halves = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type == "Cast" and node.input[0] in halves:
            half = halves[node.input[0]]
            values = numpy_helper.to_array(half).astype(np.float32)
            graph.node.remove(node)
            graph.initializer.remove(half)
            graph.initializer.append(numpy_helper.from_array(values, node.output[0]))


def cost_of(
    record: CodecFolder,
    encoders: tuple[OnnxEncoder, OnnxEncoder],
    paths: Sequence[Path],
    calibrated: int,
    seed: int,
) -> Cost:
    """Both encoders on the same images and noise, AWGN."""
    decoder = CodecEnds(load_codec(str(record.path)))
    images = [load_image(path).pixels for path in paths]
    psnrs: dict[str, tuple[float, float]] = {}
    seconds: tuple[list[float], list[float]] = ([], [])
    for ratio in encoders[0].ratios:
        found: tuple[list[float], list[float]] = ([], [])
        for number, pixels in enumerate(images):
            for encoder, values, times in zip(encoders, found, seconds, strict=True):
                began = monotonic()
                symbols = encoder.encode(ToEncode(pixels, CHECKED, ratio)).symbols
                times.append(monotonic() - began)
                values.append(psnr_of(decoder, symbols, pixels, (seed, number)))
        psnrs[str(ratio)] = mean(found[0]), mean(found[1])
    before, after = (1e3 * min(times) for times in seconds)
    return Cost(psnrs, (before, after), calibrated, len(images))


def psnr_of(
    decoder: CodecEnds, symbols: np.ndarray, pixels: Pixels, seed: tuple[int, int]
) -> float:
    """In dB, ``capped``, of an image that is sent at 10 dB."""
    parts = np.random.default_rng(seed).standard_normal((2, len(symbols))) / 2**0.5
    noise = (parts[0] + 1j * parts[1]) * CHECKED.noise_variance**0.5
    size = (pixels.shape[0], pixels.shape[1])
    received = (symbols + noise).astype(np.complex64)
    got = decoder.decode(ToDecode(received, CHECKED, size))
    return capped(psnr(as_tensor(got), as_tensor(pixels)))


def write_section(card: Path, cost: Cost) -> None:
    """Say in the codec's card what the 8-bit encoder costs; an older section is replaced."""
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    before = text.split(f"{HEADING}\n")[0].rstrip()
    section = f"{HEADING}\n\nCalibrated on {cost.calibrated} photographs. {cost.sentence()}\n"
    write_whole(card, f"{before}\n\n{section}".lstrip())
