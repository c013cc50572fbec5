"""The refiner on a pipeline of its own: batches, draws, and what happens when memory runs out."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.configuration_utils import FrozenDict

from rx import load, memory
from rx.load import load_refiner
from rx.refiner import Plan, RefinementError, Refiner, ToRefine, sampler_generator
from simulator.errors import DiffJsccError, MissingPackageError, ModelError, SettingsError
from simulator.models import folder as models
from simulator.receiving import RxSettings

GPU_MESSAGE = "CUDA out of memory. Tried to allocate 20.00 GiB."
CPU_MESSAGE = "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: 9"


class Captioner:
    name = "given"

    def caption(self, images: torch.Tensor, names: list[str] | None = None) -> list[str]:
        assert names is not None and len(images) == len(names)
        return [f"a picture of {name}" for name in names]


class Pipeline:
    """Adds the first draw of each image's generator; has room for ``room`` pixels."""

    sampled = True

    def __init__(self, room: int = 10**9, error: type[Exception] = torch.OutOfMemoryError) -> None:
        self.config = FrozenDict(diffusion=True, solver="ddpm", steps=3, guidance_scale=0.5)
        self.captioner: Captioner | None = Captioner()
        self.room, self.error = room, error
        self.calls: list[dict[str, Any]] = []

    def __call__(
        self, image: torch.Tensor, csi: Any, *, captions: list[str] | None, **given: Any
    ) -> Any:
        self.calls.append(given | {"batch": len(image), "csi": csi, "image": image})
        side = given["tile"] or 10**9
        if len(image) * min(side, image.shape[2]) * min(side, image.shape[3]) > self.room:
            raise self.error(GPU_MESSAGE if self.error is torch.OutOfMemoryError else CPU_MESSAGE)
        for step in range(given["steps"]):
            given["callback_on_step_end"](step, given["steps"])
        draws = [torch.rand(1, generator=generator).item() for generator in given["generator"]]
        images = torch.stack([0 * each + draw for each, draw in zip(image, draws, strict=True)])
        seconds = {"caption_s": 0.0, "text_s": 0.25, "diffusion_s": 9.0, "vae_s": 0.5}
        return SimpleNamespace(
            images=images, captions=captions or [""] * len(image), seconds=seconds
        )


def job(i: int, size: tuple[int, int] = (8, 16)) -> ToRefine:
    pixels = np.full((*size, 3), i, np.uint8)
    return ToRefine(pixels, float(i), 1j * i, bytes([i]) * 32, f"photo{i}")


def make(pipeline: Pipeline, **settings: Any) -> Refiner:
    return Refiner(pipeline, "model-1", RxSettings.model_validate(settings))


def greys(results: list[Any]) -> list[int]:
    return [int(result.pixels[0, 0, 0]) for result in results]


def expected(*indices: int) -> list[int]:
    """The grey that the pipeline makes of the draw of each job."""
    draws = [torch.rand(1, generator=sampler_generator(bytes([i]) * 32)).item() for i in indices]
    return [round(draw * 255) for draw in draws]


def ignore(step: int, n_steps: int) -> None:
    pass


def test_a_batch_is_given_whole_with_its_states_names_and_draws() -> None:
    pipeline = Pipeline()
    results = make(pipeline).refine([job(1), job(2)], ignore)
    (call,) = pipeline.calls
    assert call["csi"].snr_db.tolist() == [1.0, 2.0] and call["csi"].h.tolist() == [1j, 2j]
    assert call["image"].shape == (2, 3, 8, 16) and call["image"].dtype == torch.float32
    assert call["image"].unique().tolist() == pytest.approx([1 / 255, 2 / 255])  # 8-bit previews
    assert [result.caption for result in results] == ["a picture of photo1", "a picture of photo2"]
    assert all(result.pixels.shape == (8, 16, 3) for result in results)
    assert all(result.pixels.dtype == np.uint8 for result in results)
    assert greys(results) == expected(1, 2)
    assert [result.notes for result in results] == ["", ""]


