"""Hostile files for every loader: each gives what it should, or one of our errors.

Half of the damage is to the first bytes, where headers say how much is to come.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from simulator.errors import DiffJsccError
from simulator.images import load_image
from simulator.jscc import load_codec
from simulator.jscc.folder import ENCODER, MANIFEST, WEIGHTS, read_codec_folder
from simulator.link.ledger import LedgerError, TxLedger
from simulator.png import save_png
from simulator.settings import TxSettings, make_settings
from simulator.toml import to_toml
from tests.fuzz.mutate import Mutator
from tx.encoder import OnnxEncoder

HEADER = 2048  # bytes, that half of all damage falls into


class FileTarget:
    """One damaged file a step, of each kind in turn."""

    def __init__(self, seed: int) -> None:
        self.random, self.mutator = random.Random(seed), Mutator(seed)
        self._scratch = tempfile.TemporaryDirectory(prefix="fuzz-")
        self.folder = Path(self._scratch.name)
        self.refused: dict[str, int] = {}
        self.loaded: dict[str, int] = {}
        self.kinds: list[tuple[str, Path, Callable[[Path], object]]] = [
            ("png", self._image("x.png"), load_image),
            ("jpeg", self._image("x.jpg"), load_image),
            ("toml", self._settings(), make_settings),
            ("manifest", self._codec("manifest") / MANIFEST, lambda path: load_codec(path.parent)),
            ("safetensors", self._codec("weights") / WEIGHTS, self._load_weights),
            ("onnx", self._codec("encoder") / ENCODER, load_encoder),
            ("ledger", self._ledger(), load_ledger),
        ]
        self.whole = {kind: path.read_bytes() for kind, path, _ in self.kinds}
        self.steps = 0

    def _image(self, name: str) -> Path:
        from PIL import Image

        pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        path = self.folder / name
        if path.suffix == ".png":
            save_png(pixels, path)
        else:
            Image.fromarray(pixels).save(path)
        return path

    def _settings(self) -> Path:
        path = self.folder / "run.toml"
        path.write_text(to_toml(make_settings(overrides={"codec": "null"}).model_dump()))
        return path

    def _codec(self, name: str) -> Path:
        source = read_codec_folder("compact").path
        assert source is not None
        return Path(shutil.copytree(source, self.folder / name))

    def _ledger(self) -> Path:
        path = self.folder / "tx.db"
        ledger = TxLedger(path)
        ledger.store([(bytes([i]) * 16, "delivered", {"frame_id": str(i)}) for i in range(40)])
        ledger.close()
        return path

    def _load_weights(self, path: Path) -> object:
        """With the manifest's hash made to fit, so that the reader of weights sees them."""
        manifest = path.parent / MANIFEST
        record = json.loads(manifest.read_text())
        record["weights_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        manifest.write_text(json.dumps(record))
        return load_codec(path.parent)

    def close(self) -> None:
        self._scratch.cleanup()

    def step(self) -> None:
        kind, path, load = self.kinds[self.steps % len(self.kinds)]
        self.steps += 1
        whole = self.whole[kind]
        split = HEADER if self.random.random() < 0.5 else len(whole)
        path.write_bytes(self.mutator.bytes(whole[:split]) + whole[split:])
        try:
            load(path)
            self.loaded[kind] = self.loaded.get(kind, 0) + 1
        except (DiffJsccError, LedgerError) as error:
            said = str(error)
            assert said and "\n" not in said, said
            self.refused[kind] = self.refused.get(kind, 0) + 1

    def check(self) -> None:
        """Nothing is left beside the files that are attacked, but what SQLite keeps."""
        names = {path.name for path in self.folder.iterdir()}
        assert len(names) <= len(self.kinds) + 3, names


def load_encoder(path: Path) -> object:
    return OnnxEncoder(read_codec_folder(str(path.parent)), TxSettings().threads)


def load_ledger(path: Path) -> object:
    for extra in ("-wal", "-shm"):
        path.with_name(path.name + extra).unlink(missing_ok=True)
    ledger = TxLedger(path)
    try:
        ledger.store([(b"new" * 4, "delivered", {})])
        return list(ledger.results())
    finally:
        ledger.close()
