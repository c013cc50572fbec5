"""What a checkpoint in the authors' layout computes: written from METHOD, for the importer's test.

Nothing here knows the importer or diffusers. Tensor names are the official ones, at any size.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def sinusoid(values: Tensor, width: int) -> Tensor:
    """(B,) -> (B, width): cosine half first, longest period 10000."""
    half = width // 2
    angles = values[:, None].float() * torch.exp(-math.log(1e4) * torch.arange(half) / half)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def embedding_mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width))


# --- the UNet and the control module ---


class Res(nn.Module):
    def __init__(self, inside: int, outside: int, emb: int, scale_shift: bool) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(32, inside), nn.SiLU(), nn.Conv2d(inside, outside, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb, outside * (1 + scale_shift)))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, outside), nn.SiLU(), nn.Identity(),
            nn.Conv2d(outside, outside, 3, padding=1),
        )  # fmt: skip
        self.skip_connection = nn.Identity() if inside == outside else nn.Conv2d(inside, outside, 1)
        self.scale_shift = scale_shift

    def forward(self, x: Tensor, emb: Tensor, text: Tensor) -> Tensor:
        h, e = self.in_layers(x), self.emb_layers(emb)[:, :, None, None]
        if self.scale_shift:
            scale, shift = e.chunk(2, dim=1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + e)
        return self.skip_connection(x) + h


class Attention(nn.Module):
    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))
        self.heads = heads

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for t in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim=-1)
        return self.to_out((weights @ v).transpose(1, 2).flatten(2))


class Geglu(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 8 * width)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(Geglu(width), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TransformerBlock(nn.Module):
    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.attn1 = Attention(width, width, heads)
        self.attn2 = Attention(width, context, heads)
        self.ff = FeedForward(width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attn1(y, y)
        x = x + self.attn2(self.norm2(x), text)
        return x + self.ff(self.norm3(x))


class Transformer(nn.Module):
    def __init__(self, width: int, context: int, heads: int, linear: bool) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.proj_in = nn.Linear(width, width) if linear else nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(width, context, heads)])
        self.proj_out = nn.Linear(width, width) if linear else nn.Conv2d(width, width, 1)
        self.linear = linear

    def forward(self, x: Tensor, emb: Tensor, text: Tensor) -> Tensor:
        h = self.norm(x)
        h = h if self.linear else self.proj_in(h)
        h = h.flatten(2).transpose(1, 2)
        h = self.proj_in(h) if self.linear else h
        for block in self.transformer_blocks:
            h = block(h, text)
        h = self.proj_out(h) if self.linear else h
        h = h.transpose(1, 2).unflatten(2, x.shape[2:])
        return x + (h if self.linear else self.proj_out(h))


class Resize(nn.Module):
    """Half or twice the size, with a 3x3 convolution named ``op`` or ``conv``."""

    def __init__(self, width: int, up: bool) -> None:
        super().__init__()
        setattr(self, "conv" if up else "op", nn.Conv2d(width, width, 3, 1 if up else 2, 1))
        self.up = up

    def forward(self, x: Tensor, emb: Tensor, text: Tensor) -> Tensor:
        if self.up:
            return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        return self.op(x)


class First(nn.Conv2d):
    def forward(self, x: Tensor, emb: Tensor, text: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)


class Chain(nn.Sequential):
    def forward(self, x: Tensor, emb: Tensor, text: Tensor) -> Tensor:  # type: ignore[override]
        for layer in self:
            x = layer(x, emb, text)
        return x


class Half(nn.Module):
    """Time embedding, encoder and middle block, which both networks have."""

    def __init__(self, p: dict[str, Any], in_channels: int) -> None:
        super().__init__()
        m, self.levels = p["model_channels"], len(p["channel_mult"])
        self.widths = [m * mult for mult in p["channel_mult"]]
        counts = p["num_res_blocks"]
        self.counts = [counts] * self.levels if isinstance(counts, int) else counts
        self.model_channels, self.p = m, p
        self.time_embed = embedding_mlp(m)
        self.input_blocks = nn.ModuleList([Chain(First(in_channels, m, 3, padding=1))])
        self.skips, width = [m], m
        for level in range(self.levels):
            for _ in range(self.counts[level]):
                self.input_blocks.append(self.stage(width, level))
                width = self.widths[level]
                self.skips.append(width)
            if level < self.levels - 1:
                self.input_blocks.append(Chain(Resize(width, up=False)))
                self.skips.append(width)
        self.middle_block = Chain(
            self.res(width, width), self.transformer(width), self.res(width, width)
        )

    def res(self, inside: int, outside: int) -> Res:
        scale_shift = self.p.get("use_scale_shift_norm", False)
        return Res(inside, outside, 4 * self.model_channels, scale_shift)

    def transformer(self, width: int) -> Transformer:
        p = self.p
        heads = p["num_heads"] if "num_heads" in p else width // p["num_head_channels"]
        linear = p.get("use_linear_in_transformer", False)
        return Transformer(width, p["context_dim"], heads, linear)

    def stage(self, inside: int, level: int) -> Chain:
        layers: list[nn.Module] = [self.res(inside, self.widths[level])]
        if 2**level in self.p["attention_resolutions"]:
            layers.append(self.transformer(self.widths[level]))
        return Chain(*layers)


class Unet(Half):
    def __init__(self, p: dict[str, Any]) -> None:
        super().__init__(p, p["in_channels"])
        skips, width = list(self.skips), self.widths[-1]
        self.output_blocks = nn.ModuleList()
        for level in reversed(range(self.levels)):
            for n in range(self.counts[level] + 1):
                block = self.stage(width + skips.pop(), level)
                width = self.widths[level]
                if level and n == self.counts[level]:
                    block.append(Resize(width, up=True))
                self.output_blocks.append(block)
        self.out = nn.Sequential(
            nn.GroupNorm(32, width), nn.SiLU(), nn.Conv2d(width, p["out_channels"], 3, padding=1)
        )

    def forward(self, x: Tensor, t: Tensor, text: Tensor, control: list[Tensor]) -> Tensor:
        emb, kept = self.time_embed(sinusoid(t, self.model_channels)), []
        for block in self.input_blocks:
            x = block(x, emb, text)
            kept.append(x)
        x = self.middle_block(x, emb, text) + control[-1]
        for block, skip, more in zip(self.output_blocks, kept[::-1], control[-2::-1], strict=True):
            x = block(torch.cat([x, skip + more], dim=1), emb, text)
        return self.out(x)


class Control(Half):
    def __init__(self, p: dict[str, Any]) -> None:
        super().__init__(p, p["in_channels"] + p["hint_channels"])
        self.snr_embed = embedding_mlp(self.model_channels)
        self.zero_convs = nn.ModuleList(nn.Sequential(nn.Conv2d(w, w, 1)) for w in self.skips)
        self.middle_block_out = nn.Sequential(nn.Conv2d(self.widths[-1], self.widths[-1], 1))

    def forward(
        self, x: Tensor, hint: Tensor, t: Tensor, text: Tensor, snr_db: Tensor
    ) -> list[Tensor]:
        emb, outs = self.time_embed(sinusoid(t, self.model_channels)), []
        if self.p.get("use_snr", True):
            level = snr_db * self.p.get("snr_scale", 1) - self.p.get("min_snr", 0)
            emb = emb + self.snr_embed(sinusoid(level, self.model_channels))
        x = torch.cat([x, hint], dim=1)
        for block, conv in zip(self.input_blocks, self.zero_convs, strict=True):
            x = block(x, emb, text)
            outs.append(conv(x))
        return [*outs, self.middle_block_out(self.middle_block(x, emb, text))]


# --- the autoencoder ---


def norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, width, eps=1e-6)


class VaeRes(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(inside), nn.Conv2d(inside, outside, 3, padding=1)
        self.norm2, self.conv2 = norm(outside), nn.Conv2d(outside, outside, 3, padding=1)
        if inside != outside:
            self.nin_shortcut = nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class VaeAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = norm(width)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        q, k, v = (layer(y).flatten(2) for layer in (self.q, self.k, self.v))
        weights = (q.transpose(1, 2) @ k / q.shape[1] ** 0.5).softmax(dim=-1)
        return x + self.proj_out((v @ weights.transpose(1, 2)).unflatten(2, x.shape[2:]))


class VaeStage(nn.Module):
    """``block``, ``attn`` and ``downsample`` or ``upsample`` of one level."""

    def __init__(self, inside: int, outside: int, count: int, attend: bool, resize: str) -> None:
        super().__init__()
        widths = [inside] + [outside] * count
        self.block = nn.ModuleList(VaeRes(a, outside) for a in widths[:count])
        self.attn = nn.ModuleList(VaeAttention(outside) for _ in range(count * attend))
        if resize:
            module = nn.Module()
            stride = 2 if resize == "downsample" else 1
            module.conv = nn.Conv2d(outside, outside, 3, stride, padding=stride % 2)
            setattr(self, resize, module)

    def forward(self, x: Tensor) -> Tensor:
        for n, block in enumerate(self.block):
            x = block(x)
            x = self.attn[n](x) if len(self.attn) else x
        if hasattr(self, "downsample"):
            x = self.downsample.conv(F.pad(x, (0, 1, 0, 1)))
        if hasattr(self, "upsample"):
            x = self.upsample.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        return x


class VaeMiddle(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block_1, self.block_2 = VaeRes(width, width), VaeRes(width, width)
        self.attn_1 = VaeAttention(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class VaeHalf(nn.Module):
    def __init__(self, p: dict[str, Any], decoder: bool) -> None:
        super().__init__()
        widths = [p["ch"] * mult for mult in p["ch_mult"]]
        levels, top, z = len(widths), widths[-1], p["z_channels"]
        attend = [p["resolution"] // 2**n in p["attn_resolutions"] for n in range(levels)]
        outside = p["out_ch"] if decoder else 2 * z
        first = (z, top) if decoder else (p["in_channels"], p["ch"])
        self.conv_in = nn.Conv2d(*first, 3, padding=1)
        self.mid = VaeMiddle(top)
        count, stages = p["num_res_blocks"], []
        for n, width in enumerate(widths):
            if decoder:
                inside = widths[min(n + 1, levels - 1)]
                stages.append(VaeStage(inside, width, count + 1, attend[n], "upsample" * (n > 0)))
            else:
                inside = ([p["ch"], *widths])[n]
                resize = "downsample" * (n < levels - 1)
                stages.append(VaeStage(inside, width, count, attend[n], resize))
        setattr(self, "up" if decoder else "down", nn.ModuleList(stages))
        last = widths[0] if decoder else top
        self.norm_out, self.conv_out = norm(last), nn.Conv2d(last, outside, 3, padding=1)
        self.decoder = decoder

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        if self.decoder:
            x = self.mid(x)
            for stage in reversed(self.up):
                x = stage(x)
        else:
            for stage in self.down:
                x = stage(x)
            x = self.mid(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class FirstStage(nn.Module):
    def __init__(self, p: dict[str, Any]) -> None:
        super().__init__()
        z = p["ddconfig"]["z_channels"]
        self.encoder = VaeHalf(p["ddconfig"], decoder=False)
        self.decoder = VaeHalf(p["ddconfig"], decoder=True)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(2 * z, 2 * z, 1), nn.Conv2d(z, z, 1)


# --- the text tower ---


class TextBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, width // 64)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(width, 3 * width), "c_proj": nn.Linear(3 * width, width)}
        )

    def forward(self, x: Tensor) -> Tensor:  # (T, B, width)
        mask = torch.full((len(x), len(x)), -torch.inf).triu(1)
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class TextTower(nn.Module):
    def __init__(self, vocabulary: int, width: int, layers: int, length: int = 77) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(0.1 * torch.randn(length, width))
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(TextBlock(width) for _ in range(layers))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, width))
        self.logit_scale = nn.Parameter(torch.ones(()))
        self.register_buffer("attn_mask", torch.full((length, length), -torch.inf).triu(1))

    def forward(self, tokens: Tensor, dropped: int) -> Tensor:
        x = (self.token_embedding(tokens) + self.positional_embedding).transpose(0, 1)
        for block in self.transformer.resblocks[: len(self.transformer.resblocks) - dropped]:
            x = block(x)
        return self.ln_final(x.transpose(0, 1))


# --- the codec ---


class CodecRes(nn.Module):
    def __init__(self, width: int, reflect: bool) -> None:
        super().__init__()
        pad = [nn.ReflectionPad2d(1)] if reflect else []

        def conv() -> list[nn.Module]:
            layer = nn.Conv2d(width, width, 3, padding=0 if reflect else 1, bias=False)
            return [*pad, layer, nn.BatchNorm2d(width)]

        self.conv_block = nn.Sequential(*conv(), nn.ReLU(), *conv())


class CodecModulation(nn.Module):
    def __init__(self, width: int, state: int) -> None:
        super().__init__()
        mlp = [nn.Linear(width + state, width), nn.ReLU(), nn.Linear(width, width)]
        self.model_multi = nn.Sequential(*mlp, nn.Sigmoid())
        self.model_add = nn.Sequential(
            nn.Linear(width + state, width), nn.ReLU(), nn.Linear(width, width)
        )


class CodecHalf(nn.Module):
    def blocks(self, width: int, count: int, state: int, reflect: bool) -> None:
        self.res_list = nn.ModuleList()
        for _ in range(count):
            self.res_list += [CodecRes(width, reflect), CodecModulation(width, state)]

    def modulated(self, x: Tensor, state: Tensor) -> Tensor:
        for res, mod in zip(self.res_list[::2], self.res_list[1::2], strict=True):
            x = x + res.conv_block(x)
            joined = torch.cat([x.mean((2, 3)), state], dim=1)
            factor, shift = mod.model_multi(joined), mod.model_add(joined)
            x = x * factor[:, :, None, None] + shift[:, :, None, None]
        return x


class CodecEncoder(CodecHalf):
    def __init__(self, p: dict[str, Any], state: int) -> None:
        super().__init__()
        widths = [min(p["ngf"] * 2**n, p["max_ngf_E"]) for n in range(p["n_downsample"] + 1)]
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(3, p["ngf"], 7, bias=False)]
        layers += [nn.BatchNorm2d(p["ngf"]), nn.ReLU()]
        for a, b in itertools.pairwise(widths):
            layers += [nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.net = nn.Sequential(*layers)
        self.blocks(widths[-1], p["n_blocks_E"], state, reflect=False)
        self.projection = nn.Conv2d(widths[-1], p["C_channel"], 3, padding=1)

    def forward(self, image: Tensor, state: Tensor) -> Tensor:
        """(B, K) complex symbols of mean power 1."""
        real, imag = self.projection(self.modulated(self.net(image), state)).chunk(2, dim=1)
        y = torch.complex(real, imag).flatten(1)
        return y / y.abs().square().mean(dim=1, keepdim=True).sqrt()


class CodecDecoder(CodecHalf):
    def __init__(self, p: dict[str, Any], state: int) -> None:
        super().__init__()
        widths = [min(p["ngf"] * 2**n, p["max_ngf_D"]) for n in range(p["n_downsample"] + 1)]
        self.mask_conv = nn.Conv2d(p["C_channel"], widths[-1], 3, padding=1, bias=False)
        self.blocks(widths[-1], p["n_blocks_D"], state, reflect=True)
        layers: list[nn.Module] = []
        for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True):
            layers += [nn.ConvTranspose2d(a, b, 3, 2, 1, 1, bias=False), nn.BatchNorm2d(b)]
            layers += [nn.ReLU()]
        layers += [nn.ReflectionPad2d(2), nn.Conv2d(widths[0], 3, 5), nn.Sigmoid()]
        self.model = nn.Sequential(*layers)

    def forward(self, equalised: Tensor, state: Tensor) -> Tensor:
        """(B, C/2, h, w) complex -> (B, 3, H, W)."""
        x = torch.cat([equalised.real, equalised.imag], dim=1)
        return self.model(self.modulated(self.mask_conv(x), state))


# --- the whole ---


class Official(nn.Module):
    """One state dict of everything but the captioner. ``config`` is ``config.yaml``'s tree."""

    def __init__(self, config: dict[str, Any], vocabulary: int, text_layers: int = 3) -> None:
        super().__init__()
        p = config["params"]

        def params(name: str) -> dict[str, Any]:
            return p[name]["params"]

        self.params = p
        self.model = nn.Module()
        self.model.diffusion_model = Unet(params("unet_config"))
        self.control_model = Control(params("control_stage_config"))
        self.first_stage_model = FirstStage(params("first_stage_config"))
        self.cond_encoder = nn.Module()
        self.cond_stage_model = nn.Module()
        width = params("unet_config")["context_dim"]
        self.cond_stage_model.model = TextTower(vocabulary, width, text_layers)
        codec = params("preprocess_config")
        self.faded = codec["channel"] == "Rayleigh"
        state = 3 if self.faded else 1
        self.preprocess_model = nn.Module()
        self.preprocess_model.E = CodecEncoder(codec, state)
        self.preprocess_model.G = CodecDecoder(codec, state)
        for name, buffer in self.named_buffers():  # as if trained
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
        self.cond_encoder.encoder = self.first_stage_model.encoder
        self.cond_encoder.quant_conv = self.first_stage_model.quant_conv
        self.register_buffer("betas", self.schedule().float())
        self.register_buffer("logvar", torch.zeros(p["timesteps"]))
        self.eval()

    def schedule(self) -> Tensor:
        p = self.params
        ends = p["linear_start"] ** 0.5, p["linear_end"] ** 0.5
        return torch.linspace(*ends, p["timesteps"], dtype=torch.float64).square()

    def state(self, snr_db: Tensor, h: Tensor) -> Tensor:
        parts = [snr_db, h.real, h.imag] if self.faded else [snr_db]
        return torch.stack(parts, dim=1)

    def spatial_features(self, image: Tensor) -> Tensor:
        moments = self.cond_encoder.quant_conv(self.cond_encoder.encoder(2 * image - 1))
        return moments.chunk(2, dim=1)[0] * self.params["scale_factor"]

    def text_features(self, tokens: Tensor) -> Tensor:
        layer = self.params["cond_stage_config"]["params"].get("layer", "last")
        return self.cond_stage_model.model(tokens, dropped=int(layer == "penultimate"))

    def predict_noise(
        self, z: Tensor, t: Tensor, text: Tensor, spatial: Tensor, snr_db: Tensor
    ) -> Tensor:
        control = self.control_model(z, spatial, t, text, snr_db)
        return self.model.diffusion_model(z, t, text, control)

    def decode(self, z: Tensor) -> Tensor:
        first = self.first_stage_model
        image = first.decoder(first.post_quant_conv(z / self.params["scale_factor"]))
        return (image / 2 + 0.5).clamp(0, 1)

    def sample(self, noises: list[Tensor], *conditions: Tensor) -> Tensor:
        """Spaced DDPM, fixed small variance; ``noises[0]`` is z_T, one more for each step."""
        steps, kept, place = len(noises) - 1, [], 0.0
        for _ in range(steps):
            kept.append(round(place))
            place += (self.params["timesteps"] - 1) / (steps - 1)
        bar = (1 - self.schedule()).cumprod(0)[kept]
        before = torch.cat([torch.ones(1, dtype=torch.float64), bar[:-1]])
        z = noises[0]
        for i, noise in zip(reversed(range(steps)), noises[1:], strict=True):
            t = torch.full((len(z),), kept[i])
            eps = self.predict_noise(z, t, *conditions)
            beta = 1 - bar[i] / before[i]
            z0 = (z - (1 - bar[i]).sqrt() * eps) / bar[i].sqrt()
            mean = beta * before[i].sqrt() / (1 - bar[i]) * z0
            mean = mean + (1 - before[i]) * (1 - beta).sqrt() / (1 - bar[i]) * z
            spread = (beta * (1 - before[i]) / (1 - bar[i])).sqrt()
            z = (mean + (spread * noise if i else 0)).float()
        return z
