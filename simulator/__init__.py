"""DiffJSCC: end-to-end simulation of wireless image transmission."""

from typing import Any

from simulator.version import __version__

__all__ = ["__version__", "simulate"]


def __getattr__(name: str) -> Any:
    if name == "simulate":
        from simulator.launch import simulate

        return simulate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
