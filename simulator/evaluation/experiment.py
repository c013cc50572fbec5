"""What an experiment is: a TOML file of operating points, methods, metrics and axes.

experiments/NAME.toml or a file, options, --set, --only -> Experiment (frozen, checked)
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from simulator.air import AirSettings, NotEmpty, Section, SnrDb
from simulator.errors import SettingsError, path_from
from simulator.jscc.rates import parse_ratio
from simulator.methods.method import Context, Point
from simulator.methods.registry import parse_spec
from simulator.metrics.metric import Setup
from simulator.settings import Ratio, Runtime, White
from simulator.toml import assign, assign_text, read_toml

#: Those that ship, by name.
SHIPPED = Path(__file__).parent / "experiments"
#: Overrides that leave what is there: plugins, and methods by the name ``add``.
ADDED = {"plugins": "plugins", "add": "methods"}
#: What ``--only`` narrows.
LISTS = ("channel", "cbr", "snr_db", "methods", "metrics")


def listed(value: Any) -> list[Any]:
    """One value, or a list."""
    return list(value) if isinstance(value, list | tuple) else [value]


def channel_table(value: Any) -> Any:
    """A list of kinds is short for a table with nothing else."""
    if isinstance(value, AirSettings):
        return value
    table = dict(value) if isinstance(value, dict) else {"kind": value}
    return table | ({"kind": unique(listed(table["kind"]))} if "kind" in table else {})


def unique(values: list[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


OneOrMore = (NotEmpty, BeforeValidator(listed), AfterValidator(unique))
Names = Annotated[list[str], *OneOrMore]


def number(value: Any) -> Any:
    """A bandwidth ratio as it is written, such as 1/48, or a number."""
    try:
        return float(parse_ratio(value)) if isinstance(value, str) else value
    except SettingsError as error:
        raise ValueError(str(error)) from None


class Published(BaseModel):
    """A curve of a paper beside those that are measured. ``x``: SNR in dB, or bandwidth ratios, as
    the experiment's; ``snr_db``, ``cbr``: that of the other one, for the panel that it stands in.
    ``source``: where the figures are from."""

    model_config = Section.model_config

    label: str
    source: str
    metric: str = "psnr"
    channel: str = "awgn"
    cbr: Ratio = "1/48"
    snr_db: float = 10.0
    x: Annotated[list[Annotated[float, BeforeValidator(number)]], NotEmpty]
    y: Annotated[list[float], NotEmpty]

    @model_validator(mode="after")
    def _pairs(self) -> Published:
        if len(self.x) != len(self.y):
            raise ValueError(f"{self.label}: {len(self.x)} values of x and {len(self.y)} of y")
        return self


class Experiment(BaseModel):
    """``x``: what a curve is over; the rest of a point has a row of panels of its own."""

    model_config = Section.model_config

    title: str = ""
    images: list[str] = []  # files or folders; empty: the sample photographs
    limit_images: Annotated[int, Field(ge=0)] = 0  # of the first; 0: all
    # a kind or several, of the link's channel or a plugin's; or a table, as the link has
    channel: Annotated[AirSettings, BeforeValidator(channel_table)] = AirSettings()
    cbr: Annotated[list[Ratio], *OneOrMore] = ["1/384"]
    snr_db: Annotated[list[SnrDb], *OneOrMore] = [10.0]
    methods: Names = ["jscc", "diffjscc"]  # NAME or NAME:KEY=VALUE,...
    labels: dict[str, str] = {}  # of methods, in legends
    metrics: Names = ["psnr", "ms_ssim", "lpips", "fd_effnet"]
    white: White = "full"  # of grey with more than 8 bits, as tx.white
    repeats: Annotated[int, Field(ge=1, le=10_000)] = 1
    seed: Annotated[int, Field(ge=0)] = 0
    model: str = "compact"  # shipped name, model folder or hub id
    codec: str = ""  # empty: the model's
    runtime: Runtime = "onnx"  # of the encoder
    equalizer: Literal["zero-forcing", "mmse"] = "zero-forcing"
    device: str = "auto"  # auto: cuda where there is one
    threads: Annotated[int, Field(ge=0)] = 0  # of a worker; 0: the library's default
    batch: Annotated[int, Field(ge=0)] = 0  # points of an image together; 0: 1 on cpu, else 8
    plugins: list[str] = []  # Python files; those of a TOML file lie beside it
    masks: str = ""  # folder of ground truth, for mIoU
    segmenter: str = ""  # hub id or folder; empty: mIoU's own
    clip: str = ""  # hub id or folder; empty: the CLIP score's own
    pictures: Annotated[int, Field(ge=0)] = 4  # images whose results are kept
    x: Literal["snr_db", "cbr"] = "snr_db"
    published: list[Published] = []  # drawn as thin lines; no rows
    costs: bool = False  # what the codecs cost, in costs.csv and a table

    @field_validator("methods")
    @classmethod
    def _specs(cls, methods: list[str]) -> list[str]:
        try:
            return [parse_spec(text).text for text in methods]
        except SettingsError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _labels(self) -> Experiment:
        strangers = sorted(set(self.labels) - set(self.methods))
        if strangers:
            raise ValueError(f"labels names {strangers[0]!r}, which is not one of the methods")
        return self

    @model_validator(mode="after")
    def _computed(self) -> Experiment:
        if "radio" in self.channel.kind:
            raise ValueError(
                "a sweep computes its channel, and a radio has to be there: send the images "
                "through it with diffjscc simulate --channel radio"
            )
        return self

    @property
    def points(self) -> list[Point]:
        """Each operating point once; one SNR, None, along a trace."""
        snrs: Sequence[float | None] = [None] if self.traced else self.snr_db
        return [
            Point(channel, Fraction(cbr), snr_db)
            for channel in self.channel.kind
            for cbr in self.cbr
            for snr_db in snrs
        ]

    @property
    def traced(self) -> bool:
        """Whether a trace says the SNR of each frame."""
        return bool(self.channel.snr_trace)

    def context(self, device: str) -> Context:
        return Context(self.model, self.codec, device, self.runtime, self.equalizer)

    def setup(self, device: str) -> Setup:
        return Setup(device, self.masks, self.segmenter, self.clip)

    def decides(self) -> dict[str, Any]:
        """The settings that change rows: what a folder must have been begun with."""
        shown = {
            "title",
            "labels",
            "x",
            "pictures",
            "images",
            "limit_images",
            "plugins",
            "published",
            "costs",
        }
        tree = self.model_dump(exclude=shown, exclude_none=True)
        if self.white == "full":
            del tree["white"]  # a folder that was begun before this setting says nothing of it
        del tree["channel"]
        air = {"kind": list(self.channel.kind), **self.channel.result_changing()}
        return tree | {f"channel.{k}": value for k, value in air.items() if value is not None}


def find_config(name: str) -> Path:
    """A TOML file, or a shipped experiment such as ``figure-4``. Raises ``SettingsError``."""
    path = path_from(name)
    if path.suffix == ".toml" or path.is_file():
        return path
    shipped = SHIPPED / f"{name}.toml"
    if shipped.is_file():
        return shipped
    names = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
    raise SettingsError(f"there is no experiment {name!r}; give a TOML file, or one of: {names}.")


def make_experiment(
    config: Path,
    overrides: dict[str, Any] | None = None,
    assignments: Sequence[str] = (),
    only: Sequence[str] = (),
) -> Experiment:
    """A TOML file, then ``overrides``, then ``NAME=VALUE`` texts, narrowed to ``only``.

    Raises ``SettingsError`` with one sentence.
    """
    tree = read_toml(config)
    tree["plugins"] = [str(config.parent / Path(name)) for name in listed(tree.get("plugins", []))]
    for name, value in (overrides or {}).items():
        if name in ("plugins", "add"):
            name, value = ADDED[name], [*listed(tree.get(ADDED[name], [])), *value]
        assign(tree, name, value)
    assign_all(tree, assignments)
    forget_labels(tree)
    experiment = checked(tree)
    added = [parse_spec(text).text for text in (overrides or {}).get("add", ())]
    for text in only:
        experiment = narrowed(experiment, text, added)
    return experiment


def assign_all(tree: dict[str, Any], assignments: Sequence[str]) -> None:
    """``NAME=VALUE`` texts; a list of channels becomes a table where one names its settings."""
    for text in assignments:
        if text.startswith("channel.") and "channel" in tree:
            tree["channel"] = channel_table(tree["channel"])
        assign_text(tree, text, example="channel.csir=estimated")


def with_draws(experiment: Experiment, version: int) -> Experiment:
    """The experiment with this version of the draws, unless its settings name one. Raises
    ``SettingsError`` for an unknown version."""
    if experiment.channel.draws:
        return experiment
    tree = experiment.model_dump()
    assign(tree, "channel.draws", version)
    return checked(tree)


def forget_labels(tree: dict[str, Any]) -> None:
    """Labels of methods that an option or ``--only`` has left out."""
    methods = listed(tree.get("methods", list(Experiment().methods)))
    if isinstance(tree.get("labels"), dict):
        tree["labels"] = {k: v for k, v in tree["labels"].items() if k in methods}


def checked(tree: dict[str, Any]) -> Experiment:
    try:
        return Experiment.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        reason = first["msg"].removeprefix("Value error, ").rstrip(".")
        if first["type"] == "extra_forbidden":
            raise SettingsError(f"an experiment has no setting {where!r}.") from None
        if not where:
            raise SettingsError(f"{reason}.") from None
        if first["type"] == "value_error" and isinstance(first["input"], dict):
            raise SettingsError(f"{where}: {reason}.") from None  # about several settings
        raise SettingsError(f"setting {where}: {reason} (given: {first['input']!r}).") from None


def narrowed(experiment: Experiment, text: str, added: Sequence[str] = ()) -> Experiment:
    """``snr_db=1,10``: only these of an experiment's list; of methods, all with one of these
    names or this one with its options, and those that were ``added``. Raises ``SettingsError``."""
    name, _, value = text.partition("=")
    if name not in LISTS or not value:
        raise SettingsError(f"--only {text}: write NAME=VALUE,... of {', '.join(LISTS)}.")
    place = "channel.kind" if name == "channel" else name
    given: Sequence[Any] = attrgetter(place)(experiment)
    wanted = [value] if ":" in value else value.split(",")
    left = added if name == "methods" else ()
    kept = [v for v in given if v in left or not names_of(v).isdisjoint(wanted)]
    found = set().union(*map(names_of, kept))
    if lost := [word for word in wanted if word not in found]:
        told = "; ".join(map(str, given))
        raise SettingsError(f"--only {text}: {lost[0]!r} is not one of {name}: {told}.")
    tree = experiment.model_dump()
    assign(tree, place, kept)
    forget_labels(tree)
    return checked(tree)


def names_of(value: Any) -> set[str]:
    """How ``--only`` may write an SNR, or a method."""
    if isinstance(value, str):
        return {value, parse_spec(value).name} if "/" not in value else {value}
    return {f"{value:g}", str(value)}
