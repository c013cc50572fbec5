"""Options that no training can follow: one sentence, before anything is loaded."""

import json
import math
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Literal, get_origin, get_type_hints

import pytest

from simulator.errors import ImageError, ModelError, SettingsError
from simulator.training.autoencoder import train_autoencoder
from simulator.training.checks import RANGES, check_options, check_same
from simulator.training.codec import train_codec
from simulator.training.control import train_control
from simulator.training.options import (
    AutoencoderTraining,
    CodecTraining,
    ControlTraining,
    PriorTraining,
    Recipe,
    RestorationTraining,
)
from simulator.training.prior import train_prior
from simulator.training.recipe import trainings
from tests.fuzz.brought.commands import invoke

GOOD = {"data": ("photographs",), "steps": 1}
KINDS = [
    CodecTraining,
    RestorationTraining,
    AutoencoderTraining,
    PriorTraining,
    ControlTraining,
]


LISTS = ("data", "validation", "ratios", "attention", "config", "plugins")


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_good(kind):
    check_options(kind(**GOOD))


@pytest.mark.parametrize("kind", KINDS)
def test_every_choice_and_every_number_is_checked(kind):
    """By the annotations, so that a field that is added is checked or named here."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        kind_of, name = hints[field.name], field.name
        if get_origin(kind_of) is Literal:
            wrong = replace(kind(**GOOD), **{name: "wrong"})
        elif kind_of in (str, bool) or name in LISTS:
            continue
        else:
            assert name in RANGES, name
            nan = (math.nan,) * 2 if kind_of not in (int, float) else math.nan
            wrong = replace(kind(**GOOD), **{name: nan})
        with pytest.raises(SettingsError, match="--[a-z-]+ .*: give "):
            check_options(wrong)


@pytest.mark.parametrize(
    ("run", "kind", "given", "words"),
    [
        (train_codec, CodecTraining, {"channel": "foo"}, "awgn, rayleigh, both, multipath or mimo"),
        (train_codec, CodecTraining, {"clip": 1.0, "channel": "mimo"}, "--clip is not computed"),
        (train_codec, CodecTraining, {"scramble": True, "clip": 1.0}, "--channel multipath"),
        (train_codec, CodecTraining, {"snr_db": (5.0, -5.0)}, "lower bound comes first"),
        (train_codec, CodecTraining, {"minutes": 1.0}, "give one of them, not both"),
        (train_codec, CodecTraining, {"learning_rate": -1.0}, "--learning-rate -1: give 0 to 1"),
        (train_autoencoder, AutoencoderTraining, {"start": "foo"}, "linear or random"),
        (train_autoencoder, AutoencoderTraining, {"batch": 0}, "--batch 0: give 1 or more"),
        (train_autoencoder, AutoencoderTraining, {"channels": (8, 8, 8, 9)}, "multiples of 8"),
        (train_autoencoder, AutoencoderTraining, {"crop": 32}, "LPIPS needs 48 px"),
        (train_prior, PriorTraining, {"prediction": "flow"}, "epsilon, v_prediction or sample"),
        (train_prior, PriorTraining, {"text_width": 100}, "--text-width: give a multiple of 32"),
        (train_prior, PriorTraining, {"channels": (16, 16, 17)}, "multiples of 16"),
        (train_prior, PriorTraining, {"zero_snr": True, "prediction": "epsilon"}, "--zero-snr"),
        (train_control, ControlTraining, {"crop": 16}, "32 or more"),
        (train_control, ControlTraining, {"ema": 2.0}, "--ema 2: give 0 to 1"),
        (train_control, ControlTraining, {"precision": "fp64"}, "no, bf16 or fp16"),
        (train_control, ControlTraining, {"unfreeze": "all"}, "none or decoder"),
    ],
)
def test_one_sentence(run, kind, given, words, tmp_path):
    with pytest.raises(SettingsError, match=words):
        run(kind(**(GOOD | given)), tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_validation_that_is_not_there_is_refused_before_the_first_step(tmp_path):
    options = CodecTraining(**GOOD, validation=("nowhere",))
    with pytest.raises(ImageError, match="nowhere does not exist"):
        train_codec(options, tmp_path)
    assert not any(tmp_path.iterdir())


def test_parts_that_are_trained_before_are_named(tmp_path):
    with pytest.raises(ModelError, match="no vae yet: make it .* 'diffjscc train autoencoder'"):
        train_prior(PriorTraining(**GOOD), tmp_path)
    (tmp_path / "vae").mkdir()
    with pytest.raises(ModelError, match="no unet yet: make it .* 'diffjscc train prior'"):
        train_control(ControlTraining(**GOOD), tmp_path)


def test_the_whole_recipe_is_checked_before_its_first_training(tmp_path):
    recipe = Recipe(data=("photographs",), minutes=1.0, precision="fp64")
    with pytest.raises(SettingsError, match="no, bf16 or fp16"):
        next(trainings(recipe, tmp_path))


def test_checkpoints_from_before_an_option_go_on():
    options = PriorTraining(**GOOD)
    before = json.loads(json.dumps(asdict(options)))
    del before["schedule"]
    check_same(before, options, Path("checkpoint"))
    with pytest.raises(ModelError, match=r"other settings \(--schedule\)"):
        check_same(before, replace(options, schedule="linear"), Path("checkpoint"))


def test_on_the_command_line(tmp_path):
    words = ("--data", tmp_path, "--out", tmp_path / "out", "--steps", 1)
    done = invoke("train", "prior", *words, "--ema", 2)
    assert done.code == 3
    assert done.err.strip().endswith("--ema 2: give 0 to 1.")
    done = invoke("train", "prior", *words, "--times", "foo")
    assert done.code == 2
    assert "'foo' is not one of 'uniform', 'logit-normal'" in done.err
    assert not (tmp_path / "out").exists()
