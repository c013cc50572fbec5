"""The typed configuration: TOML files in ``configs/``, ``--set NAME=VALUE``, or Python.

Every name here can be set as ``--set section.name=value``; ``run.toml`` of a run folder holds
the resolved settings and can be given again as ``--config``.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from simulator.errors import SettingsError
from simulator.jscc.folder import WEIGHTLESS
from simulator.jscc.rates import parse_ratio
from simulator.textfile import read_text

Kind = Literal["awgn", "rayleigh", "rician"]


def _listed(value: Any) -> Any:
    """Settings that sweep take one value or a list."""
    return list(value) if isinstance(value, list | tuple) else [value]


def _ratio(value: Any) -> str:
    try:
        return str(parse_ratio(str(value)))
    except SettingsError as error:
        raise ValueError(str(error)) from None


NotEmpty = Field(min_length=1)
# What becomes white: the largest sample that there can be, or the largest that is there.
White = Literal["full", "largest"]
Ratio = Annotated[str, BeforeValidator(_ratio)]
SnrDb = Annotated[float, Field(ge=-30, le=60)]
# Part of file names at the receiver, and of every message.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TxSettings(Section):
    name: Name = "tx"
    images: list[str] = []  # files or folders; empty: the sample photographs
    bandwidth_ratio: Annotated[list[Ratio], NotEmpty, BeforeValidator(_listed)] = ["1/384"]
    repeats: Annotated[int, Field(ge=1, le=10_000)] = 1
    runtime: Literal["onnx", "torch"] = "onnx"
    threads: Annotated[int, Field(ge=0)] = 0  # 0: the library's default
    white: White = "full"  # of grey with more than 8 bits
    window: Annotated[int, Field(ge=1, le=1024)] = 1  # frames in flight
    wait_receivers: Annotated[int, Field(ge=0)] = 1  # that must be there before the start
    reference: Literal["attached", "none"] = "attached"
    save_originals: bool = True
    max_failures: Annotated[int, Field(ge=1)] = 3
    connect: str = "tcp://127.0.0.1:5550"
    keys: str = ""  # folder made by: diffjscc keys init tx; empty: no encryption


class AirSettings(Section):
    """What the air does to a frame: for the three processes, sweeps and baselines alike."""

    kind: Annotated[Sequence[str], NotEmpty, BeforeValidator(_listed)] = ["awgn"]
    snr_trace: str = ""  # a CSV file with a column snr_db; replaces snr_db
    assumed_snr_db: SnrDb | None = None  # what both ends are told instead of the truth
    coherence_time: Annotated[int, Field(ge=0)] = 0  # symbols; 0: one h an image
    rician_k_db: Annotated[float, Field(ge=-30, le=40)] = 6.0
    csit: Literal["perfect", "average", "delayed"] = "perfect"
    csit_delay_blocks: Annotated[int, Field(ge=1)] = 1
    block_correlation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    csir: Literal["perfect", "estimated"] = "perfect"
    pilots: Annotated[int, Field(ge=1, le=4096)] = 16  # a block, where CSIR is estimated

    @model_validator(mode="after")
    def _together(self) -> AirSettings:
        if self.csit == "delayed" and (self.coherence_time or not self.block_correlation):
            raise ValueError(
                "csit = 'delayed' needs one h an image (coherence_time = 0) and a "
                "block_correlation above 0"
            )
        if self.coherence_time and self.csit == "perfect" and set(self.kind) != {"awgn"}:
            raise ValueError("with a coherence_time CSIT is csit = 'average'")
        if self.csir == "estimated" and 0 < self.coherence_time <= self.pilots:
            raise ValueError("coherence_time must hold more symbols than pilots")
        return self

    @property
    def pilots_per_block(self) -> int:
        return self.pilots if self.csir == "estimated" else 0

    def result_changing(self) -> dict[str, Any]:
        """The settings that change results at a given operating point."""
        return {name: getattr(self, name) for name in AirSettings.model_fields if name != "kind"}


class ChannelSettings(AirSettings):
    kind: Annotated[list[Kind], NotEmpty, BeforeValidator(_listed)] = ["awgn"]
    snr_db: Annotated[list[SnrDb], NotEmpty, BeforeValidator(_listed)] = [10.0]
    symbol_rate_hz: Annotated[float, Field(gt=0)] = 1e6
    guard_s: Annotated[float, Field(ge=0)] = 0.0
    airtime: Literal["account", "sleep"] = "account"
    queue_frames: Annotated[int, Field(ge=1, le=65_536)] = 256
    queue_bytes: Annotated[int, Field(ge=1)] = 1 << 30
    # A single tx, by its name: what is over waits for its grant. 0: no limit.
    client_frames: Annotated[int, Field(ge=0)] = 128  # granted, queued or at a receiver
    client_bytes: Annotated[int, Field(ge=0)] = 1 << 29  # queued or at a receiver
    client_rate_hz: Annotated[float, Field(ge=0)] = 10_000.0  # grants a second, on average
    max_lost_receivers: Annotated[int, Field(ge=0)] = 20
    front: str = "tcp://127.0.0.1:5550"
    back: str = "tcp://127.0.0.1:5551"
    keys: str = ""  # folder made by: diffjscc keys init channel; empty: no encryption
    insecure: bool = False  # bind to other addresses than loopback without keys


Condition = Literal["spatial", "snr", "h", "caption"]  # equation (9)
CONDITIONS: list[Condition] = ["spatial", "snr", "h", "caption"]


class RxSettings(Section):
    """Where a default says so, the model folder decides: it knows what it was trained for."""

    name: Name = "rx"
    preview: str = ""  # codec folder with a decoder for the preview alone; empty: the codec's
    refine: bool = True  # false: DeepJSCC only
    diffusion: bool | None = None  # false: the restored image is the result; None: the folder's
    steps: Annotated[int, Field(ge=0, le=1000)] = 0  # of the sampler; 0: the folder's
    solver: str = ""  # ddpm, ddim, dpm++, unipc; empty: the folder's
    guidance_scale: Annotated[float, Field(ge=0)] | None = None  # lambda; None: the folder's
    guidance: Literal["", "official", "paper"] = ""  # empty: the folder's
    guidance_repeat: Annotated[int, Field(ge=0)] = 0  # pulls a step; 0: the folder's
    color_fix: Literal["", "none", "wavelet"] = ""  # empty: the folder's
    captioner: str = ""  # keywords, blip2, none, given:FILE or a folder; empty: the folder's
    conditions: list[Condition] = CONDITIONS  # what the denoiser is told
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # auto: bfloat16 on cuda
    offload: Literal["none", "model", "sequential"] = "none"  # to the processor's memory
    batch: Annotated[int, Field(ge=0)] = 0  # frames refined together; 0: what queues and fits
    tile: Annotated[int, Field(ge=0)] = 0  # side in pixels; 0: whole images, if they fit
    equalizer: Literal["zero-forcing", "mmse"] = "zero-forcing"
    device: str = "auto"  # auto: cuda where there is one
    threads: Annotated[int, Field(ge=0)] = 0  # of refinement; previews and scores: always one
    keep_memory: bool = True  # on a processor: what is freed stays for the next image (glibc)
    slots: Annotated[int, Field(ge=1, le=1024)] = 8  # frames held at once
    reference: Literal["attached", "none"] | str = "attached"  # or a folder of originals
    lpips: bool = True
    save_images: bool = True
    drain_s: Annotated[float, Field(ge=0)] = 5.0  # told to stop, for frames that it holds
    delay_s: Annotated[float, Field(ge=0)] = 0.0  # a pretended computation, for load tests
    connect: str = "tcp://127.0.0.1:5551"
    keys: str = ""  # folder made by: diffjscc keys init rx; empty: no encryption

    def refining(self) -> dict[str, Any]:
        """The settings that change refined images."""
        sampling = "diffusion steps solver guidance_scale guidance guidance_repeat color_fix"
        names = [*sampling.split(), "captioner", "dtype", "tile"]
        fields: dict[str, Any] = {name: getattr(self, name) for name in names}
        return fields | {"conditions": sorted(self.conditions)}


class Settings(Section):
    run: str = ""  # empty: made from time and name
    name: str = "simulate"
    out: str = ""  # the run folder; empty: runs/<time>-<name>
    seed: Annotated[int, Field(ge=0)] = 0
    model: str = "compact"  # shipped name, model folder or hub id
    codec: str = ""  # shipped name, codec folder or model folder; empty: the model's
    receivers: Annotated[int, Field(ge=1, le=64)] = 1
    durability: Literal["process", "full"] = "process"
    keys: bool = False  # simulate: encrypt its link, with keys made for this start of it
    tx: TxSettings = TxSettings()
    channel: ChannelSettings = ChannelSettings()
    rx: RxSettings = RxSettings()

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, tree: Any) -> Any:
        """The codec is the model's; a codec that carries no image leaves nothing to refine."""
        if not isinstance(tree, dict):
            return tree
        tree = {**tree, "codec": tree.get("codec") or tree.get("model", "compact")}
        rx = tree.get("rx", {})
        if tree["codec"] in WEIGHTLESS and isinstance(rx, dict):
            tree["rx"] = {"refine": False, **rx}
        return tree

    @model_validator(mode="after")
    def _image_to_refine(self) -> Settings:
        if self.rx.refine and self.codec in WEIGHTLESS:
            raise ValueError(
                f"codec {self.codec!r} carries no image that could be refined; add --refine off"
            )
        return self

    def rx_hash_fields(self, codec: str, model: str = "", preview: str = "") -> dict[str, Any]:
        """``codec``, ``model`` and ``preview`` are fingerprints."""
        rx = self.rx
        fields = {"codec": codec, "equalizer": rx.equalizer, "refine": rx.refine}
        fields |= {"preview": preview} if preview else {}
        return fields | ({"model": model, **rx.refining()} if rx.refine else {})

    def tx_hash_fields(self, fingerprint: str) -> dict[str, Any]:
        white = {} if self.tx.white == "full" else {"white": self.tx.white}
        return {"codec": fingerprint, "seed": self.seed, **white}


