"""Options that several commands have, and the settings that they make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from simulator.settings import Settings

Images = Annotated[
    list[str] | None,
    typer.Argument(help="Images or folders; default: sample photographs."),
]
Cbr = Annotated[
    list[str] | None,
    typer.Option(
        help="Bandwidth ratio such as 1/384, may be repeated; or auto.", metavar="<ratio>"
    ),
]
TargetFps = Annotated[
    float | None,
    typer.Option(
        "--target-fps",
        help="Frames a second to keep up with, by a smaller ratio where --cbr is too slow.",
        metavar="<float>",
    ),
]
TargetPsnr = Annotated[
    float | None,
    typer.Option(
        "--target-psnr",
        help="PSNR in dB to reach with as few channel uses as --cbr allows.",
        metavar="<float>",
    ),
]
SnrDb = Annotated[
    list[float] | None, typer.Option(help="SNR in dB; may be repeated.", metavar="<float>")
]
Channel = Annotated[
    list[str] | None,
    typer.Option(
        help="awgn, rayleigh, rician, multipath, mimo; may be repeated; or radio.", metavar="<str>"
    ),
]
Config = Annotated[Path | None, typer.Option("--config", help="TOML file; see diffjscc settings.")]
Assign = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A setting, such as channel.csir=estimated; may be repeated.",
        metavar="<name=value>",
    ),
]
Out = Annotated[Path | None, typer.Option("--out", help="Run folder.")]
Model = Annotated[
    str | None,
    typer.Option("--model", help="The receiver's model: compact, quick, a folder or a hub id."),
]
Refine = Annotated[
    Literal["on", "off"] | None, typer.Option("--refine", help="off: plain DeepJSCC.")
]
Plugin = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        help="Python file that adds codecs, kinds of channel and receivers; may be repeated.",
        metavar="<path>",
    ),
]
Reference = Annotated[
    str | None, typer.Option(help="What rx scores against: attached, none or a folder.")
]
Follow = Annotated[
    Path | None,
    typer.Option("--follow", help="Send images as they are completed in this folder."),
]
VideoFrom = Annotated[
    str | None,
    typer.Option("--video", help="Send a video: a file, an address or a device.", metavar="<str>"),
]
Http = Annotated[
    str | None,
    typer.Option("--http", help="Send what is posted at this HOST:PORT.", metavar="<str>"),
]
Stdin = Annotated[
    bool, typer.Option("--stdin", help="Send the PNG or JPEG files that come on standard input.")
]
Fps = Annotated[float | None, typer.Option(help="Pictures a second, at most.", metavar="<float>")]
WhenBusy = Annotated[
    Literal["wait", "latest"] | None,
    typer.Option("--when-busy", help="Where the link is slow: wait, or send the latest alone."),
]
Return = Annotated[
    Literal["none", "preview", "refined"] | None,
    typer.Option("--return", help="Which pictures come back to tx."),
]
Keep = Annotated[
    int | None,
    typer.Option("--keep", help="Keep only the pictures of the newest N frames.", min=0),
]
Log = Annotated[Literal["text", "json"] | None, typer.Option("--log", help="Format of the log.")]
# The process id of simulate: a child ends when its parent has died.
Supervised = Annotated[int, typer.Option("--supervised", hidden=True)]


def settings_from(config: Path | None, assignments: list[str] | None, **options: Any) -> Settings:
    """Configuration file, then options (``tx__window`` is tx.window), then --set. Their plugins
    have run."""
    from simulator.plugins import with_plugins
    from simulator.settings import make_settings

    given = {k.replace("__", "."): v for k, v in options.items() if v not in (None, [], ())}
    return with_plugins(make_settings(config, assignments or [], given))


def source_from(
    follow: Path | None, video: str | None, http: str | None, stdin: bool
) -> str | None:
    """``tx.source``. Raises ``SettingsError`` for two of them."""
    from simulator.errors import SettingsError

    named = {"follow": follow, "video": video, "http": http}
    given = [f"{kind}:{what}" for kind, what in named.items() if what is not None]
    given += ["stdin"] if stdin else []
    if len(given) > 1:
        raise SettingsError("give one of --follow, --video, --http and --stdin.")
    return given[0] if given else None


def switched(value: str | None) -> bool | None:
    """A setting from ``on`` or ``off``; None where nothing is said."""
    return None if value is None else value == "on"