def test_draws_depend_on_the_draw_key_alone() -> None:
    key = bytes(range(32))
    a, b = (torch.randn(5, generator=sampler_generator(key)) for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, torch.randn(5, generator=sampler_generator(bytes(32))))
    digest = hashlib.sha256(key + b"sampler").digest()
    seed = int.from_bytes(digest[:8], "little") >> 1
    assert sampler_generator(key).initial_seed() == seed


def test_what_is_not_set_is_the_folders() -> None:
    pipeline = Pipeline()
    made = make(pipeline)
    made.refine([job(1)], ignore)
    assert (made.solver, made.steps, made.guidance_scale) == ("ddpm", 3, 0.5)
    names = ("solver", "steps", "guidance_scale", "guidance", "guidance_repeat", "color_fix")
    found = [pipeline.calls[0][name] for name in (*names, "tile")]
    assert found == ["ddpm", 3, 0.5, None, None, None, None]
    settings = {
        "solver": "unipc", "steps": 2, "guidance_scale": 0.0, "guidance": "paper",
        "guidance_repeat": 4, "color_fix": "wavelet", "tile": 64, "conditions": ["snr"],
        "fidelity": 0.5,
    }  # fmt: skip
    other = Pipeline()
    other.captioner = None
    (result,) = make(other, **settings).refine([job(1)], ignore)
    assert {name: other.calls[0][name] for name in settings} == settings
    assert result.caption == ""


def test_time_spent_between_steps_is_not_the_samplers() -> None:
    now = [0.0]

    def clock() -> float:
        return now[0]

    def preview(step: int, n_steps: int) -> None:
        now[0] += 2.0

    made = Refiner(Pipeline(), "model", RxSettings(), clock=clock)
    (result,) = made.refine([job(1)], preview)
    assert result.seconds["diffusion_s"] == 9.0 - 3 * 2.0
    assert set(result.seconds) == {"caption_s", "text_s", "diffusion_s", "vae_s"}


