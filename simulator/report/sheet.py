"""``sheet.png``: what was sent beside what arrived, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from simulator.link.rows import Row
from simulator.runfolder import find_original, is_kept

MAX_IMAGES = 6
MAX_POINTS = 6
HEIGHT_PX = 256
MAX_WIDTH_PX = 4 * HEIGHT_PX
LINE_PX = 16  # of a label, which has two
CAPTION_PX = 2 * LINE_PX + 6
GAP_PX = 6


def point_of(row: Row) -> str:
    snr = "trace" if row["snr_db"] is None else f"{row['snr_db']:g} dB"
    return f"{row['cbr']} {row['channel']} {snr}"


def quality_of(row: Row, stage: str) -> str:
    """Short: it has to fit under a square tile."""
    text = ""
    if row[f"psnr_{stage}"] is not None:
        text += f": {row[f'psnr_{stage}']:.1f} dB"
    if row[f"lpips_{stage}"] is not None:
        text += f" LPIPS {row[f'lpips_{stage}']:.2f}"
    return text


def label_of(row: Row, stage: str) -> list[str]:
    """Two lines: what it is and how good, then when it came and as what it was seen."""
    after = row[f"time_to_{stage}_s"]
    second = [] if after is None else [f"after {after:.2f} s"]
    if stage == "refined" and row["caption"]:
        second.append(row["caption"])
    name = point_of(row) if stage == "preview" else "refined"
    return [name + quality_of(row, stage), ": ".join(second)]


def labelled(image: Image.Image, lines: Sequence[str]) -> Image.Image:
    """An image at the sheet's height, or a lower one that is very wide, over its label."""
    scale = min(HEIGHT_PX / image.height, MAX_WIDTH_PX / image.width)
    width, height = (max(1, round(side * scale)) for side in image.size)
    tile = Image.new("RGB", (width, HEIGHT_PX + CAPTION_PX), "white")
    tile.paste(image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS))
    font = ImageFont.load_default(12)
    draw = ImageDraw.Draw(tile)
    for index, text in enumerate(lines):
        draw.text((2, HEIGHT_PX + 3 + LINE_PX * index), text, fill="black", font=font)
    return tile


def line_of(folder: Path, rows: Sequence[Row]) -> list[Image.Image]:
    """The original, then at each operating point the preview and the refined image."""
    tiles = []
    original = find_original(folder, rows[0])
    if original is not None:
        with Image.open(original) as image:
            tiles.append(labelled(image, ["sent"]))
    for row in rows:
        for stage in ("preview", "refined"):
            if is_kept(folder, row, stage):
                with Image.open(folder / row[f"{stage}_file"]) as image:
                    tiles.append(labelled(image, label_of(row, stage)))
    return tiles


def write_sheet(folder: Path, rows: Sequence[Row]) -> Path | None:
    """One line an image; None where no image was kept."""
    lines: dict[str, list[Row]] = {}
    for row in rows:
        if row["repeat"] == 0 and is_kept(folder, row, "preview"):
            lines.setdefault(row["image"], []).append(row)
    tiles = [line_of(folder, group[:MAX_POINTS]) for group in list(lines.values())[:MAX_IMAGES]]
    if not tiles:
        return None
    width = max(sum(t.width + GAP_PX for t in line) for line in tiles)
    sheet = Image.new("RGB", (width, len(tiles) * (HEIGHT_PX + CAPTION_PX + GAP_PX)), "white")
    for index, line in enumerate(tiles):
        x = 0
        for tile in line:
            sheet.paste(tile, (x, index * (HEIGHT_PX + CAPTION_PX + GAP_PX)))
            x += tile.width + GAP_PX
    path = folder / "sheet.png"
    sheet.save(path)
    return path
