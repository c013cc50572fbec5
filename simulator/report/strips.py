"""Image strips: what was sent beside what each method made of it, as data inside the page.

    records -> a few images, a few operating points of each -> pictures as WebP

A picture is encoded once, however often it is shown. Metrics are of the files in the run
folder, not of these copies.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from PIL import Image

from simulator.errors import ImageError
from simulator.images import Pixels, load_image
from simulator.metrics.known import KNOWN
from simulator.report.markup import Child, Html, element
from simulator.report.records import Point, Record, point_text, spread

QUALITY = 90
MAX_SIDE_PX = 1280
POINTS = 6

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Strip:
    """One image: ``points`` holds the pictures of each operating point, method by method."""

    image: str
    original: Path | None
    points: list[tuple[Point, list[Record]]]


@dataclass(frozen=True)
class Choice:
    """What is shown; the rest is counted, so that the page can say so."""

    strips: list[Strip]
    images: int
    points: int  # the most that an image has


@dataclass
class Pictures:
    """Data URIs by path; None where a file cannot be shown."""

    known: dict[Path, tuple[str, int, int] | None] = field(default_factory=dict)

    def get(self, path: Path) -> tuple[str, int, int] | None:
        if path not in self.known:
            self.known[path] = encoded(path)
        return self.known[path]


def encoded(path: Path) -> tuple[str, int, int] | None:
    """(data URI, width, height) of an image file, at most ``MAX_SIDE_PX`` long."""
    try:
        data, width, height = webp(path, MAX_SIDE_PX)
    except ImageError:
        return None
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}", width, height


def webp(path: Path, side: int) -> tuple[bytes, int, int]:
    """A copy of an image file, at most ``side`` pixels long; width and height of the file itself.
    Raises ``ImageError``."""
    pixels = load_image(path).pixels
    return webp_of(pixels, side), pixels.shape[1], pixels.shape[0]


def webp_of(pixels: Pixels, side: int) -> bytes:
    """The same of pixels."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    data = BytesIO()
    picture.save(data, "WEBP", quality=QUALITY, method=2)
    return data.getvalue()


def choose(
    records: Sequence[Record], original: Callable[[str], Path | None], images: int
) -> Choice:
    """The first ``images`` images and up to ``POINTS`` of their operating points, evenly.

    Of repeats the first is shown. An image that a sweep and a run name alike, whatever their
    folders, is one image where only one has that name.
    """
    names = same_names(record.image for record in records)
    groups: dict[str, dict[Point, dict[str, Record]]] = {}
    for record in records:
        methods = groups.setdefault(names[record.image], {}).setdefault(record.point, {})
        known = methods.get(record.method)
        if known is None or record.repeat < known.repeat:
            methods[record.method] = record
    shown = {name: with_pictures(points) for name, points in groups.items()}
    shown = {name: points for name, points in shown.items() if points}
    strips = []
    for image, points in list(shown.items())[:images]:
        few = spread(list(points), POINTS)
        strips.append(Strip(image, original(image), [(p, list(points[p].values())) for p in few]))
    return Choice(strips, len(shown), max(map(len, shown.values()), default=0))


def with_pictures(points: dict[Point, dict[str, Record]]) -> dict[Point, dict[str, Record]]:
    """The operating points of which there is a picture."""
    return {
        point: methods
        for point, methods in points.items()
        if any(record.file for record in methods.values())
    }


def same_names(images: Iterable[str]) -> dict[str, str]:
    """For each image, the name that stands for it: a path, where just one ends in its stem."""
    images = list(dict.fromkeys(images))
    paths: dict[str, list[str]] = {}
    for image in images:
        if "/" in image:
            paths.setdefault(Path(image).stem, []).append(image)
    return {
        image: found[0] if "/" not in image and len(found) == 1 else image
        for image in images
        for found in [paths.get(Path(image).stem, [])]
    }


def strips_of(choice: Choice, pictures: Pictures, on_progress: OnProgress | None) -> Html:
    total = len(choice.strips)
    parts = []
    for index, strip in enumerate(choice.strips):
        parts.append(drawn(strip, f"image-{index}", pictures))
        if on_progress:
            on_progress(index + 1, total)
    return Html("".join(parts))


def drawn(strip: Strip, group: str, pictures: Pictures) -> Html:
    name = Path(strip.image).name
    lines = [
        element(
            "div",
            element("h4", point_text(point)),
            element("div", [tile(r, name, group, pictures) for r in records], class_="tiles"),
            class_="point",
        )
        for point, records in strip.points
    ]
    sent = figure(
        strip.original, "original", f"{name} as it was sent", [], group, pictures, "original"
    )
    return element(
        "section",
        element("h3", name),
        element("div", sent, class_="sent"),
        element("div", lines, class_="points"),
        class_="strip",
    )


def tile(record: Record, name: str, group: str, pictures: Pictures) -> Html:
    told = [
        f"{metric.label} {value:.{metric.digits}f} {metric.unit}".rstrip()
        for metric in KNOWN
        if (value := record.value(metric.key)) is not None
    ]
    if record.after_s is not None:
        told.append(f"after {record.after_s * 1e3:.0f} ms")
    lines: list[Child] = [[element("i", each) for each in told]] if told else []
    if record.outage:
        lines.insert(0, "outage: nothing arrived")
    if record.caption:
        lines.append(f"\N{LEFT DOUBLE QUOTATION MARK}{record.caption}"
                     "\N{RIGHT DOUBLE QUOTATION MARK}")  # fmt: skip
    where = point_text(record.point)
    alt = f"{name}, {record.label} at {where}" + (f": {record.caption}" if record.caption else "")
    label = f"{record.label}, {where}"
    return figure(record.file, record.label, alt, lines, group, pictures, label)


def figure(
    path: Path | None, head: str, alt: str, lines: Sequence[Child], group: str,
    pictures: Pictures, label: str,
) -> Html:  # fmt: skip
    """A picture that opens large, or a word where it is not here."""
    found = pictures.get(path) if path else None
    if found is None:
        text = "not in these folders" if path is None else "this file cannot be shown"
        shown = element("div", text, class_="absent")
    else:
        uri, width, height = found
        if max(width, height) > MAX_SIDE_PX:
            lines = [*lines, f"shown at {MAX_SIDE_PX} pixels, of {max(width, height)}"]
        picture = element("img", src=uri, alt=alt, width=width, height=height, decoding="sync")
        shown = element(
            "button", picture, type="button", class_="zoom", data_group=group, data_label=label,
            aria_label=f"Enlarge and compare: {alt}",
        )  # fmt: skip
    caption = [element("b", head), *(element("span", line) for line in lines)]
    return element("figure", shown, element("figcaption", caption))