def about(fields: dict[str, Any]) -> dict[str, str]:
    """The same settings as HELLO tells them, so that a refusal can say which differ."""
    return {name: str(value)[-128:] for name, value in fields.items()}


def settings_hash(fields: dict[str, Any]) -> str:
    """A short name of result-changing settings, sent in HELLO."""
    text = json.dumps(fields, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_settings(
    config: Path | None = None,
    assignments: Iterable[str] = (),
    overrides: dict[str, Any] | None = None,
) -> Settings:
    """Settings from a TOML file, then ``overrides`` (``"tx.window": 4``), then
    ``NAME=VALUE`` texts. Raises ``SettingsError`` with one sentence.
    """
    tree: dict[str, Any] = read_toml(config) if config else {}
    tree.pop("provenance", None)  # what run.toml holds beside the settings
    for name, value in (overrides or {}).items():
        assign(tree, name, value)
    for text in assignments:
        assign_text(tree, text, example="rx.slots=4")
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "settings"
        reason = first["msg"].removeprefix("Value error, ").rstrip(".")
        if first["type"] == "extra_forbidden":
            raise SettingsError(f"there is no setting {where!r}; see configs/.") from None
        if first["type"] == "value_error" and isinstance(first["input"], dict):
            # A rule about several settings.
            raise SettingsError(f"{where}: {reason}.") from None
        raise SettingsError(f"setting {where}: {reason} (given: {first['input']!r}).") from None


def read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path))
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}.") from None


