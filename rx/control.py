"""The control module (Fig. 3): what bends the frozen denoiser towards the received image.

z_t, f_v -join-> conv_in -> down_blocks -> mid_block      time + CSI embedding in every block,
                    |           |             |           f_t in every cross-attention
                 1x1 zero    1x1 zero      1x1 zero  ->  added to the UNet's skips and middle
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

import torch
from diffusers import ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention import AttentionMixin
from diffusers.models.embeddings import TimestepEmbedding, get_timestep_embedding
from torch import Tensor, nn

from simulator.errors import ModelError
from simulator.jscc.csi import Csi

# Settings of a UNet that take an input which a DiffJSCC receiver does not have.
FOREIGN_INPUTS = (
    "class_embed_type",
    "num_class_embeds",
    "addition_embed_type",
    "encoder_hid_dim_type",
    "time_cond_proj_dim",
)


class ControlModule(ModelMixin, AttentionMixin, ConfigMixin):
    """Encoder and middle block of a UNet over (z_t, f_v), with outputs that start at zero.

    ``unet``: the configuration of the ``UNet2DConditionModel`` that is controlled.
    ``hint_channels``: C_l of f_v. ``sketch_channels``: of a sketch from the transmitter beside it
    (``rx.sketch``), 0 for a module that takes none. ``snr_scale``, ``min_snr``: the CSI embedding
    is of ``snr_db * snr_scale - min_snr``. ``use_csi``: false leaves the CSI embedding out.
    Raises ``ModelError`` for a UNet that needs other inputs than time and text.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules: ClassVar = ["BasicTransformerBlock", "ResnetBlock2D"]
    _repeated_blocks: ClassVar = ["BasicTransformerBlock"]
    _skip_layerwise_casting_patterns: ClassVar = ["norm"]

    set_attention_slice = UNet2DConditionModel.set_attention_slice

    @register_to_config
    def __init__(
        self,
        unet: dict[str, Any],
        hint_channels: int,
        snr_scale: float = 1.0,
        min_snr: float = 0.0,
        use_csi: bool = True,
        sketch_channels: int = 0,
    ) -> None:
        super().__init__()
        for name in FOREIGN_INPUTS:
            if unet.get(name) is not None:
                raise ModelError(
                    f"a UNet with {name} = {unet[name]!r} cannot be controlled: it needs an "
                    f"input that the receiver does not have."
                )
        # Built whole, so that every configuration of the UNet holds; the decoder half is let go.
        whole = UNet2DConditionModel(**unet)
        first = whole.conv_in
        self.conv_in = nn.Conv2d(
            first.in_channels + hint_channels + sketch_channels,
            first.out_channels,
            first.kernel_size,
            padding=first.padding,
        )
        self.time_proj = whole.time_proj
        self.time_embedding = whole.time_embedding
        self.time_embed_act = whole.time_embed_act
        self.center_input_sample = bool(whole.config["center_input_sample"])
        self.model_channels = first.out_channels
        self.csi_embedding = (
            TimestepEmbedding(
                self.model_channels + 2, whole.time_embedding.linear_2.out_features, act_fn="silu"
            )
            if use_csi
            else None
        )
        self.down_blocks = whole.down_blocks
        self.mid_block = whole.mid_block
        widths = skip_widths(whole)
        self.zero_convs = nn.ModuleList(zero_conv(width) for width in widths)
        self.mid_zero_conv = zero_conv(widths[-1])

    @classmethod
    def from_unet(
        cls,
        unet: UNet2DConditionModel,
        hint_channels: int | None = None,
        snr_scale: float = 1.0,
        min_snr: float = 0.0,
        use_csi: bool = True,
        sketch_channels: int = 0,
    ) -> ControlModule:
        """A module that starts from ``unet`` and, added to it, changes nothing yet.

        Encoder, middle block and time embedding are copies; the new input channels of the first
        convolution and the 1x1 outputs are zero. ``hint_channels``: the latent's, unless given.
        """
        hint = unet.config["in_channels"] if hint_channels is None else hint_channels
        module: ControlModule = cls(
            unet_config(unet), hint, snr_scale, min_snr, use_csi, sketch_channels
        )
        widen(module.conv_in, unet.conv_in)
        for name in ("time_proj", "time_embedding", "down_blocks", "mid_block"):
            source = getattr(unet, name)
            if source is not None:
                getattr(module, name).load_state_dict(source.state_dict())
        module.to(unet.device)
        if module.dtype != unet.dtype:
            module.to(unet.dtype)
        return module

    def with_sketch(self, channels: int) -> ControlModule:
        """A module that also takes a sketch of ``channels``, and makes nothing of it yet; this one,
        where it takes such a sketch already. Raises ``ModelError`` where it takes another one."""
        own = dict(self.config)
        if own["sketch_channels"] == channels:
            return self
        if own["sketch_channels"]:
            raise ModelError(
                f"this control module takes a sketch of {own['sketch_channels']} cells for each of "
                f"the latent's, not of {channels}; wrap the codec with the cell that it has learnt."
            )
        names = ("unet", "hint_channels", "snr_scale", "min_snr", "use_csi")
        wider: ControlModule = type(self)(
            **{name: own[name] for name in names}, sketch_channels=channels
        )
        state = {k: v for k, v in self.state_dict().items() if not k.startswith("conv_in.")}
        wider.load_state_dict(state, strict=False)
        widen(wider.conv_in, self.conv_in)
        wider.to(self.device, self.dtype)
        return wider

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        text_features: Tensor,
        spatial_features: Tensor,
        csi: Csi | None,
        sketch: Tensor | None = None,
    ) -> tuple[list[Tensor], Tensor]:
        """Residuals for the UNet's skip connections, in its order, and for its middle block.

        ``sample``: z_t, (B, C, H, W). ``timestep``: (B,) or one for all. ``text_features``: f_t,
        (B, T, d). ``spatial_features``: f_v, (B, hint_channels, H, W). ``csi``: (B,), or None
        to leave the CSI embedding out. ``sketch``: (B, sketch_channels, H, W), or None where it is
        not known, which is zero all over.
        """
        times = torch.as_tensor(timestep, device=sample.device).expand(sample.shape[0])
        emb = self.time_embedding(self.time_proj(times).to(sample.dtype))
        if self.time_embed_act is not None:
            emb = self.time_embed_act(emb)
        if self.csi_embedding is not None and csi is not None:
            emb = emb + self.embed_csi(csi, sample)
        if self.center_input_sample:
            sample = 2 * sample - 1
        seen = [sample, spatial_features]
        if self.config["sketch_channels"]:
            blank = (len(sample), self.config["sketch_channels"], *sample.shape[2:])
            seen.append(sample.new_zeros(blank) if sketch is None else sketch)
        x = self.conv_in(torch.cat(seen, dim=1))
        skips = (x,)
        for block in self.down_blocks:
            x, more = block(hidden_states=x, temb=emb, **text_of(block, text_features))
            skips += more
        if self.mid_block is not None:
            x = self.mid_block(x, emb, **text_of(self.mid_block, text_features))
        down = [conv(skip) for conv, skip in zip(self.zero_convs, skips, strict=True)]
        return down, self.mid_zero_conv(x)

    def embed_csi(self, csi: Csi, like: Tensor) -> Tensor:
        """(B, time embedding width) in ``like``'s dtype: an MLP of SNR sinusoid, Re h and Im h."""
        assert self.csi_embedding is not None
        level = csi.snr_db * self.config["snr_scale"] - self.config["min_snr"]
        wave = get_timestep_embedding(
            level, self.model_channels, flip_sin_to_cos=True, downscale_freq_shift=0
        )
        inputs = torch.cat([wave, csi.gain.real[:, None], csi.gain.imag[:, None]], dim=1)
        embedding: Tensor = self.csi_embedding(inputs.to(like.device, like.dtype))
        return embedding


