"""The Frechet distance between the features of original and of received patches.

    FD = |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))

Dowson, Landau, "The Frechet distance between multivariate normal distributions", 1982,
equation (4); Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", NIPS 2017, equation
(6). With the features of the 2015 Inception network it is FID. With those of EfficientNet-Lite0
it is called FD-EffNet: no FID, and not to be compared with one.

With C = F^T F, tr (C1 C2)^(1/2) is the sum of the singular values of F1 F2^T. No square root of
a matrix is taken, so covariances may be of any rank: fewer patches than dimensions (1280 or
2048) are exact, too. But an estimate from few patches is biased upwards, and the
more so the fewer there are: compare only values over the same images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulator.metrics.effnet import EffNet, load_effnet

PATCH_PX = 256
STRIDE_PX = 128
_TOGETHER = 32

Array = NDArray[np.float64]


class FeatureNetwork(Protocol):
    """What a distance is taken by: ``EffNet`` or ``Inception``. ``name`` tells them apart."""

    name: str

    def features(self, images: Tensor) -> Tensor:
        """(B, D) features, without gradients, of (B, 3, H, W) images in [0, 1]."""
        ...


def starts(side_px: int) -> list[int]:
    """Where the patches along a side begin: 0, 128, ... and always one that ends at the edge."""
    last = max(0, side_px - PATCH_PX)
    return [*range(0, last, STRIDE_PX), last]


def patches(image: Tensor) -> list[Tensor]:
    """Half-overlapping 256 x 256 patches of a (3, H, W) image, row by row; views, no copies.

    Where the stride leaves a strip at the end, the last patch is moved back to the edge, so that
    every pixel is seen. A side shorter than 256 is taken whole: the network takes any size, and
    nothing is scaled or made up.
    """
    _, height, width = image.shape
    return [
        image[:, top : top + PATCH_PX, left : left + PATCH_PX]
        for top in starts(height)
        for left in starts(width)
    ]


def patch_features(network: FeatureNetwork, image: Tensor) -> Array:
    """(N, D) pooled features of the N patches of one (3, H, W) image in [0, 1]."""
    parts = patches(image)
    groups = [parts[i : i + _TOGETHER] for i in range(0, len(parts), _TOGETHER)]
    features = [network.features(torch.stack(group)).cpu() for group in groups]
    return torch.cat(features).numpy().astype(np.float64)


def frechet_distance(mean_1: Array, cov_1: Array, mean_2: Array, cov_2: Array) -> float:
    """Between two normal distributions: means (D,), covariances (D, D), symmetric, of any rank.

    Eigenvalues that are negative or within rounding of 0 are taken for 0.
    """
    return _distance(mean_1, _root(cov_1), mean_2, _root(cov_2))


def frechet_of_features(features_1: Array, features_2: Array) -> float:
    """Between the normal distributions that two sets of features, (N, D) and (M, D), suggest.

    Covariances are over N - 1, that of a single row is 0. Equal to ``frechet_distance`` of mean
    and covariance, and more accurate, because features are not squared. Raises ValueError for
    an empty set.
    """
    if not len(features_1) or not len(features_2):
        raise ValueError("no features to compare")
    mean_1, mean_2 = features_1.mean(axis=0), features_2.mean(axis=0)
    return _distance(mean_1, _factor(features_1), mean_2, _factor(features_2))


def _distance(mean_1: Array, factor_1: Array, mean_2: Array, factor_2: Array) -> float:
    cross = np.linalg.svd(factor_1 @ factor_2.T, compute_uv=False).sum()
    means = np.square(mean_1 - mean_2).sum()
    traces = np.square(factor_1).sum() + np.square(factor_2).sum()
    return max(0.0, float(means + traces - 2 * cross))


def _root(covariance: Array) -> Array:
    """F with F^T F = C."""
    values, vectors = np.linalg.eigh(covariance)
    rounding = len(values) * np.finfo(np.float64).eps * values.max(initial=0)
    root: Array = np.sqrt(np.where(values > rounding, values, 0))[:, None] * vectors.T
    return root


def _factor(features: Array) -> Array:
    """F with F^T F the covariance, of at most D rows."""
    centred = (features - features.mean(axis=0)) / np.sqrt(max(1, len(features) - 1))
    rows, columns = centred.shape
    # The mode "r" gives the matrix alone, which numpy's annotations do not say.
    return centred if rows <= columns else np.asarray(np.linalg.qr(centred, mode="r"))


class FrechetOfImages:
    """The distance of two sets of images, however often each image counts: for a bootstrap.

    ``originals`` and ``results``: for each image the (N, D) and (M, D) features of its patches.
    An image counts on both sides alike. All that is needed of the features is kept as a matrix
    of products, originals by results, so that a resample costs no product of features.
    """

    def __init__(self, originals: Sequence[Array], results: Sequence[Array]) -> None:
        self._lengths = ([len(f) for f in originals], [len(f) for f in results])
        x, y = np.concatenate(originals), np.concatenate(results)
        centre = x.mean(axis=0)
        self._x, self._y = x - centre, y - centre
        self._products = self._x @ self._y.T
        self._squares = (np.square(self._x).sum(axis=1), np.square(self._y).sum(axis=1))

    @property
    def rows(self) -> int:
        """Patches on the side that has fewer."""
        return min(len(self._x), len(self._y))

    def __call__(self, counts: NDArray[np.int64]) -> float:
        """The distance where image i counts ``counts[i]`` times."""
        wx, wy = (np.repeat(counts, n).astype(np.float64) for n in self._lengths)
        n, m = wx.sum(), wy.sum()
        mean_x, mean_y = wx @ self._x / n, wy @ self._y / m
        scale_x, scale_y = max(1, n - 1), max(1, m - 1)
        traces = (wx @ self._squares[0] - n * mean_x @ mean_x) / scale_x
        traces += (wy @ self._squares[1] - m * mean_y @ mean_y) / scale_y
        # Of centred features, from those of the matrix: (x - mx) (y - my)^T.
        crossed = self._products - (self._x @ mean_y)[:, None] - self._y @ mean_x + mean_x @ mean_y
        crossed *= np.sqrt(wx / scale_x)[:, None] * np.sqrt(wy / scale_y)
        crossed = crossed[wx > 0][:, wy > 0]
        if crossed.shape[0] > crossed.shape[1]:
            crossed = crossed.T
        # Singular values by the smaller square: to 1e-8 of the largest, far below the spread.
        cross = np.sqrt(np.linalg.eigvalsh(crossed @ crossed.T).clip(0)).sum()
        return max(0.0, float(np.square(mean_x - mean_y).sum() + traces - 2 * cross))


class FdEffnet:
    """FD-EffNet of a set of results against a set of originals, batch by batch.

        metric = FdEffnet()
        for originals, results in batches:
            metric.add(originals, results)
        metric.value()

    Raises ModelError where the network cannot be had.
    """

    def __init__(self, device: torch.device | str = "cpu", network: EffNet | None = None) -> None:
        self.device = torch.device(device)
        self._network = network or load_effnet(device)
        self._originals: list[Array] = []
        self._results: list[Array] = []

    def add(self, originals: Tensor | Sequence[Tensor], results: Tensor | Sequence[Tensor]) -> None:
        """Some (3, H, W) images in [0, 1], of any sizes. The two sets need not be equally long."""
        self._originals += [self._seen(image) for image in originals]
        self._results += [self._seen(image) for image in results]

    def value(self) -> float:
        """The distance over all that was added. Raises ValueError where a set is empty."""
        if not self._originals or not self._results:
            raise ValueError("FD-EffNet needs originals and results")
        return frechet_of_features(np.concatenate(self._originals), np.concatenate(self._results))

    def _seen(self, image: Tensor) -> Array:
        return patch_features(self._network, image.to(self.device, torch.float32))