def assign(tree: dict[str, Any], name: str, value: Any) -> None:
    """``tree["a"]["b"] = value`` for the name ``a.b``."""
    *sections, last = name.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise SettingsError(f"{name}: {section} is not a section of settings.")
    tree[last] = value


def assign_text(tree: dict[str, Any], text: str, example: str) -> None:
    """``assign`` of a ``NAME=VALUE``. Raises ``SettingsError`` with the ``example``."""
    name, found, value = text.partition("=")
    if not found:
        raise SettingsError(f"--set {text}: write NAME=VALUE, for example {example}.")
    assign(tree, name.strip(), literal(value.strip()))


def literal(text: str) -> Any:
    """A TOML value; what is none (``awgn``, ``1/384``) or a date is a string."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, bool | int | float | str | list | dict) else text


def to_toml(tree: dict[str, Any], prefix: str = "") -> str:
    """Settings as TOML: scalars first, then sections. None values are left out."""
    lines, sections = [], []
    for key, value in tree.items():
        if isinstance(value, dict):
            path = prefix + _key(key)
            sections.append(f"\n[{path}]\n" + to_toml(value, f"{path}."))
        elif value is not None:
            lines.append(f"{_key(key)} = {_toml(value)}\n")
    return "".join(lines + sections)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: Any) -> str:
    """JSON strings, numbers, booleans and lists of them are TOML, too, but for two escapes."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")
