"""What a network makes of each image of a run, computed once and kept in the run folder.

    file -sha256-> features/NETWORK/SHA.npy, there? -> read
                                             else   -> load image -> network -> write

An interrupted evaluation goes on where it was, and a later one with another metric finds this
one done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from simulator.images import file_sha256, load_image
from simulator.wholefile import whole

FOLDER = "features"

Array = NDArray[Any]
Pixels = NDArray[np.uint8]
OnProgress = Callable[[int, int], None]
T = TypeVar("T")
R = TypeVar("R")


def arrays_of(
    folder: Path,
    files: Iterable[Path],
    name: str,
    compute: Callable[[Path, Pixels], Array],
    device: torch.device | str = "cpu",
    on_progress: OnProgress | None = None,
    key: Callable[[Path], bytes] = file_sha256,
) -> dict[Path, Array]:
    """``compute(file, its pixels)`` of every file, once for files that have one ``key``.

    ``name`` and the ``key`` of a file must tell apart whatever changes its array. Raises
    StorageError where an array cannot be kept.
    """
    places = {path: folder / FOLDER / name / f"{key(path).hex()[:32]}.npy" for path in files}
    sharing: dict[Path, list[Path]] = {}
    for path, kept in places.items():
        sharing.setdefault(kept, []).append(path)
    decoding = Lock()  # it changes the list of warning filters, which is one for all threads

    def one(kept: Path) -> Array:
        found = read(kept)
        if found is None:
            path = sharing[kept][0]
            with decoding:
                pixels = load_image(path).pixels
            found = compute(path, pixels)
            write(kept, found)
        return found

    arrays: dict[Path, Array] = {}
    for kept, array in zip(sharing, on_cores(one, sharing, device), strict=True):
        for path in sharing[kept]:
            arrays[path] = array
            if on_progress:
                on_progress(len(arrays), len(places))
    return arrays


def read(path: Path) -> Array | None:
    """None where it is not there, or damaged: it is computed again."""
    try:
        found: Array = np.load(path, allow_pickle=False)
        return found
    except (OSError, ValueError, EOFError):
        return None


def write(path: Path, array: Array) -> None:
    """Whole or not at all. Raises ``StorageError``."""
    with whole(path) as temporary:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.save(file, array)


def on_cores(
    function: Callable[[T], R], items: Iterable[T], device: torch.device | str = "cpu"
) -> Iterator[R]:
    """In order; on a CPU several at once, each by one thread.

    The threads of one network wait for one another after every layer. Where other programs want
    the cores, too, that wait is most of the time: with two threads on two busy cores, an image
    took 6 to 10 times the processor time that it takes here.
    """
    if torch.device(device).type != "cpu":
        yield from map(function, items)
        return
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # some of its libraries have one number for all