def widen(wide: nn.Conv2d, narrow: nn.Conv2d) -> None:
    """Give ``wide`` the weights of ``narrow``, and zeros for the inputs that it has beyond."""
    weight = torch.zeros_like(wide.weight)
    weight[:, : narrow.in_channels] = narrow.weight.detach()
    wide.load_state_dict({"weight": weight, "bias": narrow.bias})


def unet_config(unet: UNet2DConditionModel) -> dict[str, Any]:
    """The configuration of a UNet as JSON values, without diffusers' own entries."""
    own = {name: value for name, value in unet.config.items() if not name.startswith("_")}
    plain: dict[str, Any] = json.loads(json.dumps(own))
    return plain


def skip_widths(unet: UNet2DConditionModel) -> list[int]:
    """Channels of each skip connection, in the order in which the encoder makes them."""
    widths = [unet.conv_in.out_channels]
    for block in unet.down_blocks:
        widths += [resnet.out_channels for resnet in block.resnets]
        widths += [layer.out_channels for layer in block.downsamplers or ()]
    return widths


def zero_conv(width: int) -> nn.Conv2d:
    """A 1x1 convolution that gives zero until it is trained."""
    conv = nn.Conv2d(width, width, 1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def text_of(block: nn.Module, text_features: Tensor) -> dict[str, Tensor]:
    """The text argument of a block, where it has cross-attention."""
    crossed = getattr(block, "has_cross_attention", False)
    return {"encoder_hidden_states": text_features} if crossed else {}
