"""Checkpoints of WITT and SwinJSCC: a state dict alone, of encoder and decoder.

Their code makes ModNets also for models that never use them, and whether it makes a linear layer
to C maps changed between its versions. Which ModNets were trained says which variant it is:

    encoder's first  decoder's  encoder's second
    no               no         no                w/o SA&RA
    yes              yes        no                w/ SA, and WITT
    yes              no         no                w/ RA: the encoder's is that of the rate
    yes              yes        yes               w/ SA&RA: the second is that of the SNR

One was not trained if all its values are within the bounds that torch draws the first ones from,
or if all its biases are 0, where the authors' own start put them.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from simulator.errors import ModelError
from simulator.importer.shapes import shape, swin_sizes
from simulator.importer.source import Tensors
from simulator.importer.swin import modnet_table, swin_table, swin_tensors

CODEC = "swinjscc-official"
TOLD = ("encoder.patch_embed.proj.weight", "decoder.layers.0.upsample.increment.weight")
# The first ModNet of each half, and the encoder's second, as (linear layers, factors).
ENCODER = ("encoder.sm_list.", "encoder.bm_list.")
DECODER = ("decoder.sm_list.", "decoder.bm_list.")
SECOND = ("encoder.sm_list1.", "encoder.bm_list1.")
HEADS = ("encoder.head_list.", "decoder.head_list.")
ROUNDING = 1e-3  # relative; a step of their training is more
VARIANTS = {
    (False, False, False): ("SwinJSCC or WITT without a ModNet", False, False),
    (True, True, False): ("WITT, or SwinJSCC with SA", True, False),
    (True, False, False): ("SwinJSCC with RA", False, True),
    (True, True, True): ("SwinJSCC with SA and RA", True, True),
}


def recognised(state: Tensors) -> bool:
    return all(name in state for name in TOLD)


def codec_of(state: Tensors) -> tuple[str, dict[str, Any], Tensors, dict[str, str]]:
    """What it is, the arguments of ``OfficialSwinJsccCodec``, its tensors and their names, ours ->
    theirs. Raises ``ModelError`` for a network that this codec is not."""
    trained = tuple(was_trained(state, net) for net in (ENCODER, DECODER, SECOND))
    if trained not in VARIANTS:
        said = ", ".join(
            net[0].rstrip(".")
            for net, was in zip((ENCODER, DECODER, SECOND), trained, strict=True)
            if was
        )
        raise ModelError(
            f"of its ModNets {said} was trained and the others were not; no variant of SwinJSCC "
            f"has that."
        )
    what, snr, rate = VARIANTS[trained]
    encoder, decoder = (swin_sizes(state, f"{half}.layers.") for half in ("encoder", "decoder"))
    if encoder["window"] != decoder["window"]:
        raise ModelError("encoder and decoder have other windows; no model of theirs has that.")
    halves = {f"{key}_d": value for key, value in decoder.items() if key != "window"}
    config: dict[str, Any] = {"snr": snr, "rate": rate, **encoder, **halves}
    if not rate:
        config["channels"] = [shape(state, f"{HEADS[0]}weight", 2)[0]]
    else:
        config["channels"] = rates(encoder["widths"][-1], len(encoder["widths"]))
    unused = (
        *(ENCODER if not (snr or rate) else ()),
        *(DECODER if not snr else ()),
        *(SECOND if not (snr and rate) else ()),
        *(HEADS if rate else ()),
    )
    tensors = {
        name: tensor for name, tensor in swin_tensors(state).items() if not name.startswith(unused)
    }
    return what, config, tensors, table_of(config)


def rates(width: int, stages: int) -> list[int]:
    """The published numbers of maps that a network of ``width`` maps has, and else its largest; a
    checkpoint does not say which it was trained for."""
    from simulator.jscc.rates import channels_of
    from simulator.jscc.swinjscc_official import CHANNELS

    most = min(width, channels_of(Fraction(1), stages))
    return [c for c in CHANNELS if c <= most] or [most - most % 2]


def table_of(config: dict[str, Any]) -> dict[str, str]:
    """ours -> theirs."""
    table = swin_table(config)
    if not config["rate"]:
        return table
    encoder = {name: other for name, other in table.items() if not name.startswith("encoder.snr.")}
    for ours, number in (("rate", ""), ("snr", "1")):
        encoder |= modnet_table(f"encoder.{ours}", "encoder", number)
    return encoder


def was_trained(state: Tensors, net: tuple[str, str]) -> bool:
    """Whether a ModNet is there and no longer as it was drawn."""
    weights = {
        name: tensor.float()
        for name, tensor in state.items()
        if name.startswith(net) and tensor.numel() and tensor.is_floating_point()
    }
    biases = [tensor for name, tensor in weights.items() if name.endswith(".bias")]
    if not biases or not any(bool(bias.any()) for bias in biases):
        return False
    return any(
        bool((tensor.abs().max() * inputs(state, name) ** 0.5) > 1 + ROUNDING)
        for name, tensor in weights.items()
    )


def inputs(state: Tensors, name: str) -> int:
    """Of the linear layer that a weight or bias is of."""
    weight = f"{name.rpartition('.')[0]}.weight"
    return shape(state, weight, 2)[1]
