"""Checkpoints of NTSCC: a state dict alone, whose receiver does without z."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from simulator.errors import ModelError
from simulator.importer.shapes import shape, swin_sizes
from simulator.importer.source import Tensors
from simulator.importer.swin import LEFT_OUT, blocks_table

CODEC = "ntscc-official"
TOLD = ("ga.patch_embed.proj.weight", "fe.rate_token", "fd.rate_token")
RATES = "fe.rate_choice_tensor"
QUANTILES = "entropy_bottleneck.quantiles"
MEDIANS = "entropy_bottleneck.medians"  # the middle ones of them
REFINEMENT = "hyprior_refinement."
NETWORKS = ("ga.", "gs.", "ha.", "hs.", "fe.", "fd.")
# Made anew for each size of image, or said elsewhere.
UNUSED = (*LEFT_OUT, "mask", "rate_choice_tensor")
MOST_WINDOW = 16  # cells of y in a row, in their training; a larger window was never shifted


def recognised(state: Tensors) -> bool:
    return all(name in state for name in TOLD)


def codec_of(state: Tensors) -> tuple[str, dict[str, Any], Tensors, dict[str, str]]:
    """What it is, the arguments of ``OfficialNtsccCodec``, its tensors and their names, ours ->
    theirs. Raises ``ModelError`` for a network that this codec is not."""
    if any(name.startswith(REFINEMENT) for name in state):
        raise ModelError(
            "its receiver uses z, which is sent beside the symbols; only NTSCC without z can be "
            "imported."
        )
    analysis, synthesis, sent, heard = (
        swin_sizes(state, f"{part}.layers.") for part in ("ga", "gs", "fe", "fd")
    )
    window, window_jscc = analysis.pop("window"), sent.pop("window")
    if (synthesis.pop("window"), heard.pop("window")) != (window, window_jscc):
        raise ModelError("transmitter and receiver have other windows; no NTSCC has that.")
    if window >= MOST_WINDOW:
        raise ModelError(f"its transforms have windows of {window}; they are below {MOST_WINDOW}.")
    for part, sizes in (("fe", sent), ("fd", heard)):
        if len(set(sizes.pop("widths"))) > 1:
            raise ModelError(f"the stages of {part} differ in width; no NTSCC has that.")
    config: dict[str, Any] = {
        "rates": rates_of(state),
        **analysis,
        **{f"{key}_d": value for key, value in synthesis.items()},
        "window": window,
        **{f"{key}_fe": value for key, value in sent.items()},
        **{f"{key}_fd": value for key, value in heard.items()},
        "window_jscc": window_jscc,
        "hyper": shape(state, "ha.0.weight", 4)[0],
        "rising": [shape(state, f"hs.{n}.weight", 4)[1] for n in (0, 2)],
    }
    tensors = {
        name: tensor
        for name, tensor in state.items()
        if name.startswith(NETWORKS) and name.rpartition(".")[2] not in UNUSED
    }
    tensors[MEDIANS] = medians_of(state)
    return "NTSCC without z, eta 0.2", config, tensors, table_of(config)


def rates_of(state: Tensors) -> list[int]:
    """Values of a cell at each rate."""
    shape(state, RATES, 1)
    return [int(rate) for rate in state[RATES].tolist()]


def medians_of(state: Tensors) -> Tensor:
    """(hyper, 1, 1): where z is rounded to."""
    maps, _, quantiles = shape(state, QUANTILES, 3)
    if quantiles != 3:
        raise ModelError(f"{QUANTILES} has {quantiles} quantiles, not three.")
    return state[QUANTILES][:, :1, 1].reshape(maps, 1, 1)


def table_of(config: dict[str, Any]) -> dict[str, str]:
    """ours -> theirs."""
    table = {
        "encoder.analysis.patches": "ga.patch_embed.proj",
        "encoder.analysis.first": "ga.patch_embed.norm",
        "encoder.analysis.norm": "ga.norm",
        "encoder.prior.down": "ha",
        "encoder.prior.up": "hs",
        "encoder.prior.medians": MEDIANS,
        "encoder.jscc.refine.0": "fe.refine.fc1",
        "encoder.jscc.refine.2": "fe.refine.fc2",
        "encoder.jscc.token": "fe.rate_token",
        "encoder.jscc.norm": "fe.norm",
        "encoder.jscc.weight": "fe.rate_adaption.weight",
        "encoder.jscc.bias": "fe.rate_adaption.bias",
        "decoder.jscc.weight": "fd.rate_adaption.weight",
        "decoder.jscc.bias": "fd.rate_adaption.bias",
        "decoder.jscc.token": "fd.rate_token",
        "decoder.synthesis.out": "gs.outconv",
    }
    parts: tuple[tuple[str, str, str, dict[str, str]], ...] = (
        ("encoder.analysis", "ga", "depths", {"merge": "downsample"}),
        ("decoder.synthesis", "gs", "depths_d", {"divide": "upsample"}),
        ("encoder.jscc", "fe", "depths_fe", {}),
        ("decoder.jscc", "fd", "depths_fd", {}),
    )
    for ours, theirs, depths, change in parts:
        for stage, depth in enumerate(config[depths]):
            before, after = f"{ours}.stages.{stage}", f"{theirs}.layers.{stage}"
            table |= {f"{before}.{a}": f"{after}.{b}" for a, b in change.items()}
            table |= blocks_table(before, after, depth)
    return table
