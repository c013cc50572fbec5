"""The live page in a real browser: it follows, stays, steps and compares; phones, keyboards,
hostile text. Skipped where there is no browser, as the tests of the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace as replace_struct
from report_world import HOSTILE, delivered, grey
from watch_world import begun, serving_it, store, watching

from simulator.denoising import About, path_of, write
from simulator.watch.source import Frame, State

pytestmark = pytest.mark.browser


def frame(folder: Path, i: int, **values: Any) -> dict[str, Any]:
    """With its three pictures."""
    for name, level in (("p", 60), ("r", 200)):
        grey(folder / "images" / f"{name}{i}.png", level + i, (160, 240))
    grey(folder / "images" / "original" / f"photo{i}-00000000.png", 30, (160, 240))
    files = {"preview_file": f"images/p{i}.png", "refined_file": f"images/r{i}.png"}
    sizes = {"height": 160, "width": 240, "psnr_refined": 19.0 + i, "h_abs2": 0.5 + i}
    return delivered(i, **(files | sizes | values))


@pytest.fixture
def world(chromium: Any, tmp_path: Path) -> Iterator[tuple[Any, Any]]:
    """An open page, and ``add(row)``. Nothing that the page does may be an error or an alert."""
    folder = tmp_path / "run"
    ledger = begun(folder)
    (folder / "images" / "original").mkdir(parents=True)
    store(
        ledger, *(frame(folder, i, caption=HOSTILE if i == 1 else f"words {i}") for i in range(4))
    )
    with watching([folder]) as server:
        context = chromium.new_context(viewport={"width": 360, "height": 740})
        page, trouble = context.new_page(), []
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: request.url.startswith(server.url)
                or trouble.append(request.url))  # fmt: skip
        page.goto(server.url)
        yield page, lambda i, **values: store(ledger, frame(folder, i, **values))
        context.close()
        assert trouble == []
    ledger.close()


def where(page: Any, text: str) -> None:
    """Waits until the page is at a frame."""
    page.wait_for_function(
        "text => document.querySelector('#where').textContent.startsWith(text)", arg=text
    )


def test_it_follows_until_it_is_told_to_stay(world: Any) -> None:
    page, add = world
    where(page, "frame 4,")
    add(4)
    where(page, "frame 5,")
    page.wait_for_selector("#pictures figure[data-stage=refined] .frame.has")
    page.keyboard.press("ArrowLeft")
    where(page, "frame 4,")
    add(5, status="dropped", reason="a newer one came")
    page.wait_for_selector("#counts li:has-text('1 dropped')")
    assert page.inner_text("#follow") == "staying"
    where(page, "frame 4, 4 of the newest 6")
    page.keyboard.press(" ")
    where(page, "frame 6,")
    assert "dropped: a newer one came" in page.inner_text("#facts")


def test_by_keyboard_and_on_a_phone(world: Any) -> None:
    page, _ = world
    where(page, "frame 4,")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.keyboard.press("Home")
    where(page, "frame 1,")
    page.keyboard.press("ArrowRight")
    where(page, "frame 2,")
    assert HOSTILE in page.inner_text("#caption")  # as text
    assert page.locator("#caption *").count() == 0
    page.keyboard.press("c")
    assert page.is_visible("#slider") and page.inner_text("#compare") == "compare"
    slider = page.locator("#slider input")
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")  # moves the slider, not the frame
    where(page, "frame 2,")
    assert slider.input_value() == "45"
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    where(page, "frame 4,")
    for name in ("first", "back", "follow", "on", "last", "compare"):
        assert page.locator(f"#{name}").get_attribute("title") or page.inner_text(f"#{name}")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"


class OneFrame:
    """A channel that has passed a frame on, without pictures, and then does not answer."""

    title, report = "channel 192.0.2.7:5552", None

    def __init__(self) -> None:
        self.state = State({"at rx": 1}, None, 0, False, {"channel": "1 frames passed on"})

    def look(self) -> None:
        """Nothing changes by itself."""

    def after(self, seq: int) -> list[Frame]:
        row = delivered(1, status="at rx", caption=HOSTILE, h_abs2=0.25, height=160, width=240)
        absent = dict.fromkeys(("sent", "preview", "refined"), "pictures stay at rx " * 4)
        return [Frame(1, 7, "00" * 16, row, (), absent)] if seq < 1 else []

    def picture(self, key: str, stage: str, side: int) -> bytes | None:
        return None

    def symbols(self, key: str) -> dict[str, Any] | None:
        points = [[0.5, -0.25], [-1.0, 1.5]]
        return {"clouds": {"received": points}, "levels": [], "told": "2 values"}

    def close(self) -> None:
        """Nothing is open."""


def test_a_channel_on_small_and_large_screens(chromium: Any) -> None:
    source = OneFrame()
    with serving_it(source) as server:
        context = chromium.new_context(viewport={"width": 360, "height": 740})
        page, trouble = context.new_page(), []
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.goto(server.url)
        where(page, "frame 7, 1 of the newest 1")
        assert "pictures stay at rx" in page.inner_text("#pictures figure[data-stage=refined]")
        assert not page.is_visible("#report") and "report" not in page.inner_text("footer")
        page.keyboard.press("s")
        page.wait_for_selector("#clouds circle.point")
        for width in (360, 768, 1280):
            page.set_viewport_size({"width": width, "height": 740})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        source.state = replace(source.state, trouble="the channel does not answer")
        page.wait_for_selector("#state.lost:has-text('does not answer')")
        context.close()
        assert trouble == []


def test_a_frame_while_it_is_denoised(world: Any, tmp_path: Path) -> None:
    page, add = world
    where(page, "frame 4,")
    begun_at = About("0" * 31 + "9", "in/photo9.png", "rx", 160, 240, 0, 1)
    grey(tmp_path / "run" / "images" / "original" / "photo9-00000000.png", 30, (160, 240))
    shown = []
    for step, stage in enumerate(("preview", "step", "step")):
        about = replace_struct(begun_at, step=step, steps=3)
        path = path_of(tmp_path / "run", "rx", stage)  # type: ignore[arg-type]
        path.parent.mkdir(exist_ok=True)
        write(path, np.full((160, 240, 3), 60 + 60 * step, np.uint8), about)
        words = f"refined: step {step} of 3" if step else "refined: begun"
        page.wait_for_selector(f"figcaption:has-text('{words}')")
        image = page.locator(
            f"figure[data-stage={'refined' if step else 'preview'}] .frame.has img"
        )
        image.wait_for()
        shown.append(image.get_attribute("src"))
    assert len(set(shown)) == 3
    where(page, "frame 5, 5 of the newest 5")
    add(9)
    page.wait_for_selector("figcaption:has-text('refined: PSNR 28.00 dB')")
    where(page, "frame 5, 5 of the newest 5")
    assert page.locator("#strip li").count() == 5
