"""Codecs: sizes, budgets, conditions, folders, export."""

from __future__ import annotations

import itertools
import json
import shutil
from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers import make_photographs
from torch.utils.flop_counter import FlopCounterMode

from simulator.errors import ImageError, ModelError, SettingsError
from simulator.images import load_image
from simulator.jscc import Csi, load_codec
from simulator.jscc.adaptive import AdaptiveCodec, state_features
from simulator.jscc.checkpoint import save_codec
from simulator.jscc.cnn import CnnCodec
from simulator.jscc.codec import JsccCodec
from simulator.jscc.export import export_encoder
from simulator.jscc.folder import read_codec_folder, resolve
from simulator.jscc.rates import BANDWIDTH_RATIOS
from simulator.jscc.signal import ToEncode
from simulator.phy.state import ChannelState
from simulator.settings import TxSettings
from simulator.training.quantize import export_int8
from tx.encoder import make_encoder

SMALL_CNN = {"ngf": 4, "max_ngf_e": 16, "max_ngf_d": 16, "n_blocks_e": 1, "n_blocks_d": 1}


def codecs() -> list[JsccCodec]:
    torch.manual_seed(0)
    made = [AdaptiveCodec(), CnnCodec(4, "awgn", **SMALL_CNN), CnnCodec(8, "rayleigh", **SMALL_CNN)]
    return [codec.eval() for codec in made]


