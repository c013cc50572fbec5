"""A thin edge map of an image, at a part of its size, in whole numbers: every machine draws alike.

    pixels -mean luminance of each cell-> Sobel -> the largest across an edge -> hysteresis

As Canny's detector (IEEE TPAMI 1986), on cells of some pixels in place of smoothed pixels. What is
an edge is decided by how many there may be, not by a contrast: an image of low contrast has a
sketch, too, and the number of bits is about known.
"""

from __future__ import annotations

import numpy as np

LUMINANCE = (77, 150, 29)  # of red, green and blue, of 256
LEAST = 16 * 256  # of the gradient: a step of four levels of 255; weaker ones are noise
STRONG = 2  # the larger half of the edges is strong; others count where they touch one
TANGENT = (29, 70)  # of 22.5 degrees, where a gradient counts as diagonal


def thin_edges(pixels: np.ndarray, cell: int, share: float) -> np.ndarray:
    """(H, W, 3) uint8 -> (ceil(H / cell), ceil(W / cell)) bool.

    ``share``: of the cells, the most that are edges.
    """
    grey = luminance(pixels, cell)
    across, down = sobel(grey)
    size = across**2 + down**2
    size[~largest_across(size, across, down) | (size < LEAST**2)] = 0
    return linked(size, int(share * size.size))


def luminance(pixels: np.ndarray, cell: int) -> np.ndarray:
    """The mean of each cell, (h, w) int64, of 0 to 255 * 256; the last rows and columns repeat."""
    height, width = pixels.shape[:2]
    pad = ((0, -height % cell), (0, -width % cell))
    red, green, blue = (pixels[..., i].astype(np.int64) for i in range(3))
    grey = LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue
    whole = np.pad(grey, pad, mode="edge")
    rows, columns = (side // cell for side in whole.shape)
    return whole.reshape(rows, cell, columns, cell).sum(axis=(1, 3)) // cell**2  # type: ignore[no-any-return]


def sobel(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradients across and down, four times as large as a step of the image."""
    g = np.pad(grey, 1, mode="edge")
    down = g[2:] - g[:-2]
    across = g[:, 2:] - g[:, :-2]
    return (
        across[:-2] + 2 * across[1:-1] + across[2:],
        down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:],
    )


def largest_across(size: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Where the gradient is larger than at both neighbours in its direction. Of two that are equal
    the first one counts, so that an edge is one cell wide."""
    x, y = np.abs(across) * TANGENT[0], np.abs(down) * TANGENT[0]
    flat, steep = np.abs(down) * TANGENT[1] < x, np.abs(across) * TANGENT[1] < y
    falling = (across > 0) == (down > 0)
    around = np.pad(size, 1)

    def peak(dy: int, dx: int) -> np.ndarray:
        """Against the neighbour in this direction, and its opposite."""
        after = around[1 + dy : around.shape[0] - 1 + dy, 1 + dx : around.shape[1] - 1 + dx]
        before = around[1 - dy : around.shape[0] - 1 - dy, 1 - dx : around.shape[1] - 1 - dx]
        both: np.ndarray = (size > before) & (size >= after)
        return both

    diagonal = np.where(falling, peak(1, 1), peak(1, -1))
    return np.where(flat, peak(0, 1), np.where(steep, peak(1, 0), diagonal))


def linked(size: np.ndarray, most: int) -> np.ndarray:
    """The ``most`` largest that hang together with a strong one; none where ``most`` is 0."""
    order = np.sort(size[size > 0])[::-1]
    if not most or not len(order):
        return np.zeros(size.shape, bool)
    weak = size >= max(order[min(most, len(order)) - 1], 1)
    found: np.ndarray = size >= order[min(most, len(order)) // STRONG]
    if np.count_nonzero(weak) > most:  # several are as small as the last one
        weak &= size > size[weak].min()
    found &= weak
    while True:
        wide = np.pad(found, 1)
        rows = wide[:-2] | wide[1:-1] | wide[2:]
        more: np.ndarray = weak & (rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:])
        if np.array_equal(more, found):
            return found
        found = more
