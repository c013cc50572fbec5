"""A run folder: made, described in ``run.toml``, and opened again."""

from __future__ import annotations

import glob
import json
import platform
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from simulator.air import NEWEST_DRAWS
from simulator.errors import ImageError, SettingsError, StorageError, path_from
from simulator.images import file_sha256
from simulator.jscc.folder import CodecFolder, read_codec_folder
from simulator.link.ledger import DAMAGED
from simulator.link.rows import Row
from simulator.link.text import KEPT_DIGITS, short_name
from simulator.models.folder import fingerprint, read_model_index
from simulator.own_receivers import fingerprint_of
from simulator.settings import Settings, make_settings
from simulator.toml import to_toml
from simulator.version import __version__
from simulator.wholefile import write_whole

Rows = dict[str, dict[str, Any]]  # by frame id
RUN_FILE = "run.toml"
PACKAGES = (
    "numpy",
    "pillow",
    "pyzmq",
    "msgspec",
    "torch",
    "diffusers",
    "transformers",
    "onnxruntime",
)


def name_run(settings: Settings) -> Settings:
    """Settings in which the run has a name, a folder and a version of the draws, even if they were
    left open.

    A folder that holds a run already decides. Raises ``SettingsError`` for a damaged run.toml.
    """
    run, draws = settings.run, settings.channel.draws
    if settings.out and (path := path_from(settings.out) / RUN_FILE).is_file():
        before = make_settings(path)
        run, draws = run or before.run, draws or before.channel.draws
    if not run:
        label = re.sub(r"[^A-Za-z0-9._-]+", "-", settings.name)
        stem = run = f"{time.strftime('%Y%m%d-%H%M%S')}-{label}"
        number = 2
        while (Path("runs") / run).exists():
            run, number = f"{stem}-{number}", number + 1
    channel = settings.channel.model_copy(update={"draws": draws or NEWEST_DRAWS})
    out = settings.out or str(Path("runs") / run)
    return settings.model_copy(update={"run": run, "out": out, "channel": channel})


def open_folder(settings: Settings) -> Path:
    """The folder of the run, made if needed. Raises ``StorageError``."""
    folder = path_from(settings.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the run folder {folder}: {error.strerror}.") from None
    return folder


def versions() -> dict[str, str]:
    """What the results were made with."""
    found = {"diffjscc": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def fingerprints(settings: Settings, refines: bool = False) -> dict[str, str]:
    """Of all weights and code of others that results depend on; ``refines``: of the model, too.

    Raises ``ModelError``.
    """
    shown = settings.rx.preview
    found = {
        "codec": read_codec_folder(settings.codec).fingerprint,
        "model": name_model(settings) if refines else "",
        "preview": read_codec_folder(shown).fingerprint if shown else "",
        "plugins": " ".join(file_sha256(Path(path)).hex()[:16] for path in settings.plugins),
    }
    return {name: value for name, value in found.items() if value}


def provenance(codec: CodecFolder) -> dict[str, Any]:
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": f"{platform.machine()} {platform.system()}",
        "codec": codec.fingerprint,
        "weights_sha256": codec.weights_sha256,
        "versions": versions(),
    }


def name_model(settings: Settings) -> str:
    """The fingerprint of the model that refines, empty where none does. Raises ``ModelError``."""
    if not settings.rx.refine:
        return ""
    if settings.rx.receiver:
        return fingerprint_of(settings.rx.receiver)
    path, _ = read_model_index(settings.model)
    return fingerprint(settings.model, path)


def write_run_file(
    settings: Settings, folder: Path, made_with: Mapping[str, str] | None = None
) -> Path:
    """``run.toml``: the resolved settings, hashes of weights, versions, seed.

    ``made_with``: ``fingerprints`` of the settings; None: those without a model.
    """
    path = folder / RUN_FILE
    if made_with is None:
        made_with = fingerprints(settings)
    record = provenance(read_codec_folder(settings.codec)) | dict(made_with)
    tree = settings.model_dump() | {"provenance": record}
    tree["channel"]["draws"] = settings.channel.draw_version  # one that says nothing is an old one
    try:
        # Half a file would be a whole one with other settings to --resume.
        write_whole(path, to_toml(tree))
    except UnicodeEncodeError:
        raise SettingsError(
            "a path in the settings is not UTF-8; rename it, or name the folder that it is in."
        ) from None
    return path


def find_original(folder: Path, row: Row) -> Path | None:
    """The original that tx kept: named by the image and the start of its hash."""
    path = Path(row["image"])
    pattern = f"{glob.escape(short_name(path.stem))}-{'?' * KEPT_DIGITS}.png"
    kept = sorted((folder / "images" / "original").glob(pattern))
    if len(kept) > 1:  # images of one name, from several folders
        try:
            start = file_sha256(path).hex()[:KEPT_DIGITS]
        except ImageError:
            return None
        kept = [each for each in kept if each.stem.endswith(start)]
    return kept[0] if kept else None


def is_kept(folder: Path, row: Row, stage: str) -> bool:
    file = row[f"{stage}_file"]
    return bool(file) and (folder / file).is_file()


def read_ledger(path: Path) -> tuple[Rows, str, Counter[str]]:
    column = (
        "status"
        if path.stem == "tx"
        else "CASE confirmed WHEN 1 THEN 'confirmed' " + ("ELSE 'not yet confirmed' END")
    )
    with reading(path) as connection:
        for (line,) in connection.execute("PRAGMA integrity_check"):
            if line != "ok":
                raise ValueError(line)
        ((schema,),) = connection.execute("SELECT value FROM meta WHERE key = 'schema'")
        rows: Rows = {}
        statuses: Counter[str] = Counter()
        for frame_id, status, body in connection.execute(
            f"SELECT frame_id, {column}, body FROM results"
        ):
            rows[frame_id.hex()] = json.loads(body)
            statuses[status] += 1
        return rows, schema, statuses


@contextmanager
def reading(ledger: Path) -> Iterator[sqlite3.Connection]:
    """A ledger that somebody else may be writing. Raises ``sqlite3.Error`` where it is damaged."""
    connection = sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
    try:
        yield connection
    except UnicodeDecodeError:
        raise sqlite3.DatabaseError(DAMAGED) from None
    finally:
        connection.close()


def count_results(ledger: Path) -> int:
    with reading(ledger) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM results").fetchone()[0])


def ledger_rows(ledger: Path) -> Iterator[dict[str, Any]]:
    """The rows of a ledger one by one. Raises ``sqlite3.Error``, and ``ValueError`` for a damaged
    row."""
    with reading(ledger) as connection:
        for (body,) in connection.execute("SELECT body FROM results ORDER BY rowid"):
            row = json.loads(body)
            if not isinstance(row, dict):
                raise ValueError("a row is no JSON object")
            yield row
