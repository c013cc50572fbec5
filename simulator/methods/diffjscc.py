"""DeepJSCC and DiffJSCC as methods, through the functions of the three processes.

    image -simulator.chain-> preview (jscc) -Refiner-> refined (diffjscc), and both

A row here equals a row of ``diffjscc simulate`` under the same settings of the channel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal

from pydantic import ValidationError

from rx.load import load_refiner, will_diffuse
from rx.refiner import Refined, Refiner, ToRefine
from simulator.chain import Air, Draw, Link, Received, load_link
from simulator.errors import ModelError, SettingsError
from simulator.images import Pixels
from simulator.jscc.checkpoint import load_codec
from simulator.jscc.codec import JsccCodec
from simulator.jscc.folder import read_codec_folder
from simulator.link.clock import monotonic
from simulator.methods.learned.codecs import Codecs, folders_of
from simulator.methods.method import Context, Method, Point, Sent, short_path
from simulator.receiving import CONDITIONS, RxSettings


@lru_cache(maxsize=8)
def link_of(codec: str, context: Context, target_psnr: float | None = None) -> Link:
    """One for all methods of a codec and target. Raises ``SettingsError``, ``ModelError``,
    ``MissingPackageError``."""
    return load_link(codec, context.runtime, context.device, context.equalizer, target_psnr)


def preview_of(got: Received) -> Sent:
    """The result of a method that shows the preview."""
    return sent_of(got, got.pixels, about(got.air) | {"seconds": got.seconds})


def about(air: Air) -> dict[str, Any]:
    """What the row says of the way through the air."""
    return {
        "received_snr_db": air.received_snr_db,
        "papr_db": air.papr_db,
        "packets_lost": air.packets_lost,
        "feedback_bits": air.feedback_bits,
    }


def sent_of(got: Received, pixels: Pixels, details: dict[str, Any]) -> Sent:
    """What has come of a transmission, with the channel uses that it took."""
    return Sent(pixels, len(got.sent), side_uses=got.side_uses, rounds=got.rounds, details=details)


class JsccMethod(Method):
    """DeepJSCC: the preview is the result. ``link_at``, ``codec_at``: the link and the codec that
    serve a bandwidth ratio."""

    def __init__(
        self,
        name: str,
        label: str,
        link_at: Callable[[Fraction], Link],
        codec_at: Callable[[Fraction], JsccCodec],
    ) -> None:
        self.name, self.label = name, label
        self._link_at, self._codec_at = link_at, codec_at

    def codec_at(self, ratio: Fraction) -> JsccCodec:
        return self._codec_at(ratio)

    def send(self, image: Pixels, point: Point, draw: Draw) -> Sent:
        return preview_of(self._link_at(point.cbr).send(image, point.cbr, draw))


def codec_method(name: str, label: str, codec: JsccCodec, context: Context) -> JsccMethod:
    """A codec object in memory as a method: for a codec of your own, without a folder."""
    from simulator.jscc.ends import CodecEnds

    ends = CodecEnds(codec, context.device)
    link = Link(ends, ends, context.equalizer)
    return JsccMethod(name, label, lambda ratio: link, lambda ratio: codec)


def make_jscc(
    context: Context, codec: str = "", model: str = "", target_psnr: float | None = None
) -> JsccMethod:
    """``codec``, ``model``: another one than the sweep's. ``target_psnr``: in dB, for rate control
    up to the point's ratio."""
    folder, label = codec_of(context, codec, model), "DeepJSCC"
    if codec or model:
        label = f"{read_codec_folder(folder).name} ({short_path(codec or model)})"
    link = link_of(folder, context, target_psnr)
    return JsccMethod("jscc", label, lambda ratio: link, lambda ratio: load_codec(folder))


def make_deepjscc_adv(context: Context, codec: str = "") -> JsccMethod:
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
    codecs = Codecs.of(context, named)
    return JsccMethod("deepjscc-adv", label, codecs.link_at, codecs.at)


def make_swinjscc(context: Context, codec: str = "") -> JsccMethod:
    """SwinJSCC as trained here (see ``simulator.jscc.swin``). ``codec`` and errors as above."""
    named = named_codec("swinjscc", context, codec)
    for folder in folders_of(named):
        kind = read_codec_folder(folder).name
        if kind != "swin":
            raise ModelError(f"{folder} holds codec {kind!r}; swinjscc needs 'swin'.")
    codecs = Codecs.of(context, named)
    return JsccMethod("swinjscc", "SwinJSCC", codecs.link_at, codecs.at)


