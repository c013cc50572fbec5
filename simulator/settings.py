"""The typed configuration: a TOML file, ``--set NAME=VALUE``, or Python.

Every name here can be set as ``--set section.name=value``; ``run.toml`` of a run folder holds
the resolved settings and can be given again as ``--config``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from simulator.air import (
    FIRST_DRAWS,
    AirSettings,
    Kind,
    NotEmpty,
    Section,
    SnrDb,
    check_kind,
    listed,
)
from simulator.edge import DownlinkSettings, EdgeSettings
from simulator.errors import SettingsError
from simulator.jscc.folder import WEIGHTLESS
from simulator.jscc.rates import parse_ratio
from simulator.observed import ObserveSettings
from simulator.phy.own import CHANNELS
from simulator.phy.synchronise import MAX_OFFSET
from simulator.radio import RadioSettings
from simulator.receiving import Name, RxSettings
from simulator.toml import assign, assign_text, read_toml

AUTO = "auto"


def _ratio(value: Any) -> str:
    if value == AUTO:
        return AUTO
    try:
        return str(parse_ratio(str(value)))
    except SettingsError as error:
        raise ValueError(str(error)) from None


# What becomes white: the largest sample that there can be, or the largest that is there.
White = Literal["full", "largest"]
Runtime = Literal["onnx", "onnx-int8", "torch"]
Ratio = Annotated[str, BeforeValidator(_ratio)]
TargetPsnr = Annotated[float, Field(ge=5, le=60)]


class TxSettings(Section):
    """The transmitter: what is sent, and at which bandwidth ratios."""

    name: Name = "tx"
    """The name of this transmitter, in ledgers, rows and keys."""
    images: list[str] = []
    """Images or folders of them; empty: the sample photographs."""
    bandwidth_ratio: Annotated[list[Ratio], NotEmpty, BeforeValidator(listed)] = ["1/384"]
    """Channel uses per value of the image, one or several; the shipped codec has 1/768, 1/384,
    1/192, 1/96 and 1/48. auto: for each frame what target_fps or target_psnr_db ask for, up to the
    codec's largest."""
    target_psnr_db: TargetPsnr | None = None
    """The PSNR that each preview should have: an image is sent at the smallest ratio that promises
    it, and bandwidth_ratio is the largest that may be used; empty: at bandwidth_ratio."""
    target_fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Frames a second to keep up with: each is sent at the largest ratio, bandwidth_ratio at most,
    that its airtime and what frames took lately allow; empty: at bandwidth_ratio."""
    captions: str = ""
    """File of captions by image, which go to the receiver with their images; for a codec that sends
    a text (diffjscc wrap sketch); empty: none."""
    source: str = ""
    """Where pictures come from while tx runs, in place of images: follow:FOLDER for images as they
    are completed; video: and a file, an address (rtsp://HOST/PATH) or a device (/dev/video0);
    http:HOST:PORT for what is posted there; stdin for PNG or JPEG files one after the other on
    standard input; empty: nowhere."""
    token: str = ""
    """File that holds the token which every request to http: has to show; needed where other
    machines can reach the address."""
    fps: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Pictures of the source a second, at most; of a video file, a second of its own time; 0: as
    many as come."""
    frames: Annotated[int, Field(ge=0)] = 0
    """Pictures of the source after which tx ends; 0: with the source, or when it is stopped."""
    when_busy: Literal["wait", "latest"] = "wait"
    """Where the source is faster than the link: wait, or send the latest picture and drop those
    that wait, which become rows of their own."""
    repeats: Annotated[int, Field(ge=1, le=10_000)] = 1
    """How often each image is sent, each time with other noise."""
    runtime: Runtime = "onnx"
    """What runs the encoder: ONNX Runtime, ONNX Runtime in 8-bit integers (`diffjscc export
    --int8` makes that file), or the reference in torch."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of the encoder; 0: the library's default."""
    white: White = "full"
    """What is white in a grey image of more than 8 bits: the full range, or its largest value."""
    window: Annotated[int, Field(ge=1, le=1024)] = 1
    """Frames in flight."""
    wait_receivers: Annotated[int, Field(ge=0)] = 1
    """Receivers that must be there before the first frame is sent."""
    reference: Literal["attached", "none"] = "attached"
    """Whether the original travels beside the symbols, for the scorer only."""
    returns: Literal["none", "preview", "refined"] = "none"
    """Which pictures rx sends back: none, the preview, or the refined image, too. They travel
    beside the symbols and are not counted in the bandwidth ratio."""
    return_format: Literal["png", "jpeg", "webp"] = "png"
    """What they are sent back as: PNG is exact, JPEG and WebP are for thin networks."""
    save_originals: bool = True
    """Whether the images that were sent are kept in the run folder."""
    keep: Annotated[int, Field(ge=0)] = 0
    """Of how many of the newest frames the run folder keeps what was sent and what came back; rows
    of all frames stay; 0: of all."""
    roll_bytes: Annotated[int, Field(ge=0)] = 0
    """Bytes after which results.jsonl becomes results-000001.jsonl, and so on, and is begun anew;
    0: it is one file."""
    max_failures: Annotated[int, Field(ge=1)] = 3
    """Failures after which a frame is given up."""
    connect: str = "tcp://127.0.0.1:5550"
    """The channel's address for transmitters (channel.front)."""
    keys: str = ""
    """Folder made by: diffjscc keys init tx; empty: no encryption."""
    observe: ObserveSettings = ObserveSettings()
    edge: EdgeSettings = EdgeSettings()

    @model_validator(mode="after")
    def _one_ratio(self) -> TxSettings:
        if AUTO not in self.bandwidth_ratio:
            return self
        if len(self.bandwidth_ratio) > 1:
            raise ValueError("bandwidth_ratio = 'auto' goes with no other ratio")
        if self.target_fps is None and self.target_psnr_db is None:
            raise ValueError("bandwidth_ratio = 'auto' needs target_fps or target_psnr_db")
        return self

    @model_validator(mode="after")
    def _one_source(self) -> TxSettings:
        if self.source and self.images:
            raise ValueError("give images or a source, not both")
        if self.source and self.repeats > 1:
            raise ValueError("the pictures of a source are sent once; leave repeats out")
        return self


class ChannelSettings(AirSettings):
    """The channel. What is sent at which SNR is decided by the transmitter's settings."""

    kind: Annotated[list[Kind], NotEmpty, BeforeValidator(listed)] = ["awgn"]
    """The kind of channel, one or several: awgn, rayleigh, rician, multipath, mimo, or one of a
    plugin; radio: frames go through a real one, see radio below."""
    snr_db: Annotated[list[SnrDb], NotEmpty, BeforeValidator(listed)] = [10.0]
    """Es/N0 per complex symbol, averaged over fading; one value or several. With a radio: what the
    transmitter is told."""
    snr_source: str = ""
    """Where the newest SNR in dB comes from, which replaces snr_db: sub:tcp://HOST:PORT or
    pull:tcp://ADDRESS:PORT for messages (text, or GNU Radio's stream of float), or a file whose
    last line it is; empty: nowhere."""
    guard_s: Annotated[float, Field(ge=0)] = 0.0
    """Silence after each frame, in seconds."""
    airtime: Literal["account", "sleep"] = "account"
    """Whether the time on the air is only booked, or really waited for."""
    superposed: list[Name] = []
    """The names of two transmitters whose frames are on the same channel uses, first with first,
    user 1's name first (power-domain NOMA); empty: every frame has channel uses of its own."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """User 1's part of the power, where two are superposed."""
    queue_frames: Annotated[int, Field(ge=1, le=65_536)] = 256
    """Frames that are granted, queued or at a receiver, at most: others wait for their grant."""
    queue_bytes: Annotated[int, Field(ge=1)] = 1 << 30
    """Bytes of frames that are held, at most."""
    client_frames: Annotated[int, Field(ge=0)] = 128
    """Frames of one transmitter that are granted, queued or at a receiver, at most: what is over
    waits for its grant; 0: no limit."""
    client_bytes: Annotated[int, Field(ge=0)] = 1 << 29
    """Bytes of one transmitter that are queued or at a receiver, at most; 0: no limit."""
    client_rate_hz: Annotated[float, Field(ge=0)] = 10_000.0
    """Grants per second to one transmitter, on average, at most; 0: no limit."""
    max_lost_receivers: Annotated[int, Field(ge=0)] = 20
    """Receivers lost with a frame after which it is given up; 0: no limit."""
    front: str = "tcp://127.0.0.1:5550"
    """The address that transmitters connect to."""
    back: str = "tcp://127.0.0.1:5551"
    """The address that receivers connect to."""
    watch: str = ""
    """The address that diffjscc watch connects to, such as tcp://127.0.0.1:5552; empty: none."""
    keys: str = ""
    """Folder made by: diffjscc keys init channel; empty: no encryption."""
    insecure: bool = False
    """Whether the channel may listen beyond loopback without keys."""
    radio: RadioSettings = RadioSettings()
    downlink: DownlinkSettings = DownlinkSettings()
    observe: ObserveSettings = ObserveSettings()

    @model_validator(mode="after")
    def _with_a_radio(self) -> ChannelSettings:
        if self.snr_source and self.snr_trace:
            raise ValueError("give one of snr_source and snr_trace")
        if not self.by_radio:
            return self
        if len(self.kind) > 1:
            raise ValueError("kind = 'radio' goes with no other kind; make a run of its own")
        if self.csir != "estimated" or self.csit != "average":
            raise ValueError(
                "kind = 'radio' needs csir = 'estimated' and csit = 'average': nobody knows the "
                "gain of a real channel but by its pilots"
            )
        if self.coherence_time:
            raise ValueError("kind = 'radio' needs coherence_time = 0: a burst has one gain")
        if self.impairments or self.packets.size:
            raise ValueError("kind = 'radio' has its own impairments: no impairments, no packets")
        if self.radio.max_offset_hz > MAX_OFFSET * self.symbol_rate_hz:
            raise ValueError(
                f"radio.max_offset_hz may be at most {MAX_OFFSET * self.symbol_rate_hz:g}, a tenth "
                f"of symbol_rate_hz"
            )
        return self

    @model_validator(mode="after")
    def _two_users(self) -> ChannelSettings:
        if not self.superposed:
            return self
        if len(set(self.superposed)) != 2 or len(self.superposed) != 2:
            raise ValueError("superposed takes the names of two transmitters, which differ")
        if {"multipath", "mimo", "radio"} & set(self.kind):
            raise ValueError("superposed frames have one gain each: awgn, rayleigh or rician")
        if self.snr_trace or self.snr_source:
            raise ValueError("superposed frames have one SNR: no snr_trace, no snr_source")
        if name := self.unsuperposed:
            raise ValueError(f"superposed frames are not computed under {name}; leave it out")
        if self.queue_frames < 2:
            raise ValueError("superposed frames are granted in twos: queue_frames = 2 or more")
        return self

    @property
    def by_radio(self) -> bool:
        """Whether frames go through a radio, not through the emulated air."""
        return "radio" in self.kind

    def result_changing(self) -> dict[str, Any]:
        radio = self.radio.result_changing() if self.by_radio else {}
        source = {"snr_source": self.snr_source} if self.snr_source else {}
        two = {"superposed": self.superposed, "share": self.share} if self.superposed else {}
        plugins = {f"kind.{name}": own.source_sha256 for name, own in CHANNELS.items()}
        return super().result_changing() | radio | source | two | plugins


class ReceiverSettings(RxSettings):
    """The receiver, and who may observe it."""

    observe: ObserveSettings = ObserveSettings()


class Settings(Section):
    """A run. tx, channel and rx have sections of their own."""

    run: str = ""
    """The name of the run, in rows and messages; empty: made from time and name."""
    name: str = "simulate"
    """Part of the run folder's name."""
    out: str = ""
    """The run folder; empty: runs/TIME-NAME."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seeds gains, noise and the sampler."""
    model: str = "compact"
    """The receiver's model: a shipped name, a model folder or a hub id."""
    codec: str = ""
    """The codec: a shipped name, a codec folder or a model folder; empty: the model's."""
    plugins: Annotated[list[str], BeforeValidator(listed)] = []
    """Python files that add codecs, kinds of channel and receivers; each process runs them at its
    start."""
    receivers: Annotated[int, Field(ge=1, le=64)] = 1
    """Receiver processes that simulate starts."""
    durability: Literal["process", "full"] = "process"
    """What ledgers survive: the end of a process, or the loss of power, too."""
    keys: bool = False
    """Whether simulate encrypts its link, with keys made for this start of it."""
    log_format: Literal["text", "json"] = "text"
    """What log lines are: text for people, or JSON objects, in which frame_id names the frame that
    a line is about."""
    tx: TxSettings = TxSettings()
    channel: ChannelSettings = ChannelSettings()
    rx: ReceiverSettings = ReceiverSettings()

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
    def _kinds(self) -> Settings:
        # What plugins add is known once they have run, which reading settings does not do.
        if not self.plugins:
            for kind in self.channel.kind:
                check_kind(kind, self.channel.csit)
        return self

    @model_validator(mode="after")
    def _pages_with_keys(self) -> Settings:
        if self.keys and self.channel.watch:
            raise ValueError(
                "keys that are made for one start admit no page to channel.watch; leave one of the "
                "two out, or name folders of keys in tx.keys, channel.keys and rx.keys"
            )
        return self

    @model_validator(mode="after")
    def _image_to_refine(self) -> Settings:
        if self.rx.refine and self.codec in WEIGHTLESS:
            raise ValueError(
                f"codec {self.codec!r} carries no image that could be refined; add --refine off"
            )
        if self.rx.show_steps and not self.rx.refine:
            raise ValueError("rx.show_steps shows how images are refined, and rx.refine is off")
        return self

    def rx_hash_fields(self, codec: str, model: str = "", preview: str = "") -> dict[str, Any]:
        """``codec``, ``model`` and ``preview`` are fingerprints."""
        rx = self.rx
        fields = {"codec": codec, "equalizer": rx.equalizer, "refine": rx.refine}
        fields |= {"preview": preview} if preview else {}
        return fields | ({"model": model, **rx.refining()} if rx.refine else {})

    def tx_hash_fields(
        self, fingerprint: str, oranet: str = "", captions: str = ""
    ) -> dict[str, Any]:
        """``fingerprint``: of the codec; ``oranet``: of what predicts PSNR, where a target is set;
        ``captions``: of those that are sent.
        What has its default is left out, as in runs from before the setting."""
        tx = self.tx
        white = {} if tx.white == "full" else {"white": tx.white}
        target = tx.target_psnr_db
        rate: dict[str, Any] = (
            {} if target is None else {"target_psnr_db": target, "oranet": oranet}
        )
        rate |= {} if tx.target_fps is None else {"target_fps": tx.target_fps}
        said = {"captions": captions} if captions else {}
        two = {"superposed": self.channel.superposed} if self.channel.superposed else {}
        return {"codec": fingerprint, "seed": self.seed, **white, **rate, **said, **two}


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
    tree: dict[str, Any] = of_run_file(read_toml(config)) if config else {}
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
            raise SettingsError(f"there is no setting {where!r}; see diffjscc settings.") from None
        if first["type"] == "value_error" and isinstance(first["input"], dict):
            # A rule about several settings.
            raise SettingsError(f"{where}: {reason}.") from None
        raise SettingsError(f"setting {where}: {reason} (given: {first['input']!r}).") from None


def of_run_file(tree: dict[str, Any]) -> dict[str, Any]:
    """The settings of a ``run.toml``, without its provenance; those of another file as they are."""
    if "provenance" not in tree:
        return tree
    settings = {name: value for name, value in tree.items() if name != "provenance"}
    channel = settings.get("channel", {})
    if isinstance(channel, dict):
        settings["channel"] = {"draws": FIRST_DRAWS} | channel
    return settings
