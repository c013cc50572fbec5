"""The selective scan of Mamba (S6), written with torch operations, and its gradient.

    h_t = exp(delta_t A) h_(t-1) + delta_t B_t u_t          y_t = C_t h_t

Gu, Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023. One multiply-add
a token moves all states, of every image and channel, so that nothing overflows whatever the length
of the sequence. States are kept for a block of tokens at a time only: the backward pass computes
those of each block anew from the state that it began with.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BLOCK = 1 << 17  # state values of a block: 512 KB, which stay in the cache of a core


def selective_scan(
    u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, start: Tensor
) -> Tensor:
    """y, (L, G, D), of sequences of L tokens.

    ``u``, ``delta`` (above 0): (L, G, D), D channels of G sequences; ``a``: (G, D, N), below 0,
    N states a channel; ``b``, ``c``: (L, G, N). ``start``: (G,), the first state of every channel,
    to which there is no gradient.
    """
    return _Scan.apply(u, delta, a, b, c, start)  # type: ignore[no-any-return, no-untyped-call]


def _blocks(length: int, a: Tensor) -> list[tuple[int, int]]:
    step = max(1, BLOCK // max(1, a.numel()))
    return [(i, min(i + step, length)) for i in range(0, length, step)]


def _states(
    u: Tensor, delta: Tensor, a: Tensor, b: Tensor, before: Tensor
) -> tuple[Tensor, Tensor]:
    """Factors exp(delta A) and states, (T, G, D, N), of a block of tokens."""
    factor = (delta[..., None] * a).exp_()
    states = (delta * u)[..., None] * b[:, :, None]
    for t in range(len(u)):
        before = states[t].addcmul_(factor[t], before)
    return factor, states


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, start: Tensor
    ) -> Tensor:
        y, state = torch.empty_like(u), start[:, None, None].expand_as(a)
        before = []
        for i, j in _blocks(len(u), a):
            before.append(state.clone())
            _, states = _states(u[i:j], delta[i:j], a, b[i:j], state)
            y[i:j] = (states * c[i:j, :, None]).sum(dim=-1)
            state = states[-1]
        ctx.save_for_backward(u, delta, a, b, c, *before)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        u, delta, a, b, c, *before = ctx.saved_tensors
        du, ddelta, db, dc = (torch.empty_like(each) for each in (u, delta, b, c))
        da = torch.zeros_like(a)
        later = torch.zeros_like(a)  # what the tokens behind a block ask of its last state
        for (i, j), first in zip(reversed(_blocks(len(u), a)), reversed(before), strict=True):
            factor, states = _states(u[i:j], delta[i:j], a, b[i:j], first)
            dc[i:j] = (dy[i:j, ..., None] * states).sum(dim=2)
            asked = dy[i:j, ..., None] * c[i:j, :, None]
            for t in reversed(range(j - i)):
                later = asked[t].add_(later) * factor[t]
            by_input = (asked * b[i:j, :, None]).sum(dim=-1)
            db[i:j] = (asked * (delta[i:j] * u[i:j])[..., None]).sum(dim=2)
            du[i:j] = by_input * delta[i:j]
            # Of exp(delta A), times the state before.
            of_exponent = asked.mul_(factor)
            of_exponent[0] *= first
            of_exponent[1:] *= states[:-1]
            ddelta[i:j] = by_input * u[i:j] + (of_exponent * a).sum(dim=-1)
            da += (of_exponent * delta[i:j, ..., None]).sum(dim=0)
        return du, ddelta, da, db, dc, None
