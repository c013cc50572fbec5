"""HTML that escapes by construction: text becomes markup through ``element`` alone.

    element("td", "a < b", class_="name")  ->  <td class="name">a &lt; b</td>

Captions, reasons and names come from runs, and so from anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from itertools import chain
from typing import Any

VOID = {"br", "img", "input", "link", "meta"}


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


Child = str | None | Iterable["Child"]


def markup(child: Child) -> Html:
    """Escaped, unless it is ``Html``; of an iterable, its parts one after another."""
    if child is None:
        return Html("")
    if isinstance(child, Html):
        return child
    if isinstance(child, str):
        return Html(escape(child))
    return Html("".join(map(markup, child)))


def opening(tag: str, /, **attributes: str | float | bool | None) -> Html:
    """The start of an element. ``class_`` is class, ``data_x`` is data-x; None and False are left
    out."""
    words = [tag]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        words.append(key if value is True else f'{key}="{escape(attribute(value))}"')
    return Html(f"<{' '.join(words)}>")


def element(tag: str, /, *children: Child, **attributes: str | float | bool | None) -> Html:
    """One element, whose attributes are as ``opening`` has them."""
    start = opening(tag, **attributes)
    return start if tag in VOID else Html(f"{start}{markup(children)}</{tag}>")


def attribute(value: str | float) -> str:
    """Coordinates with two decimals: figures are small, and there are many of them."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def compact_json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def json_block(name: str, parts: Iterable[str]) -> Html:
    """JSON for the page's script, in parts; nothing in it can end the block."""
    start = f'<script type="application/json" id="{escape(name)}">'
    return Html("".join(chain([start], map(harmless, parts), ["</script>"])))


def harmless(text: str) -> str:
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def anchor(head: str) -> str:
    return head.lower().replace(" ", "-")


def section(head: str, *body: Child) -> Html:
    return element("section", element("h2", head), *body, id=anchor(head))


def note(text: str) -> Html:
    return element("p", text, class_="note")


def table(heads: Iterable[str], rows: Iterable[Child], name: str = "", **attributes: str) -> Html:
    """A table that scrolls within the page; ``name`` makes it a region that Tab reaches."""
    head = element("tr", [element("th", each, scope="col") for each in heads])
    body = element("table", element("thead", head), element("tbody", rows), **attributes)
    region = {"tabindex": "0", "role": "region", "aria_label": name} if name else {}
    return element("div", body, class_="scroll", **region)


def cells(texts: Iterable[Child]) -> Html:
    return element("tr", [element("td", text) for text in texts])
