"""Pictures that are drawn, for what photographs do not teach: flat colours, gradients, text,
diagrams and screenshots. A pure function of their number; the fonts are matplotlib's, where it
is installed, else Pillow's own.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TEXT = """
the of and to in a is that for it as was with be by on not he his but at are this have from
or had an they which one you were all her she there would their we him been has when who
channel signal noise power image symbol receiver 0 1 2 10 42 1024 2026 3.14 50% (a) [3] = +
"""
WORDS = TEXT.split()
Colour = tuple[int, int, int]


@lru_cache(maxsize=1)
def font_files() -> tuple[Path, ...]:
    """The TrueType fonts that matplotlib carries; it is not imported."""
    spec = importlib.util.find_spec("matplotlib")
    roots = spec.submodule_search_locations if spec else None
    files = [f for root in roots or () for f in Path(root).glob("mpl-data/fonts/ttf/DejaVu*.ttf")]
    return tuple(sorted(f for f in files if "Display" not in f.name))


def font_of(rng: np.random.Generator, size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    files = font_files()
    if not files:
        return ImageFont.load_default(size_px)
    return ImageFont.truetype(str(files[int(rng.integers(len(files)))]), size_px)


def colour_of(rng: np.random.Generator) -> Colour:
    """Often black, white or grey, as in what people draw."""
    kind = rng.random()
    if kind < 0.5:
        level = int(rng.choice([0, 255, int(rng.integers(256))]))
        return (level, level, level)
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return (red, green, blue)


def flat(rng: np.random.Generator, side: int) -> Image.Image:
    return Image.new("RGB", (side, side), colour_of(rng))


def gradient(rng: np.random.Generator, side: int) -> Image.Image:
    """From one colour to another in any direction, or from the middle."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * x + np.sin(angle) * y
    if rng.random() < 0.3:
        along = np.hypot(x, y)
    along = (along - along.min()) / (along.max() - along.min())
    first, last = np.array(colour_of(rng)), np.array(colour_of(rng))
    return Image.fromarray((first + (last - first) * along[..., None]).round().astype(np.uint8))


def page(rng: np.random.Generator, side: int) -> Image.Image:
    """A page of text."""
    paper, ink = ((255,) * 3, (0,) * 3) if rng.random() < 0.6 else (colour_of(rng), colour_of(rng))
    image = Image.new("RGB", (side, side), paper)
    write(ImageDraw.Draw(image), rng, (8, 4, side - 8, side - 4), ink)
    return image


def write(
    draw: ImageDraw.ImageDraw,
    rng: np.random.Generator,
    box: tuple[int, int, int, int],
    ink: Colour,
    largest_px: int = 40,
) -> None:
    """Lines of words that fill ``box`` (left, top, right, bottom)."""
    left, top, right, bottom = box
    while top < bottom - 8:
        size = int(np.exp(rng.uniform(np.log(8), np.log(largest_px))))
        font = font_of(rng, size)
        for _ in range(int(rng.integers(1, 8))):
            if top + size > bottom:
                break
            line = " ".join(rng.choice(WORDS, max(1, int((right - left) / (3.2 * size)))))
            draw.text((left, top), line, fill=ink, font=font)
            top += round(size * 1.25)
        top += size // 2


def diagram(rng: np.random.Generator, side: int) -> Image.Image:
    """Boxes, discs and lines, some with a word."""
    image = Image.new("RGB", (side, side), (255,) * 3 if rng.random() < 0.6 else colour_of(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(4, 24))):
        a, b = rng.integers(-20, side + 20, (2, 2))
        (x0, y0), (x1, y1) = np.minimum(a, b).tolist(), np.maximum(a, b).tolist()
        width = int(rng.integers(1, 7))
        kind = rng.integers(5)
        if kind == 0:
            draw.rectangle((x0, y0, x1, y1), fill=colour_of(rng), outline=colour_of(rng))
        elif kind == 1:
            draw.rectangle((x0, y0, x1, y1), outline=colour_of(rng), width=width)
        elif kind == 2:
            draw.ellipse((x0, y0, x1, y1), fill=colour_of(rng))
        elif kind == 3:
            draw.line((*a.tolist(), *b.tolist()), fill=colour_of(rng), width=width)
        else:
            font = font_of(rng, int(rng.integers(10, 36)))
            draw.text((x0, y0), str(rng.choice(WORDS)), fill=colour_of(rng), font=font)
    return image


def screenshot(rng: np.random.Generator, side: int) -> Image.Image:
    """A bar, a column and windows of text."""
    image = Image.new("RGB", (side, side), colour_of(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 4))):
        x, y = (int(value) for value in rng.integers(-side // 10, side * 3 // 4, 2))
        w, h = (int(value) for value in rng.integers(side // 3, side, 2))
        dark = rng.random() < 0.4
        draw.rectangle((x, y, x + w, y + h), fill=(30,) * 3 if dark else (250,) * 3)
        draw.rectangle((x, y, x + w, y + 18), fill=colour_of(rng))
        ink = (220,) * 3 if dark else (20,) * 3
        write(draw, rng, (x + 6, y + 22, x + w - 6, min(side, y + h) - 4), ink, 18)
    return image


KINDS: tuple[Callable[[np.random.Generator, int], Image.Image], ...] = (
    flat,
    gradient,
    page,
    page,
    diagram,
    screenshot,
)


def draw_picture(number: int, side: int) -> np.ndarray:
    """The picture of this number, (side, side, 3) uint8."""
    rng = np.random.default_rng([0xD4A3, number])
    return np.asarray(KINDS[number % len(KINDS)](rng, side)).copy()
