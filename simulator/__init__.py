"""DiffJSCC: end-to-end simulation of wireless image transmission."""

from typing import Any

from simulator.version import __version__

__all__ = ["__version__", "connect", "local", "simulate"]


def __getattr__(name: str) -> Any:
    if name == "simulate":
        from simulator.launch import simulate

        return simulate
    if name == "connect":
        from simulator.client.client import connect

        return connect
    if name == "local":
        from simulator.client.machines import local

        return local
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
