"""``diffjscc codecs``: figures are counted from the networks, not said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from simulator.cli.main import app, guarded
from simulator.jscc.checkpoint import save_codec
from simulator.jscc.cost import cost_of
from simulator.jscc.deepjscc import DeepJsccCodec
from simulator.jscc.deepjscc_f import DeepJsccFCodec


def test_costs_are_those_of_the_layers() -> None:
    """Five convolutions of 25 weights: at 1/2, 1/4, 1/4, 1/4 and 1/4 of the sides."""
    codec = DeepJsccCodec()
    cost = cost_of(codec, (32, 64), repeats=1)
    halves, quarters = 16 * 32, 8 * 16
    pairs = [(3, 16, halves), (16, 32, quarters), (32, 32, quarters), (32, 32, quarters)]
    macs = sum(25 * a * b * places for a, b, places in [*pairs, (32, 2, quarters)])
    assert cost.macs[0] == macs
    assert cost.parameters[0] == sum(p.numel() for p in codec.encoder.parameters())
    assert cost.parameters[1] == sum(p.numel() for p in codec.parameters())
    assert cost.k == 128 and min(cost.seconds) > 0


def test_what_a_transmitter_decodes_is_its_own_cost() -> None:
    codec = DeepJsccFCodec(width=8)
    cost, parts = cost_of(codec, (32, 32), repeats=1), codec.encoders
    encoders = sum(p.numel() for p in parts.parameters())
    assert cost.parameters[0] == encoders < cost.parameters[1]
    assert cost.macs[0] > cost.macs[1] / 2  # its first round is decoded on the way to the second


def test_a_table_for_some_folders(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_codec(DeepJsccCodec(), tmp_path / "mine", {})
    words = ["codecs", str(tmp_path / "mine"), "compact", "--size", "64", "32", "--cbr", "1/48"]
    done = CliRunner(env={"COLUMNS": "80"}).invoke(app, words)
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines() if "1/48" in line]
    assert [line[line.index("1/48") + 1] for line in lines] == ["128", "128"]
    assert all(len(line) <= 80 for line in done.output.splitlines())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere"], 4, "nowhere"),
        (["compact", "--size", "0", "5"], 3, "--size 0 5: give"),
        (["compact", "--cbr", "1/5"], 3, "no bandwidth ratio 1/5"),
    ],
)
def test_mistakes_are_said(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(lambda: app(["codecs", *words], standalone_mode=False)) == code
    assert said in capsys.readouterr().err
