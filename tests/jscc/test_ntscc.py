"""``ntscc``: rates of cells, the budget, the side information and what is wrong with it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from receiver_world import GAIN, WorkerBench, frame, frame_id, task

from rx.receiver import Failed, Stored
from simulator.errors import SettingsError
from simulator.jscc import Csi
from simulator.jscc.air import Air
from simulator.jscc.chain import complex_normal
from simulator.jscc.ends import CodecEnds
from simulator.jscc.ntscc import NtsccCodec
from simulator.jscc.ntscc_networks import Hyperprior
from simulator.jscc.range_coder import Counts, DamagedError, Reader, Writer
from simulator.jscc.rate_map import read_map, write_map
from simulator.jscc.signal import ToDecode, ToEncode
from simulator.phy.state import ChannelState
from simulator.training.codec_loss import draw_channel
from simulator.training.options import CodecTraining

SIZE = (80, 112)
CELLS = 5 * 7
WHOLE = Fraction(1, 24)


def make(**config: Any) -> NtsccCodec:
    small = {"widths": [8, 8, 16, 16], "depths": [1, 0, 0, 1], "heads": [1, 1, 2, 2], "window": 4}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = small | {"rates": [0, 8, 32, 64], "jscc_depth": 1, "hyper": 8} | config
        return NtsccCodec(**sizes).eval()


def photograph(batch: int = 1) -> torch.Tensor:
    """Half of it is flat."""
    image = torch.rand(batch, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    image[..., 48:] = 0.5
    return image


def noiseless(codec: NtsccCodec, batch: int = 1) -> Air:
    csi = Csi.of(200.0, batch=batch)
    k = codec.k(WHOLE, SIZE)
    return Air(csi, csi, complex_normal((batch, k), torch.Generator().manual_seed(1)))


class Planned(Hyperprior):
    """The bits that a test wants."""

    def __init__(self, bits: torch.Tensor) -> None:
        super().__init__(16, 8)
        self.planned = bits

    def forward(self, y: torch.Tensor, generator: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return self.planned.expand(len(y), -1, -1), y.new_zeros(len(y))


def planned(bits: torch.Tensor, **config: Any) -> NtsccCodec:
    codec = make(**config)
    codec.encoder.prior = Planned(bits)
    return codec


def steps() -> torch.Tensor:
    """Bits (5, 7) that give each rate to some cell: eta is 0.2."""
    return torch.tensor([0.0, 40, 160, 320, 1000, 40, 0]).expand(5, 7).clone()


# Maps of whole numbers as bytes


def test_maps_come_back_from_as_few_bytes_as_can_be() -> None:
    rng = np.random.default_rng(0)
    for trial in range(120):
        choices = int(rng.integers(2, 65))
        shape = (int(rng.integers(1, 20)), int(rng.integers(1, 20)))
        walk = np.cumsum(rng.integers(-1, 2, shape), axis=1) + choices // 2
        kinds = (rng.integers(0, choices, shape), walk.clip(0, choices - 1),
                 np.full(shape, rng.integers(choices)))  # fmt: skip
        numbers = kinds[trial % 3]
        coded = write_map(numbers, choices)
        assert np.array_equal(read_map(coded, shape, choices), numbers)
        with pytest.raises(DamagedError, match="other bytes"):
            read_map(coded + b"\0", shape, choices)
    smooth = np.add.outer(np.arange(64) // 16, np.arange(64) // 16)
    assert len(write_map(smooth, 16)) < 64 * 64 / 2 / 4  # a quarter of four bits each


def test_any_bytes_end_in_a_map_or_in_a_sentence() -> None:
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(200):
        coded = rng.bytes(int(rng.integers(0, 40)))
        try:
            numbers = read_map(coded, (6, 9), 16)
        except DamagedError:
            refused += 1
        else:
            assert numbers.min() >= 0 and numbers.max() < 16 and write_map(numbers, 16) == coded
    assert refused > 150


def test_counts_that_are_far_apart_are_coded_too() -> None:
    """Long runs, in which the interval becomes as small as it can."""
    symbols = [0] * 3000 + [1, 2] * 5 + [0] * 3000
    writer, counts = Writer(), Counts([1, 1, 1])
    for symbol in symbols:
        writer.put(symbol, counts)
    coded = writer.done()
    reader, counts = Reader(coded), Counts([1, 1, 1])
    assert [reader.get(counts) for _ in symbols] == symbols
    assert len(coded) < 120


# Rates


def test_a_cell_gets_the_rate_nearest_to_its_bits() -> None:
    codec = make()
    chosen = codec.numbers_of(steps()[None], WHOLE)[0]
    assert chosen.tolist() == [[0, 1, 2, 3, 3, 1, 0]] * 5


def test_the_budget_is_kept_by_a_smaller_eta() -> None:
    codec = make()
    rates = torch.tensor(codec.rates)
    means = []
    for ratio in codec.bandwidth_ratios:
        numbers = codec.numbers_of(torch.stack([steps(), 9 * steps()]), ratio)
        values = rates[numbers].flatten(1).sum(dim=1)
        assert (values <= int(1536 * ratio * CELLS)).all() and (values > 0).all()
        means.append(values.float().mean())
    assert means == sorted(means) and means[0] < means[-1]
    same = torch.ones(1, 5, 7)
    assert (rates[codec.numbers_of(1e4 * same, Fraction(1, 48))] == 32).all()  # all of it is used
    assert rates[codec.numbers_of(0 * same, WHOLE)].sum() == 8  # something is always sent


def test_more_bits_are_a_longer_signal_and_more_side_information_a_finer_one() -> None:
    fine, coarse = planned(steps()), planned(steps(), shared=2)
    csi = Csi.of(10.0)
    with torch.inference_mode():
        signals = [codec.encode(photograph(), csi, WHOLE) for codec in (fine, coarse)]
    assert signals[0].symbols.shape[1] == 5 * (8 + 32 + 64 + 64 + 8) // 2
    assert 0 < len(signals[1].side) < len(signals[0].side) <= CELLS / 2
    assert coarse.decode(signals[1].symbols, csi, SIZE, side=signals[1].side).shape[-2:] == SIZE


def test_busy_images_cost_bits_and_the_price_of_them_has_a_gradient() -> None:
    codec = make(price=1000.0)
    codec.train()
    made, terms = codec.trained_through(photograph(2), noiseless(codec, 2), WHOLE)
    assert made.shape == (2, 3, *SIZE) and set(terms) == {"transform", "rate"}
    terms["rate"].backward()
    for part in (codec.encoder.analysis, codec.encoder.prior):
        grads = [p.grad for p in part.parameters() if p.grad is not None]
        assert grads and all(g.isfinite().all() for g in grads)
        assert any(g.abs().sum() > 0 for g in grads)
    assert all(p.grad is None for p in codec.decoder.parameters())


def test_the_price_alone_decides_in_training_unless_other_budgets_are_named() -> None:
    codec, options = make(), CodecTraining(data=("none",))
    batch = {"image": photograph(), "seed": 3}
    drawn = {draw_channel(codec, batch | {"seed": seed}, options)["ratio"] for seed in range(20)}
    assert drawn == {WHOLE} and not codec.logarithmic
    small = [codec.bandwidth_ratios[0]]
    assert draw_channel(codec, batch, options, small)["ratio"] == small[0]


# Both ends


@torch.inference_mode()
def test_what_is_trained_is_what_is_sent() -> None:
    codec = planned(steps())
    image, air = photograph(2), noiseless(codec, 2)
    made, _ = codec.trained_through(image, air, WHOLE)
    assert torch.allclose(made.clamp(0, 1), codec.through(image, air, WHOLE), atol=1e-4)


@torch.inference_mode()
def test_one_rate_for_all_needs_no_side_information() -> None:
    codec, image, csi = planned(torch.full((5, 7), 160.0)), photograph(), Csi.of(200.0)
    signal = codec.encode(image, csi, WHOLE)
    assert signal.side == b"" and signal.symbols.shape[1] == CELLS * 16
    told = codec.decode(signal.symbols, csi, SIZE)
    blocks = write_map(np.full((5, 7), 2), len(codec.rates))
    assert torch.allclose(codec.decode(signal.symbols, csi, SIZE, side=blocks), told, atol=1e-5)
    maps = codec.maps(image, csi, Fraction(1, 48))  # as a codec of one rate would send it
    assert torch.allclose(codec.modulate(codec.pack(maps)), signal.symbols, atol=1e-4)


@torch.inference_mode()
def test_each_image_of_a_batch_is_as_it_is_alone() -> None:
    codec = planned(steps())
    codec.encoder.prior.planned = torch.stack([steps(), steps().flip(0) / 4])
    both, csi = photograph(2), Csi.of(200.0, batch=2)
    signal = codec.encode(both, csi, WHOLE)
    made = codec.decode(signal.symbols, csi, SIZE, side=signal.side)
    for index in range(2):
        codec.encoder.prior.planned = (steps(), steps().flip(0) / 4)[index][None]
        one, state = both[index : index + 1], Csi.of(200.0)
        alone = codec.encode(one, state, WHOLE)
        k = alone.symbols.shape[1]
        assert torch.allclose(signal.symbols[index, :k], alone.symbols[0], atol=1e-4)
        assert torch.allclose(
            codec.decode(alone.symbols, state, SIZE, side=alone.side)[0], made[index], atol=1e-4
        )


def test_the_receiver_needs_symbols_side_information_and_size_alone() -> None:
    """Whatever becomes of the transmitter's half, it makes the same image."""
    sender, receiver = planned(steps()), make()
    for parameter in receiver.encoder.parameters():
        parameter.data.zero_()
    pixels = (photograph()[0].permute(1, 2, 0) * 255).byte().numpy()
    state = ChannelState(10.0, np.array([0.5 + 0.5j]))
    signal = CodecEnds(sender).encode(ToEncode(pixels, state, WHOLE))
    got = [
        CodecEnds(codec).decode(ToDecode(signal.symbols, state, SIZE, side=signal.side))
        for codec in (sender, receiver)
    ]
    assert np.array_equal(got[0], got[1])


