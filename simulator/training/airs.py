"""The channels of a training: what a batch of crops is sent over, drawn from a generator.

``draw_air`` makes tensors, which are part of the batch, and ``air_of`` an ``Air`` of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simulator.jscc.air import Air
from simulator.jscc.chain import complex_normal
from simulator.jscc.csi import Csi
from simulator.jscc.mimo import ANTENNAS, MimoAir, Streams, draw_streams
from simulator.jscc.multipath import SUBCARRIERS, TAPS, Gains, MultipathAir, draw_gains
from simulator.training.stage import Batch

MIDDLE_DB = (0.0, 14.0)  # the span that the paper's figures show gets most of the crops
MIDDLE_SHARE = 0.6
# Of the crops, how many meet a channel whose gain changes from symbol to symbol, as over
# subcarriers: the decoder has to use the noise variance that it is given for each.
SELECTIVE_SHARE = 0.15


@dataclass(frozen=True)
class States:
    """Channel states of a batch: what each end knows, and gains (B, K) relative to its RMS."""

    encoder: Csi
    decoder: Csi
    gains: Tensor


def draw_snr(count: int, span: tuple[float, float], generator: torch.Generator) -> Tensor:
    """(B,) in dB, uniform over ``span``; ``MIDDLE_SHARE`` of them within ``MIDDLE_DB``."""
    low, high = span
    middle = max(low, MIDDLE_DB[0]), min(high, MIDDLE_DB[1])
    uniform, chosen = torch.rand(2, count, generator=generator, device=generator.device)
    wide: Tensor = low + (high - low) * uniform
    if middle[0] >= middle[1]:
        return wide
    narrow = middle[0] + (middle[1] - middle[0]) * uniform
    snr: Tensor = torch.where(chosen < MIDDLE_SHARE, narrow, wide)
    return snr


def selective_gains(count: int, k: int, generator: torch.Generator) -> Tensor:
    """(B, K) complex gains over the subcarriers of ``TAPS`` Rayleigh taps of power exp(-l/4),
    of mean square 1; symbol k is on subcarrier k modulo 64."""
    device = generator.device
    power = torch.exp(-torch.arange(TAPS, device=device) / 4)
    taps = complex_normal((count, TAPS), generator, device) * power.sqrt()
    response: Tensor = torch.fft.fft(taps, n=SUBCARRIERS, dim=1)
    response = response / response.abs().square().mean(dim=1, keepdim=True).sqrt()
    return response[:, torch.arange(k, device=device) % SUBCARRIERS]


def draw_states(
    batch: int, k: int, channel: str, span: tuple[float, float], generator: torch.Generator
) -> States:
    """Half AWGN, and of the faded half one in three with average CSIT (the encoder sees h = 1)
    where channel = both. ``SELECTIVE_SHARE`` is frequency-selective, unless channel = awgn."""
    device = generator.device
    snr = draw_snr(batch, span, generator)
    h = complex_normal((batch,), generator, device)
    mode, selective = torch.rand(2, batch, generator=generator, device=device)
    one = torch.ones(batch, dtype=torch.complex64, device=device)
    flat = torch.ones(batch, k, dtype=torch.complex64, device=device)
    if channel == "awgn":
        return States(Csi(snr, one), Csi(snr, one), flat)
    gains = selective_gains(batch, k, generator)
    gains = torch.where((selective < SELECTIVE_SHARE)[:, None], gains, flat)
    if channel == "rayleigh":
        return States(Csi(snr, h), Csi(snr, h), gains)
    faded = torch.where(mode < 0.5, one, h)
    known = torch.where(mode < 5 / 6, faded, one)
    return States(Csi(snr, known), Csi(snr, faded), gains)


def draw_air(
    count: int, k: int, channel: str, span: tuple[float, float], generator: torch.Generator
) -> dict[str, Tensor]:
    """What ``air_of`` makes the air of ``count`` images of K symbols of; ``span``: of the SNR in
    dB. Over ``multipath`` and ``mimo`` the transmitter knows the SNR alone."""
    device = generator.device
    if channel == "multipath":
        snr_db = draw_snr(count, span, generator)
        paths = draw_gains(snr_db, generator)
        drawn = {"gains": paths.true, "gains_heard": paths.heard, "gains_error": paths.error}
    elif channel == "mimo":
        snr_db = draw_snr(count, span, generator)
        streams = draw_streams(snr_db, generator)
        drawn = {
            "streams": streams.true, "streams_heard": streams.heard, "streams_noise": streams.noise
        }  # fmt: skip
        k = -(-k // ANTENNAS) * ANTENNAS
    else:
        states = draw_states(count, k, channel, span, generator)
        snr_db = states.decoder.snr_db
        drawn = {"h": states.decoder.h, "h_known": states.encoder.h, "gains": states.gains}
    return {
        "snr_db": snr_db, "noise": complex_normal((count, k), generator, device), **drawn
    }  # fmt: skip


def air_of(batch: Batch) -> Air:
    """The channel that ``draw_air`` has drawn."""
    snr_db, noise, seed = batch["snr_db"], batch["noise"], batch["seed"]
    clip, scramble = batch.get("clip", 0.0), batch.get("scramble", False)
    index = torch.arange(noise.shape[1], device=noise.device)
    unknown = Csi(snr_db, torch.ones_like(snr_db) + 0j)
    if "gains_heard" in batch:
        paths = Gains(batch["gains"], batch["gains_heard"], batch["gains_error"])
        decoder = Csi(snr_db, paths.heard, index % SUBCARRIERS)
        return MultipathAir(unknown, decoder, noise, None, seed, clip, scramble, paths=paths)
    if "streams" in batch:
        streams = Streams(batch["streams"], batch["streams_heard"], batch["streams_noise"])
        decoder = Csi(snr_db, streams.gains(snr_db), index % ANTENNAS, streams.heard)
        return MimoAir(unknown, decoder, noise, seed=seed, streams=streams)
    encoder, decoder = Csi(snr_db, batch["h_known"]), Csi(snr_db, batch["h"])
    return Air(encoder, decoder, noise, batch["gains"], seed, clip)
