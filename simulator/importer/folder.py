"""``diffjscc import-official``: an official checkpoint becomes a model folder.

source -> configuration -> networks without weights -> their tensors by name -> one file each

Everything is checked before anything is written; what is written appears under its name only
when it is whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from simulator.errors import ModelError, SettingsError, StorageError, path_from
from simulator.importer import codec, control, text, unet, vae
from simulator.importer.config import Params
from simulator.importer.lone import codec_of_file, codec_of_folder
from simulator.importer.mambajscc import files_of
from simulator.importer.names import pull
from simulator.importer.source import Source, Tensors, open_source
from simulator.importer.tokenizer import write_tokenizer

CAPTIONER = "Salesforce/blip2-opt-2.7b"
DTYPES = {"float16": torch.float16, "float32": torch.float32}
STEPS = 50


@dataclass(frozen=True)
class Component:
    """A network on the meta device and the tensors that belong into it."""

    name: str
    module: Any
    tensors: Tensors

    def bytes(self, dtype: torch.dtype | None) -> int:
        return sum(t.numel() * (dtype or t.dtype).itemsize for t in self.tensors.values())


def import_official(
    source: str,
    destination: Path,
    dtype: str = "",
    tokenizer: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Write the model folder ``destination``, its codec in ``destination/jscc``; the folder of a
    codec, where the checkpoint is of the authors' first stage and holds nothing else.

    ``source``: a folder with ``config.yaml`` and ``model.ckpt``, a hub id, or what a codec of
    others is published as (``lone``), a file or a folder of two. ``dtype``: of the weights, one of
    ``DTYPES``; empty: as in the checkpoint. ``tokenizer``: a folder; None: CLIP's. ``say`` takes a
    line about each step. Raises ``SettingsError``, ``ModelError`` and ``StorageError``.
    """
    check_arguments(destination, dtype, tokenizer)
    given = path_from(source)
    if given.is_file() or files_of(given):
        what, *found = codec_of_file(given) if given.is_file() else codec_of_folder(given)
        say(f"{source}: {what}")
        import_codec(Component("jscc", *found), source, destination, DTYPES.get(dtype), say)
        return
    opened = open_source(source)
    say(f"{source}: {len(opened.state)} tensors")
    if opened.config.alone():
        jscc = Component("jscc", *codec.codec_of(opened))
        import_codec(jscc, source, destination, DTYPES.get(dtype), say)
        return
    components, jscc = plan(opened)
    schedule = scheduler(opened.config.diffusion())
    captions = opened.config.diffusion().get("use_lang", True)
    wanted = DTYPES.get(dtype)
    with written(destination, sum(c.bytes(wanted) for c in (*components, jscc))) as partial:
        for component in components:
            say(f"writing {describe(component)}")
            write_component(component, partial / component.name, wanted)
        say(f"writing {describe(jscc)}")
        write_codec(jscc, partial / jscc.name, wanted, source)
        write_rest(partial, components, schedule, tokenizer, captions, say)


def import_codec(
    jscc: Component,
    source: str,
    destination: Path,
    dtype: torch.dtype | None,
    say: Callable[[str], None],
) -> None:
    """A checkpoint of a codec and nothing else: ``destination`` is the codec's folder."""
    with written(destination, jscc.bytes(dtype)) as partial:
        say(f"writing {describe(jscc)}; a codec alone")
        write_codec(jscc, partial, dtype, source)


