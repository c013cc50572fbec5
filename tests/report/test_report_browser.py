"""The report in a real browser: sorting, filtering, comparing, phones, keyboards, hostile text.

    pip install -e ".[browser]" && apt-get install chromium
    pytest -m browser

Skipped, with the reason, where either is missing.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_world import HOSTILE, delivered, grey, made, sweep_folder

from simulator.report.html import write_report

pytestmark = pytest.mark.browser

RATIOS = ("1/384", "1/96", "1/768", "1/48")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 240 rows with pictures of two images, failures and hostile text."""
    folder = tmp_path_factory.mktemp("browser") / "run"
    rows = [
        delivered(
            i, image=f"in/photo{i % 2}.png", cbr=RATIOS[i % 4], snr_db=float(i % 3),
            psnr_preview=None if i % 50 == 7 else round(20 + (i * 37 % 101) / 10, 6),
            caption=HOSTILE if i == 3 else f"words {i}", psnr_refined=19.5,
            preview_file=f"images/{i % 2}.png", refined_file="images/refined.png",
        )
        if i % 20 else delivered(i, status="refused", reason=HOSTILE, psnr_preview=None)
        for i in range(240)
    ]  # fmt: skip
    made(folder, rows)
    for i in range(2):
        grey(folder / "images" / f"{i}.png", 60 + 90 * i, (200, 300))
        grey(folder / "images" / "original" / f"photo{i}-00000000.png", 30, (200, 300))
    grey(folder / "images" / "refined.png", 220, (200, 300))
    return write_report([folder])


@pytest.fixture
def page(chromium: Any, report: Path) -> Iterator[Any]:
    """The page, opened from disk; nothing it does may be an error, a request or an alert."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    opened, trouble = context.new_page(), []
    opened.on("console", lambda message: trouble.append(message.text))
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
    opened.on("request", lambda request: request.url.startswith("data:")
              or request.url == report.as_uri() or trouble.append(request.url))  # fmt: skip
    opened.goto(report.as_uri())
    yield opened
    context.close()
    assert trouble == []


def rows_of(report: Path) -> list[dict[str, Any]]:
    lines = (report.parent / "results.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def column(page: Any, head: str) -> list[str]:
    """The texts of a column of the results, top to bottom."""
    heads = page.locator(".results thead th").all_inner_texts()
    index = [text.strip() for text in heads].index(head) + 1
    return page.locator(f".results tbody td:nth-child({index})").all_inner_texts()


def choose(page: Any, name: str, label: str) -> None:
    page.locator(".filters label", has_text=name).locator("select").select_option(label=label)


def show_all(page: Any) -> None:
    page.get_by_role("button", name="Show more").click()


def test_heads_sort_what_results_jsonl_holds(page: Any, report: Path) -> None:
    values = [row["psnr_preview"] for row in rows_of(report)]
    known = sorted(value for value in values if value is not None)
    lost = ["-"] * values.count(None)
    head = page.get_by_role("button", name="PSNR preview")
    assert len(column(page, "image")) == 200
    show_all(page)
    head.click()
    assert column(page, "PSNR preview") == [f"{value:.2f}" for value in known] + lost
    assert page.locator("th[aria-sort=ascending]").inner_text().strip() == "PSNR preview"
    head.press("Enter")
    assert column(page, "PSNR preview") == [f"{value:.2f}" for value in known[::-1]] + lost
    assert page.locator("th[aria-sort=descending]").count() == 1


def test_every_stage_of_the_latency_is_seen(page: Any) -> None:
    """Long tables scroll within themselves; this one is a figure."""
    assert page.evaluate(
        "(({scrollHeight, clientHeight}) => scrollHeight <= clientHeight)"
        "(document.querySelector('#latency .scroll'))"
    )


def test_ratios_are_sorted_as_numbers(page: Any) -> None:
    show_all(page)
    page.get_by_role("button", name="CBR").click()
    assert list(dict.fromkeys(column(page, "CBR"))) == ["1/768", "1/384", "1/96", "1/48"]


def test_filters_and_search_leave_what_they_say(page: Any, report: Path) -> None:
    rows = rows_of(report)
    choose(page, "status", "refused")
    assert column(page, "status") == ["refused"] * 12
    choose(page, "status", "all")
    choose(page, "CBR", "1/48")
    choose(page, "SNR dB", "2")
    wanted = [row for row in rows if row["cbr"] == "1/48" and row["snr_db"] == 2.0]
    assert column(page, "caption") == [row["caption"] for row in wanted]
    page.get_by_label("image or caption").fill(wanted[0]["caption"].upper())
    assert wanted[0]["caption"] in column(page, "caption")
    page.get_by_label("image or caption").fill("nothing like it")
    assert column(page, "image") == []
    assert page.get_by_role("status").inner_text() == "0 of 240 rows of runs"


def test_hostile_text_is_shown_as_it_is(page: Any) -> None:
    page.get_by_label("image or caption").fill("evil.example")
    assert column(page, "caption") == [HOSTILE]
    assert page.locator("#failures td", has_text="onerror").count() == 12
    assert page.evaluate("document.scripts.length") == 2  # the data, and the page's own


def test_two_pictures_under_one_magnifier(page: Any) -> None:
    button = page.locator(".zoom").nth(2)
    button.click()
    dialog, layers = page.locator("dialog[open]"), page.locator("dialog .layer img")
    assert dialog.count() == 1

    def style(name: str) -> list[str]:
        return layers.evaluate_all(f"all => all.map(each => getComputedStyle(each).{name})")

    before = style("transform")
    page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    after = style("transform")
    assert before[0] == before[1] and after[0] == after[1] != before[0]
    box = page.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 300)
    page.mouse.wheel(0, -200)
    page.mouse.down()
    page.mouse.move(box["x"] + 350, box["y"] + 320)
    page.mouse.up()
    moved = style("transform")
    assert moved[0] == moved[1] != after[0]
    page.get_by_role("slider").fill("20")
    assert page.evaluate("document.querySelectorAll('.layer')[1].style.clipPath") == (
        "inset(0px 80% 0px 0px)"
    )
    lower, upper = layers.evaluate_all("all => all.map(each => each.alt)")
    assert upper == "photo1.png as it was sent" and "refined" in lower
    page.get_by_role("combobox", name="right").select_option(index=1)
    assert "preview" in layers.first.get_attribute("alt")
    page.keyboard.press("Escape")
    assert dialog.count() == 0
    assert page.evaluate("document.activeElement.classList.contains('zoom')")


@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_narrow_page_does_not_scroll_sideways(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.locator(".zoom").first.click()
    for button in page.locator("dialog button").all():
        box = button.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width


OVERFLOWING = """
[...document.querySelectorAll('header *, main *')]
  .filter((node) => node.clientWidth > 0 && !node.closest('.scroll, pre, svg'))
  .filter((node) => node.scrollWidth > node.clientWidth + 1)
  .map((node) => `${node.tagName}.${node.className}: ${node.textContent.slice(0, 60)}`)
