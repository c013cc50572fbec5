"""What a CUDA graph can record and ``torch.compile`` can make, as far as a CPU can show it.

On a GPU the graphs themselves are compared with plain steps (``make gpu-check``).
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from helpers import make_photographs
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from simulator.jscc import load_codec
from simulator.training.codec import CodecStage, train_codec
from simulator.training.loop import Loop
from simulator.training.options import CodecTraining


@pytest.fixture
def options(tmp_path):
    make_photographs(tmp_path / "photographs", 3)
    return CodecTraining(
        data=(str(tmp_path / "photographs"),),
        steps=12,
        batch=2,
        crop=64,
        threads=1,
        device="cpu",
    )


def test_a_step_asks_the_device_nothing(options, tmp_path):
    """On tensors without values: whoever wants to see one stops there."""
    stage = CodecStage(options)
    loop = Loop(stage, options, tmp_path / "training")
    batch = stage.prepare(stage.batch(0, 0, 0)) | {"done": 0.0}
    loop._update([batch])  # Adam makes its moments
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with fake:
        seen = {
            key: fake.from_tensor(value) if isinstance(value, torch.Tensor) else value
            for key, value in batch.items()
        }
        loop._update([seen])
        with pytest.raises(DataDependentOutputException):
            float(seen["image"].mean())


def test_a_graph_for_each_ratio_and_size(options):
    stage = CodecStage(options)
    keys = {stage.recorded(stage.prepare(stage.batch(step, 0, 0))) for step in range(40)}
    assert keys == {(Fraction(1, n), (2, 3, 64, 64)) for n in (768, 384, 192, 96, 48)}
    stage = CodecStage(replace(options, adversarial=0.1))
    assert stage.recorded(stage.prepare(stage.batch(0, 0, 0))) is None


@pytest.mark.gpu
def test_replayed_steps_train_as_plain_ones(options, tmp_path):
    options = replace(options, device="cuda", steps=60, batch=4)
    losses = {}
    for compiled in (False, True):
        seen = losses[compiled] = []
        train_codec(
            replace(options, compile=compiled),
            tmp_path / str(compiled),
            lambda progress, seen=seen: seen.append(progress.loss),
        )
    assert losses[True][-1] == pytest.approx(losses[False][-1], abs=0.05)
    assert load_codec(tmp_path / "True").name == "adaptive"
