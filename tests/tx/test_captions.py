"""Captions that go with their images: to the encoder, or one sentence of why not."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator.captions import Captions
from simulator.errors import SettingsError
from simulator.jscc.beside import read_beside
from simulator.jscc.folder import CodecFolder, read_codec_folder
from simulator.jscc.signal import Signal, ToEncode
from simulator.jscc.sketch import Sketching
from simulator.phy.laws import Laws, Waveform
from simulator.phy.state import ChannelState
from simulator.settings import TxSettings, make_settings
from tests.transmitter_world import job
from tx.at_work import AtWork
from tx.flight import Encode, Encoded, Granted, Refused
from tx.service import captions_of
from tx.worker import Worker

CAPTIONS = {"a.png": "a boat", "b.png": "x" * 900}


class Listening:
    """An encoder that sends the text it is given."""

    rounds, ratios = 1, (Fraction(1, 48),)

    def k(self, size: tuple[int, int], ratio: Fraction) -> int:
        return 4

    def encode(self, given: ToEncode) -> Signal[np.ndarray]:
        side = Sketching(share=0.0).side_of(given.pixels, given.text)
        return Signal(np.ones(4, np.complex64), side)


def worked(folder: Path, captions: Captions | None, *names: str) -> list[Any]:
    at_work = AtWork(folder)
    worker = Worker(
        Listening(), None, at_work, None, TxSettings(), lambda: None, lambda: 0.0, captions
    )
    grant = Granted(ChannelState(10.0), "s")
    law = Laws(Waveform()).of("awgn")
    for number, name in enumerate(names):
        made = replace(job(number), label=name)
        worker.tasks.put(Encode(made, np.zeros((8, 8, 3), np.uint8), grant, law, Fraction(1, 48)))
    worker.tasks.put(None)
    worker.run()
    at_work.close()
    return [worker.events.get() for _ in names]


def test_each_image_takes_its_caption_along_and_what_has_none_is_refused(tmp_path: Path) -> None:
    first, unknown, long = worked(tmp_path, Captions(CAPTIONS, "c.json"), "a.png", "c.png", "b.png")
    assert isinstance(first, Encoded) and read_beside(first.side, None).text == "a boat"
    assert isinstance(unknown, Refused) and isinstance(long, Refused)
    assert unknown.reason == "c.json has no caption for the image c.png; write one."
    assert long.reason.startswith("the text of this image has 900 bytes, more than 500")
    (alone,) = worked(tmp_path, None, "a.png")
    assert alone.side == b""


def test_captions_for_a_codec_that_sends_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(CAPTIONS))
    given = TxSettings(captions=str(path))
    found = captions_of(given, CodecFolder("sketch", {}, "", None))
    assert found is not None and found.of("folder/a.png") == "a boat"
    assert captions_of(TxSettings(), read_codec_folder("compact")) is None
    with pytest.raises(SettingsError, match="'adaptive' sends no text; .* diffjscc wrap sketch"):
        captions_of(given, read_codec_folder("compact"))


def test_other_captions_are_another_run() -> None:
    plain = make_settings()
    named = [plain.tx_hash_fields("codec", "", Captions(each).fingerprint) for each in
             (CAPTIONS, dict(reversed(CAPTIONS.items())), {"a.png": "a ship"})]  # fmt: skip
    assert named[0] == named[1] != named[2]
    assert set(plain.tx_hash_fields("codec")) == {"codec", "seed"}
