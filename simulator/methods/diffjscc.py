"""DeepJSCC and DiffJSCC as methods, through the functions of the three processes.

    image -tx encoder-> symbols -h y + n (3)-> -equalise (4)-> -rx decoder-> preview (jscc)
                                                                   |
                                                    Refiner -> refined (diffjscc), and both

Not a copy of the chain but its own parts (``tx.encoder``, ``simulator.phy``, ``rx.chain``,
``rx.refiner``) without sockets: a row here equals a row of ``diffjscc simulate``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from rx.chain import Decoder, NullDecoder, TorchDecoder
from rx.refiner import Job, Refined, Refiner, load_refiner
from simulator.errors import SettingsError
from simulator.images import Pixels, Size
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.folder import WEIGHTLESS, read_codec_folder
from simulator.link.clock import monotonic
from simulator.methods.method import Context, Draw, Method, Point, Sent
from simulator.phy.equalize import equalize, equalize_mmse
from simulator.phy.propagation import apply_channel, noise_variance
from simulator.settings import CONDITIONS, RxSettings, TxSettings
from tx.encoder import Encoder, make_encoder


class CodecEnds:
    """Encoder and decoder of a codec object in memory, as ``tx`` and ``rx`` have them."""

    def __init__(self, codec: JsccCodec, device: str = "cpu") -> None:
        self._codec, self._device = codec.to(device).eval(), device

    def k(self, size: Size, ratio: Fraction) -> int:
        self._codec.check_ratio(ratio)
        return self._codec.layout(ratio, size).k

    def encode(self, pixels: np.ndarray, snr_db: float, h: complex, ratio: Fraction) -> np.ndarray:
        import torch

        with torch.inference_mode():
            image = torch.tensor(pixels, device=self._device).permute(2, 0, 1)[None].float() / 255
            csi = Csi.of(snr_db, h, device=self._device)
            symbols: np.ndarray = self._codec.encode(image, csi, ratio)[0].cpu().numpy()
        return symbols

    def decode(self, symbols: np.ndarray, snr_db: float, h: complex, size: Size) -> np.ndarray:
        import torch

        with torch.inference_mode():
            batch = torch.tensor(symbols, device=self._device)[None]
            image = self._codec.decode(batch, Csi.of(snr_db, h, device=self._device), size)
            pixels: np.ndarray = (image[0] * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        return np.ascontiguousarray(pixels)


@dataclass(frozen=True)
class Received:
    """(H, W, 3) uint8; ``seconds`` from encoding to preview, the channel's work included."""

    pixels: Pixels
    k: int
    received_snr_db: float
    seconds: float

    def sent(self) -> Sent:
        details = {"received_snr_db": self.received_snr_db, "seconds": self.seconds}
        return Sent(self.pixels, self.k, details=details)


@dataclass(frozen=True)
class Link:
    """Both ends of one codec, with perfect CSI at both."""

    encoder: Encoder
    decoder: Decoder
    equalizer: str = "zero-forcing"

    def send(self, image: Pixels, point: Point, draw: Draw) -> Received:
        """The preview of one image. Raises ``SettingsError`` at a ratio the codec has not."""
        began = monotonic()
        size = (image.shape[0], image.shape[1])
        symbols = self.encoder.encode(image, point.snr_db, draw.h, point.cbr)
        k = len(symbols)
        if len(draw.noise) < k:
            raise SettingsError(f"this codec sends {k} symbols where {point.cbr} has fewer.")
        h = np.array([draw.h], np.complex64)
        sigma = np.float32(noise_variance(point.snr_db) ** 0.5)
        noise = draw.noise[:k] * sigma
        received = apply_channel(symbols, h[0], noise)
        if self.equalizer == "mmse":
            n0 = np.float32(10 ** (-point.snr_db / 10))
            equalized = equalize_mmse(received, h, n0)
        else:
            equalized = equalize(received, h)
        pixels = self.decoder.decode(equalized, point.snr_db, complex(h[0]), size)
        ratio = energy(received - noise) / max(energy(noise), 1e-30)
        snr_db = float(10 * np.log10(max(ratio, 1e-30)))
        return Received(pixels, k, snr_db, monotonic() - began)


def energy(values: np.ndarray) -> float:
    return float(np.sum(values.real**2 + values.imag**2))


@lru_cache(maxsize=8)
def load_link(codec: str, context: Context) -> Link:
    """One for all methods of a codec. Raises ``ModelError``, ``MissingPackageError``."""
    runtime: Any = context.runtime
    encoder = make_encoder(TxSettings(runtime=runtime), read_codec_folder(codec))
    decoder = NullDecoder() if codec in WEIGHTLESS else TorchDecoder(codec, context.device)
    return Link(encoder, decoder, context.equalizer)


class JsccMethod(Method):
    """DeepJSCC: the preview is the result."""

    def __init__(self, name: str, label: str, link: Link) -> None:
        self.name, self.label, self._link = name, label, link

    def send(self, image: Pixels, point: Point, draw: Draw) -> Sent:
        return self._link.send(image, point, draw).sent()


