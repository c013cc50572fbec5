"""From previews to refined images: batches, memory and draws around a receiver.

preview -captioner-> text, -VAE-> f_v, with CSI: conditions (9) -sampler-> z_0 -VAE-> refined

Frames of one size are refined together. Where memory runs out the batch is halved, then the
image is cut into overlapping tiles; what fits is remembered for this size of image.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rx.estimates import Estimates, OnEstimate
from rx.memory import is_out_of_memory, release
from rx.streams import Streams, stream_generator
from simulator.errors import SettingsError
from simulator.link.clock import Clock, monotonic
from simulator.phy.streams import sampler_seed
from simulator.receiving import RxSettings

if TYPE_CHECKING:
    import torch

log = logging.getLogger("rx")
OnStep = Callable[[int, int], None]
Size = tuple[int, int]  # (H, W)

TILES = (768, 512, 384, 256)  # px, where whole images do not fit
# Processors gain nothing from larger batches, and memory is what they have least of.
CPU_BATCH_PX = 768 * 512
NO_DIFFUSION = "text and sketch of the transmitter not used: this receiver runs no diffusion"


class RefinementError(Exception):
    """One frame cannot be refined on this machine; the text is one sentence."""


@dataclass(frozen=True)
class ToRefine:
    """A preview to refine, (H, W, 3) uint8; its channel state; its draw key; its name.

    ``seed``: the sampler's own, where the draw key is not at hand. ``caption``: one that is known,
    such as one from the transmitter, which no captioner is asked for. ``stream``: whose images
    follow one another, for a warm start. ``sketch``: (h, w) bool, from the transmitter.
    """

    pixels: np.ndarray
    snr_db: float
    h: complex
    draw_key: bytes = b""
    name: str = ""
    seed: int | None = None
    caption: str | None = None
    stream: str = ""
    sketch: np.ndarray | None = None

    def generator(self) -> torch.Generator:
        """Of the sampler's draws."""
        import torch

        if self.seed is None:
            return sampler_generator(self.draw_key)
        return torch.Generator().manual_seed(self.seed)


@dataclass(frozen=True)
class Refined:
    """(H, W, 3) uint8. ``seconds`` are those of the whole batch: ``restore_s``, ``caption_s``,
    ``text_s``, ``diffusion_s``, ``vae_s``."""

    pixels: np.ndarray
    caption: str
    seconds: dict[str, float]
    notes: str


@dataclass(frozen=True)
class Plan:
    """How images of one size are refined. ``batch`` and ``tile`` 0: no bound, whole images."""

    batch: int = 0
    tile: int = 0
    notes: str = ""

    def smaller(self, tried: int, size: Size) -> Plan | None:
        """The next one to try where a batch of ``tried`` did not fit; None: there is none."""
        if tried > 1:
            half = tried // 2
            return replace(self, batch=half, notes=f"out of memory: refined {half} at a time")
        fitting = [tile for tile in TILES if tile < (self.tile or max(size))]
        if not fitting:
            return None
        return Plan(1, fitting[0], f"out of memory: refined in tiles of {fitting[0]} px")


def sampler_generator(draw_key: bytes) -> torch.Generator:
    """The stream ``sampler`` of a frame. On the processor, so that no device changes it."""
    import torch

    return torch.Generator().manual_seed(sampler_seed(draw_key))