@torch.inference_mode()
def test_wrong_side_information_is_said() -> None:
    codec, csi = planned(steps()), Csi.of(10.0)
    signal = codec.encode(photograph(), csi, WHOLE)
    side = signal.side
    wrong = [side + b"\1", side[:-1], side[1:], b"\xff" * len(side), b"\0", bytes(1 << 16),
             bytes((1 << 16) + 1), b""]  # fmt: skip
    for each in wrong:
        with pytest.raises(SettingsError, match=r"\.$"):
            codec.decode(signal.symbols, csi, SIZE, side=each)
    for symbols in (signal.symbols[:, :-1], signal.symbols.repeat(1, 2)):
        with pytest.raises(SettingsError, match="symbols"):
            codec.decode(symbols, csi, SIZE, side=side)
    with pytest.raises(SettingsError, match="pixels"):
        codec.decode(signal.symbols, csi, (65_535, 65_535), side=side)


def test_a_receiver_refuses_a_frame_of_wrong_side_information_and_goes_on(tmp_path: Path) -> None:
    codec = planned(steps())
    with torch.inference_mode():
        signal = codec.encode(photograph(), Csi.of(10.0), WHOLE)
    bench = WorkerBench(tmp_path)
    bench.decoder.decode = CodecEnds(codec).decode  # type: ignore[method-assign]
    sent = signal.symbols[0].numpy()
    tasks = []
    for number, side in enumerate((signal.side, signal.side[:-1], signal.side)):
        made = frame(number, k=len(sent), height=SIZE[0], width=SIZE[1])
        one = task(made, GAIN[0] * sent)
        tasks.append(replace(one, parts=(one.parts[0], one.parts[1], side, b"")))
    events = bench.work(*tasks)
    bench.store.ledger.close()
    refused = [event for event in events if isinstance(event, Failed)]
    assert [event.frame_id for event in refused] == [frame_id(1)]
    assert "side information" in refused[0].reason
    stored = [event.frame_id for event in events if isinstance(event, Stored)]
    assert stored == [frame_id(0), frame_id(2)]
