"""Everything that can be compared, by name.

    name:key=value,... -> Spec -> factory -> Method

A plugin (``simulator.plugins``) adds to it by ``register_method``; a receiver that it adds is a
method, too.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.errors import MissingPackageError, SettingsError, add_extra
from simulator.methods.method import Context, Method, short_path
from simulator.own_receivers import RECEIVERS
from simulator.toml import literal

Factory = Callable[..., Method]

#: Our own, imported when they are asked for.
BUILT_IN = {
    "jscc": "simulator.methods.diffjscc:make_jscc",
    "diffjscc": "simulator.methods.diffjscc:make_diffjscc",
    "noma": "simulator.methods.noma:make_noma",
    "noma-capacity": "simulator.methods.noma:make_noma_capacity",
}
#: Makes the factory of a plugin's receiver from its name.
REFINED_BY = "simulator.methods.diffjscc:refined_by"
#: Mappings of further names to factories. Names of digital
#: systems are SOURCE+CHANNEL.
DIGITAL = "simulator.methods.digital.methods:METHODS"
LEARNED = "simulator.methods.learned.methods:METHODS"

METHODS: dict[str, Factory] = {}


def register_method(name: str, factory: Factory) -> None:
    """``factory(**options)`` -> Method; ``options`` are those after the colon of a spec, and
    ``context`` where the factory names it. A class is a factory."""
    METHODS[name] = factory


@dataclass(frozen=True)
class Spec:
    """``diffjscc:steps=10,conditions=spatial+snr``: a method's name and its options."""

    text: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


def parse_spec(text: str) -> Spec:
    """Raises ``SettingsError``."""
    name, colon, rest = text.strip().partition(":")
    options: dict[str, Any] = {}
    for part in rest.split(",") if colon else ():
        key, equals, value = part.partition("=")
        if not (equals and key.strip()):
            raise SettingsError(f"method {text!r}: write NAME:KEY=VALUE,KEY=VALUE.")
        options[key.strip()] = literal(value.strip())
    return Spec(text.strip(), name.strip(), options)


def make_method(text: str, context: Context) -> Method:
    """The method of a spec; its ``name`` is the spec.

    Raises what ``check_spec`` does, and ``DiffJsccError`` of any kind where the method needs what
    this machine, or the spec, lacks.
    """
    spec = check_spec(text)
    factory = find_factory(spec.name)
    given = {"context": context} if "context" in inspect.signature(factory).parameters else {}
    method = factory(**spec.options, **given)
    method.name = spec.text
    options = spec.text.partition(":")[2].split(",") if spec.options else []
    unsaid = [each for each in options if short_path(each.partition("=")[2]) not in method.label]
    if unsaid:
        method.label += f" ({','.join(unsaid)})"
    return method


def check_spec(text: str) -> Spec:
    """Raises ``SettingsError`` for a name or an option that there is not, ``MissingPackageError``
    where its module cannot be imported."""
    spec = parse_spec(text)
    named = inspect.signature(find_factory(spec.name)).parameters
    strangers = [key for key in spec.options if key not in named or key == "context"]
    if strangers and not any(p.kind is p.VAR_KEYWORD for p in named.values()):
        has = ", ".join(key for key in named if key != "context") or "none"
        raise SettingsError(f"method {spec.name} has no option {strangers[0]!r}; it has {has}.")
    return spec


def find_factory(name: str) -> Factory:
    """Plugins first, then our own, then the families. Raises as ``make_method``."""
    if name in METHODS:
        return METHODS[name]
    if name in RECEIVERS:
        return resolve(REFINED_BY)(name)  # type: ignore[no-any-return]
    if name in BUILT_IN:
        return resolve(BUILT_IN[name])  # type: ignore[no-any-return]
    family = family_of(DIGITAL if "+" in name else LEARNED)
    if name in family:
        return family[name]
    names = ", ".join((*METHODS, *RECEIVERS, *BUILT_IN, *family))
    raise SettingsError(f"there is no method {name!r}; there are {names}.")


def family_of(place: str) -> Mapping[str, Factory]:
    """A mapping, as ``MODULE:NAME``. Raises ``MissingPackageError`` where it cannot be imported."""
    try:
        found: Mapping[str, Factory] = resolve(place)
    except ImportError as error:
        module = place.partition(":")[0]
        raise MissingPackageError(
            f"{module} does not import ({error}): {add_extra('eval')}."
        ) from None
    return found


def resolve(place: str) -> Any:
    """What ``MODULE:NAME`` is."""
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)
