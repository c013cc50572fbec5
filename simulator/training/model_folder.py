"""Components of a model folder, as training reads and writes them: safetensors only."""

from __future__ import annotations

import copy
import importlib
import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from rx.control import ControlModule
from rx.restore import RestorationNetwork
from simulator.errors import ModelError
from simulator.models.folder import find_model, model_at
from simulator.textfile import read_text

T = TypeVar("T")


def quiet() -> None:
    """No bars of loading and writing, and no advice on casting, between our lines of progress."""
    for library in ("diffusers", "transformers"):
        logging = importlib.import_module(f"{library}.utils.logging")
        logging.disable_progress_bar()
        logging.set_verbosity_error()


def component(cls: type[T], source: str, name: str, **options: Any) -> T:
    """One component of a shipped name, a folder or a hub id. Raises ``ModelError``."""
    quiet()
    where = model_at(source, name)
    try:
        loaded: T = cls.from_pretrained(str(where), subfolder=name, **options)  # type: ignore[attr-defined]
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{source} has no {name} that can be read ({reason}).") from None
    return loaded


TRAINED_BY = {"vae": "diffjscc train autoencoder", "unet": "diffjscc train prior"}


def start_of(model: str, out: Path, *parts: str) -> str:
    """Where a training starts from: ``model``, or the folder that it writes, which then has to
    hold ``parts``. Raises ``ModelError``."""
    if model:
        return model
    for part in parts:
        if not (out / part).is_dir():
            raise ModelError(
                f"{out} has no {part} yet: make it there first with '{TRAINED_BY[part]}', or "
                f"name a model that has one by --model."
            )
    return str(out)


def load_vae(source: str) -> AutoencoderKL:
    return component(AutoencoderKL, source, "vae", use_safetensors=True, torch_dtype=torch.float32)


def load_unet(source: str) -> UNet2DConditionModel:
    return component(
        UNet2DConditionModel, source, "unet", use_safetensors=True, torch_dtype=torch.float32
    )


def load_control(source: str) -> ControlModule:
    control: ControlModule = component(
        ControlModule, source, "control", use_safetensors=True, torch_dtype=torch.float32
    )
    return control


def load_restoration(source: str) -> RestorationNetwork:
    network: RestorationNetwork = component(
        RestorationNetwork, source, "restoration", use_safetensors=True, torch_dtype=torch.float32
    )
    return network


def restoration_of(source: str) -> RestorationNetwork | None:
    """The restoration of a model that has one, frozen."""
    if not (find_model(source, "restoration") / "restoration").is_dir():
        return None
    network: RestorationNetwork = load_restoration(source).requires_grad_(False).eval()
    return network


def load_text(source: str) -> tuple[CLIPTextModel, CLIPTokenizer]:
    encoder = component(
        CLIPTextModel, source, "text_encoder", use_safetensors=True, dtype=torch.float32
    )
    return encoder, component(CLIPTokenizer, source, "tokenizer")


def load_scheduler(source: str) -> DDPMScheduler:
    """The noise schedule of a folder, whatever solver it names."""
    return component(DDPMScheduler, source, "scheduler")


def save_half(module: Any, folder: Path) -> None:
    """fp16 safetensors, whatever the precision of training."""
    quiet()
    copy.deepcopy(module).half().save_pretrained(folder)
    forget_paths(folder)


def forget_paths(folder: Path) -> None:
    """Take out of every configuration where its weights were read from: a path of this machine."""
    for path in folder.rglob("config.json"):
        config = json.loads(read_text(path))
        if config.pop("_name_or_path", None) is not None:
            text = json.dumps(config, indent=2, sort_keys=True, allow_nan=False)
            path.write_text(text + "\n", encoding="utf-8")
