"""Rate control: each image is sent at the smallest bandwidth ratio that promises the target PSNR.

pixels, state -maps of a ratio-> OraNet -> PSNR in dB, at or above the target?
              -bisection over the ratios up to the budget-> maps of one -> symbols
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from simulator.jscc.oranet import OraNet, detail_of
from simulator.jscc.signal import Signal, ToEncode
from simulator.phy.state import ChannelState
from tx.interface import FolderEncoder


class RateEncoder:
    """``inner`` at a ratio chosen for each image, at most the one that is asked for: the budget.

    Where no smaller ratio promises ``target_psnr_db``, the budget is used. A larger ratio is taken
    to promise no less than a smaller one, so that not all have to be looked at: of five, three are
    encoded at most. The maps of the chosen one are sent as they were judged.
    """

    rounds = 1

    def __init__(self, inner: FolderEncoder, oranet: OraNet, target_psnr_db: float) -> None:
        self._inner, self._oranet, self._target = inner, oranet, target_psnr_db
        self.ratios = inner.ratios

    def k(self, size: tuple[int, int], ratio: Fraction) -> int:
        return self._inner.k(size, ratio)

    def encode(self, given: ToEncode) -> Signal[np.ndarray]:
        return Signal(self._inner.modulated(self.chosen(given)))

    def chosen(self, given: ToEncode) -> np.ndarray:
        """(C, h, w), the maps of the smallest ratio that promises the target."""
        pixels, state, budget = given.pixels, given.state, given.ratio
        self.k(given.size, budget)
        ratios = sorted(ratio for ratio in self._inner.ratios if ratio <= budget)
        detail = detail_of(pixels)
        # All before ``low`` promise too little, ``high`` enough, or it is the budget.
        low, high, best = 0, len(ratios) - 1, None
        while low < high:
            at = (low + high) // 2
            maps = self._inner.maps(pixels, state, ratios[at])
            if self._promise(maps, detail, state, ratios[at]) >= self._target:
                high, best = at, maps
            else:
                low = at + 1
        return self._inner.maps(pixels, state, budget) if best is None else best

    def _promise(
        self, maps: np.ndarray, detail: np.ndarray, state: ChannelState, ratio: Fraction
    ) -> float:
        features = self._oranet.features.of(maps, detail, state, ratio)
        return float(self._oranet.predict(features))
