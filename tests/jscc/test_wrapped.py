"""Codecs around a codec: DeepJSCC-Q, and rounds with feedback."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import without_graph

from rx.service import make_decoders
from simulator.air import AirSettings
from simulator.chain import Draw, Link, load_link
from simulator.errors import ModelError, SettingsError
from simulator.images import load_image, sample_photographs
from simulator.jscc import Csi, export, load_codec
from simulator.jscc.ends import CodecEnds
from simulator.jscc.folder import read_codec_folder, resolve
from simulator.jscc.registry import codec_class, make_codec
from simulator.jscc.signal import Round, ToEncode
from simulator.jscc.wrap import WRAPPERS, wrap
from simulator.link.ids import draw_key
from simulator.methods.method import Point
from simulator.phy.constellation import EXTENT, qam, quantize
from simulator.phy.feedback import correction, snr_after, unbiased
from simulator.phy.power import mean_power
from simulator.phy.state import ChannelState
from simulator.settings import TxSettings, make_settings
from tx.encoder import make_encoder
from tx.wrapped import WRAPPERS as AT_TX

RATIO = Fraction(1, 48)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("wrapped")
    return {name: wrap(name, "compact", out / name) for name in WRAPPERS}


def normal(rng: np.random.Generator, n: int) -> np.ndarray:
    return (rng.normal(size=n) + 1j * rng.normal(size=n)) / 2**0.5


@pytest.mark.parametrize(("snr_db", "rounds"), [(-3.0, 2), (4.0, 2), (1.0, 3), (10.0, 4)])
def test_rounds_have_the_snr_of_the_best_code(snr_db: float, rounds: int) -> None:
    """(1 + snr)^R - 1, and the variance that the decoder is given is that of the noise."""
    rng, n = np.random.default_rng(0), 200_000
    v, symbols = 10 ** (-snr_db / 10), normal(rng, n)
    received = [symbols + v**0.5 * normal(rng, n)]
    for _ in range(1, rounds):
        sent = correction(symbols, received, v)
        assert mean_power(sent) == pytest.approx(1, abs=0.02)
        received.append(sent + v**0.5 * normal(rng, n))
    got, variance = unbiased(received, v)
    assert np.mean(np.abs(got - symbols) ** 2) == pytest.approx(variance, rel=0.02)
    effective = 10 * np.log10(snr_after(v, rounds))
    assert -10 * np.log10(variance) == pytest.approx(effective, abs=1e-6)
    assert abs(np.mean((got - symbols) * symbols.conj())) < 5 * (variance / n) ** 0.5


@pytest.mark.parametrize("size", EXTENT)
def test_symbols_are_points_and_keep_their_power(size: int) -> None:
    rng = np.random.default_rng(0)
    for spread in (0.3, 1.0):  # also symbols of which some are very large
        symbols = normal(rng, 3000) * np.exp(spread * rng.normal(size=3000))
        symbols = (symbols / mean_power(symbols) ** 0.5).astype(np.complex64)
        sent = quantize(symbols, size, EXTENT[size])
        distance = np.abs(sent[:, None] - qam(size, EXTENT[size])).min(axis=1)
        assert distance.max() < 1e-5
        assert 0.1 < mean_power(sent) <= 1 + 1e-5


def test_every_wrapper_has_both_halves() -> None:
    assert set(WRAPPERS) == set(AT_TX)


@pytest.mark.parametrize("name", WRAPPERS)
def test_the_transmitter_without_torch_sends_the_same(name: str, folders: dict[str, Path]) -> None:
    record = read_codec_folder(str(folders[name]))
    ends = [make_encoder(TxSettings(runtime=each), record) for each in ("onnx", "torch")]
    pixels = load_image(sample_photographs()[0]).pixels[:112, :144]
    ratios = load_codec(folders[name]).bandwidth_ratios
    state = ChannelState(4.0, np.array([0.6 - 0.3j], np.complex64))
    for ratio in ratios:
        heard: list = []
        for _ in range(ends[0].rounds):
            given = ToEncode(pixels, state, ratio, heard, "a boat")
            (a, said), (b, same) = ((s.symbols, s.side) for s in (e.encode(given) for e in ends))
            assert said == same and bool(said) == (name == "sketch")
            k = ends[0].k((112, 144), ratio)
            assert k == ends[1].k((112, 144), ratio) and len(a) == k / ends[0].rounds
            assert a.dtype == b.dtype == np.complex64
            # A value between two points may go to either.
            assert np.mean(np.abs(a - b) > 1e-4) < 0.002
            heard = [*heard, type_of_round(a)]


def test_a_graph_of_other_weights_or_a_damaged_one_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is handed on is the graph of the codec inside, and no other."""
    made: list[str] = []
    monkeypatch.setattr(export, "export_encoder", made.append)
    inner = shutil.copytree(resolve("compact"), tmp_path / "inner")
    wrap("deepjscc-q", str(inner), tmp_path / "same")
    assert made == [] and (tmp_path / "same" / "encoder.onnx").is_file()
    graph = (inner / "encoder.onnx").read_bytes()
    own = read_codec_folder(str(inner)).weights_sha256.encode()
    for number, data in enumerate((graph.replace(own, b"0" * len(own)), graph[:1000])):
        (inner / "encoder.onnx").write_bytes(data)
        wrap("deepjscc-q", str(inner), tmp_path / str(number))
        assert made == [str(tmp_path / str(each)) for each in range(number + 1)]


