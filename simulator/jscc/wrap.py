"""``diffjscc wrap``: a codec folder around the networks of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simulator.errors import ModelError, SettingsError
from simulator.jscc.checkpoint import load_codec, save_codec
from simulator.jscc.export import hand_on_encoder
from simulator.jscc.folder import ENCODER, read_codec_folder
from simulator.jscc.registry import codec_class
from simulator.jscc.wrapped import WrappedCodec

WRAPPERS = ("cddm", "deepjscc-q", "feedback", "ofdm-jscc", "sketch", "space-time")


def wrap(kind: str, folder: str, out: Path, **options: Any) -> Path:
    """Write the codec folder ``out``: the codec of ``folder`` behind the wrapper ``kind``.

    ``options``: of the wrapper. The exported encoder is handed on, where ``folder`` has one.
    Raises ``SettingsError``, ``ModelError``, ``StorageError``.
    """
    if kind not in WRAPPERS:
        raise SettingsError(f"there is no wrapper {kind!r}; use one of {', '.join(WRAPPERS)}.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SettingsError(f"{out} is there already; name a new folder.")
    record, inner = read_codec_folder(folder), load_codec(folder)
    if isinstance(inner, WrappedCodec):
        raise ModelError(f"{folder} holds codec {inner.name!r}, a wrapper; give what it wraps.")
    cls: Any = codec_class(kind)
    codec = cls(inner, **options)
    save_codec(codec, out, {"wrapped": record.fingerprint, "inner": record.training})
    if record.path is not None and (record.path / ENCODER).is_file():
        hand_on_encoder(record, str(out))
    return out
