"""Steps that reuse: 1 is bit-equal, what is reused is equal, and less is computed."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rx.load import load_refiner, speed_up
from rx.pipeline import DiffJSCCPipeline
from rx.reuse import Reuse, shallow, whole
from simulator.errors import SettingsError
from simulator.jscc.csi import Csi
from simulator.receiving import RxSettings
from tests.tiny import build_tiny_model

KINDS = ("compact", "sd21")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {kind: build_tiny_model(root / kind, kind, captioner="") for kind in KINDS}


@pytest.fixture(scope="module")
def loaded(folders):
    return {kind: DiffJSCCPipeline.from_pretrained(folder) for kind, folder in folders.items()}


def refine(pipeline: DiffJSCCPipeline, steps: int = 6, **options) -> torch.Tensor:
    image = torch.rand(2, 3, 70, 100, generator=torch.Generator().manual_seed(0))
    csi = Csi(torch.tensor([2.0, 9.0]), torch.tensor([0.3 - 0.9j, 1.0]))
    draws = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    return pipeline(image, csi, ["sea", ""], generator=draws, steps=steps, **options).images


def inputs(pipeline: DiffJSCCPipeline, t: int = 500):
    """Of one step: z_t, times, f_t and the control module's residuals."""
    generator = torch.Generator().manual_seed(t)
    channels, width = pipeline.unet.config.in_channels, pipeline.text_encoder.config.hidden_size
    x, hint = torch.randn(2, 2, channels, 16, 24, generator=generator).unbind()
    text, times = torch.randn(2, 7, width, generator=generator), torch.tensor([t, t])
    down, middle = pipeline.control(x, times, text, hint, Csi.of(3.0, batch=2))
    return x, times, text, down, middle


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_say_what_the_unet_says(loaded, kind):
    """Bit for bit, and over the deep features of the same step the outermost blocks do, too."""
    pipeline = loaded[kind]
    with torch.no_grad():
        x, times, text, down, middle = inputs(pipeline)
        assert middle.abs().max() > 0 and all(each.abs().max() > 0 for each in down)
        wanted = pipeline.unet(
            x, times, text, down_block_additional_residuals=down,
            mid_block_additional_residual=middle, return_dict=False,
        )[0]  # fmt: skip
        made, deep = whole(pipeline.unet, x, times, text, down, middle)
        assert torch.equal(made, wanted)
        assert torch.equal(shallow(pipeline.unet, x, times, text, down, deep), wanted)
        other = whole(pipeline.unet, *inputs(pipeline, 900))[1]
        assert not torch.equal(shallow(pipeline.unet, x, times, text, down, other), wanted)


@pytest.mark.parametrize(("kind", "tile"), [("compact", None), ("compact", 64), ("sd21", None)])
def test_every_step_is_bit_equal_and_fewer_are_near(loaded, kind, tile):
    pipeline = loaded[kind]
    exact = refine(pipeline, tile=tile)
    assert torch.equal(exact, refine(pipeline, tile=tile, control_every=1, deep_every=1))
    for options in ({"control_every": 2}, {"deep_every": 2}, {"control_every": 3, "deep_every": 2}):
        near = refine(pipeline, tile=tile, **options)
        assert 0 < (near - exact).abs().mean() < 0.05
    # More than there are steps: the first serves all of them.
    assert torch.equal(
        refine(pipeline, tile=tile, control_every=6), refine(pipeline, tile=tile, control_every=99)
    )


def test_steps_are_computed_as_often_as_is_said(loaded, monkeypatch):
    pipeline = loaded["compact"]
    calls = {"control": 0, "whole": 0, "shallow": 0}

    def counting(name, function):
        def counted(*arguments):
            calls[name] += 1
            return function(*arguments)

        return counted

    monkeypatch.setattr(pipeline.control, "forward", counting("control", pipeline.control.forward))
    monkeypatch.setattr(pipeline, "whole", counting("whole", whole))
    monkeypatch.setattr(pipeline, "shallow", counting("shallow", shallow))
    refine(pipeline, steps=7, control_every=3, deep_every=2)
    assert calls == {"control": 3, "whole": 4, "shallow": 3}


def test_a_shallow_step_of_stable_diffusion_is_a_third_of_a_whole_one(loaded):
    pipeline = loaded["sd21"]
    counted = []
    with torch.no_grad():
        x, times, text, down, middle = inputs(pipeline)
        _, deep = whole(pipeline.unet, x, times, text, down, middle)
        for call in (
            lambda: whole(pipeline.unet, x, times, text, down, middle),
            lambda: shallow(pipeline.unet, x, times, text, down, deep),
        ):
            with FlopCounterMode(display=False) as counter:
                call()
            counted.append(counter.get_total_flops())
    assert counted[1] < counted[0] / 2


@pytest.mark.parametrize("options", [{"control_every": 0}, {"deep_every": -1}])
def test_a_number_that_is_none_is_refused(loaded, options):
    with pytest.raises(SettingsError, match="numbers of steps from 1 on"):
        refine(loaded["compact"], **options)


# The settings of rx


def test_they_are_of_the_sampler_and_leave_results_of_before_alone():
    plain = RxSettings()
    assert not {"control_every", "deep_every", "channels_last", "compile"} & plain.refining().keys()
    for given in ({"control_every": 2}, {"deep_every": 2}, {"channels_last": True},
                  {"compile": "inductor"}):  # fmt: skip
        assert RxSettings.model_validate(given).refining() == plain.refining() | given


@pytest.mark.parametrize(
    ("kind", "compile"), [("compact", "none"), ("sd21", "none"), ("compact", "inductor")]
)
def test_channels_last_and_compiled_code_change_rounding_alone(
    folders, loaded, kind, compile, monkeypatch
):
    """Only the part of the compiler that makes graphs: machine code would take a minute."""
    compile_module, compile_function = torch.nn.Module.compile, torch.compile

    def traced(self, **options):
        compile_module(self, backend="eager")

    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    monkeypatch.setattr(torch, "compile", lambda f, **_: compile_function(f, backend="eager"))
    torch.compiler.reset()
    pipeline = DiffJSCCPipeline.from_pretrained(folders[kind])
    speed_up(pipeline, RxSettings(channels_last=True, compile=compile))
    for given in ({}, {"control_every": 2, "deep_every": 2}):
        got, wanted = (refine(each, steps=2, **given) for each in (pipeline, loaded[kind]))
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)


def test_what_a_machine_cannot_do_is_one_sentence(folders, monkeypatch):
    def refused(**given) -> str:
        settings = RxSettings.model_validate(given | {"conditions": ["spatial"]})
        with pytest.raises(SettingsError) as caught:
            load_refiner(str(folders["compact"]), "cpu", settings)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "needs a GPU with CUDA" in refused(compile="cuda-graphs")

    def broken(self, *inputs, **options):
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\n\nmore")

    monkeypatch.setattr(DiffJSCCPipeline, "__call__", broken)
    assert "rx.compile=inductor does not work on this machine (Inv" in refused(compile="inductor")


def test_the_refiner_hands_them_on(folders):
    plain, shared = (
        load_refiner(
            str(folders["compact"]),
            "cpu",
            RxSettings.model_validate(given | {"conditions": ["snr"]}),
        )
        for given in ({}, {"deep_every": 2, "control_every": 2})
    )
    assert plain.diffusion and shared.diffusion
    kept: list[tuple[int, int]] = []
    shared._pipeline.whole = lambda *arguments: kept.append((1, 1)) or whole(*arguments)
    shared.warm_up()
    assert len(kept) == 1
    assert Reuse().control_every == Reuse().deep_every == 1
