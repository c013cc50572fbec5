"""Files of your own that add codecs, kinds of channel and receivers to the link and to sweeps.

    plugin file -> register_codec, register_channel, register_receiver
                   (and, for sweeps, simulator.methods.registry.register_method and
                   simulator.metrics.metric.register_metric)

A plugin is a Python file named by ``--plugin`` or ``plugins = [...]``. Each process runs it once at
its start, and so do the workers of a sweep. ``configs/examples/own_method.py`` is one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.air import check_kind
from simulator.errors import DiffJsccError, SettingsError, path_from
from simulator.jscc.own import source_sha256
from simulator.jscc.registry import register_codec
from simulator.own_receivers import RECEIVERS, Receiver, find_receiver
from simulator.phy.laws import LAWS
from simulator.phy.own import CHANNELS, Channel, Gain, Noise, unity, white
from simulator.settings import Settings

if TYPE_CHECKING:
    from simulator.own_receivers import Refine

__all__ = ["load_plugins", "register_channel", "register_codec", "register_receiver"]


def register_channel(name: str, gain: Gain = unity, noise: Noise = white) -> None:
    """See ``simulator.phy.own.Channel``. What is left out is that of AWGN. Raises
    ``SettingsError`` for a name of this project."""
    if name in LAWS:
        raise SettingsError(f"channel {name!r} is one of this project; give yours another name.")
    CHANNELS[name] = Channel(gain, noise, source_sha256(noise if gain is unity else gain))


def register_receiver(name: str, make: Callable[[str], Refine]) -> None:
    """See ``simulator.own_receivers.Receiver``. ``rx.receiver`` takes the name, and so do sweeps,
    as that of a method."""
    RECEIVERS[name] = Receiver(make, source_sha256(make))


def with_plugins(settings: Settings) -> Settings:
    """The same settings, once their plugins have run in this process. Raises ``SettingsError`` for
    one that fails, and for a kind of channel or a receiver that none has."""
    load_plugins(settings.plugins)
    try:
        for kind in settings.channel.kind:
            check_kind(kind, settings.channel.csit)
    except ValueError as error:
        raise SettingsError(f"{error}.") from None
    if settings.rx.receiver:
        find_receiver(settings.rx.receiver)
    return settings


def load_plugins(paths: Iterable[str]) -> None:
    """Run each once. Raises ``SettingsError`` with its own error where it cannot be run."""
    for path in paths:
        load_plugin(Path(path))


def load_plugin(path: Path) -> None:
    """Run it, unless it has run. Raises as ``load_plugins``."""
    full = path_from(path).resolve()
    name = module_of(full)
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


def module_of(path: Path) -> str:
    """Two files of one name are two modules."""
    return f"diffjscc_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
