"""DiffJSCC: end-to-end simulation of wireless image transmission."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "simulate"]


def __getattr__(name: str) -> Any:
    if name == "simulate":
        from simulator.launch import simulate

        return simulate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
