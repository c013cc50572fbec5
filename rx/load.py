"""A refiner from a model folder: only the networks that its settings use are loaded. Or a plugin's.

model_index.json, settings -> with diffusion: the folder's pipeline; without: its restoration alone
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rx.memory import refuse_what_is_not_there
from rx.receivers import has_sampler
from rx.refiner import Refiner, diffuses
from simulator.allocator import keep_memory
from simulator.errors import MissingPackageError, ModelError, SettingsError, missing_package
from simulator.models.folder import fingerprint, read_model_index
from simulator.own_receivers import fingerprint_of
from simulator.process import has_matrix_unit
from simulator.receiving import RxSettings

if TYPE_CHECKING:
    import torch


def check_packages() -> None:
    """Raises ``MissingPackageError`` where refining cannot be imported."""
    lost = [name for name in ("diffusers", "transformers") if not importlib.util.find_spec(name)]
    if lost:
        raise missing_package("refining", " and ".join(lost), "rx", "add --refine off")


def pick_dtype(asked: str, device: str, diffusion: bool) -> torch.dtype:
    """``auto``: bfloat16 on CUDA, and for the restoration alone on processors that multiply
    matrices in it; else float32. There, diffusion in bfloat16 is not to be trusted: with torch 2.13
    small latents came out otherwise at every call, some of them as NaN."""
    import torch

    if asked == "auto":
        half = device == "cpu" and not diffusion and has_matrix_unit()
        asked = "bfloat16" if half or device.startswith("cuda") else "float32"
    found: torch.dtype = getattr(torch, asked)
    return found


def will_diffuse(model: str, settings: RxSettings) -> bool:
    """Whether a refiner of these would diffuse. Raises ``ModelError`` and ``SettingsError``."""
    if settings.receiver:
        return diffuses(False, {}, settings)
    _, index = read_model_index(model)
    return diffuses(has_sampler(index["_class_name"]), index, settings)


def load_refiner(model: str, device: str, settings: RxSettings) -> Refiner:
    """Load a model folder onto its device, captioner included, and warm it up.

    Raises ``ModelError`` where something is missing or does not fit, ``MissingPackageError``
    and ``SettingsError``.
    """
    check_device(device, settings)
    if settings.receiver:
        return load_own(device, settings)
    folder, index = read_model_index(model)
    kind = index["_class_name"]
    diffusion = diffuses(has_sampler(kind), index, settings)
    check_shown(settings, diffusion)
    dtype = pick_dtype(settings.dtype, device, diffusion)
    pipeline: Any
    if diffusion or settings.offload != "none":
        check_packages()
        captioned = diffusion and "caption" in settings.conditions
        if captioned and not settings.captioner and not (folder / "captioner").is_dir():
            raise ModelError(
                f"model {model} has no captioner; name one, for example "
                f"--set rx.captioner=keywords (or blip2, none, given:FILE, a folder)."
            )
        captioner = settings.captioner if captioned else None
        pipeline = load_pipeline(folder, kind, device, dtype, captioner)
    else:
        from rx.one_pass import OnePass

        pipeline = OnePass.from_pretrained(folder, dtype)
    place(pipeline, device, settings.offload)
    if diffusion:
        speed_up(pipeline, settings)
    return warm(Refiner(pipeline, fingerprint(model, folder), settings, device), settings)


def load_own(device: str, settings: RxSettings) -> Refiner:
    """The receiver that a plugin adds. Raises as ``load_refiner``."""
    from rx.own import OwnReceiver

    given = {"offload": settings.offload != "none", "dtype": settings.dtype != "auto"}
    if other := [name for name, is_given in given.items() if is_given]:
        raise SettingsError(
            f"rx.{other[0]} is for model folders, and receiver {settings.receiver!r} of a plugin "
            f"decides for itself; leave it out."
        )
    check_shown(settings, diffuses(False, {}, settings))
    pipeline = OwnReceiver(settings.receiver, device)
    return warm(Refiner(pipeline, fingerprint_of(settings.receiver), settings, device), settings)


def warm(refiner: Refiner, settings: RxSettings) -> Refiner:
    """The same, once it has refined an image."""
    if refiner.device == "cpu":
        refuse_what_is_not_there()
        if settings.keep_memory:
            keep_memory()
    with compiling(settings.compile):
        refiner.warm_up()
    return refiner


def check_device(device: str, settings: RxSettings) -> None:
    """Raises ``SettingsError`` for what this device cannot do."""
    if settings.offload != "none" and device == "cpu":
        raise SettingsError(f"rx.offload={settings.offload} needs an accelerator; this is a cpu.")
    if settings.offload != "none" and settings.compile != "none":
        raise SettingsError("rx.compile and rx.offload do not go together; leave one of them out.")
    if settings.compile == "cuda-graphs" and not device.startswith("cuda"):
        raise SettingsError(f"rx.compile=cuda-graphs needs a GPU with CUDA; this is a {device}.")


def check_shown(settings: RxSettings, diffusion: bool) -> None:
    """Raises ``SettingsError`` where there are no steps to show."""
    if settings.show_steps and not diffusion:
        raise SettingsError(
            "rx.show_steps shows what diffusion does, and this receiver runs none; add "
            "--set rx.diffusion=on, or leave it out."
        )
    if settings.show_steps and settings.offload != "none":
        raise SettingsError(
            "rx.show_steps and rx.offload do not go together: every picture would move the "
            "networks; leave one of them out."
        )


def load_pipeline(
    folder: Path, kind: str, device: str, dtype: torch.dtype, captioner: str | None
) -> Any:
    """The pipeline of a model folder, whose class is ``kind``. ``captioner``: empty for the
    folder's own, None for none. Raises what ``load_refiner`` does."""
    try:
        from rx.captioner import load_captioner
        from rx.receivers import receiver_class

        receiver = receiver_class(kind)
    except (ImportError, RuntimeError) as error:  # a broken install raises either
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise MissingPackageError(
            f"the receiver does not import ({reason}); diffjscc doctor says more."
        ) from error
    for library in ("diffusers", "transformers"):  # no bars in a log
        importlib.import_module(f"{library}.utils.logging").disable_progress_bar()
    # The folder's captioner may be larger than all the rest: it is loaded only where it is used.
    other = {"captioner": None} if receiver.sampled and captioner != "" else {}
    pipeline = receiver.from_pretrained(folder, torch_dtype=dtype, **other)
    if captioner:
        pipeline.register_modules(captioner=load_captioner(captioner, device, dtype))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def speed_up(pipeline: Any, settings: RxSettings) -> None:
    """UNet and control module as ``rx.channels_last`` and ``rx.compile`` want them.

    Compiled code is made by the first call for each size of image.
    """
    import torch

    networks = (pipeline.unet, pipeline.control)
    if settings.channels_last:
        for network in networks:
            network.to(memory_format=torch.channels_last)
    if settings.compile == "none":
        return
    mode = "reduce-overhead" if settings.compile == "cuda-graphs" else None
    for network in networks:
        network.compile(mode=mode)
    # Steps that share what is deep run parts of the UNet.
    pipeline.whole = torch.compile(pipeline.whole, mode=mode)
    pipeline.shallow = torch.compile(pipeline.shallow, mode=mode)


@contextmanager
def compiling(how: str) -> Iterator[None]:
    """Raises ``SettingsError`` where torch's compiler does not work here."""
    try:
        yield
    except RuntimeError as error:  # which all that the compiler raises is
        if how == "none":
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:200]
        raise SettingsError(
            f"rx.compile={how} does not work on this machine ({reason}); leave it out."
        ) from error


def place(pipeline: Any, device: str, offload: str) -> None:
    """Move a pipeline to its device, or leave it to diffusers' offloading."""
    import torch

    # Convolutions at full size are a third faster so, on processors as on GPUs.
    for name in ("vae", "restoration"):
        if getattr(pipeline, name, None) is not None:
            getattr(pipeline, name).to(memory_format=torch.channels_last)
    if offload == "none":
        pipeline.to(device)
    elif importlib.util.find_spec("accelerate") is None:
        raise missing_package("rx.offload", "accelerate", "rx")
    elif offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_sequential_cpu_offload(device=device)