@pytest.mark.parametrize("codec", codecs(), ids=["adaptive", "cnn-awgn", "cnn-rayleigh"])
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 33), (64, 48), (50, 100)])
@torch.inference_mode()
def test_any_size_there_and_back(codec, size):
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    csi = Csi.of(7.0, 0.5 + 0.5j, batch=2)
    for ratio in codec.bandwidth_ratios:
        symbols = codec.encode(image, csi, ratio).symbols
        cells = [max(codec.min_cells, -(-side // 16)) for side in size]
        assert symbols.shape == (2, cells[0] * cells[1] * ratio * 768)
        assert symbols.dtype == torch.complex64
        power = symbols.abs().square().mean(dim=1)
        assert torch.allclose(power, torch.ones(2), atol=1e-4)
        result = codec.decode(symbols, csi, size)
        assert result.shape == image.shape
        assert result.isfinite().all() and result.min() >= 0 and result.max() <= 1


def test_adaptive_keeps_its_budget():
    """At 768x512: encoder at most 4 GMAC and 4 M parameters, decoder at most 20 GMAC."""
    codec = AdaptiveCodec().eval()
    image, csi = torch.rand(1, 3, 512, 768), Csi.of(10.0)
    with torch.inference_mode(), FlopCounterMode(display=False) as encoder:
        symbols = codec.encode(image, csi).symbols
    with torch.inference_mode(), FlopCounterMode(display=False) as decoder:
        codec.decode(symbols, csi, (512, 768))
    assert encoder.get_total_flops() / 2 <= 4e9
    assert decoder.get_total_flops() / 2 <= 20e9
    assert sum(p.numel() for p in codec.encoder.parameters()) <= 4e6


def test_the_start_has_maps_of_unit_deviation(tmp_path):
    torch.manual_seed(0)
    codec = AdaptiveCodec().eval()
    images = torch.rand(4, 3, 16, 16).repeat_interleave(6, 2).repeat_interleave(6, 3)
    codec.start(images)
    features = state_features(Csi.of(10.0, batch=4), 32)
    with torch.no_grad():
        maps = codec.encoder(images, features)
    assert maps.mean((0, 2, 3)).abs().max() < 1e-4
    assert (maps.std((0, 2, 3)) - 1).abs().max() < 1e-3
    save_codec(codec, tmp_path, {})
    assert load_codec(tmp_path).config == {"bandwidth_ratio": "1/384"}


def test_cnn_is_the_size_of_the_papers():
    """384 wide with 4 blocks, 15.6 M parameters each, in the official key layout."""
    codec = CnnCodec(c_channel=4)
    assert sum(p.numel() for p in codec.E.parameters()) == 15_597_636
    sizes = ("ngf", "max_ngf_e", "max_ngf_d", "n_blocks_e", "n_blocks_d", "n_downsample")
    assert [codec.config[name] for name in sizes] == [64, 384, 384, 4, 4, 4]
    for half in (codec.E, codec.G):
        assert sum(p.numel() for p in half.parameters()) == pytest.approx(15.6e6, rel=0.02)
    keys = set(codec.state_dict())
    for key in (
        "E.net.1.weight",
        "E.res_list.0.conv_block.3.weight",
        "E.res_list.1.model_multi.2.bias",
        "E.projection.bias",
        "G.mask_conv.weight",
        "G.res_list.0.conv_block.5.weight",
        "G.res_list.7.model_add.0.weight",
        "G.model.0.weight",
        "G.model.13.bias",
    ):
        assert key in keys, key
    assert "G.mask_conv.bias" not in keys and "E.net.1.bias" not in keys


@torch.inference_mode()
def test_adaptive_looks_at_its_conditions():
    """After training, SNR and abs(h) change the symbols; the phase of h must not."""
    codec = load_codec("compact")
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    base = codec.encode(image, Csi.of(10.0)).symbols
    assert not torch.allclose(base, codec.encode(image, Csi.of(0.0)).symbols, atol=1e-3)
    assert not torch.allclose(base, codec.encode(image, Csi.of(10.0, 0.3)).symbols, atol=1e-3)
    turned = codec.encode(image, Csi.of(10.0, 1j)).symbols
    assert torch.allclose(base, turned, atol=1e-4)


@torch.inference_mode()
def test_deep_fade_stays_finite():
    codec = load_codec("compact")
    symbols = torch.randn(1, 64, dtype=torch.complex64) * 1e6
    result = codec.decode(symbols, Csi.of(-5.0, 1e-5), (64, 64 * 8 // 4))
    assert result.isfinite().all()


def test_more_bandwidth_and_more_snr_are_better():
    """The shipped weights, on photographs they were not trained on."""
    from simulator.images import load_image, sample_photographs
    from simulator.jscc.chain import reconstruct

    codec = load_codec("compact")
    pictures = [load_image(path).pixels[:192, :192] for path in sample_photographs()]
    mean: dict[tuple[Fraction, float], float] = {}
    for ratio in BANDWIDTH_RATIOS:
        for snr_db in (1.0, 10.0):
            generator = torch.Generator().manual_seed(0)
            values = [reconstruct(codec, p, ratio, snr_db, generator)[1] for p in pictures]
            mean[ratio, snr_db] = float(np.mean(values))
    for ratio in BANDWIDTH_RATIOS:
        assert mean[ratio, 10.0] > mean[ratio, 1.0] + 0.3
    for low, high in itertools.pairwise(BANDWIDTH_RATIOS):
        assert mean[high, 10.0] > mean[low, 10.0]
    assert mean[Fraction(1, 48), 10.0] > 20


def test_wrong_ratio_and_wrong_number_of_symbols():
    codec = AdaptiveCodec()
    with pytest.raises(SettingsError, match="1/100"):
        codec.encode(torch.rand(1, 3, 16, 16), Csi.of(1.0), Fraction(1, 100))
    with pytest.raises(SettingsError, match="7 symbols"):
        codec.decode(torch.ones(1, 7, dtype=torch.complex64), Csi.of(1.0), (32, 32))


@pytest.mark.parametrize("codec", codecs()[:2], ids=["adaptive", "cnn"])
def test_folder_there_and_back_and_onnx_equals_torch(codec, tmp_path):
    """fp16 on disk; ONNX and torch agree to 1e-4 for every ratio, at a size unlike the
    exported one."""
    folder = tmp_path / "codec"
    save_codec(codec, folder, {"note": "test"})
    loaded = load_codec(folder)
    record = read_codec_folder(str(folder))
    assert loaded.config == codec.config and record.training == {"note": "test"}
    export_encoder(str(folder))
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    onnx = make_encoder(TxSettings(runtime="onnx"), record)
    reference = make_encoder(TxSettings(runtime="torch"), record)
    state = ChannelState(4.0, np.array([0.6 - 0.3j], np.complex64))
    for ratio in loaded.bandwidth_ratios:
        a, b = (e.encode(ToEncode(pixels, state, ratio)).symbols for e in (onnx, reference))
        assert a.shape == b.shape == (onnx.k((50, 70), ratio),)
        assert np.abs(a - b).max() < 1e-4
    assert (folder / "encoder.onnx").stat().st_size < 8e6


def test_shipped_onnx_is_of_the_shipped_weights():
    record = read_codec_folder("compact")
    encoder = make_encoder(TxSettings(), record)
    assert (resolve("compact") / "README.md").is_file()
    blank = ToEncode(np.zeros((64, 64, 3), np.uint8), ChannelState(10.0), Fraction(1, 50))
    with pytest.raises(SettingsError, match=r"no bandwidth ratio 1/50; it has .*1/48\."):
        encoder.encode(blank)


def test_int8_encoder_says_what_it_costs(tmp_path):
    folder, photographs = tmp_path / "codec", tmp_path / "photographs"
    shutil.copytree(resolve("compact"), folder)
    make_photographs(photographs, 4, (80, 112))
    record = read_codec_folder(str(folder))
    for name in ("encoder.onnx", "encoder-int8.onnx"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(ModelError, match="diffjscc export .* --int8 --data PHOTOGRAPHS"):
        make_encoder(TxSettings(runtime="onnx-int8"), record)
    for _ in range(2):  # a second time replaces what the first one wrote
        path, cost = export_int8(str(folder), [str(photographs)])
    assert (cost.calibrated, cost.measured) == (3, 1)
    assert path.stat().st_size < 0.6 * (folder / "encoder.onnx").stat().st_size
    assert (folder / "README.md").read_text().count(cost.sentence()) == 1
    int8, plain = (make_encoder(TxSettings(runtime=r), record) for r in ("onnx-int8", "onnx"))
    pixels = load_image(photographs / "photo00.png").pixels
    for ratio in int8.ratios:
        a, b = (
            e.encode(ToEncode(pixels, ChannelState(10.0), ratio)).symbols for e in (int8, plain)
        )
        error = np.mean(np.abs(a - b) ** 2)
        assert 1e-8 < error < 0.03, ratio  # not the same, and far below the noise at 10 dB
        before, after = cost.psnr_db[str(ratio)]
        assert abs(after - before) < 0.3 and before > 10


@pytest.mark.parametrize("photographs", [0, 1])
def test_int8_needs_photographs_and_writes_nothing_without(tmp_path, photographs):
    folder = tmp_path / "photographs"
    folder.mkdir()
    if photographs:
        make_photographs(folder, photographs, (80, 112))
    save_codec(AdaptiveCodec(), tmp_path / "codec", {})
    before = sorted((tmp_path / "codec").iterdir())
    with pytest.raises(ImageError):
        export_int8(str(tmp_path / "codec"), [str(folder)])
    assert sorted((tmp_path / "codec").iterdir()) == before


def test_onnx_of_other_weights_is_refused(tmp_path):
    folder = tmp_path / "codec"
    shutil.copytree(resolve("compact"), folder)
    manifest = folder / "codec.json"
    record = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(record | {"weights_sha256": "0" * 64}))
    with pytest.raises(ModelError, match="exported from other weights"):
        make_encoder(TxSettings(), read_codec_folder(str(folder)))
    with pytest.raises(ModelError, match="sha256"):
        load_codec(folder)


@pytest.mark.parametrize(
    ("text", "word"), [("{", "damaged"), ('{"name": "adaptive"}', "damaged"), ("[]", "damaged")]
)
def test_damaged_manifest(tmp_path, text, word):
    (tmp_path / "codec.json").write_text(text)
    with pytest.raises(ModelError, match=word):
        load_codec(tmp_path)


def test_weights_of_another_layout_are_said_to_be_such(tmp_path):
    """As those of an earlier version, also where the number of tensors is the same."""
    codec = AdaptiveCodec()
    codec.decoder.out = torch.nn.Conv2d(96, 48, 1)
    save_codec(codec, tmp_path, {})
    with pytest.raises(ModelError, match=r"another layout .*decoder.out.weight and 0 more"):
        load_codec(tmp_path)


def test_unknown_codec_and_missing_onnx(tmp_path):
    save_codec(AdaptiveCodec(), tmp_path, {})
    with pytest.raises(ModelError, match="diffjscc export"):
        make_encoder(TxSettings(), read_codec_folder(str(tmp_path)))
    record = json.loads((tmp_path / "codec.json").read_text())
    (tmp_path / "codec.json").write_text(json.dumps(record | {"name": "nobody"}))
    with pytest.raises(ModelError, match="nobody"):
        load_codec(tmp_path)