"""


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_long_names_stay_in_their_boxes(chromium: Any, tmp_path: Path, width: int) -> None:
    """Of methods, images and captions: cards, tiles, legends and filters hold them."""
    name = "diffjscc:guidance_scale=100,conditions=spatial+snr+caption,steps=50"
    sweep = sweep_folder(tmp_path / "sweep", label=name, image=f"{name}.png")
    run = made(tmp_path / "run", [
        delivered(0, image=f"in/{name}.png", caption=name, preview_file="images/a.png"),
        delivered(1, status="refused", reason=name, psnr_preview=None),
    ])  # fmt: skip
    grey(run / "images" / "a.png")
    page = chromium.new_page(viewport={"width": width, "height": 900})
    page.goto(write_report([run, sweep]).as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    assert page.evaluate(OVERFLOWING) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.close()


CONTRAST = """
([ink, ground]) => {
  const style = getComputedStyle(document.documentElement);
  const canvas = document.createElement('canvas');
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const light = (name) => {
    context.fillStyle = style.getPropertyValue(name);
    context.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map((v) =>
      v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [a, b] = [light(ink), light(ground)];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough_by_day_and_by_night(page: Any, scheme: str) -> None:
    """WCAG 2.2: 4.5 for text (1.4.3), 3 for what a figure is read by (1.4.11)."""
    page.emulate_media(color_scheme=scheme)
    for ground in ("--ground", "--raised"):
        for ink in ("--ink", "--soft", "--accent", "--bad"):
            assert page.evaluate(CONTRAST, [ink, ground]) >= 4.5, (ink, ground)
        for ink in (f"--s{i}" for i in range(6)):
            assert page.evaluate(CONTRAST, [ink, ground]) >= 3, (ink, ground)


def test_the_night_is_dark(page: Any) -> None:
    def ground() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    page.emulate_media(color_scheme="light")
    assert ground() == "rgb(251, 251, 250)"
    page.emulate_media(color_scheme="dark")
    assert ground() == "rgb(20, 23, 27)"


def test_everything_is_reached_by_keyboard(page: Any) -> None:
    """From the top, Tab comes to each picture, filter and head in the order of the page."""
    wanted = page.evaluate(
        "document.querySelectorAll('a, .zoom, select, input, thead button, summary').length"
        " - document.querySelectorAll('dialog select, dialog input').length"
    )
    seen = set()
    for _ in range(3 * wanted):
        page.keyboard.press("Tab")
        seen.add(page.evaluate(
            "[...document.querySelectorAll('a, .zoom, select, input, thead button, summary')]"
            ".indexOf(document.activeElement)"
        ))  # fmt: skip
        if len(seen - {-1}) == wanted:
            break
    assert len(seen - {-1}) == wanted