# Memory


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_a_batch_that_does_not_fit_is_halved_and_what_fits_is_remembered(
    error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = Pipeline(room=2 * 128, error=error)
    made = make(pipeline, batch=8)
    with caplog.at_level(logging.WARNING):
        results = made.refine([job(i) for i in range(5)], ignore)
    assert [call["batch"] for call in pipeline.calls] == [5, 2, 2, 1]
    assert greys(results) == expected(*range(5))  # whatever the batch
    assert {result.notes for result in results} == {"out of memory: refined 2 at a time"}
    assert [record.message for record in caplog.records] == [
        "16x8: out of memory: refined 2 at a time"
    ]
    assert made.limit((8, 16)) == 2 and made.limit((16, 16)) == 8
    pipeline.calls.clear()
    made.refine([job(1), job(2)], ignore)
    assert [call["batch"] for call in pipeline.calls] == [2]


def test_an_image_that_does_not_fit_is_cut_into_tiles() -> None:
    size = (700, 900)
    pipeline = Pipeline(room=600 * 600)
    made = make(pipeline, batch=2)
    results = made.refine([job(1, size), job(2, size)], ignore)
    found = [(call["batch"], call["tile"]) for call in pipeline.calls]
    assert found == [(2, None), (1, None), (1, 768), (1, 512), (1, 512)]
    assert greys(results) == expected(1, 2)
    assert results[0].notes == "out of memory: refined in tiles of 512 px"
    assert made.limit(size) == 1


def test_tiles_that_would_be_no_smaller_are_not_tried() -> None:
    assert Plan(tile=512).smaller(1, (2000, 2000)) == Plan(
        1, 384, "out of memory: refined in tiles of 384 px"
    )
    smaller = Plan().smaller(1, (512, 500))
    assert smaller is not None and smaller.tile == 384
    assert Plan().smaller(1, (200, 256)) is None


def test_where_no_tile_fits_the_frame_fails_with_one_sentence() -> None:
    made = make(Pipeline(room=1))
    with pytest.raises(RefinementError, match="900x700 pixels do not fit") as caught:
        made.refine([job(1, (700, 900))], ignore)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    class Broken(Pipeline):
        def __call__(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        make(Broken()).refine([job(1)], ignore)
    assert not memory.is_out_of_memory(ValueError("out of memory"))


def test_processors_take_small_images_together_and_large_ones_alone() -> None:
    made = make(Pipeline())
    assert made.limit((512, 768)) == made.limit((3000, 4000)) == 1
    assert made.limit((256, 384)) == 4
    assert make(Pipeline(), batch=3).limit((512, 768)) == 3
    gpu = Refiner(Pipeline(), "model", RxSettings(), device="cuda")
    assert gpu.limit((512, 768)) > 100


def test_an_allocation_beyond_this_machine_becomes_an_error() -> None:
    """In a process of its own: the limit stays."""
    import subprocess
    import sys

    code = (
        "import torch\nfrom rx.memory import *\nrefuse_what_is_not_there()\n"
        "try:\n    torch.empty(2 * available_bytes() + (1 << 30), dtype=torch.uint8)\n"
        "except Exception as error:\n    print(is_out_of_memory(error))\n"
        "print(torch.ones(1 << 20).sum().item())"
    )
    if sys.platform == "linux":
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.split() == ["True", "1048576.0"], done.stderr


def test_a_container_has_what_its_limit_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    alone = memory.available_bytes()
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes() == pytest.approx(alone, rel=0.2)
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert memory.available_bytes() == 600_000


# Model folders


def hollow_model(path: Path, **index: Any) -> Path:
    """Folders and an index, and nothing in them."""
    for component in models.COMPONENTS["DiffJSCCPipeline"]:
        (path / component).mkdir(parents=True)
    (path / models.INDEX).write_text(json.dumps({"_class_name": "DiffJSCCPipeline", **index}))
    return path


def refused(
    model: str | Path, error: type[DiffJsccError] = ModelError, device: str = "cpu", **given: Any
) -> str:
    with pytest.raises(error) as caught:
        load_refiner(str(model), device, RxSettings.model_validate(given))
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    return message


def test_models_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no model" in refused(tmp_path / "none")
    assert "model_index.json" in refused(tmp_path)
    hollow = hollow_model(tmp_path / "hollow")
    (hollow / "unet").rmdir()
    (hollow / "text_encoder").rmdir()
    assert "it has no unet, text_encoder" in refused(hollow)
    (hollow / models.INDEX).write_text("{")
    assert "is damaged" in refused(hollow)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    message = refused("no-such-owner/no-such-model")
    assert "no-such-owner/no-such-model" in message and "hub" in message


def test_models_that_do_not_do(tmp_path: Path) -> None:
    hollow = hollow_model(tmp_path / "hollow")
    message = refused(hollow)
    assert "has no captioner" in message and "rx.captioner" in message
    assert "no weights" in refused(hollow, captioner="none")
    assert "accelerator" in refused(hollow, SettingsError, offload="model")


def test_packages_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = load.importlib.util.find_spec
    monkeypatch.setattr(
        load.importlib.util,
        "find_spec",
        lambda name: None if name == "diffusers" else find(name),
    )
    message = refused(hollow_model(tmp_path / "hollow"), MissingPackageError)
    assert (
        "diffusers" in message
        and 'pip install "diffjscc[rx]"' in message
        and "transformers" not in message
    )


def test_a_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    def name(folder: str) -> str:
        return models.fingerprint("owner/mine", tmp_path / folder)

    for folder in ("a", "b"):
        hollow_model(tmp_path / folder)
        (tmp_path / folder / "unet" / "config.json").write_text("{}")
    assert name("a") == name("b") and name("a").startswith("mine-")
    (tmp_path / "b" / "jscc").mkdir()
    (tmp_path / "b" / "jscc" / "codec.json").write_text("{}")
    (tmp_path / "b" / "README.md").write_text("for people")
    (tmp_path / "b" / "training.json").write_text("{}")
    assert name("a") == name("b")
    (tmp_path / "b" / "unet" / "config.json").write_text("{ }")
    assert name("a") != name("b")
