"""``diffjscc settings``: every setting, as the models of ``simulator.settings`` declare it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import typer

if TYPE_CHECKING:
    from simulator.air import Section

COLUMNS = 80
HEAD = (
    "Every setting with its meaning and its default. This is TOML: keep what you change in a "
    "file, for --config FILE, or give one of them as --set NAME=VALUE, for example "
    "--set rx.slots=4."
)


def show_settings() -> None:
    """Show every setting, its meaning and its default.

    The output is a TOML file, for --config.
    """
    from simulator.settings import Settings

    typer.echo("\n".join([*comment(HEAD), *lines_of(Settings, "")]))


def lines_of(section: type[Section], path: str) -> Iterator[str]:
    """A section, then those below it; ``path`` is its name, such as ``rx``."""
    from simulator.air import Section
    from simulator.toml import to_toml

    below = {}
    yield ""
    if path:
        yield f"[{path}]"
    yield from comment(section.__doc__ or "")
    for name, field in section.model_fields.items():
        if isinstance(field.default, Section):
            below[f"{path}.{name}" if path else name] = type(field.default)
            continue
        yield ""
        yield from comment(field.description or "")
        if known := choices(field.annotation):
            yield from comment(f"One of {', '.join(known)}.")
        if field.default is None:  # TOML has no word for it
            yield f"# {name} ="
        else:
            yield to_toml({name: field.default}).rstrip("\n")
    for inner, model in below.items():
        yield from lines_of(model, inner)


def choices(annotation: Any) -> list[str]:
    """The values of a ``Literal``, or of a list of them. An empty one is in the description."""
    if get_origin(annotation) is list:
        return choices(get_args(annotation)[0])
    return [v for v in get_args(annotation) if v] if get_origin(annotation) is Literal else []


def comment(text: str) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        COLUMNS,
        initial_indent="# ",
        subsequent_indent="# ",
        break_on_hyphens=False,
    )
