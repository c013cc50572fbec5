"""The models that ship: whole, small, documented, and better than the preview where it counts."""

from __future__ import annotations

import json
from statistics import fmean

import pytest
import torch
from safetensors import safe_open

from rx.one_pass import OnePass
from rx.pipeline import DiffJSCCPipeline
from simulator.images import load_image, sample_photographs
from simulator.jscc import Csi, load_codec
from simulator.jscc.chain import complex_normal, transmit
from simulator.jscc.folder import resolve
from simulator.jscc.rates import parse_ratio
from simulator.metrics.fidelity import psnr
from simulator.metrics.lpips import load_lpips
from simulator.models.folder import SHIPPED, find_model, read_model_index
from simulator.tensors import as_tensor
from simulator.training.model_card import CARD, RECORD, card

FOLDER = find_model("compact")


@pytest.mark.parametrize(("name", "networks", "most"), [("compact", 5, 110e6), ("quick", 1, 5e6)])
def test_weights_are_half_precision_and_few(name, networks, most):
    folder = find_model(name)
    files = [path for path in folder.rglob("*.safetensors") if path.parent.name != "jscc"]
    assert len(files) == networks
    for path in files:
        with safe_open(path, framework="pt") as file:
            kinds = {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
        assert kinds <= {"F16", "I64"}, path
    assert sum(path.stat().st_size for path in folder.rglob("*")) < most


@pytest.mark.parametrize("name", SHIPPED)
def test_card_is_of_its_record(name):
    record = json.loads((find_model(name) / RECORD).read_text())
    assert (find_model(name) / CARD).read_text() == card(record)
    trained = {"compact": {"autoencoder", "prior", "control"}, "quick": {"restoration"}}
    assert trained[name] | {"notes"} <= set(record)


def test_the_quick_one_has_the_codec_of_the_other():
    assert resolve("quick") == resolve("compact")
    quick = OnePass.from_pretrained(find_model("quick"), torch.float32).restoration
    deep = OnePass.from_pretrained(FOLDER, torch.float32).restoration
    sizes = [sum(each.numel() for each in network.parameters()) for network in (quick, deep)]
    assert sizes[0] < sizes[1] / 6


def test_every_network_is_fp32_without_a_dtype():
    pipeline = DiffJSCCPipeline.from_pretrained("compact")
    networks = {k: v for k, v in pipeline.components.items() if isinstance(v, torch.nn.Module)}
    assert {"text_encoder", "unet", "vae", "restoration"} <= set(networks)
    assert {each.dtype for each in networks.values()} == {torch.float32}


@pytest.mark.parametrize(("name", "snr_db"), [("compact", 1.0), ("compact", 10.0), ("quick", 10.0)])
def test_refining_lowers_lpips_on_photographs_never_trained_on(name, snr_db):
    """At 1/384 on AWGN, refined as the folder says: the middle of three photographs."""
    codec, pipeline = load_codec(name), OnePass.from_pretrained(find_model(name), torch.float32)
    pipeline.restoration.to(memory_format=torch.channels_last)
    assert read_model_index("compact")[1]["diffusion"] is False
    lpips, ratio, csi = load_lpips(), parse_ratio("1/384"), Csi.of(snr_db)
    previews, refined, lost_db = [], [], []
    for seed, path in enumerate(sample_photographs()[:3]):
        pixels = load_image(path).pixels
        top, left = ((side - 256) // 2 for side in pixels.shape[:2])
        image = as_tensor(pixels[top : top + 256, left : left + 256])[None]
        generator = torch.Generator().manual_seed(seed)
        size = (image.shape[2], image.shape[3])
        noise = complex_normal((1, codec.layout(ratio, size).k), generator)
        with torch.inference_mode():
            preview = transmit(codec, image, csi, csi, noise, ratio)
            result = pipeline(preview, csi).images
            previews.append(float(lpips(preview, image)))
            refined.append(float(lpips(result, image)))
        lost_db.append(psnr(preview[0], image[0]) - psnr(result[0], image[0]))
    assert fmean(refined) < 0.82 * fmean(previews)
    assert fmean(lost_db) < 1.5
