"""The tiny pipeline on an accelerator: the same images as on the processor (``make gpu-check``)."""

from __future__ import annotations

import pytest
import torch

from rx.pipeline import DiffJSCCPipeline
from simulator.jscc.csi import Csi
from tests.tiny import build_tiny_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
]
KINDS = ("compact", "sd21")


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """TF32 rounds what is compared here."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {kind: build_tiny_model(root / kind, kind, captioner="") for kind in KINDS}


def refine(pipeline: DiffJSCCPipeline, solver: str = "ddpm", **options) -> torch.Tensor:
    """Two images; draws come from generators on the processor, whatever the device."""
    image = torch.rand(2, 3, 70, 100, generator=torch.Generator().manual_seed(0))
    csi = Csi(torch.tensor([2.0, 9.0]), torch.tensor([0.3 - 0.9j, 1.0]))
    draws = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    out = pipeline(
        image, csi, ["sea", "a house"], solver=solver, generator=draws, steps=6, **options
    )
    return out.images.cpu()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ["ddpm", "ddim", "dpm++", "unipc"])
def test_cuda_equals_cpu(folders, kind, solver):
    pipeline = DiffJSCCPipeline.from_pretrained(folders[kind])
    options = {"solver": solver, "guidance_scale": 20.0, "color_fix": "wavelet"}
    expected = refine(pipeline, **options)
    got = refine(pipeline.to("cuda"), **options)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_on_cuda(folders, kind):
    pipeline = DiffJSCCPipeline.from_pretrained(folders[kind])
    expected = refine(pipeline, tile=64)
    torch.testing.assert_close(refine(pipeline.to("cuda"), tile=64), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_on_cuda(folders, dtype):
    expected = refine(DiffJSCCPipeline.from_pretrained(folders["sd21"]))
    half = DiffJSCCPipeline.from_pretrained(folders["sd21"], dtype=dtype).to("cuda")
    assert (refine(half) - expected).abs().mean() < 0.02


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_offload(folders, offload):
    expected = refine(DiffJSCCPipeline.from_pretrained(folders["sd21"]))
    pipeline = DiffJSCCPipeline.from_pretrained(folders["sd21"])
    if offload == "model":
        pipeline.enable_model_cpu_offload()
    else:
        pipeline.enable_sequential_cpu_offload()
    for _ in range(2):  # the second call finds everything back on the processor
        torch.testing.assert_close(refine(pipeline), expected, rtol=1e-3, atol=1e-3)
    if offload == "model":
        assert pipeline.unet.device.type == "cpu"


def test_compiled_networks(folders):
    pipeline = DiffJSCCPipeline.from_pretrained(folders["sd21"]).to("cuda")
    expected = refine(pipeline)
    pipeline.unet.compile()
    pipeline.control.compile()
    torch.testing.assert_close(refine(pipeline), expected, rtol=1e-2, atol=1e-2)


def test_captioner_goes_along(tmp_path):
    folder = build_tiny_model(tmp_path, "sd21")
    pipeline = DiffJSCCPipeline.from_pretrained(folder, dtype=torch.bfloat16).to("cuda")
    image = torch.rand(2, 3, 64, 64)
    out = pipeline(image, Csi.of(5.0, 1, 2), steps=1)
    assert len(out.captions) == 2
    assert out.images.device.type == "cuda"
