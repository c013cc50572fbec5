"""Codecs without a refiner as methods: DeepJSCC-adv and SwinJSCC.

image -codec-> preview, which is the result
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.errors import ModelError, SettingsError
from simulator.jscc.folder import read_codec_folder
from simulator.link.clock import monotonic
from simulator.methods.learned.codecs import Codecs, as_pixels, codecs_of, folders_of
from simulator.methods.method import Context, Draw, Method, Point, Sent


class CodecOnly(Method):
    """What the decoder of a codec gives."""

    def __init__(self, name: str, label: str, codecs: Codecs) -> None:
        self.name, self.label, self.codecs = name, label, codecs

    def send(self, image: NDArray[np.uint8], point: Point, draw: Draw) -> Sent:
        began = monotonic()
        arrived = self.codecs.send(image, point, draw)
        pixels = as_pixels(arrived.preview)
        return Sent(pixels, arrived.k, details={"seconds": monotonic() - began})


def make_deepjscc_adv(context: Context, codec: str = "") -> Method:
    """DeepJSCC trained with ``--adversarial``; the label says with which alpha.

    ``codec``: folders joined by ``+``, each for its bandwidth ratios; empty: the context's.
    Several alphas are several methods. Raises ``SettingsError`` where no codec is named,
    ``ModelError`` for one that was trained without an adversary or for different alphas.
    """
    named = named_codec("deepjscc-adv", context, codec)
    alphas = set()
    for folder in folders_of(named):
        options = read_codec_folder(folder).training.get("options", {})
        if not options.get("adversarial"):
            raise ModelError(
                f"{folder} was not trained with an adversary; train one with: diffjscc train codec "
                f"--adversarial ALPHA"
            )
        alphas.add(float(options["adversarial"]))
    if len(alphas) > 1:
        raise ModelError(
            f"deepjscc-adv: these codecs were trained with different alphas "
            f"({', '.join(f'{alpha:g}' for alpha in sorted(alphas))}); make each a method."
        )
    label = f"DeepJSCC-adv, alpha = {alphas.pop():g}"
    return CodecOnly("deepjscc-adv", label, codecs_of(context, named))


def make_swinjscc(context: Context, codec: str = "") -> Method:
    """SwinJSCC as trained here (see ``simulator.jscc.swin``). ``codec`` and errors as above."""
    named = named_codec("swinjscc", context, codec)
    for folder in folders_of(named):
        kind = read_codec_folder(folder).name
        if kind != "swin":
            raise ModelError(f"{folder} holds codec {kind!r}; swinjscc needs 'swin'.")
    return CodecOnly("swinjscc", "SwinJSCC", codecs_of(context, named))


def named_codec(method: str, context: Context, codec: str) -> str:
    """A model's own codec is none of these: one must be named."""
    named = codec or context.codec
    if not named:
        raise SettingsError(f"{method} needs a codec folder: {method}:codec=FOLDER.")
    return named
