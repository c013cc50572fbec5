"""A text and a sketch beside the symbols: what is drawn, its bytes, and both ends."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rx.receiver import Failed, Stored
from simulator.air import AirSettings
from simulator.chain import Draw, Link
from simulator.errors import ModelError, SettingsError
from simulator.images import load_image, sample_photographs
from simulator.jscc import load_codec
from simulator.jscc.beside import (
    CHECK_BYTES,
    MAX_TEXT_BYTES,
    Beside,
    problem_of,
    read_beside,
    write_beside,
)
from simulator.jscc.codec import JsccCodec
from simulator.jscc.edges import thin_edges
from simulator.jscc.ends import CodecEnds
from simulator.jscc.range_coder import DamagedError
from simulator.jscc.sketch import Sketching
from simulator.jscc.sketched import SketchCodec
from simulator.link.ids import draw_key
from simulator.methods.method import Point
from tests.receiver_world import WorkerBench, frame, frame_id, task

TEXT = "two boats on a lake, Zürich"


def picture(seed: int = 0) -> np.ndarray:
    return load_image(sample_photographs()[seed]).pixels[:256, :384]


def disc(size: int = 96, radius: int = 30, level: int = 200) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size / 2 + 0.5
    grey = np.where(x**2 + y**2 < radius**2, level, 40).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def said(text: str = "", edges: np.ndarray | None = None) -> Beside:
    return Beside(text, edges)


def same(a: Beside, b: Beside) -> bool:
    return a.text == b.text and np.array_equal(a.edges, b.edges)  # type: ignore[arg-type]


# --- the sketch ---


@pytest.mark.parametrize("cell", [2, 4, 8])
def test_the_edge_of_a_disc_is_a_thin_ring(cell: int) -> None:
    edges = thin_edges(disc(192, 70), cell, 0.3)
    y, x = (np.argwhere(edges).T + 0.5) * cell - 96
    distance = np.hypot(x, y) - 70
    assert np.abs(distance).max() <= 1.5 * cell
    around = 2 * np.pi * 70 / cell
    assert 0.6 * around < edges.sum() < 1.5 * around  # one cell wide, and with few gaps


def test_at_most_the_share_is_edges_and_more_of_it_holds_what_less_does_mostly() -> None:
    counts = [thin_edges(picture(), 4, share) for share in (0.0, 0.02, 0.05, 0.1)]
    for share, edges in zip((0.0, 0.02, 0.05, 0.1), counts, strict=True):
        assert edges.sum() <= share * edges.size
    assert not counts[0].any()
    assert counts[1].sum() < counts[2].sum() < counts[3].sum()
    assert (counts[1] & counts[3]).sum() > 0.9 * counts[1].sum()


def test_what_is_flat_or_of_weak_noise_has_no_sketch() -> None:
    noise = np.random.default_rng(0).integers(126, 129, (64, 80, 3), np.uint8)
    for pixels in (disc(level=40), noise, picture()[:1, :1], picture()[:3, :200]):
        edges = thin_edges(pixels, 4, 0.2)
        assert edges.shape == (-(-pixels.shape[0] // 4), -(-pixels.shape[1] // 4))
        assert not edges.any() or len(pixels) == 3


# --- the bytes ---


@settings(max_examples=40, deadline=None)
@given(
    st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=60),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_what_is_written_is_read(
    text: str, shape: tuple[int, int], dense: float, seed: int
) -> None:
    edges = np.random.default_rng(seed).random(shape) < dense
    for each, size in ((said(text, edges), shape), (said(text), None)):
        assert same(read_beside(write_beside(each), size), each)


def test_a_sketch_costs_far_less_than_its_cells_and_a_caption_half_of_its_letters() -> None:
    edges = thin_edges(picture(), 4, 0.1)
    assert len(write_beside(said(edges=edges))) < 0.35 * edges.size / 8
    caption = "a man with a dog on the beach"
    assert len(write_beside(said(caption))) - CHECK_BYTES < 0.6 * len(caption)
    assert write_beside(said()) == b"" and same(read_beside(b"", (3, 3)), said())


def test_damage_is_seen() -> None:
    edges = thin_edges(picture(), 8, 0.1)
    side = write_beside(said(TEXT, edges))
    damaged = [side[:-1], side + b"\1", side[:1], b"\0\0", bytes(5000)]
    damaged += [side[:i] + bytes([side[i] ^ 4]) + side[i + 1 :] for i in range(0, len(side), 7)]
    for each in damaged:
        with pytest.raises(DamagedError):
            read_beside(each, (edges.shape[0], edges.shape[1]))


@settings(max_examples=150, deadline=None)
@given(st.binary(min_size=0, max_size=80), st.booleans())
def test_bytes_of_anybody_are_read_or_refused(coded: bytes, drawn: bool) -> None:
    """With a check that fits, too; nothing but what ``write_beside`` makes is taken."""
    import zlib

    side = (zlib.crc32(coded) & 0xFFFF).to_bytes(CHECK_BYTES, "big") + coded
    try:
        found = read_beside(side, (6, 7) if drawn else None)
    except DamagedError:
        return
    assert write_beside(found) == side and problem_of(found.text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x" * (MAX_TEXT_BYTES + 1), "501 bytes"),
        ("a\0b", "control characters"),
        ("\ud800", "not Unicode"),
    ],
)
def test_a_text_that_cannot_be_sent(text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Sketching().side_of(picture(), text)


def test_sizes_are_bounded() -> None:
    side = Sketching().side_of(picture(), TEXT)
    for size, found in (((65_535, 65_535), side), ((256, 384), bytes(70_000))):
        with pytest.raises(SettingsError, match=r"cells, more than|sketch takes up to"):
            Sketching().said_in(found, size)
    with pytest.raises(SettingsError, match="wrap the codec with a larger cell"):
        Sketching(2).side_of(np.zeros((1200, 1200, 3), np.uint8), "")
    for cell, share in ((3, 0.1), (8, 0.6), (8, float("nan"))):
        with pytest.raises(ModelError, match="cannot be; give a cell of 2, 4, 8"):
            Sketching(cell, share)


# --- both ends; that tx without torch sends the same is in test_wrapped.py ---


@pytest.fixture(scope="module")
def plain() -> JsccCodec:
    return load_codec("compact")


def link_of(codec: JsccCodec) -> Link:
    ends = CodecEnds(codec)
    return Link(ends, ends)


def test_it_arrives_is_charged_and_leaves_the_preview_alone(plain: JsccCodec) -> None:
    pixels, ratio = picture(), Fraction(1, 384)
    draw = Draw.under(AirSettings(), draw_key(0, b"", 0), Point("rayleigh", ratio, 10.0))
    link = link_of(SketchCodec(plain, share=0.08))
    got = link.send(pixels, ratio, draw, f" {TEXT}\n  and\ttrees ")
    alone = link_of(plain).send(pixels, ratio, draw, TEXT)
    assert got.said.text == f"{TEXT} and trees" and alone.said.text == ""
    assert np.array_equal(got.said.edges, thin_edges(pixels, 8, 0.08))  # type: ignore[arg-type]
    assert np.array_equal(got.pixels, alone.pixels)
    side = write_beside(got.said)
    assert got.side_uses == int(np.ceil(8 * len(side) / np.log2(1 + 10))) and not alone.side_uses


def test_a_text_alone(plain: JsccCodec) -> None:
    link = link_of(SketchCodec(plain, share=0.0))
    draw = Draw.under(AirSettings(), draw_key(0, b"", 0), Point("awgn", Fraction(1, 96), 1.0))
    got = link.send(picture(), "1/96", draw, TEXT)
    assert got.said.edges is None and got.said.text == TEXT and 0 < got.side_uses < 200
    assert link.send(picture(), "1/96", draw).side_uses == 0


def test_a_receiver_refuses_a_frame_of_damaged_side_information_and_goes_on(
    plain: JsccCodec, tmp_path: Path
) -> None:
    side = Sketching(8, 0.08).side_of(picture(), TEXT)
    bench = WorkerBench(tmp_path, reference="none")
    bench.decoder.said = CodecEnds(SketchCodec(plain, share=0.08)).said  # type: ignore[method-assign]
    tasks = []
    for number, each in enumerate((side, side[:-1], b"\xff" * 300, b"")):
        one = task(frame(number, height=256, width=384))
        tasks.append(replace(one, parts=(*one.parts[:2], each, b"")))
    events = bench.work(*tasks)
    bench.store.ledger.close()
    refused = [event for event in events if isinstance(event, Failed)]
    assert [event.frame_id for event in refused] == [frame_id(1), frame_id(2)]
    assert all("side information" in event.reason for event in refused)
    stored = [event.frame_id for event in events if isinstance(event, Stored)]
    assert stored == [frame_id(0), frame_id(3)]
