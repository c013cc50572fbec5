"""``sheet.png``: what was sent beside what arrived, to be looked at."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from simulator.link.rows import Row
from simulator.runfolder import find_original, is_kept

MAX_IMAGES = 6
MAX_POINTS = 6
HEIGHT_PX = 256
MAX_WIDTH_PX = 4 * HEIGHT_PX
MIN_WIDTH_PX = 128  # of a tile, for its label
LINE_PX = 16  # of a label
MAX_LINES = 6  # of a text in it
GAP_PX = 6


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def point_of(row: Row) -> str:
    snr = "trace" if row["snr_db"] is None else f"{row['snr_db']:g} dB"
    return f"{row['cbr']} {row['channel']} {snr}"


def quality_of(row: Row, stage: str) -> str:
    """Short: it has to fit under a square tile."""
    text = ""
    if row[f"psnr_{stage}"] is not None:
        text += f": {row[f'psnr_{stage}']:.1f} dB"
    if row[f"lpips_{stage}"] is not None:
        text += f", LPIPS {row[f'lpips_{stage}']:.2f}"
    return text


def label_of(row: Row, stage: str) -> list[str]:
    """Two texts: what it is and how good, then when it came and as what it was seen."""
    after = row[f"time_to_{stage}_s"]
    second = [] if after is None else [f"after {after:.2f} s"]
    if stage == "refined" and row["caption"]:
        second.append(row["caption"])
    name = point_of(row) if stage == "preview" else "refined"
    return [name + quality_of(row, stage), ": ".join(second)]


def fitting(text: str, width_px: float, font: Font) -> int:
    """How many characters of the beginning of ``text`` are at most so wide."""
    return bisect_right(range(1, len(text) + 1), width_px, key=lambda n: font.getlength(text[:n]))


def wrapped(text: str, width_px: int, font: Font) -> list[str]:
    """Lines that fit, at most ``MAX_LINES``; what is left out then is shown by dots."""
    lines: list[str] = []
    rest = text
    while rest and len(lines) <= MAX_LINES:
        count = max(1, fitting(rest, width_px, font))
        if count < len(rest) and " " in rest[: count + 1]:
            count = rest.rindex(" ", 0, count + 1)
        line, rest = rest[:count], rest[count:].lstrip()
        lines.append(line)
    if len(lines) > MAX_LINES:
        lines = lines[:MAX_LINES]
        dots = font.getlength("...")
        lines[-1] = lines[-1][: fitting(lines[-1], width_px - dots, font)] + "..."
    return lines


def labelled(image: Image.Image, texts: Sequence[str]) -> Image.Image:
    """An image at the sheet's height, or a lower one that is very wide, over its label."""
    scale = min(HEIGHT_PX / image.height, MAX_WIDTH_PX / image.width)
    width, height = (max(1, round(side * scale)) for side in image.size)
    font = ImageFont.load_default(12)
    wide = max(width, MIN_WIDTH_PX)
    lines = [line for text in texts for line in wrapped(text, wide - 4, font)]
    tile = Image.new("RGB", (wide, HEIGHT_PX + LINE_PX * len(lines) + 6), "white")
    tile.paste(image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS))
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
    heights = [max(t.height for t in line) + GAP_PX for line in tiles]
    sheet = Image.new("RGB", (width, sum(heights)), "white")
    y = 0
    for line, height in zip(tiles, heights, strict=True):
        x = 0
        for tile in line:
            sheet.paste(tile, (x, y))
            x += tile.width + GAP_PX
        y += height
    path = folder / "sheet.png"
    sheet.save(path)
    return path
