"""The command line, ``diffjscc``: a file a group of commands."""

from simulator.cli.main import main

__all__ = ["main"]
