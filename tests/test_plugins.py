"""What a plugin adds goes through the three processes, sweeps and trainings alike."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import cli, make_photographs
from sweep_world import OWN_METHOD

import simulator
from rx.load import load_refiner
from rx.own import OwnReceiver
from simulator.air import check_kind
from simulator.chain import load_link
from simulator.errors import ModelError, SettingsError
from simulator.images import load_image
from simulator.jscc.checkpoint import load_codec
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.folder import read_codec_folder
from simulator.link.ids import draw_key
from simulator.methods.draws import Draws
from simulator.methods.method import Context, Point
from simulator.methods.registry import make_method
from simulator.metrics.fidelity import psnr
from simulator.own_receivers import fingerprint_of
from simulator.plugins import (
    load_plugins,
    register_channel,
    register_codec,
    register_receiver,
    with_plugins,
)
from simulator.receiving import RxSettings
from simulator.settings import ChannelSettings, make_settings
from simulator.tensors import as_tensor

pytestmark = pytest.mark.usefixtures("one_thread", "own_registry")

TINY = """
import torch
from simulator.jscc.codec import JsccCodec
from simulator.jscc.rates import BANDWIDTH_RATIOS
from simulator.plugins import register_codec

class Tiny(JsccCodec):
    name, config = "tiny", {}
    bandwidth_ratio, bandwidth_ratios = BANDWIDTH_RATIOS[1], BANDWIDTH_RATIOS

    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Conv2d(3, 32, 16, 16)
        self.decoder = torch.nn.ConvTranspose2d(32, 3, 16, 16)

    def analyse(self, image, csi, channels):
        return self.encoder(image)[:, :channels]

    def synthesise(self, latent, csi, noise_variance):
        maps = latent.new_zeros(len(latent), 32, *latent.shape[2:])
        maps[:, : latent.shape[1]] = latent
        return self.decoder(maps) + 0.5

