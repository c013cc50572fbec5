"""Checkpoints of MambaJSCC: encoder and decoder, each a network that was saved whole, in two files.

Sizes are those of the tensors. What these do not say, the parts say of themselves: how the network
knows the SNR, and its activation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simulator.errors import ModelError
from simulator.importer.shapes import MOST_STAGES, count, shape
from simulator.importer.source import CONFIG, Tensors
from simulator.importer.swin import modnet_table
from simulator.importer.whole import Whole, read_whole

CODEC = "mambajscc-official"
TOLD = {
    "encoder": "encoder.patch_embed.0.weight",
    "decoder": "decoder.layers.0.upsample.increment.weight",
}
ADAPTATIONS = {
    "ssm": "MambaJSCC with CSI-ReST",
    "attn": "MambaJSCC with Channel ModNets",
    "no": "MambaJSCC without the SNR",
}
SUFFIXES = (".pt", ".pth")
SCAN = {
    "inputs": "in_proj",
    "local": "conv2d",
    "project": "x_proj_weight",
    "step": "dt_projs_weight",
    "step_bias": "dt_projs_bias",
    "log_rates": "A_logs",
    "through": "Ds",
    "norm": "out_norm",
    "outputs": "out_proj",
}
BLOCK = {"norm1": "norm", "norm2": "norm_extent", "mlp.0": "extent.fc1", "mlp.2": "extent.fc2"}


def files_of(folder: Path) -> list[Path]:
    """The networks in a folder that is no checkpoint with a configuration; none in another one."""
    if not folder.is_dir() or (folder / CONFIG).exists():
        return []
    return sorted(each for each in folder.iterdir() if each.suffix in SUFFIXES)


def codec_of(folder: Path) -> tuple[str, dict[str, Any], Tensors, dict[str, str]]:
    """What it is, the arguments of ``OfficialMambaCodec``, its tensors and their names, ours ->
    theirs. Raises ``ModelError`` for a network that this codec is not."""
    halves = halves_of(folder)
    adaptations = {adaptation_of(half, name) for name, half in halves.items()}
    if len(adaptations) > 1:
        raise ModelError(f"{folder}: encoder and decoder do not know the SNR in the same way.")
    adaptation = adaptations.pop()
    tensors = {name: t for half in halves.values() for name, t in ours(half.tensors).items()}
    sizes = {name: sizes_of(tensors, name) for name in TOLD}
    if sizes["decoder"] != {name: value[::-1] for name, value in sizes["encoder"].items()}:
        raise ModelError(f"{folder}: the stages of the decoder are not those of the encoder.")
    directions, _, states = shape(tensors, "encoder.layers.0.blocks.0.op.A_logs", 3)
    config = {
        "c_channel": shape(tensors, "encoder.head.weight", 4)[0],
        **sizes["encoder"],
        "states": states,
        "directions": directions,
        "adaptation": adaptation,
    }
    return ADAPTATIONS[adaptation], config, tensors, table_of(config)


def halves_of(folder: Path) -> dict[str, Whole]:
    """Both halves by their names. Raises ``ModelError`` where they are not what it holds."""
    found: dict[str, Whole] = {}
    for path in files_of(folder):
        whole = read_whole(path)
        half = next((name for name, told in TOLD.items() if told in whole.tensors), None)
        if half is None or half in found:
            what = f"another {half}" if half else "neither encoder nor decoder"
            raise ModelError(f"{path} is {what} of MambaJSCC; give a folder with one file of each.")
        found[half] = whole
    if len(found) < len(TOLD):
        missing = next(name for name in TOLD if name not in found)
        raise ModelError(
            f"{folder} lacks the {missing} of MambaJSCC; give a folder with one file of each half."
        )
    return {name: found[name] for name in TOLD}


def adaptation_of(half: Whole, name: str) -> str:
    """What the network says of itself. Raises ``ModelError`` for one that no import is for."""
    part = half.parts.get(name)
    said = part.state.get("channel_adaptive") if part else None
    if not isinstance(said, str) or said not in ADAPTATIONS:
        raise ModelError(
            f"the {name} knows the SNR by {said!r}; only {', '.join(ADAPTATIONS)} can be imported."
        )
    for place, each in half.parts.items():
        if place.endswith(".op.act") and not each.name.endswith(".GELU"):
            raise ModelError(f"{place} is {each.name}; their configurations have GELU there.")
    return said


def ours(tensors: Tensors) -> Tensors:
    """Of a half: weights of a scan with their directions in front, and inputs before outputs."""
    found = dict(tensors)
    for name, tensor in tensors.items():
        scan, dot, last = name.rpartition(".op.")
        if not dot:
            continue
        if last in ("x_proj_weight", "dt_projs_weight"):
            shape(tensors, name, 3)
            found[name] = tensor.transpose(1, 2)
        elif last in ("A_logs", "Ds"):
            directions, inner = shape(tensors, f"{scan}.op.dt_projs_bias", 2)
            rows = shape(tensors, name, 2 if last == "A_logs" else 1)[0]
            if rows != directions * inner:
                raise ModelError(f"{name} has {rows} rows, not {directions} times {inner}.")
            found[name] = tensor.view(directions, inner, *tensor.shape[1:])
    return found


def sizes_of(tensors: Tensors, half: str) -> dict[str, list[int]]:
    """Width and number of blocks of each stage. Raises ``ModelError``."""
    layers = f"{half}.layers."
    stages = count(tensors, layers)
    if not 0 < stages <= MOST_STAGES:
        raise ModelError(f"{layers[:-1]} has {stages} stages; give one of 1 to {MOST_STAGES}.")
    blocks = [f"{layers}{stage}.blocks." for stage in range(stages)]
    return {
        "widths": [shape(tensors, f"{each}0.norm.weight", 1)[0] for each in blocks],
        "depths": [count(tensors, each) for each in blocks],
    }


def table_of(config: dict[str, Any]) -> dict[str, str]:
    """ours -> theirs."""
    table = {
        "encoder.patches": "encoder.patch_embed.0",
        "encoder.norm": "encoder.patch_embed.2",
    }
    for half in TOLD:
        table |= modnet_table(f"{half}.modnet", half)
        number = 0  # ours are in a row, whatever they are
        depths = config["depths"] if half == "encoder" else config["depths"][::-1]
        for stage, depth in enumerate(depths):
            layer = f"{half}.layers.{stage}"
            for block in range(depth):
                before, after = f"{half}.pyramid.stages.{number}", f"{layer}.blocks.{block}"
                table |= {f"{before}.{a}": f"{after}.{b}" for a, b in BLOCK.items()}
                table |= {f"{before}.scan.{a}": f"{after}.op.{b}" for a, b in SCAN.items()}
                number += 1
            if half == "decoder" or stage < len(depths) - 1:
                change = "downsample" if half == "encoder" else "upsample"
                table[f"{half}.pyramid.stages.{number}"] = f"{layer}.{change}"
                number += 1
    return table
