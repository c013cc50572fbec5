"""Everything that can be compared, by name; and how a file of yours adds to it.

    name:key=value,... -> Spec -> factory -> Method
    plugin file -> register_method, register_codec, register_channel (and, of
                   ``simulator.metrics.metric``, register_metric)

A plugin is a Python file named by ``--plugin`` or ``plugins = [...]``; it is run once before a
sweep, in each worker, and calls the functions below. ``configs/examples/own_method.py`` is one.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import DiffJsccError, MissingPackageError, SettingsError, add_extra, path_from
from simulator.jscc.registry import CODECS
from simulator.methods.method import Context, Method, short_path
from simulator.phy.streams import complex_normal
from simulator.toml import literal

if TYPE_CHECKING:
    from simulator.jscc.codec import JsccCodec

Factory = Callable[..., Method]

#: Our own, imported when they are asked for.
BUILT_IN = {
    "jscc": "simulator.methods.diffjscc:make_jscc",
    "diffjscc": "simulator.methods.diffjscc:make_diffjscc",
    "noma": "simulator.methods.noma:make_noma",
    "noma-capacity": "simulator.methods.noma:make_noma_capacity",
}
#: Mappings of further names to factories. Names of digital
#: systems are SOURCE+CHANNEL.
DIGITAL = "simulator.methods.digital.methods:METHODS"
LEARNED = "simulator.methods.learned.methods:METHODS"


@dataclass(frozen=True)
class Channel:
    """``gain(snr_db, generator)`` -> h, with E abs(h)^2 = 1 for SNR to mean what it says.

    ``noise(snr_db, generator, n)`` -> (n,) complex64 of unit variance; methods scale it to the
    SNR. It need be neither white nor Gaussian. Both are all that a method sees of a channel, so
    that every method can be sent through it.
    """

    gain: Callable[[float, np.random.Generator], complex]
    noise: Callable[[float, np.random.Generator, int], NDArray[np.complex64]]


METHODS: dict[str, Factory] = {}
CHANNELS: dict[str, Channel] = {}


def register_method(name: str, factory: Factory) -> None:
    """``factory(**options)`` -> Method; ``options`` are those after the colon of a spec, and
    ``context`` where the factory names it. A class is a factory."""
    METHODS[name] = factory


def register_codec(codec: type[JsccCodec]) -> None:
    """So that a folder whose ``codec.json`` names it can be loaded, trained and sent."""
    CODECS[codec.name] = f"{codec.__module__}:{codec.__qualname__}"


def register_channel(
    name: str,
    gain: Callable[[float, np.random.Generator], complex] = lambda snr_db, generator: 1.0,
    noise: Callable[[float, np.random.Generator, int], NDArray[np.complex64]] = (
        lambda snr_db, generator, n: complex_normal(generator, n)
    ),
) -> None:
    """See ``Channel``. What is left out is that of AWGN."""
    CHANNELS[name] = Channel(gain, noise)


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
    if name in BUILT_IN:
        return resolve(BUILT_IN[name])  # type: ignore[no-any-return]
    family = family_of(DIGITAL if "+" in name else LEARNED)
    if name in family:
        return family[name]
    names = ", ".join((*METHODS, *BUILT_IN, *family))
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


def load_plugin(path: Path) -> None:
    """Run a plugin once. Raises ``SettingsError`` with its own error where it cannot be run."""
    full = path_from(path).resolve()
    name = plugin_module(full)
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, full)
    if spec is None or spec.loader is None or not full.is_file():
        raise SettingsError(f"plugin {path} is no Python file; name one that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: codecs are found again by their module's name
    try:
        spec.loader.exec_module(module)
    except DiffJsccError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise SettingsError(f"plugin {path} fails: {type(error).__name__}: {error}.") from error


def plugin_module(path: Path) -> str:
    """Two files of one name are two modules."""
    return f"diffjscc_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