def type_of_round(sent: np.ndarray):
    noise = normal(np.random.default_rng(1), len(sent)) * 0.4
    return Round(sent, (sent + noise).astype(np.complex64))


def psnr_through(link: Link, settings: AirSettings, snr_db: float = 1.0, ratio: Fraction = RATIO):
    """Mean over three photographs, in dB."""
    found = []
    for path in sample_photographs()[:3]:
        picture = load_image(path)
        pixels = picture.pixels[:256, :384].copy()
        point = Point(settings.kind[0], ratio, snr_db)
        draw = Draw.under(settings, draw_key(0, picture.sha256, 0), point)
        got = link.send(pixels, ratio, draw)
        assert len(got.sent) == len(got.equalised) == ratio * 3 * 256 * 384
        found.append(10 * np.log10(255**2 / np.mean((got.pixels.astype(float) - pixels) ** 2)))
    return float(np.mean(found))


@pytest.mark.parametrize("kind", ["awgn", "rayleigh"])
def test_feedback_gains_at_equal_channel_uses(kind: str, folders: dict[str, Path]) -> None:
    plain, twice = load_link("compact"), load_link(str(folders["feedback"]))
    settings = AirSettings(kind=[kind])
    assert psnr_through(twice, settings) > psnr_through(plain, settings) + 0.15


def test_noise_on_the_way_back_costs(folders: dict[str, Path]) -> None:
    link = load_link(str(folders["feedback"]))
    clean, good, bad = (
        psnr_through(link, AirSettings(feedback_snr_db=snr_db)) for snr_db in (None, 20.0, 0.0)
    )
    assert clean > good > bad + 0.3


@pytest.mark.parametrize("csir", ["perfect", "estimated"])
def test_feedback_under_blocks(csir: str, folders: dict[str, Path]) -> None:
    """The transmitter learns the gains of all blocks, which it did not know before. With many
    short blocks nothing is gained: the codec evens them out by itself."""
    plain, twice = load_link("compact"), load_link(str(folders["feedback"]))
    blocks = {"kind": ["rayleigh"], "coherence_time": 1000, "csit": "average", "csir": csir}
    settings = AirSettings(**blocks, pilots=16)
    assert psnr_through(twice, settings) > psnr_through(plain, settings) + 0.15


def test_rounds_need_zero_forcing(folders: dict[str, Path]) -> None:
    with pytest.raises(SettingsError, match="2 rounds needs zero forcing, not mmse"):
        load_link(str(folders["feedback"]), equalizer="mmse")
    settings = make_settings(
        overrides={"codec": str(folders["feedback"]), "rx.equalizer": "mmse", "rx.refine": False}
    )
    with pytest.raises(SettingsError, match="2 rounds needs zero forcing, not mmse"):
        make_decoders(settings)


