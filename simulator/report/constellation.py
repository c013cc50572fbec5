"""Symbols of a frame before and after equalisation, computed again from the run's settings.

    original -encode (5, 2)-> sent -h y + n (3)-> received -equalise (4)-> equalised

No symbols are kept in a run folder, and none are needed: gain and noise are functions of the
seed, the image and the repeat. A frame is recognised by its id, and what was computed is held
against the SNR that the run measured; where either differs, the caption says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from rx.chain import NullDecoder
from simulator.chain import Draw, Link
from simulator.errors import DiffJsccError, ImageError
from simulator.images import file_sha256, load_image
from simulator.jscc.folder import read_codec_folder
from simulator.link.ids import draw_key, frame_id
from simulator.link.messages import WireError, WirePoint
from simulator.link.rows import Row
from simulator.phy.law import Law
from simulator.report.sources import Sources
from simulator.settings import Settings, make_settings, of_run_file
from tx.encoder import make_encoder

TOLERANCE_DB = 0.01  # another machine's encoder rounds otherwise; other noise is far from it


@dataclass(frozen=True)
class Constellation:
    """(K,) complex64 each. ``exact``: these are the symbols of the frame itself."""

    sent: np.ndarray
    received: np.ndarray
    equalised: np.ndarray
    h: np.ndarray
    received_snr_db: float
    papr_db: float
    exact: bool
    law: Law
    rounds: int = 1

    @property
    def error_db(self) -> float:
        """Energy of what equalisation leaves wrong over that of the symbols, in dB."""
        error = np.mean(np.abs(self.equalised - self.sent) ** 2)
        return float(10 * np.log10(max(error / np.mean(np.abs(self.sent) ** 2), 1e-12)))


def constellation_of(row: Row, sources: Sources) -> Constellation | str:
    """Of one delivered frame, or one sentence why it cannot be computed here."""
    folder = sources.folder_of(row)
    if folder is None:
        return "the folder has no run.toml with the settings of this run"
    original = sources.original(row)
    if original is None:
        return "the original image is not here"
    if row.get("superposed_with"):
        return "it was on the air together with another user's frame, whose image is not here"
    try:
        settings = settings_of(folder.tree)
        codec = read_codec_folder(settings.codec)
        if codec.fingerprint != row["codec"]:
            return f"the run used codec {row['codec']}, and {codec.fingerprint} is here"
        hashed, repeat = hash_of(row, original), int(row["repeat"] or 0)
        point = point_of(row, settings.run, hashed, len(folder.rows))
        key = draw_key(settings.seed, hashed, repeat)
        encoder = make_encoder(settings.tx, codec)
        draw = Draw.under(settings.channel, key, point)
        pixels = load_image(original, white=settings.tx.white).pixels
        link = Link(encoder, NullDecoder(), settings.rx.equalizer)
        got = link.send(pixels, Fraction(point.bandwidth_ratio), draw)
    except (DiffJsccError, WireError, ValueError) as error:
        return str(error).rstrip(".")
    mine = frame_id(settings.run, point.name, hashed, repeat).hex()
    exact = mine == row["frame_id"] and near(row["received_snr_db"], got.air.received_snr_db)
    return Constellation(
        sent=got.sent,
        received=got.air.heard.payload,
        equalised=got.equalised,
        h=got.air.h,
        received_snr_db=got.air.received_snr_db,
        papr_db=got.air.papr_db,
        exact=exact,
        law=draw.law,
        rounds=got.rounds,
    )


def settings_of(tree: dict[str, Any]) -> Settings:
    return make_settings(overrides=of_run_file(tree))


def point_of(row: Row, run: str, hashed: bytes, frames: int) -> WirePoint:
    """The operating point. Along an SNR trace, the place in it by which the frame has its id."""
    values = {"channel": row["channel"], "bandwidth_ratio": row["cbr"], "snr_db": row["snr_db"]}
    point = WirePoint(**values)
    if point.snr_db is None:
        for index in range(frames):
            here = replace(point, trace_index=index)
            if frame_id(run, here.name, hashed, int(row["repeat"] or 0)).hex() == row["frame_id"]:
                return here
    return point


def hash_of(row: Row, original: Path) -> bytes:
    """Of the file that was sent; where that is gone, of the copy: then the draws are others."""
    try:
        return file_sha256(Path(row["image"]))
    except ImageError:
        return file_sha256(original)


def near(a: float | None, b: float) -> bool:
    return a is not None and abs(a - b) <= TOLERANCE_DB
