"""A text and a sketch from the transmitter at the receiver: what is made of them, and what is said
where nothing can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pipeline_world import csi_of, generators, photograph

from rx.pipeline import DiffJSCCPipeline
from rx.refiner import NO_DIFFUSION, Refiner, ToRefine
from rx.sketch import NO_SKETCH, OTHER_SKETCH, as_sketch, hints_of
from simulator.errors import ModelError, SettingsError
from simulator.receiving import RxSettings
from tests.tiny import awaken

SIZE = (50, 70)  # px; 7 x 9 cells of 8 px
EDGES = np.random.default_rng(0).random((7, 9)) < 0.3


@pytest.fixture(scope="module")
def plain(folders: dict[str, Path]) -> DiffJSCCPipeline:
    return DiffJSCCPipeline.from_pretrained(folders["compact"])


@pytest.fixture(scope="module")
def drawing(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> DiffJSCCPipeline:
    """One whose control module takes a sketch, read from its folder."""
    pipeline = DiffJSCCPipeline.from_pretrained(folders["compact"])
    torch.manual_seed(0)
    pipeline.register_modules(control=awaken(pipeline.control.with_sketch(1)).eval())
    pipeline.save_pretrained(folder := tmp_path_factory.mktemp("drawing"))
    return DiffJSCCPipeline.from_pretrained(folder)


def refined(
    pipeline: DiffJSCCPipeline, sketch: torch.Tensor | None, **given: object
) -> torch.Tensor:
    run = {"steps": 2, "generator": generators(1), "captions": ["sea"]}
    image = photograph(size=SIZE)
    made: torch.Tensor = pipeline(image, csi_of(), sketch=sketch, **run | given).images
    return made


def test_cells_of_a_sketch_stand_behind_one_another_in_those_of_the_latent() -> None:
    edges = np.zeros((5, 6), bool)
    edges[2, 3] = True
    (hints,) = hints_of(as_sketch([edges], (5, 6)), 2, (3, 3))
    assert hints.shape == (4, 3, 3)
    assert hints[1, 1, 1] == 1 and hints.sum() == 1 - (4 * 9 - 1)
    assert not as_sketch([None, edges], (5, 6))[0].any()


@pytest.mark.parametrize("channels", [1, 4])
def test_a_control_module_begins_to_take_a_sketch_without_a_change(
    plain: DiffJSCCPipeline, channels: int
) -> None:
    control = plain.control
    wider = control.with_sketch(channels)
    assert wider.conv_in.in_channels == control.conv_in.in_channels + channels
    unet = plain.unet.config
    z, f_v = torch.rand(2, 1, unet["in_channels"], 8, 8).unbind()
    text, sketch = torch.rand(1, 77, unet["cross_attention_dim"]), torch.rand(1, channels, 8, 8)
    told = (z, 500, text, f_v, csi_of())
    with torch.no_grad():
        before, middle = control(*told)
        for more in ((), (sketch,)):
            down, inner = wider(*told, *more)
            for a, b in zip([*down, inner], [*before, middle], strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    sum(each.sum() for each in wider(*told, sketch)[0]).backward()
    assert wider.conv_in.weight.grad[:, -channels:].any()
    assert wider.with_sketch(channels) is wider
    with pytest.raises(ModelError, match="not of 16; wrap the codec with the cell"):
        wider.with_sketch(16)


def test_the_sketch_counts_and_its_absence_is_zero(drawing: DiffJSCCPipeline) -> None:
    assert drawing.sketch_cell == 8
    sketch = as_sketch([EDGES], EDGES.shape)
    with_it, without = refined(drawing, sketch), refined(drawing, None)
    assert not torch.allclose(with_it, without, atol=1e-3)
    assert torch.equal(without, refined(drawing, torch.zeros_like(sketch)))
    whole, tiles = (refined(drawing, sketch, tile=tile) for tile in (None, 64))
    assert (whole - tiles).abs().mean() < 0.1


def test_a_sketch_that_cannot_be_taken(plain: DiffJSCCPipeline, drawing: DiffJSCCPipeline) -> None:
    with pytest.raises(SettingsError, match="this model takes no sketch"):
        refined(plain, as_sketch([EDGES], EDGES.shape))
    with pytest.raises(SettingsError, match=r"\(1, 13, 18\): this model takes \(1, 7, 9\)"):
        refined(drawing, torch.zeros(1, 13, 18))


class Parrot:
    """A captioner that knows one word."""

    name = "keywords"

    def caption(self, images: torch.Tensor, names: object = None) -> list[str]:
        return ["seen"] * len(images)

    def to(self, device: object) -> Parrot:
        return self


def jobs() -> list[ToRefine]:
    """With both, with a text alone, with neither, and with a sketch of other cells."""
    grey = np.full((*SIZE, 3), 99, np.uint8)
    said: list[dict[str, object]] = [
        {"caption": "told", "sketch": EDGES},
        {"caption": "told"},
        {},
        {"sketch": np.zeros((13, 18), bool)},
    ]
    return [ToRefine(grey, 10.0, 1, bytes(32), **each) for each in said]  # type: ignore[arg-type]


def test_frames_of_one_batch_may_come_with_a_text_and_a_sketch_or_without(
    drawing: DiffJSCCPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "captioner", Parrot())
    refiner = Refiner(drawing, "tiny", RxSettings(steps=1))
    results = refiner.refine(jobs(), lambda *_: None)
    assert [each.caption for each in results] == ["told", "told", "seen", "seen"]
    assert [each.notes for each in results] == ["", "", "", OTHER_SKETCH.format(8)]
    (alone,) = refiner.refine(jobs()[:1], lambda *_: None)
    assert np.abs(alone.pixels.astype(int) - results[0].pixels).max() <= 1
    assert not np.array_equal(results[0].pixels, results[1].pixels)


def test_what_is_not_used_is_said(plain: DiffJSCCPipeline) -> None:
    results = Refiner(plain, "tiny", RxSettings(steps=1)).refine(jobs(), lambda *_: None)
    assert [each.notes for each in results] == [NO_SKETCH, "", "", NO_SKETCH]
    assert [each.caption for each in results] == ["told", "told", "", ""]


def test_without_diffusion_it_is_said_too() -> None:
    class Restoring:
        sampled = False
        config: dict[str, object] = {}  # noqa: RUF012
        captioner = None

        def __call__(self, image: torch.Tensor, csi: object, tile: object) -> object:
            from rx.output import DiffJSCCOutput

            seconds = {"diffusion_s": 0.0}
            return DiffJSCCOutput(images=image, captions=[""] * len(image), seconds=seconds)

    results = Refiner(Restoring(), "tiny", RxSettings()).refine(jobs(), lambda *_: None)
    assert [each.notes for each in results] == [NO_DIFFUSION, NO_DIFFUSION, "", NO_DIFFUSION]
