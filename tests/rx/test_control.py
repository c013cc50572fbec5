"""The control module: what it copies, what it adds, and that it starts as nothing."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from rx.control import ControlModule, unet_config
from simulator.errors import ModelError
from simulator.jscc.csi import Csi
from tests.tiny import SD21_UNET, awaken, tiny_unet

CSI = Csi(torch.tensor([3.0, 11.0]), torch.tensor([0.3 - 0.9j, 1.2 + 0.1j]))
TIMES = torch.tensor([7, 640])


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def inputs(unet: UNet2DConditionModel, size=(16, 24), batch: int = 2):
    """z_t, f_t and f_v."""
    channels, width = unet.config["in_channels"], unet.config["cross_attention_dim"]
    latent = (batch, channels, *size)
    return torch.randn(latent), torch.randn(batch, 77, width), torch.randn(latent)


def skips_of(unet: UNet2DConditionModel, z, text):
    """What the UNet's own encoder hands to its decoder, and its middle."""
    seen: list[torch.Tensor] = []
    hooks = [unet.conv_in.register_forward_hook(lambda m, a, out: seen.append(out))]
    for block in unet.down_blocks:
        hooks.append(block.register_forward_hook(lambda m, a, out: seen.extend(out[1])))
    hooks.append(unet.mid_block.register_forward_hook(lambda m, a, out: seen.append(out)))
    with torch.no_grad():
        unet(z, TIMES, text)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("kind", ["compact", "sd21"])
def test_encoder_is_the_unets_own(kind):
    """Behind identity outputs and without CSI, the residuals are the UNet's own skips."""
    unet = tiny_unet(kind)
    control = ControlModule.from_unet(unet, use_csi=False).eval()
    for conv in [*control.zero_convs, control.mid_zero_conv]:
        torch.nn.init.dirac_(conv.weight)
    z, text, spatial = inputs(unet)
    with torch.no_grad():
        down, middle = control(z, TIMES, text, spatial, None)
    expected = skips_of(unet, z, text)
    assert len(expected) == len(down) + 1
    for ours, theirs in zip([*down, middle], expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["compact", "sd21"])
def test_starts_as_nothing(kind):
    unet = tiny_unet(kind)
    control = ControlModule.from_unet(unet)
    channels = unet.config["in_channels"]
    weight = control.conv_in.weight
    assert weight.shape[1] == 2 * channels
    assert torch.equal(weight[:, :channels], unet.conv_in.weight)
    assert not weight[:, channels:].any()
    z, text, spatial = inputs(unet)
    down, middle = control(z, TIMES, text, spatial, CSI)
    assert not any(residual.any() for residual in [*down, middle])


def test_learns_from_the_start():
    """Zero outputs must not mean zero gradients."""
    unet = tiny_unet()
    control = ControlModule.from_unet(unet)
    z, text, spatial = inputs(unet)
    down, middle = control(z, TIMES, text, spatial, CSI)
    (sum(residual.sum() for residual in down) + middle.sum()).backward()
    convs = [*control.zero_convs, control.mid_zero_conv]
    assert all(conv.weight.grad.any() for conv in convs)