def codec_method(name: str, label: str, codec: JsccCodec, context: Context) -> JsccMethod:
    """A codec object in memory as a method: for a codec of your own, without a folder."""
    ends = CodecEnds(codec, context.device)
    return JsccMethod(name, label, Link(ends, ends, context.equalizer))


def make_jscc(context: Context, codec: str = "", model: str = "") -> JsccMethod:
    """``codec``, ``model``: another one than the sweep's."""
    label = f"DeepJSCC ({codec or model})" if codec or model else "DeepJSCC"
    return JsccMethod("jscc", label, load_link(codec_of(context, codec, model), context))


def codec_of(context: Context, codec: str, model: str) -> str:
    """The codec that an option names, else the sweep's, else the model's."""
    return codec or model or context.codec or context.model


class DiffJsccMethod(Method):
    """The refined image; one transmission gives the preview, too."""

    def __init__(self, label: str, link: Link, refiner: Refiner, clean: bool, preview: str) -> None:
        self.name, self.label, self.also = "diffjscc", label, (preview,)
        self._link, self._refiner, self._clean = link, refiner, clean

    def send(self, image: Pixels, point: Point, draw: Draw) -> Sent:
        return self.several(image, point, draw)[self.name]

    def several(self, image: Pixels, point: Point, draw: Draw) -> dict[str, Sent]:
        return self.together(image, [(point, draw)])[0]

    def together(
        self, image: Pixels, sendings: Sequence[tuple[Point, Draw]]
    ) -> list[dict[str, Sent]]:
        """Refined as one batch."""
        previews = [self._link.send(image, point, draw) for point, draw in sendings]
        began = monotonic()
        caption = self._refiner.captions([image])[0] if self._clean else None
        jobs = [
            Job(got.pixels, point.snr_db, draw.h, seed=draw.seed, caption=caption)
            for got, (point, draw) in zip(previews, sendings, strict=True)
        ]
        refined = self._refiner.refine(jobs, lambda *_: None)
        each_s = (monotonic() - began) / len(jobs)
        return [
            {self.also[0]: got.sent(), self.name: self._sent(got, image_of, each_s)}
            for got, image_of in zip(previews, refined, strict=True)
        ]

    def _sent(self, got: Received, refined: Refined, each_s: float) -> Sent:
        details = {
            "received_snr_db": got.received_snr_db,
            "caption": refined.caption,
            "steps": self._refiner.steps,
            "solver": self._refiner.solver,
            "guidance_scale": self._refiner.guidance_scale,
            "seconds": got.seconds + each_s,
            **({"notes": refined.notes} if refined.notes else {}),
        }
        return Sent(refined.pixels, got.k, details=details)


@lru_cache(maxsize=4)
def load_networks(model: str, device: str, dtype: str, captioner: str, captions: bool) -> Refiner:
    """The networks that all variants of a model share."""
    conditions = CONDITIONS if captions else [c for c in CONDITIONS if c != "caption"]
    given = {"dtype": dtype, "captioner": captioner, "conditions": conditions}
    return load_refiner(model, device, RxSettings.model_validate(given))


def make_diffjscc(
    context: Context,
    codec: str = "",
    model: str = "",
    captions: Literal["received", "clean"] = "received",
    conditions: str = "",
    captioner: str = "",
    dtype: str = "auto",
    steps: int = 0,
    solver: str = "",
    guidance_scale: float | None = None,
    guidance: str = "",
    guidance_repeat: int = 0,
    color_fix: str = "",
    tile: int = 0,
) -> DiffJsccMethod:
    """Options are those of ``rx``; ``conditions`` are joined by ``+``. ``captions=clean``: of the
    image that was sent, for the ablation. Raises ``SettingsError`` for a value that none has."""
    if captions not in ("received", "clean"):
        raise SettingsError(f"captions={captions}: use received or clean.")
    given = {
        "conditions": str(conditions).split("+") if conditions else CONDITIONS,
        "captioner": captioner,
        "dtype": dtype,
        "steps": steps,
        "solver": solver,
        "guidance_scale": guidance_scale,
        "guidance": guidance,
        "guidance_repeat": guidance_repeat,
        "color_fix": color_fix,
        "tile": tile,
    }
    try:
        settings = RxSettings.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise SettingsError(
            f"diffjscc:{first['loc'][0]}={first['input']}: {first['msg'].rstrip('.')}."
        ) from None
    wanted = "caption" in settings.conditions
    if captions == "clean" and not wanted:
        raise SettingsError("captions=clean needs the condition caption.")
    networks = load_networks(model or context.model, context.device, dtype, captioner, wanted)
    link = load_link(codec_of(context, codec, model), context)
    preview = f"jscc:codec={codec}" if codec else f"jscc:model={model}" if model else "jscc"
    refiner = networks.under(settings)
    return DiffJsccMethod("DiffJSCC", link, refiner, captions == "clean", preview)
