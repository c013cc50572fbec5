"""Results in a notebook: the rows of a run or a sweep, as a table where pandas is installed.

from simulator import results
frame = results.load("runs/first")
frame.groupby("snr_db")["lpips_refined"].mean()
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.errors import MissingPackageError, path_from
from simulator.report.sources import read_folder

if TYPE_CHECKING:
    import pandas


def rows(folder: Path | str) -> list[dict[str, Any]]:
    """One dictionary a frame of a run, or a result of a sweep; of an unfinished run what it has.

    None is what was not measured. Raises ``SettingsError`` for a folder that is not of a run or
    a sweep, and ``StorageError`` for one that cannot be read.
    """
    found = read_folder(path_from(folder))
    return [dict(row) for row in found.rows or found.sweep]


def load(folder: Path | str) -> pandas.DataFrame:
    """``rows`` as a DataFrame. Raises ``MissingPackageError`` where pandas is not installed."""
    try:
        import pandas
    except ImportError:
        raise MissingPackageError(
            "a table needs pandas: pip install pandas; simulator.results.rows gives the same as "
            "dictionaries."
        ) from None
    return pandas.DataFrame(rows(folder))