class Refiner:
    """Refines batches with a loaded pipeline; ``model`` and the rest are what a row says."""

    def __init__(
        self,
        pipeline: Any,
        model: str,
        settings: RxSettings,
        device: str = "cpu",
        clock: Clock = monotonic,
    ) -> None:
        self.model, self.device = model, device
        self._pipeline, self._settings, self._clock = pipeline, settings, clock
        self._plans: dict[Size, Plan] = {}
        self._streams = Streams()  # for a warm start
        self._estimates = Estimates(pipeline, settings.show_steps)
        self.diffusion = diffuses(pipeline.sampled, pipeline.config, settings)
        self.solver: str | None = None
        self.steps: int | None = None
        self.guidance_scale: float | None = None
        if self.diffusion:
            config, given = pipeline.config, settings.guidance_scale
            self.solver = settings.solver or config.solver
            self.steps = settings.steps or config.steps
            self.guidance_scale = config.guidance_scale if given is None else given

    def under(self, settings: RxSettings) -> Refiner:
        """The same networks and captioner under other settings of sampling."""
        return Refiner(self._pipeline, self.model, settings, self.device, self._clock)

    def captions(self, images: Sequence[np.ndarray]) -> list[str]:
        """What the captioner says about (H, W, 3) uint8 images, whatever they are.

        Raises ``SettingsError`` where the model has none that looks at images.
        """
        from simulator.tensors import as_tensor

        captioner = self._pipeline.captioner
        if captioner is None or self._captions_are_given:
            raise SettingsError("captions of the clean image need a captioner that sees images.")
        return [captioner.caption(as_tensor(image, self.device)[None])[0] for image in images]

    def limit(self, size: Size) -> int:
        """How many images of this size to give at once."""
        if self._settings.warm_start:
            return 1  # an image needs the one before it
        limit = self._settings.batch or 1024
        if not self._settings.batch and self.device == "cpu":
            limit = max(1, CPU_BATCH_PX // (size[0] * size[1]))
        return min(limit, self._plan(size).batch or limit)

    def refine(
        self, jobs: Sequence[ToRefine], on_step: OnStep, on_estimate: OnEstimate | None = None
    ) -> list[Refined]:
        """Refined images of previews of one size, in order.

        ``on_step(step, n)`` is called between denoising steps, ``on_estimate`` at ``show_steps`` of
        them; the time that they take is not counted. Raises ``RefinementError`` where not even the
        smallest tile fits.
        """
        size = (jobs[0].pixels.shape[0], jobs[0].pixels.shape[1])
        results: list[Refined] = []
        while len(results) < len(jobs):
            plan = self._plan(size)
            batch = jobs[len(results) :][: plan.batch or None]
            done = self._attempt(batch, plan, on_step, on_estimate)
            if done is None:
                self._shrink(size, plan, len(batch))
            else:
                results += done
        return results

    def warm_up(self) -> None:
        """The first call of a library is its slowest: it must not be a frame's."""
        job = ToRefine(np.full((64, 64, 3), 128, np.uint8), 10.0, 1, bytes(32))
        # No file has a caption for this image.
        captions: list[str | None] | None = [""] if self._captions_are_given else None
        self._run([job], Plan(), lambda *_: None, captions, steps=2)

    def _plan(self, size: Size) -> Plan:
        return self._plans.get(size, Plan(self._settings.batch, self._settings.tile))

    def _shrink(self, size: Size, plan: Plan, tried: int) -> None:
        smaller = plan.smaller(tried, size)
        if smaller is None:
            raise RefinementError(
                f"{size[1]}x{size[0]} pixels do not fit into this receiver's memory, not even in "
                f"tiles; use --set rx.dtype or rx.offload, a smaller model, or --refine off."
            )
        log.warning("%dx%d: %s", size[1], size[0], smaller.notes)
        self._plans[size] = smaller

    def _attempt(
        self,
        jobs: Sequence[ToRefine],
        plan: Plan,
        on_step: OnStep,
        on_estimate: OnEstimate | None,
    ) -> list[Refined] | None:
        """None: there was not enough memory."""
        try:
            return self._run(jobs, plan, on_step, on_estimate=on_estimate)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            log.info("%s", str(error).partition("\n")[0][:200])
        release()  # here the error, and with it every frame that holds a tensor, is gone
        return None

    def _generator(self, job: ToRefine) -> torch.Generator:
        warm = self._settings.warm_start and job.stream
        return stream_generator(job.stream) if warm else job.generator()

    @property
    def _captions_are_given(self) -> bool:
        captioner = self._pipeline.captioner
        return self.diffusion and captioner is not None and captioner.name == "given"

    def _known_captions(
        self, images: torch.Tensor, jobs: Sequence[ToRefine]
    ) -> list[str | None] | None:
        """Captions that came with the jobs, or that a file has; None for what is to be asked."""
        known = [job.caption for job in jobs]
        asked = [i for i, caption in enumerate(known) if caption is None]
        if asked and self._captions_are_given:
            names = [jobs[i].name for i in asked]
            found = self._pipeline.captioner.caption(images[asked], names)
            for i, caption in zip(asked, found, strict=True):
                known[i] = caption
        return None if len(asked) == len(jobs) and not self._captions_are_given else known

    def _sketches(
        self, jobs: Sequence[ToRefine], size: Size
    ) -> tuple[torch.Tensor | None, list[str]]:
        """The sketches that came with the jobs, and for each what the row says of it."""
        from rx.sketch import sketches_for

        if not self.diffusion:
            said = [job.caption is not None or job.sketch is not None for job in jobs]
            return None, [NO_DIFFUSION if each else "" for each in said]
        cell = getattr(self._pipeline, "sketch_cell", 0)
        return sketches_for([job.sketch for job in jobs], size, cell)

    def _run(
        self,
        jobs: Sequence[ToRefine],
        plan: Plan,
        on_step: OnStep,
        captions: list[str | None] | None = None,
        steps: int = 0,
        on_estimate: OnEstimate | None = None,
    ) -> list[Refined]:
        import torch

        from simulator.jscc.csi import Csi
        from simulator.tensors import as_pixels, as_tensor

        pipeline, settings, clock = self._pipeline, self._settings, self._clock
        away_s = 0.0

        def uncounted(call: Callable[..., None]) -> Callable[..., None]:
            def between_steps(*told: Any) -> None:
                nonlocal away_s
                left = clock()
                call(*told)
                away_s += clock() - left

            return between_steps

        images = as_tensor(np.stack([job.pixels for job in jobs]), self.device)
        csi = Csi(
            torch.tensor([job.snr_db for job in jobs], dtype=torch.float32),
            torch.tensor([job.h for job in jobs], dtype=torch.complex64),
        )
        if captions is None:
            captions = self._known_captions(images, jobs)
        options: dict[str, Any] = {"tile": plan.tile or None}
        if settings.fidelity:
            options["fidelity"] = settings.fidelity
        size = (images.shape[-2], images.shape[-1])
        sketch, notes = self._sketches(jobs, size)
        if self.diffusion:
            options |= {
                "captions": captions,  # None: the pipeline asks its captioner
                "steps": steps or self.steps,
                "solver": self.solver,
                "guidance_scale": self.guidance_scale,
                "guidance": settings.guidance or None,
                "guidance_repeat": settings.guidance_repeat or None,
                "color_fix": settings.color_fix or None,
                "generator": [self._generator(job) for job in jobs],
                "conditions": settings.conditions,
                "control_every": settings.control_every,
                "deep_every": settings.deep_every,
                "callback_on_step_end": uncounted(on_step),
            }
            if on_estimate and settings.show_steps:
                show = self._estimates.shown(on_estimate, size, options["tile"])
                options["callback_on_estimate"] = uncounted(show)
        if sketch is not None:
            options["sketch"] = sketch
        if pipeline.sampled:
            options["diffusion"] = self.diffusion
        stream = jobs[0].stream if self.diffusion and settings.warm_start else ""
        if stream:
            before = self._streams.find(stream, images)
            options |= {"warm_start": settings.warm_start, "before": before}
        out = pipeline(images, csi.to(self.device), **options)
        self._streams.keep(stream, out.images)
        seconds = out.seconds | {"diffusion_s": max(0.0, out.seconds["diffusion_s"] - away_s)}
        return [
            Refined(image, caption, seconds, "; ".join(filter(None, (plan.notes, note))))
            for image, caption, note in zip(as_pixels(out.images), out.captions, notes, strict=True)
        ]


# Settings that say how to diffuse: who gives one wants diffusion.
SAMPLING = (
    *("steps", "solver", "guidance_scale", "guidance", "guidance_repeat", "color_fix"),
    *("captioner", "conditions", "control_every", "deep_every"),
    *("channels_last", "compile", "warm_start"),
)


def diffuses(sampled: bool, config: Any, settings: RxSettings) -> bool:
    """Whether a receiver with this configuration runs diffusion: as ``rx.diffusion`` says, else
    where a setting of it is given, else as its configuration says.

    ``sampled``: whether it has a sampler. Raises ``SettingsError`` for such a setting where it has
    none.
    """
    defaults = type(settings).model_fields
    asked = [name for name in SAMPLING if getattr(settings, name) != defaults[name].default]
    given = settings.diffusion
    if sampled:
        return bool(asked or config.get("diffusion", True)) if given is None else given
    if given is False:
        return False
    if asked or settings.diffusion:
        raise SettingsError(
            f"rx.{asked[0] if asked else 'diffusion'}: this receiver refines in one pass and has "
            f"no sampler; leave it out, or name another --model."
        )
    return False