def test_quantized_costs_little_with_many_points(tmp_path: Path) -> None:
    inner = str(without_graph(tmp_path / "inner"))
    plain = psnr_through(load_link(inner, "torch"), AirSettings(), 10.0)
    losses = []
    for points in (16, 64, 256):
        folder = wrap("deepjscc-q", inner, tmp_path / str(points), points=points)
        losses.append(plain - psnr_through(load_link(str(folder), "torch"), AirSettings(), 10.0))
    assert 0 < losses[2] < 0.3 < losses[1] < losses[0] < 2.5


def test_quantized_can_be_trained_through(folders: dict[str, Path]) -> None:
    codec = load_codec(folders["deepjscc-q"]).train()
    image = torch.rand(1, 3, 64, 64)
    symbols = codec.encode(image, Csi.of(10.0)).symbols
    symbols.real.square().sum().backward()
    assert sum(float(p.grad.abs().sum()) for p in codec.codec.encoder.parameters()) > 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda f, out: wrap("other", "compact", out), "use one of cddm, deepjscc-q, feedback"),
        (lambda f, out: wrap("feedback", str(f["feedback"]), out), "give what it wraps"),
        (lambda f, out: wrap("feedback", "compact", f["feedback"]), "name a new folder"),
        (lambda f, out: wrap("feedback", "compact", out, rounds=1), "give 2 to 4"),
        (lambda f, out: wrap("sketch", "compact", out, cell=3), "a cell of 2, 4, 8 pixels"),
        (lambda f, out: wrap("cddm", "compact", out, steps=0), "cddm: 0 steps"),
        (lambda f, out: wrap("deepjscc-q", "compact", out, points=8), "one of 4, 16, 64, 256"),
    ],
)
def test_mistakes(
    call: Callable[[dict[str, Path], Path], Path],
    words: str,
    folders: dict[str, Path],
    tmp_path: Path,
) -> None:
    with pytest.raises((SettingsError, ModelError), match=words):
        call(folders, tmp_path / "new")
    assert not (tmp_path / "new").exists()


SMALL_SWIN = {"widths": [8, 8, 8, 8], "depths": [0, 0, 0, 1], "heads": [1, 1, 1, 1]}


@pytest.mark.parametrize("kind", WRAPPERS)
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("deepjscc-f", {"width": 4}),
        ("policy", {"groups": 2, "always": 1, "width": 16, "blocks": 0}),
        ("ntscc", SMALL_SWIN | {"jscc_depth": 1, "hyper": 8}),
        ("swinjscc-official", SMALL_SWIN | {"widths_d": [8, 8, 8, 8], "depths_d": [1, 0, 0, 0],
                                            "heads_d": [1, 1, 1, 1], "channels": [8]}),
    ],
)  # fmt: skip
def test_codecs_with_a_way_of_sending_of_their_own(
    kind: str, name: str, config: dict[str, object]
) -> None:
    cls: Any = codec_class(kind)
    with pytest.raises(ModelError, match=f"codec '{name}' does not"):
        cls(make_codec(name, config))


def test_a_ratio_that_it_does_not_have(folders: dict[str, Path]) -> None:
    for runtime in ("onnx", "torch"):
        encoder = make_encoder(
            TxSettings(runtime=runtime), read_codec_folder(str(folders["feedback"]))
        )
        with pytest.raises(SettingsError, match="no bandwidth ratio 1/768; it has 1/384"):
            encoder.k((64, 64), Fraction(1, 768))


def test_whoever_refines_is_told_what_all_rounds_are_worth(folders: dict[str, Path]) -> None:
    """Under a fade of 3 dB, two rounds at 7 dB are worth (1 + snr)^2 - 1 without a fade."""
    state = ChannelState(7.0, np.array([0.5**0.5 * 1j], np.complex64))
    ends = CodecEnds(load_codec(folders["feedback"]))
    got = ends.conditioned(state)
    snr = 10**0.7 * 0.5
    assert got.snr_db == pytest.approx(10 * np.log10((1 + snr) ** 2 - 1), abs=1e-4)
    assert got.gain == 1
    for other in ("compact", str(folders["deepjscc-q"])):
        assert CodecEnds(load_codec(other)).conditioned(state) is state
