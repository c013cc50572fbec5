"""Codecs alone, as the authors' first stage trains them: Swin against a reference, and CNN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from official_swin import OfficialSwin

from simulator.errors import ModelError
from simulator.importer.folder import import_official
from simulator.jscc.checkpoint import load_codec
from simulator.jscc.cnn import CnnCodec
from simulator.jscc.csi import Csi
from simulator.jscc.swin_official import OfficialSwinCodec

# Their file, in small; sides are whole windows at every stage of a 128 x 64 image.
SWIN: dict[str, Any] = {
    "img_size_h": 256, "img_size_w": 256, "patch_size": 2, "in_chans": 3,
    "embed_dims": [8, 12, 16], "embed_dims_d": [16, 12, 8],
    "depths": [1, 2, 2], "depths_d": [2, 2, 1], "num_heads": [2, 3, 4], "num_heads_d": [4, 3, 2],
    "bottleneck_dim": 4, "window_size": 4, "mlp_ratio": 4.0, "qkv_bias": True, "qk_scale": None,
    "patch_norm": True, "SNR_low": 0, "SNR_high": 14, "loss_type": "MSE", "channel": "AWGN",
    "learning_rate": 1e-4,
}  # fmt: skip


def write_stage_1(
    folder: Path, target: str, params: dict[str, Any], network: torch.nn.Module
) -> Path:
    folder.mkdir(parents=True)
    config = {"target": f"model.{target}", "params": params}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.save({"state_dict": network.state_dict(), "callbacks": {}}, folder / "model.ckpt")
    return folder


def made(tmp_path: Path, **changed: Any) -> tuple[OfficialSwin, OfficialSwinCodec]:
    torch.manual_seed(0)
    params = SWIN | changed
    official = OfficialSwin(SWIN).eval()
    source = write_stage_1(tmp_path / "source", "deepjscc_swin.DeepJSCC_SWIN", params, official)
    import_official(str(source), tmp_path / "codec", dtype="float32")
    codec = load_codec(str(tmp_path / "codec"))
    assert isinstance(codec, OfficialSwinCodec)
    return official, codec


@torch.inference_mode()
def test_swin_gives_the_authors_symbols_and_images(tmp_path: Path) -> None:
    official, codec = made(tmp_path)
    image, snr = torch.rand(2, 3, 128, 64), torch.tensor([[1.0], [13.0]])
    csi = Csi(snr[:, 0], torch.ones(2, dtype=torch.complex64))
    theirs = official.symbols(image, snr)
    symbols = codec.encode(image, csi).symbols
    torch.testing.assert_close(symbols, theirs.flatten(1), rtol=1e-4, atol=1e-5)
    received = theirs + 0.1 * torch.randn_like(theirs)
    expected = official.image(received, snr, (16, 8))
    got = codec.decode(received.flatten(1), csi, (128, 64))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    other = codec.encode(image, Csi.of(13.0, batch=2)).symbols
    assert not torch.allclose(symbols[0], other[0], atol=1e-3)


@torch.inference_mode()
@pytest.mark.parametrize("size", [(40, 56), (9, 200)])
def test_swin_takes_images_of_any_size(size: tuple[int, int]) -> None:
    codec = OfficialSwinCodec(4, (8, 12), (2, 2), (2, 2), (12, 8), (2, 2), (2, 2), window=4)
    image = torch.rand(1, 3, *size)
    symbols = codec.encode(image, Csi.of(10.0)).symbols
    assert symbols.shape[1] == codec.layout(codec.bandwidth_ratio, size).k
    assert codec.decode(symbols, Csi.of(10.0), size).shape == image.shape


def test_swin_of_the_authors_size() -> None:
    with torch.device("meta"):
        codec = OfficialSwinCodec()
    assert str(codec.bandwidth_ratio) == "1/384"
    assert 10e6 < sum(p.numel() for p in codec.encoder.parameters()) < 25e6


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"channel": "Rayleigh"}, "channel is 'Rayleigh'"),
        ({"bottleneck_dim": 3}, "an even number"),
        ({"num_heads": [2, 5, 4]}, "multiples of its heads"),
        ({"depths": [1, 2]}, "for every stage"),
        ({"depths": [1, 2, 4]}, "lacks encoder.layers.2.blocks.2"),
        ({"qkv_bias": False}, "qkv_bias"),
    ],
)
def test_another_swin_is_refused(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        made(tmp_path, **changed)
    assert not (tmp_path / "codec").exists()


def test_cnn_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    codec = CnnCodec(ngf=4, max_ngf_e=8, max_ngf_d=8, n_blocks_e=1, n_blocks_d=1).eval()
    params = {"ngf": 4, "max_ngf_E": 8, "max_ngf_D": 8, "n_downsample": 4, "C_channel": 4,
              "n_blocks_E": 1, "n_blocks_D": 1, "channel": "AWGN", "norm": "batch"}  # fmt: skip
    source = write_stage_1(tmp_path / "source", "deepjscc_cnn.DeepJSCC", params, codec)
    import_official(str(source), tmp_path / "codec", dtype="float32")
    image = torch.rand(1, 3, 64, 64)
    again = load_codec(str(tmp_path / "codec")).eval()
    with torch.inference_mode():
        got, wanted = (each.encode(image, Csi.of(5.0)).symbols for each in (again, codec))
    torch.testing.assert_close(got, wanted)
