"""Two processes train what one does with twice the batches: every codec, every wrapper."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import make_photographs
from safetensors.torch import load_file
from system_world import SYSTEMS, WITT, system
from two_processes import train_together

from simulator.errors import SettingsError
from simulator.jscc.checkpoint import save_codec
from simulator.jscc.registry import CODECS
from simulator.jscc.wrap import WRAPPERS, wrap
from simulator.training.codec import CodecStage, train_codec
from simulator.training.loop import Loop
from simulator.training.options import CodecChannel, CodecTraining
from simulator.training.stage import Batch

SWIN = {name: WITT[name] for name in ("widths", "depths", "heads", "window")}
BACK = {f"{name}_d": WITT[name][::-1] for name in ("widths", "depths", "heads")}
OTHERS = {
    "adaptive": {},
    "mambajscc-official": {"widths": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "states": 2},
    "cnn": {"ngf": 4, "max_ngf_e": 8, "max_ngf_d": 8, "n_blocks_e": 1, "n_blocks_d": 1},
    "swin": SWIN | {"channels": [4, 16]},
    "swin-official": SWIN | BACK,
    "swinjscc-official": SWIN | BACK | {"channels": [4, 16]},
}
INSIDE = {
    "cddm": "padc",
    "deepjscc-q": "deepjscc-l",
    "feedback": "deepjscc",
    "ofdm-jscc": "padc",
    "sketch": "deepjscc",
    "space-time": "padc",
}
AIRS: dict[str, CodecChannel] = {"ofdm-jscc": "multipath", "space-time": "mimo"}
UNTRAINED = {"null", "ntscc-official"}
TRAINED = sorted({each.name for each in SYSTEMS} | set(OTHERS) | set(INSIDE))


def test_no_codec_is_left_out() -> None:
    assert set(TRAINED) | UNTRAINED == set(CODECS) and set(INSIDE) == set(WRAPPERS)


class OfBoth(CodecStage):
    """What both processes see, one after the other."""

    def batch(self, step: int, process: int, micro: int) -> Batch:
        return super().batch(step, micro, 0)


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CodecTraining]:
    folder = tmp_path_factory.mktemp("plans")
    make_photographs(folder / "photos", 3)
    common = CodecTraining(
        data=(str(folder / "photos"),), steps=2, batch=1, crop=32, threads=1, device="cpu", ema=0.0
    )
    found = {}
    for name in TRAINED:
        if name in INSIDE:
            save_codec(system(INSIDE[name]).make(), folder / f"in-{name}", {})
            init = str(wrap(name, str(folder / f"in-{name}"), folder / name))
            found[name] = replace(common, codec=name, init=init)
            found[name] = replace(found[name], channel=AIRS.get(name, common.channel))
        else:
            config = OTHERS[name] if name in OTHERS else system(name).config
            words = tuple(f"{key}={value}" for key, value in config.items())
            found[name] = replace(common, codec=name, config=words)
    # The critic of DeepJSCC-adv is trained beside the codec.
    found["with a critic"] = replace(found["deepjscc-l"], adversarial=0.1)
    return found


@pytest.fixture(scope="module")
def together(plans: dict[str, CodecTraining], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("together")
    train_together([(options, out / name) for name, options in plans.items()])
    return out


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", [*TRAINED, "with a critic"])
def test_two_processes_are_one_with_two_batches(
    name: str, plans: dict[str, CodecTraining], together: Path, tmp_path: Path
) -> None:
    Loop(OfBoth(plans[name]), replace(plans[name], accumulate=2), tmp_path).run()
    here = load_file(tmp_path / "codec.safetensors")
    there = load_file(together / name / "training" / "codec.safetensors")
    assert here.keys() == there.keys()
    for key, wanted in here.items():
        if ".buffer." in key:  # means of a batch normalisation are those of the main process
            continue
        size = float(wanted.abs().max())
        torch.testing.assert_close(there[key], wanted, rtol=0, atol=1e-3 * size + 1e-8, msg=key)


def test_a_codec_without_weights_is_refused(
    plans: dict[str, CodecTraining], tmp_path: Path
) -> None:
    options = replace(plans["deepjscc"], codec="null", config=())
    with pytest.raises(SettingsError, match="codec 'null' has nothing to train"):
        train_codec(options, tmp_path / "out")
    assert not (tmp_path / "out").exists()