def named_codec(method: str, context: Context, codec: str) -> str:
    """A model's own codec is not one of these: one must be named."""
    named = codec or context.codec
    if not named:
        raise SettingsError(f"{method} needs a codec folder: {method}:codec=FOLDER.")
    return named


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
        caption = self._refiner.captions([image])[0] if self._clean else None
        # A codec that sends a text sends this one; under others the receiver is given it.
        previews = [
            self._link.send(image, point.cbr, draw, caption or "") for point, draw in sendings
        ]
        began = monotonic()
        jobs = [
            ToRefine(
                got.pixels,
                state.snr_db,
                state.gain,
                seed=draw.seed,
                caption=got.said.text or caption,
                sketch=got.said.edges,
            )
            for got, (_, draw) in zip(previews, sendings, strict=True)
            if (state := self._link.decoder.conditioned(got.air.heard.state))
        ]
        refined = self._refiner.refine(jobs, lambda *_: None)
        each_s = (monotonic() - began) / len(jobs)
        return [
            {self.also[0]: preview_of(got), self.name: self._sent(got, image_of, each_s)}
            for got, image_of in zip(previews, refined, strict=True)
        ]

    def _sent(self, got: Received, refined: Refined, each_s: float) -> Sent:
        details = {
            **about(got.air),
            "caption": refined.caption,
            "steps": self._refiner.steps,
            "solver": self._refiner.solver,
            "guidance_scale": self._refiner.guidance_scale,
            "seconds": got.seconds + each_s,
            **({"notes": refined.notes} if refined.notes else {}),
        }
        return sent_of(got, refined.pixels, details)


@lru_cache(maxsize=4)
def load_networks(
    model: str,
    device: str,
    dtype: str,
    captioner: str,
    captions: bool,
    diffusion: bool,
    receiver: str,
) -> Refiner:
    """The networks that all variants of a model share, with and without diffusion."""
    conditions = CONDITIONS if captions else [c for c in CONDITIONS if c != "caption"]
    given = {"dtype": dtype, "captioner": captioner, "conditions": conditions}
    own = {"diffusion": diffusion, "receiver": receiver}
    settings = RxSettings.model_validate(given | own)
    return load_refiner(model, device, settings)


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
    fidelity: float = 0.0,
    control_every: int = 1,
    deep_every: int = 1,
    tile: int = 0,
    receiver: str = "",
    target_psnr: float | None = None,
) -> DiffJsccMethod:
    """Options are those of ``rx``; ``conditions`` are joined by ``+``. ``captions=clean``: of the
    image that was sent, for the ablation. ``target_psnr``: of the preview, as in ``make_jscc``.
    Raises ``SettingsError`` for a value that none has."""
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
        "fidelity": fidelity,
        "control_every": control_every,
        "deep_every": deep_every,
        "tile": tile,
        "receiver": receiver,
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
    name = model or context.model
    diffusion = will_diffuse(name, settings)
    networks = load_networks(name, context.device, dtype, captioner, wanted, diffusion, receiver)
    link = link_of(codec_of(context, codec, model), context, target_psnr)
    named = [("codec", codec), ("model", "" if codec else model), ("target_psnr", target_psnr)]
    own = ",".join(f"{key}={value}" for key, value in named if value not in ("", None))
    preview = f"jscc:{own}" if own else "jscc"
    refiner = networks.under(settings)
    return DiffJsccMethod("DiffJSCC", link, refiner, captions == "clean", preview)


def refined_by(receiver: str) -> Callable[..., Method]:
    """The factory of the method that refines by this receiver of a plugin."""

    def make(
        context: Context,
        codec: str = "",
        model: str = "",
        fidelity: float = 0.0,
        tile: int = 0,
        target_psnr: float | None = None,
    ) -> Method:
        method = make_diffjscc(
            context,
            codec,
            model,
            fidelity=fidelity,
            tile=tile,
            receiver=receiver,
            target_psnr=target_psnr,
        )
        method.label = receiver
        return method

    return make
