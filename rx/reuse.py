"""Denoising steps that reuse what a step before has computed, for less than its cost.

    every ``control_every``-th step   control module -> residuals     the others take the last ones
    every ``deep_every``-th step      the whole UNet -> deep features  the others run its outermost
                                                                       blocks over the last ones

The second is the idea of DeepCache (Ma et al. 2024): what the deep blocks say changes slowly from
step to step. Both are approximations; 1 computes everything, and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from rx.conditions import Conditions
from rx.control import text_of

Residuals = tuple[list[Tensor], Tensor]  # for the skip connections, and for the middle
Place = tuple[int, int]  # of a tile, in latent cells


def time_embedding(unet: Any, x: Tensor, times: Tensor) -> Tensor:
    emb: Tensor = unet.time_embedding(unet.time_proj(times).to(x.dtype))
    return emb if unet.time_embed_act is None else unet.time_embed_act(emb)


def whole(
    unet: Any, x: Tensor, times: Tensor, text: Tensor, down: list[Tensor], middle: Tensor
) -> tuple[Tensor, Tensor]:
    """What the controlled UNet says, bit for bit, and its deep features: those that enter the
    last block."""
    emb = time_embedding(unet, x, times)
    h = unet.conv_in(2 * x - 1 if unet.config.center_input_sample else x)
    skips = [h]
    for block in unet.down_blocks:
        h, more = block(hidden_states=h, temb=emb, **text_of(block, text))
        skips += more
    skips = [skip + residual for skip, residual in zip(skips, down, strict=True)]
    if unet.mid_block is not None:
        h = unet.mid_block(h, emb, **text_of(unet.mid_block, text))
    h = h + middle
    for block in unet.up_blocks[:-1]:
        count = len(block.resnets)
        skips, mine = skips[:-count], skips[-count:]
        h = up(block, h, emb, text, mine)
    return outermost(unet, h, emb, text, skips), h


def shallow(
    unet: Any, x: Tensor, times: Tensor, text: Tensor, down: list[Tensor], deep: Tensor
) -> Tensor:
    """The same with deep features that are known: only the first and the last block run."""
    emb = time_embedding(unet, x, times)
    h = unet.conv_in(2 * x - 1 if unet.config.center_input_sample else x)
    block = unet.down_blocks[0]
    _, more = block(hidden_states=h, temb=emb, **text_of(block, text))
    count = len(unet.up_blocks[-1].resnets)
    skips = [h, *more][:count]
    seen = [skip + residual for skip, residual in zip(skips, down[:count], strict=True)]
    return outermost(unet, deep, emb, text, seen)


def up(block: Any, h: Tensor, emb: Tensor, text: Tensor, skips: list[Tensor]) -> Tensor:
    made: Tensor = block(
        hidden_states=h, temb=emb, res_hidden_states_tuple=tuple(skips), **text_of(block, text)
    )
    return made


def outermost(unet: Any, h: Tensor, emb: Tensor, text: Tensor, skips: list[Tensor]) -> Tensor:
    """The last block and the layers behind it."""
    h = up(unet.up_blocks[-1], h, emb, text, skips)
    if unet.conv_norm_out is not None:
        h = unet.conv_act(unet.conv_norm_out(h))
    made: Tensor = unet.conv_out(h)
    return made


@dataclass
class Reuse:
    """The steps of one sampling. Results are kept for each place in the image."""

    control_every: int = 1
    deep_every: int = 1
    whole: Any = whole
    shallow: Any = shallow
    _residuals: dict[Place, Residuals] = field(default_factory=dict)
    _deep: dict[Place, Tensor] = field(default_factory=dict)

    def output(
        self, step: int, unet: Any, control: Any, x: Tensor, times: Tensor, c: Conditions, at: Place
    ) -> Tensor:
        """What the controlled UNet says at z_t, ``x``, in the ``step``-th step, from 0."""
        text = c.text_features
        if step % self.control_every == 0:
            down, middle = control(x, times, text, c.spatial_features, c.csi, c.sketch)
            if self.control_every > 1:  # copies: CUDA graphs write over what they gave before
                self._residuals[at] = [each.clone() for each in down], middle.clone()
        else:
            down, middle = self._residuals[at]
        if self.deep_every == 1:
            made: Tensor = unet(
                x,
                times,
                text,
                down_block_additional_residuals=down,
                mid_block_additional_residual=middle,
                return_dict=False,
            )[0]
            return made
        if step % self.deep_every == 0:
            made, deep = self.whole(unet, x, times, text, down, middle)
            self._deep[at] = deep.clone()
            return made
        shown: Tensor = self.shallow(unet, x, times, text, down, self._deep[at])
        return shown