@contextmanager
def written(destination: Path, needed: int) -> Iterator[Path]:
    """A folder beside ``destination``, which becomes it in the end. Raises ``StorageError``."""
    parent = destination.absolute().parent
    partial = parent / f".{destination.name}.partial"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        check_room(parent, needed)
        partial.mkdir()
        yield partial
        if destination.exists():
            destination.rmdir()
        partial.rename(destination)
    except (SafetensorError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(f"{destination} cannot be written: {reason}.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_arguments(destination: Path, dtype: str, tokenizer: Path | None) -> None:
    if dtype and dtype not in DTYPES:
        raise SettingsError(f"there is no dtype {dtype!r} here; there is {', '.join(DTYPES)}.")
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise SettingsError(f"{destination} is not empty; name a folder that does not exist yet.")
    if tokenizer is not None and not tokenizer.is_dir():
        raise ModelError(f"{tokenizer} is no folder of a CLIP tokenizer.")


def check_room(parent: Path, needed: int) -> None:
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise StorageError(
            f"{parent} has {free / 1e9:.1f} GB free, and the model takes {needed / 1e9:.1f} GB; "
            f"make room."
        )


def plan(source: Source) -> tuple[list[Component], Component]:
    """The components of the model folder, and the codec. Raises ``ModelError``."""
    from rx.fit import check_fit

    config, diffusion = source.config, source.config.diffusion()
    vae_config = vae.vae_config(config.part("vae"), diffusion.get("scale_factor", 1.0))
    unet_config = unet.unet_config(config.part("unet"))
    control_config = control.control_config(config.part("control"))
    jscc = Component("jscc", *codec.codec_of(source))

    autoencoder = vae.autoencoder_part(source.part(vae.PREFIX))
    vae.check_condition_encoder(autoencoder, source.part(vae.CONDITION_PREFIX))
    tower = text.text_tensors(source.part(text.PREFIX), config.part("text"))
    text_config = text.text_config(tower)
    configs = {
        "vae": vae_config,
        "unet": unet_config,
        "control": control_config,
        "text_encoder": text_config,
    }
    networks = empty_networks(configs, config.path)
    parts = [networks[name].config for name in ("vae", "unet", "control")]
    check_fit(parts[0], parts[1], parts[2], networks["text_encoder"].config.to_dict())
    # Older versions of transformers put a prefix before the names, as the hub's files do.
    stem = "text_model." if hasattr(networks["text_encoder"], "text_model") else ""
    tables = {
        "vae": vae.vae_table(vae_config),
        "unet": unet.encoder_table(unet_config) | unet.decoder_table(unet_config),
        "control": control.control_table(control_config),
        "text_encoder": text.text_table(text_config, stem),
    }
    middle_only = diffusion.get("only_mid_control", False)
    tensors = {
        "vae": (vae.PREFIX, autoencoder),
        "unet": (unet.PREFIX, source.part(unet.PREFIX)),
        "control": (
            control.PREFIX,
            control.control_tensors(source.part(control.PREFIX), control_config, middle_only),
        ),
        "text_encoder": (text.PREFIX, tower),
    }
    components = []
    for name, network in networks.items():
        prefix, official = tensors[name]
        pulled = pull(network, official, tables[name], prefix)
        components.append(Component(name, network, pulled))
    return components, jscc


def empty_networks(configs: dict[str, dict[str, Any]], path: str) -> dict[str, Any]:
    """Each network on the meta device. Raises ``ModelError`` where one cannot be built."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from rx.control import ControlModule, unet_config

    try:
        with torch.device("meta"):
            steered = unet_config(UNet2DConditionModel(**configs["control"]["unet"]))
            return {
                "vae": AutoencoderKL(**configs["vae"]),
                "unet": UNet2DConditionModel(**configs["unet"]),
                "control": ControlModule(**configs["control"] | {"unet": steered}),
                "text_encoder": CLIPTextModel(CLIPTextConfig(**configs["text_encoder"])),
            }
    except (ValueError, TypeError, RuntimeError) as error:  # such as widths that 32 do not divide
        reason = " ".join(str(error).split()).rstrip(".")
        raise ModelError(f"{path} describes a network that cannot be built: {reason}.") from None


def scheduler(diffusion: Params) -> Any:
    """The noise schedule; the authors' "linear" is linear in the square root of beta."""
    from diffusers import DDPMScheduler

    diffusion.require(beta_schedule="linear", given_betas=None, parameterization="eps")
    return DDPMScheduler(
        num_train_timesteps=diffusion.get("timesteps", 1000),
        beta_start=diffusion.get("linear_start", 1e-4),
        beta_end=diffusion.get("linear_end", 2e-2),
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        variance_type="fixed_small",
        clip_sample=False,
    )


def describe(component: Component) -> str:
    count = sum(tensor.numel() for tensor in component.tensors.values())
    return f"{component.name}, {count / 1e6:.1f} M parameters"


def write_component(component: Component, folder: Path, dtype: torch.dtype | None) -> None:
    """``config.json`` and the weights, as diffusers and transformers name them."""
    if component.name == "text_encoder":
        file, stem = "model.safetensors", "text_model."
        component.module.config.save_pretrained(folder)
    else:
        file, stem = "diffusion_pytorch_model.safetensors", ""
        component.module.save_config(folder)
    save_file(
        {
            stem + name.removeprefix(stem): ready(tensor, dtype)
            for name, tensor in component.tensors.items()
        },
        folder / file,
        metadata={"format": "pt"},
    )


def write_codec(component: Component, folder: Path, dtype: torch.dtype | None, source: str) -> None:
    from simulator.jscc.checkpoint import save_codec

    jscc = component.module
    jscc.load_state_dict(component.tensors, assign=True)
    weights = next(jscc.parameters()).dtype
    save_codec(jscc, folder, {"imported": source}, dtype or weights)


def ready(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """In memory of its own, as safetensors wants it."""
    return tensor.to(dtype or tensor.dtype).contiguous()


def write_rest(
    folder: Path,
    components: list[Component],
    schedule: Any,
    tokenizer: Path | None,
    captions: bool,
    say: Callable[[str], None],
) -> None:
    """Tokenizer, scheduler, captioner and ``model_index.json``."""
    from transformers import CLIPTokenizer

    from rx.captioner_file import write_manifest
    from rx.pipeline import DiffJSCCPipeline

    networks = {component.name: component.module for component in components}
    tower = networks["text_encoder"].config
    known = write_tokenizer(folder / "tokenizer", tower.max_position_embeddings, tokenizer)
    if known > tower.vocab_size:
        say(
            f"note: the text tower knows {tower.vocab_size} tokens and the tokenizer writes "
            f"{known}; give its own with --tokenizer FOLDER"
        )
    schedule.save_pretrained(folder / "scheduler")
    if captions:
        write_manifest(folder / "captioner", name="blip2", model=CAPTIONER)
    else:
        write_manifest(folder / "captioner", name="none")
    DiffJSCCPipeline(
        **networks,
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        scheduler=schedule,
        steps=STEPS,
        solver="ddpm",
    ).save_config(folder)
