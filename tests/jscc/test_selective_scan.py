"""The selective scan against its definition: values, gradients, long sequences."""

from __future__ import annotations

import pytest
import torch

from simulator.jscc import selective_scan as module
from simulator.jscc.selective_scan import selective_scan


def inputs(length: int, groups: int = 3, channels: int = 2, states: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return [
        normal(length, groups, channels),
        normal(length, groups, channels).exp(),
        -normal(groups, channels, states).exp(),
        normal(length, groups, states),
        normal(length, groups, states),
        normal(groups),
    ]


def defined(
    u: torch.Tensor,
    delta: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor,
    start: torch.Tensor,
) -> torch.Tensor:
    """Token by token, as the recurrence is written."""
    state = start[:, None, None].expand_as(a)
    made = []
    for t in range(len(u)):
        state = torch.exp(delta[t, ..., None] * a) * state
        state = state + delta[t, ..., None] * b[t, :, None] * u[t, ..., None]
        made.append(torch.einsum("gdn,gn->gd", state, c[t]))
    return torch.stack(made)


@pytest.mark.parametrize("block", [1, 24, 100, 1 << 20])
def test_values_and_gradients_are_those_of_the_definition(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    *given, start = inputs(11)
    weight = torch.randn(11, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradients = []
    for scan in (selective_scan, defined):
        leaves = [each.clone().requires_grad_() for each in given]
        y = scan(*leaves, start)
        (y * weight).sum().backward()
        gradients.append([y, *(leaf.grad for leaf in leaves)])
    for got, wanted in zip(*gradients, strict=True):
        assert got is not None and wanted is not None
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


@torch.inference_mode()
def test_a_long_sequence_neither_overflows_nor_forgets_its_last_tokens() -> None:
    u, delta, a, b, c, start = (each.float() for each in inputs(20_000))
    whole = selective_scan(u, 30 * delta, a, b, c, start)
    assert whole.isfinite().all()
    end = selective_scan(u[-500:], 30 * delta[-500:], a, b[-500:], c[-500:], start)
    torch.testing.assert_close(whole[-100:], end[-100:], rtol=1e-4, atol=1e-4)
