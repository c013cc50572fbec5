"""Flicker of a stream: what changes from frame to frame beyond what changed before it was sent.

LPIPS of two results in a row, minus LPIPS of the two pictures that were sent
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch

from simulator.evaluation.arrays import OnProgress
from simulator.evaluation.kept import Kept, Result
from simulator.evaluation.measured import Found
from simulator.images import load_image
from simulator.metrics.interval import mean_interval
from simulator.metrics.lpips import MIN_SIDE, Features, load_lpips
from simulator.tensors import as_tensor
from simulator.threads import one_thread


def flicker_of_run(
    kept: Kept, device: torch.device | str = "cpu", on_progress: OnProgress | None = None
) -> Found:
    """Mean over pairs of delivered frames of one size that follow one another in their stream.

    Raises ``ModelError`` where the weights of LPIPS are not here.
    """
    network = load_lpips(device=device)

    def taps_of(path: Path) -> tuple[torch.Size, Features | None]:
        image = as_tensor(load_image(path).pixels, device)[None]
        small = min(image.shape[2:]) < MIN_SIDE
        return image.shape, None if small else network.features(image)

    def seen(result: Result) -> tuple[torch.Size, Features | None, Features | None]:
        size, taps = taps_of(result.path)
        return size, taps, taps_of(kept.originals[result.image])[1]

    found: Found = {}
    groups, done = kept.groups(), 0
    with one_thread(), torch.inference_mode():
        for place, images in groups.items():
            results = [result for repeats in images.values() for result in repeats]
            results.sort(key=lambda result: result.row["repeat"] or 0)
            values = []
            for (size, now, sent), (next_size, after, next_sent) in pairwise(map(seen, results)):
                if on_progress:
                    on_progress(done := done + 1, len(kept.results) - len(groups))
                if size == next_size and now and after and sent and next_sent:
                    shown = network.compare(now, after) - network.compare(sent, next_sent)
                    values.append([float(shown)])
            if estimate := mean_interval(values):
                found[place] = {"flicker": estimate}
    return found
