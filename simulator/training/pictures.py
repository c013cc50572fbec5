"""Pictures of what a training does now, to be looked at while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from simulator.tensors import as_pixels
from simulator.wholefile import whole

HEIGHT_PX = 192
GAP_PX = 4


def write_picture(lines: Sequence[Sequence[Tensor]], path: Path) -> None:
    """Lines of (3, H, W) images in [0, 1], scaled to one height, as JPEG."""
    rows = []
    for line in lines:
        tiles = []
        for tensor in line:
            image = Image.fromarray(as_pixels(tensor))
            width = max(1, round(image.width * HEIGHT_PX / image.height))
            tiles.append(image.resize((width, HEIGHT_PX), Image.Resampling.LANCZOS))
        rows.append(tiles)
    width = max(sum(t.width + GAP_PX for t in tiles) for tiles in rows)
    sheet = Image.new("RGB", (width, len(rows) * (HEIGHT_PX + GAP_PX)), "white")
    for index, tiles in enumerate(rows):
        x = 0
        for tile in tiles:
            sheet.paste(tile, (x, index * (HEIGHT_PX + GAP_PX)))
            x += tile.width + GAP_PX
    with whole(path) as temporary:
        sheet.save(temporary, "JPEG", quality=92)
