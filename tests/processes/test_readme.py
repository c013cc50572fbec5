"""The README's Python: it sends over the channel that the three processes have."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from helpers import make_photographs

import simulator
from simulator.images import load_image
from simulator.metrics.fidelity import psnr
from simulator.settings import make_settings
from simulator.tensors import as_pixels, as_tensor

README = Path(__file__).parents[2] / "README.md"


def test_the_pipeline_from_python_equals_the_link(tmp_path, monkeypatch, one_thread):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [text for text in blocks if "DiffJSCCPipeline" in text]
    monkeypatch.chdir(tmp_path)
    (made,) = make_photographs(tmp_path, 1, (96, 128))
    made.rename("photo.png")
    names: dict = {}
    exec(block, names)
    settings = make_settings(
        overrides={
            "tx.images": ["photo.png"], "out": "run", "channel.kind": "rayleigh",
            "channel.snr_db": 10.0, "tx.bandwidth_ratio": "1/384", "rx.threads": 1,
            "rx.lpips": False, "tx.threads": 1, "rx.dtype": "float32",
        }
    )  # fmt: skip
    (row,) = simulator.simulate(settings)
    preview, refined = (load_image(Path("run") / row[f"{s}_file"]).pixels for s in STAGES)
    assert np.array_equal(names["received"].pixels, preview)
    ours = psnr(names["preview"][0], as_tensor(load_image(Path("photo.png")).pixels))
    assert ours == pytest.approx(row["psnr_preview"], abs=1e-5)
    assert np.abs(as_pixels(names["refined"])[0].astype(int) - refined).max() <= 1


STAGES = ("preview", "refined")