@pytest.mark.parametrize(("scale", "least"), [(1.0, 0.0), (100.0, 0.0), (0.5, -5.0)])
def test_csi_embedding_by_hand(scale, least):
    control = ControlModule.from_unet(tiny_unet(), snr_scale=scale, min_snr=least)
    mlp = control.csi_embedding
    got = control.embed_csi(CSI, torch.zeros(1)).detach().double().numpy()
    width = 8  # of the tiny UNet's first block
    for row in range(2):
        level = float(CSI.snr_db[row]) * scale - least
        rates = [math.exp(-math.log(10000) * i / (width // 2)) for i in range(width // 2)]
        wave = [math.cos(level * r) for r in rates] + [math.sin(level * r) for r in rates]
        x = np.array([*wave, CSI.h[row].real, CSI.h[row].imag])
        w1, b1, w2, b2 = (p.detach().double().numpy() for p in mlp.parameters())
        hidden = w1 @ x + b1
        expected = w2 @ (hidden / (1 + np.exp(-hidden))) + b2
        np.testing.assert_allclose(got[row], expected, rtol=1e-3, atol=1e-4)


def test_every_condition_counts():
    unet = tiny_unet()
    control = awaken(ControlModule.from_unet(unet)).eval()
    z, text, spatial = inputs(unet)
    base = (z, TIMES, text, spatial, CSI)
    changed = {
        "z": (z + 1, *base[1:]),
        "time": (z, TIMES + 300, *base[2:]),
        "text": (z, TIMES, text + 1, spatial, CSI),
        "spatial": (z, TIMES, text, spatial + 1, CSI),
        "snr": (*base[:4], Csi(CSI.snr_db + 3, CSI.h)),
        "h": (*base[:4], Csi(CSI.snr_db, CSI.h.conj())),
        "no csi": (*base[:4], None),
    }
    with torch.no_grad():
        _, reference = control(*base)
        for name, arguments in changed.items():
            assert not torch.allclose(control(*arguments)[1], reference, atol=1e-4), name


def test_round_trip(tmp_path):
    unet = tiny_unet("sd21")
    control = awaken(ControlModule.from_unet(unet, snr_scale=100.0, min_snr=-5.0)).eval()
    control.save_pretrained(tmp_path)
    again = ControlModule.from_pretrained(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "config.json",
        "diffusion_pytorch_model.safetensors",
    ]
    assert again.config["snr_scale"] == 100.0
    assert again.config["unet"] == json.loads(json.dumps(unet_config(unet)))
    z, text, spatial = inputs(unet)
    with torch.no_grad():
        one, two = (module(z, TIMES, text, spatial, CSI) for module in (control, again))
    assert all(torch.equal(a, b) for a, b in zip([*one[0], one[1]], [*two[0], two[1]], strict=True))


@pytest.mark.parametrize(
    "change",
    [
        {"mid_block_type": None},
        {"center_input_sample": True},
        {"time_embedding_act_fn": "silu"},
        {"upcast_attention": True, "use_linear_projection": True},
        {"attention_head_dim": [2, 4, 8], "layers_per_block": [1, 2, 1]},
        {"resnet_time_scale_shift": "scale_shift", "only_cross_attention": True},
        {"mid_block_type": "UNetMidBlock2D", "conv_in_kernel": 1},
    ],
)
def test_any_unet(change):
    """Residuals have the shapes that the UNet adds them to."""
    unet = UNet2DConditionModel(**unet_config(tiny_unet()) | change).eval()
    control = awaken(ControlModule.from_unet(unet)).eval()
    z, text, spatial = inputs(unet, (9, 14))
    with torch.no_grad():
        down, middle = control(z, TIMES, text, spatial, CSI)
        plain = unet(z, TIMES, text).sample
        bent = unet(
            z,
            TIMES,
            text,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
    assert bent.shape == z.shape
    assert not torch.allclose(plain, bent)


def test_refuses_a_unet_with_other_inputs():
    config = unet_config(tiny_unet()) | {"num_class_embeds": 10}
    with pytest.raises(ModelError, match="num_class_embeds = 10 cannot be controlled"):
        ControlModule(config, hint_channels=6)


def test_gradient_checkpointing_changes_nothing():
    unet = tiny_unet()
    control = awaken(ControlModule.from_unet(unet)).train()
    gradients = []
    z, text, spatial = inputs(unet)
    for _ in range(2):
        control.zero_grad()
        down, middle = control(z, TIMES, text, spatial, CSI)
        (sum((residual**2).sum() for residual in down) + (middle**2).sum()).backward()
        gradients.append(control.conv_in.weight.grad.clone())
        control.enable_gradient_checkpointing()
    torch.testing.assert_close(*gradients)


def test_half_precision_keeps_the_snr():
    """The SNR's sinusoid is taken in fp32: at scale 100, bf16 would round it to whole turns."""
    control = ControlModule.from_unet(tiny_unet(), snr_scale=100.0)
    exact = control.embed_csi(CSI, torch.zeros(1))
    half = control.to(torch.bfloat16).embed_csi(CSI, torch.zeros(1, dtype=torch.bfloat16))
    assert (exact - half.float()).abs().max() < 0.03


def test_full_size_sd21_on_meta():
    """Stable Diffusion 2.1-base: 865.9 M parameters, and a control module that fits it."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD21_UNET)
        control = ControlModule(unet_config(unet), hint_channels=4)
        z, text, spatial = inputs(unet, (64, 96))
        csi = Csi.of(10.0, 1, 2, device="meta")
        times = torch.zeros(2, dtype=torch.long)
        down, middle = control(z, times, text, spatial, csi)
        noise = unet(
            z,
            times,
            text,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
    assert sum(p.numel() for p in unet.parameters()) == 865_910_724
    assert [tuple(residual.shape[1:]) for residual in down] == [
        *[(320, 64, 96)] * 3,
        (320, 32, 48),
        *[(640, 32, 48)] * 2,
        (640, 16, 24),
        *[(1280, 16, 24)] * 2,
        *[(1280, 8, 12)] * 3,
    ]
    assert middle.shape == (2, 1280, 8, 12)
    assert noise.shape == z.shape
    # A ControlNet of SD 2.1 without its hint network, with 4 more inputs and the CSI embedding.
    csi_embedding = (320 + 2 + 1) * 1280 + (1280 + 1) * 1280
    encoder = sum(
        p.numel()
        for name in ("conv_in", "time_embedding", "down_blocks", "mid_block")
        for p in getattr(unet, name).parameters()
    )
    widths = [320] * 4 + [640] * 3 + [1280] * 5 + [1280]
    zero = sum(width * width + width for width in widths)
    extra = 320 * 4 * 9
    total = sum(p.numel() for p in control.parameters())
    assert total == encoder + extra + zero + csi_embedding
