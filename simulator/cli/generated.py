"""A command's options from a dataclass, as ``simulator.training.options`` declares them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import fields
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer

from simulator.training.options import names_of, ordered, said_of

T = TypeVar("T")
Words = dict[str, Any]
Make = Callable[[Words, Collection[str]], Words]


def with_options(
    kind: Callable[..., T], complete: Make | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command ``run(options, ...)`` as one with an option for every field of ``kind``.

    The command keeps its other parameters. ``complete(values, given)`` may change the values of
    fields that are not among the ``given`` on the command line.
    """
    assert isinstance(kind, type)
    names = ordered(kind)

    def decorate(run: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(run, eval_str=True).parameters.values())[1:]

        def command(context: typer.Context, **words: Any) -> None:
            values = {name: from_words(words.pop(name)) for name in names}
            if complete is not None:
                given = {name for name in names if is_given(context, name)}
                values = complete(values, given)
            run(kind(**values), **words)

        declared = [parameter_of(kind, name) for name in names]
        context = inspect.Parameter("context", KEYWORD, annotation=typer.Context)
        required = [each for each in declared if each.default is inspect.Parameter.empty]
        rest = [each for each in declared if each.default is not inspect.Parameter.empty]
        parameters = [context, *required, *(p.replace(kind=KEYWORD) for p in own), *rest]
        command.__name__, command.__doc__ = run.__name__, run.__doc__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return decorate


KEYWORD = inspect.Parameter.KEYWORD_ONLY


def parameter_of(kind: type, name: str) -> inspect.Parameter:
    """A field as typer reads it: a list for a tuple that is empty by default."""
    said, (on, off) = said_of(kind, name), names_of(kind, name)
    hint = get_type_hints(kind)[name]
    default: Any = next(each.default for each in fields(kind) if each.name == name)
    metavar = None
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        if default == ():
            hint, default, metavar = list[inner], [], f"<{inner.__name__}>"  # type: ignore[valid-type]
        else:
            hint = tuple[(inner,) * len(default)]  # type: ignore[misc]
    flag = f"{on}/{off}" if off else on
    info = typer.Option(flag, help=said["meaning"], metavar=metavar, show_default=default != "")
    if said["required"]:
        default = inspect.Parameter.empty
    return inspect.Parameter(name, KEYWORD, default=default, annotation=Annotated[hint, info])


def from_words(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def is_given(context: typer.Context, name: str) -> bool:
    """Whether somebody has given an option: else it has its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
