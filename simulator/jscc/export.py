"""The encoder of a codec folder as ONNX, for tx without torch.

The graph is the codec's own (``JsccCodec.onnx_graph``); the metadata says which slice of its
maps belongs to which ratio. Weights are kept in fp16, as in the safetensors, and widened when the
session starts.
"""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

from simulator.errors import missing_package
from simulator.jscc.checkpoint import load_codec
from simulator.jscc.codec import JsccCodec
from simulator.jscc.folder import ENCODER, CodecFolder, read_codec_folder
from simulator.wholefile import whole

KEEP_FP32_BELOW = 1024  # elements: biases and small tensors stay as they are


def export_encoder(folder: str) -> Path:
    """Write ``encoder.onnx`` into a codec folder.

    Raises ``MissingPackageError``, ``ModelError`` and ``StorageError``.
    """
    onnx = import_onnx()
    record = read_codec_folder(folder)
    codec = load_codec(folder)
    module, slices = codec.onnx_graph()
    size = (4 * 2**codec.n_downsample, 6 * 2**codec.n_downsample)
    example = (
        torch.rand(1, 3, *size),
        torch.zeros(1),
        torch.tensor([[1.0, 0.0]]),
        torch.zeros(1, len(slices)),
    )
    height = (
        torch.export.Dim("latent_height", min=codec.min_cells, max=4096) * 2**codec.n_downsample
    )
    width = torch.export.Dim("latent_width", min=codec.min_cells, max=4096) * 2**codec.n_downsample
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        raw = Path(scratch) / "encoder.onnx"
        torch.onnx.export(
            module.eval(),
            example,
            raw,
            input_names=["image", "snr_db", "h", "ratio"],
            output_names=["maps"],
            dynamic_shapes=({2: height, 3: width}, None, None, None),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        model = onnx.load(raw)
    halve_weights(model)
    return write(model, codec, record, slices)


def hand_on_encoder(inner: CodecFolder, folder: str) -> Path:
    """Write ``encoder.onnx`` into the folder of a codec around that of ``inner``: its graph is the
    one that is there already, and only its label is new. Raises what ``export_encoder`` does."""
    model = graph_of(inner)
    if model is None:
        return export_encoder(folder)
    codec = load_codec(folder)
    return write(model, codec, read_codec_folder(folder), codec.onnx_graph()[1])


def graph_of(folder: CodecFolder) -> Any:
    """The encoder of a codec folder; None for one that is not there, is damaged, or is of other
    weights, as after a training."""
    onnx = import_onnx()
    try:
        model = onnx.load(folder.file(ENCODER))
        labels = {each.key: each.value for each in model.metadata_props}
        of = json.loads(labels["diffjscc"])["weights_sha256"]
    except Exception:  # onnx gives the errors of its reader no base of its own
        return None
    return model if of == folder.weights_sha256 else None


def import_onnx() -> Any:
    try:
        import onnx
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        packages = "onnx, onnxscript and onnxruntime"
        raise missing_package("export", packages, "train,tx") from None
    return onnx


def write(model: Any, codec: JsccCodec, record: CodecFolder, slices: dict[str, list[int]]) -> Path:
    """Label the graph with what it is of, and put it into its folder."""
    from onnx import helper, save

    meta = {
        "weights_sha256": record.weights_sha256,
        "slices": slices,
        "n_downsample": codec.n_downsample,
        "min_cells": codec.min_cells,
    }
    helper.set_model_props(model, {"diffjscc": json.dumps(meta, allow_nan=False)})
    assert record.path is not None
    path = record.path / ENCODER
    with whole(path) as temporary:
        save(model, temporary)
    return path


def halve_weights(model: Any) -> None:
    """Store large fp32 initializers as fp16 behind a Cast, which the runtime folds away."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    casts = []
    for tensor in list(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < KEEP_FP32_BELOW:
            continue
        name = tensor.name
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [f"{name}.fp16"], [name], to=TensorProto.FLOAT))
    for node in reversed(casts):
        graph.node.insert(0, node)
