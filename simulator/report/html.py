"""``diffjscc report RUN...``: one HTML file that needs nothing else, and no network.

    folders -sources-> rows -records-> sections + strips + page.css + page.js -> report.html

The page's own policy (Content-Security-Policy) forbids it to load anything and to run any
script but the one named by its hash: what hostile text a run may hold stays text.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from simulator.link.rows import Row
from simulator.report import comparison, frames, sections, strips
from simulator.report.markup import Html, anchor, element, note, opening, section
from simulator.report.progress import progress
from simulator.report.records import Record, records_of
from simulator.report.sets import sets_of
from simulator.report.sources import Sources, merged, read_folder, read_sources
from simulator.version import __version__
from simulator.wholefile import whole

REPORT = "report.html"
IMAGES = 8
CLOSING_IMAGES = 4  # of the report that each run ends with: it is not to be waited for

log = logging.getLogger("report")


def write_report(
    folders: Sequence[Path],
    out: Path | None = None,
    images: int = IMAGES,
    on_progress: strips.OnProgress | None = None,
) -> Path:
    """Write the report, by default as ``report.html`` in the first folder; returns its path.

    ``images``: how many images are shown; all rows are in the tables whatever it is. Raises
    SettingsError for a folder that is not of a run or a sweep, and StorageError where one
    cannot be read or the file cannot be written.
    """
    return save(page(read_sources(folders), images, on_progress), out or folders[0] / REPORT)


def save(text: str, path: Path) -> Path:
    """Write the page. Raises ``StorageError``."""
    with whole(path) as temporary:
        # Names that are not UTF-8 are told as in results.csv.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path


def closing_report(folder: Path, rows: Sequence[Row] | None = None) -> Path | None:
    """The report that a run or a sweep ends with. One whose results are written is not failed
    by it: one warning, and None. ``rows``: those of a run, by one who has just written them."""
    try:
        found = read_folder(folder, rows)
        return save(page(merged([found]), CLOSING_IMAGES), folder / REPORT)
    except Exception as error:  # whatever it is, the run is whole without a report
        (folder / REPORT).unlink(missing_ok=True)  # one of an earlier state would be wrong
        reason = str(error).rstrip(".") or type(error).__name__
        log.warning("%s was not made (%s); the results are complete.", REPORT, reason)
        return None


def page(
    sources: Sources,
    images: int = IMAGES,
    on_progress: strips.OnProgress | None = None,
    live: str = "",
    shown: strips.Pictures | None = None,
) -> str:
    """The whole file. ``live``: the version of a page that asks its server for newer ones.
    ``shown``: pictures that were encoded before."""
    records = records_of(sources)
    shown = shown or strips.Pictures()
    rows, sets, declared = sources.rows, sets_of(sources.folders), sources.metrics
    results, data = sections.results(sources)
    parts = {
        "Progress": progress(sources) if live else None,
        "Images": pictures(sources, records, images, shown, on_progress),
        "Operating points": comparison.points_table(records, sets, declared) if records else None,
        "Curves": comparison.curves(records, sets, declared) if records else None,
        "Latency": frames.waterfall(rows) if rows else None,
        "Constellation": frames.constellations(sources) if rows else None,
        "Failures": sections.failures(sources, records),
        "Results": results,
        "Settings": sections.provenance(sources),
    }
    made = {head: part for head, part in parts.items() if part}
    told = (
        f"Made by diffjscc {__version__}. Pictures are copies (WebP, quality {strips.QUALITY}); "
        "metrics are of the images in the folders."
    )
    body = [
        header(sources, records, list(made)),
        element("main", sections.headline(sources, records), made.values()),
        element("footer", told),
        *data,
    ]
    return document(title_of(sources), body, live)


def title_of(sources: Sources) -> str:
    names = [str(f.tree.get("run") or f.path.resolve().name) for f in sources.folders]
    return ", ".join(dict.fromkeys(names))


def header(sources: Sources, records: Sequence[Record], heads: Sequence[str]) -> Html:
    rows = (*sources.rows, *sources.sweep)
    images = set(strips.same_names([row["image"] or "" for row in rows]).values())
    told = [f"{len(images)} {'image' if len(images) == 1 else 'images'}"] if images else []
    told += sorted({record.point[0] for record in records})
    told += [f"{len(sources.folders)} folders"] if len(sources.folders) > 1 else []
    told += ["not finished"] if any(not folder.finished for folder in sources.folders) else []
    links = [element("a", head, href=f"#{anchor(head)}") for head in heads]
    return element(
        "header",
        element("p", "DiffJSCC report", class_="kind"),
        element("h1", title_of(sources)),
        element("p", ", ".join(told) or "nothing was sent yet"),
        element("nav", links, aria_label="Sections"),
    )


def pictures(
    sources: Sources,
    records: Sequence[Record],
    images: int,
    shown: strips.Pictures,
    on_progress: strips.OnProgress | None,
) -> Html:
    """The strips, and what is not among them."""
    rows = {row["image"]: row for row in sources.rows}

    def original(image: str) -> Path | None:
        return sources.original(rows[image]) if image in rows else sources.sent_in_sweep(image)

    choice = strips.choose(records, original, images)
    if not choice.images:
        return section("Images", note(why_no_picture(sources)))
    told = f"{len(choice.strips)} of {choice.images} images"
    if choice.points > strips.POINTS:
        told += f", and {strips.POINTS} of {choice.points} operating points of each,"
    told += " are shown. Click one to enlarge it and to compare it with the others."
    if len(choice.strips) < choice.images:
        told += f" diffjscc report --images {choice.images} shows all."
    return section("Images", note(told), strips.strips_of(choice, shown, on_progress))


def why_no_picture(sources: Sources) -> str:
    """Where the pictures are, as far as the rows say it."""
    names = [row[key] for row in sources.rows for key in ("preview_file", "refined_file")]
    named = sum(bool(name) for name in [*names, *(row["file"] for row in sources.sweep)])
    if named:
        return (
            f"The rows name {named} pictures of what arrived, and none of them is in these "
            "folders: name those of the receivers, too."
        )
    if any(row["status"] == "delivered" for row in sources.rows):
        return "No picture of what arrived was saved: the receiver had save_images off."
    if sources.sweep:
        return "No picture of what arrived was saved: the sweep kept none (pictures = 0)."
    return "Nothing has arrived yet, so there is no picture."


def document(title: str, body: Sequence[Html], live: str) -> str:
    """Head, style, body and script, under a policy that allows exactly these."""
    style, script = asset("page.css"), asset("page.js") + (asset("live.js") if live else "")
    policy = (
        f"default-src 'none'; img-src data:; style-src {hashed(style)}; "
        f"script-src {hashed(script)}; base-uri 'none'; form-action 'none'"
        + ("; connect-src 'self'" if live else "")
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{title} - DiffJSCC"),
        element("link", rel="icon", href="data:,"),
        element("style", Html(style)),
    )
    pieces = [
        "<!doctype html>\n",
        opening("html", lang="en", data_version=live or None),
        head,
        "<body>",
        *body,
        element("script", Html(script)),
        "</body></html>\n",
    ]
    return "".join(pieces)


def asset(name: str) -> str:
    return resources.files("simulator.report").joinpath("page", name).read_text("utf-8")


def hashed(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
