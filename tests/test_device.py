"""Devices that are not here are one sentence, wherever they are asked for."""

import re

import pytest
from helpers import make_photographs

from simulator.errors import SettingsError
from simulator.process import pick_device
from tests.fuzz.brought.commands import invoke


def test_what_is_here():
    import torch

    assert pick_device("cpu") == "cpu"
    assert pick_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("gpu", "give auto, cpu, cuda, cuda:1 or mps"),
        ("cuda:99", "cannot be used here .*; use cpu"),
    ],
)
def test_what_is_not(asked, words):
    with pytest.raises(SettingsError, match=words):
        pick_device(asked)


@pytest.mark.parametrize("command", ["train codec", "train all", "sweep", "evaluate"])
def test_on_the_command_line(command, tmp_path):
    make_photographs(tmp_path / "photos", 1)
    photographs, out = tmp_path / "photos", tmp_path / "out"
    words = {
        "train codec": ("--data", photographs, "--steps", 1),
        "train all": ("--data", photographs, "--minutes", 1),
        "sweep": ("figure-5", "--images", photographs, "--methods", "jscc", "--metrics", "psnr"),
        "evaluate": (out,),
    }[command]
    to = () if command == "evaluate" else ("--out", out)
    done = invoke(*command.split(), *words, *to, "--device", "gpu")
    assert done.code == 3
    assert re.search(
        r"error: (--)?device gpu: give auto, cpu, cuda(, cuda:1)? or mps[.;]", done.err
    )
    assert not out.exists()
