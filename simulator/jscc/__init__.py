"""Joint source-channel codecs: encoder and decoder pairs, power normalisation, codec folders.

Nothing heavy is imported here: ``tx`` and ``channel`` use the numpy parts of this package
without torch. ``Csi`` and ``load_codec`` are resolved when they are first asked for.
"""

from typing import Any

__all__ = ["Csi", "load_codec"]


def __getattr__(name: str) -> Any:
    if name == "Csi":
        from simulator.jscc.csi import Csi

        return Csi
    if name == "load_codec":
        from simulator.jscc.checkpoint import load_codec

        return load_codec
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