register_codec(Tiny)
"""


def test_codec_channel_and_receiver_go_through_the_link(tmp_path: Path) -> None:
    """A row of the link equals what a sweep computes, by the same functions of the plugin."""
    make_photographs(tmp_path / "photographs", 2)
    given: dict[str, Any] = {
        "tx.images": [str(tmp_path / "photographs")],
        "tx.runtime": "torch",
        "plugins": [str(OWN_METHOD)],
        "codec": "dct",
        "channel.kind": ["awgn", "bursts"],
        "rx.receiver": "sharp",
        "rx.lpips": False,
        "out": str(tmp_path / "run"),
    }
    settings = make_settings(overrides=given)
    rows = simulator.simulate(settings)
    assert [row["channel"] for row in rows] == ["awgn", "awgn", "bursts", "bursts"]
    context = Context(runtime="torch")
    both = make_method("sharp:codec=dct", context)
    draws = Draws(settings.channel)
    for row in rows:
        assert row["model"] == fingerprint_of("sharp") and row["codec"].startswith("dct-")
        image = load_image(Path(row["image"]))
        point = Point(row["channel"], Fraction(1, 384), 10.0)
        draw = draws.of(draw_key(0, image.sha256, 0), point)
        sent = both.several(image.pixels, point, draw)
        for kind, name in (("preview", "jscc:codec=dct"), ("refined", both.name)):
            found = psnr(as_tensor(sent[name].pixels), as_tensor(image.pixels))
            assert row[f"psnr_{kind}"] == pytest.approx(found, abs=1e-5)
    assert rows[0]["psnr_preview"] != rows[2]["psnr_preview"]
    # Of a plugin that has changed come other results; where its file lies does not matter.
    changed = tmp_path / "own_method.py"
    changed.write_text(OWN_METHOD.read_text() + "\n")
    said = cli("simulate", "--resume", "--out", tmp_path / "run", "--plugin", changed)
    assert said.returncode == 8 and "made with another model" in said.stderr
    # Who only looks at the run runs no code of it.
    assert cli("doctor", "--run", tmp_path / "run").returncode == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"channel.kind": "burst"}, "no channel 'burst'; there are awgn, .*bursts"),
        ({"rx.receiver": "blurred"}, "no receiver 'blurred'; plugins have sharp"),
        (
            {"channel.kind": "bursts", "channel.csit": "delayed", "channel.block_correlation": 0.5},
            "'bursts' of a plugin has no delayed CSIT",
        ),
        ({"plugins": "none.py"}, "none.py is no Python file"),
    ],
)
def test_names_that_no_plugin_has_are_refused(given: dict[str, Any], words: str) -> None:
    settings = make_settings(overrides={"plugins": str(OWN_METHOD)} | given)
    with pytest.raises(SettingsError, match=words):
        with_plugins(settings)


def test_a_kind_of_a_plugin_needs_that_plugin() -> None:
    with pytest.raises(SettingsError, match="no channel 'bursts'"):
        make_settings(overrides={"channel.kind": "bursts"})
    with pytest.raises(ValueError, match="no channel 'bursts'"):
        check_kind("bursts", "perfect")


def test_names_of_this_project_are_not_replaced() -> None:
    class Taken(JsccCodec):
        name = "adaptive"

    with pytest.raises(SettingsError, match="channel 'rayleigh' is one of this project"):
        register_channel("rayleigh")
    with pytest.raises(SettingsError, match="codec 'adaptive' is one of this project"):
        register_codec(Taken)


def test_results_depend_on_the_code_of_a_channel() -> None:
    before = ChannelSettings().result_changing()
    register_channel("still")
    assert ChannelSettings().result_changing().keys() - before.keys() == {"kind.still"}


def test_a_channel_that_fails_says_so() -> None:
    def fail(snr_db: float, generator: np.random.Generator) -> complex:
        raise LookupError("the recording has ended")

    register_channel("recorded", gain=fail)
    draw = Draws(ChannelSettings(kind=["recorded"])).of(
        bytes(32), Point("recorded", Fraction(1, 96), 1.0)
    )
    with pytest.raises(SettingsError, match=r"'recorded' of a plugin fails: LookupError: the rec"):
        draw.transmit(np.ones(24, np.complex64))


# --- receivers ---


def test_a_receiver_sees_preview_and_state_in_tiles_of_any_size() -> None:
    seen = []

    def make(device: str) -> Any:
        def refine(preview: torch.Tensor, csi: Csi) -> torch.Tensor:
            seen.append((preview.shape, csi.snr_db.tolist()))
            return preview * 0.5

        return refine

    register_receiver("half", make)
    receiver = OwnReceiver("half", "cpu")
    image = torch.rand(2, 3, 130, 70, generator=torch.Generator().manual_seed(0))
    csi = Csi(torch.tensor([1.0, 10.0]), torch.ones(2, dtype=torch.complex64))
    out = receiver(image, csi)
    assert torch.allclose(out.images, image * 0.5) and out.seconds["restore_s"] > 0
    assert seen == [((2, 3, 132, 72), [1.0, 10.0])]
    assert torch.allclose(receiver(image, csi, tile=64).images, image * 0.5, atol=1e-6)
    assert len(seen) > 3


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda preview, csi: preview[..., 1:], r"gives \(1, 3, 64, 63\) for a preview of shape"),
        (lambda preview, csi: preview.numpy(), "gives ndarray for a preview"),
        (lambda preview, csi: preview / 0, "values not finite"),
        (lambda preview, csi: preview.reshape(7), "fails: RuntimeError"),
    ],
)
def test_a_receiver_that_fails_is_refused_at_the_start(made: Any, words: str) -> None:
    register_receiver("wrong", lambda device: made)
    with pytest.raises(SettingsError, match=words):
        load_refiner("no/model", "cpu", RxSettings(receiver="wrong"))


@pytest.mark.parametrize("given", [{"dtype": "bfloat16"}, {"steps": 2}, {"show_steps": 1}])
def test_settings_of_model_folders_are_refused(given: dict[str, Any]) -> None:
    register_receiver("same", lambda device: lambda preview, csi: preview)
    with pytest.raises(SettingsError, match=f"rx.{next(iter(given))}"):
        load_refiner("no/model", "cpu", RxSettings(receiver="same", **given))


# --- codecs ---


def test_a_codec_of_a_plugin_is_trained_loaded_and_sent(tmp_path: Path) -> None:
    plugin = tmp_path / "tiny.py"
    plugin.write_text(TINY)
    make_photographs(tmp_path / "photographs", 2)
    out = tmp_path / "codec"
    said = cli(
        *("train", "codec", "--codec", "tiny", "--plugin", plugin, "--out", out),
        *("--data", tmp_path / "photographs", "--steps", "2", "--batch", "1", "--crop", "64"),
    )
    assert said.returncode == 0, said.stderr
    assert str(tmp_path) not in (out / "README.md").read_text()
    with pytest.raises(ModelError, match="unknown codec 'tiny'.* --plugin"):
        load_codec(out)
    load_plugins([str(plugin)])
    assert load_codec(out).name == "tiny"
    with pytest.raises(ModelError, match="has parameters, which are trained first"):
        load_codec("tiny")


def test_a_codec_without_parameters_is_named_by_its_code() -> None:
    load_plugins([str(OWN_METHOD)])
    record = read_codec_folder("dct")
    assert record.path is None and len(record.weights_sha256) == 64
    assert isinstance(load_codec("dct"), JsccCodec)
    with pytest.raises(ModelError, match="no encoder.onnx; use --set tx.runtime=torch"):
        load_link("dct")

    class Other(JsccCodec):
        name = "dct"

    register_codec(Other)
    assert read_codec_folder("dct").fingerprint != record.fingerprint
