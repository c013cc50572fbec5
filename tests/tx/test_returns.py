"""Pictures that come back to tx, under a virtual clock."""

import pytest
from msgspec.structs import replace
from transmitter_world import POINT, Bench, frame_id, job, result, welcome

from simulator.link import constants as c
from simulator.link import messages as m
from tx.flight import Happened

PNG = m.Returns(upto="refined")
PREVIEW, REFINED = b"the preview", b"the refined image"


def stage(what: str, picture: bytes) -> tuple[m.Stage, tuple[bytes]]:
    made = m.Stage(frame_id=frame_id(0), tx="tx", stage=what, elapsed_s=0.1)  # type: ignore[arg-type]
    return made, (picture,)


def on_air(returns: m.Returns | None = PNG) -> Bench:
    bench = Bench([job(0)], returns=returns).on_air()
    bench.tx.happened.clear()
    return bench


def happened(bench: Bench) -> list[tuple[str, bytes]]:
    told = [(each.stage, each.picture) for each in bench.tx.happened]
    bench.tx.happened.clear()
    return told


def hear(bench: Bench, message: m.Message, parts: tuple[bytes, ...]) -> None:
    bench.tx.receive(message, bench.now, parts)


def test_a_frame_says_which_pictures_are_wanted() -> None:
    bench = Bench([job(0)], returns=PNG)
    sent = []
    before = bench.send
    bench.tx.session.send = lambda message, parts: (sent.append(message), before(message, parts))[1]
    bench.on_air()
    (frame,) = [each for each in sent if isinstance(each, m.Frame)]
    assert frame.returns == PNG


def test_pictures_are_told_once_and_then_the_row() -> None:
    bench = on_air()
    hear(bench, *stage("preview", PREVIEW))
    hear(bench, *stage("preview", PREVIEW))
    hear(bench, *stage("refined", REFINED))
    assert happened(bench) == [("preview", PREVIEW), ("refined", REFINED)]
    bench.results(replace(result(0, model="m"), complete=False))
    assert bench.sent() == ["store", "CONFIRM"]
    (last,) = bench.tx.happened
    assert last == Happened(frame_id(0), "photo0.png", "row", row=bench.row, began_at=100.0)


def test_a_result_waits_for_the_pictures_that_were_lost() -> None:
    bench = on_air()
    hear(bench, *stage("preview", PREVIEW))
    bench.results(replace(result(0, model="m"), complete=False))
    assert bench.sent() == [] and not bench.rows
    bench.results(result(0, model="m"), pictures=(PREVIEW, REFINED))
    assert bench.sent() == ["store", "CONFIRM"]
    assert happened(bench) == [("preview", PREVIEW), ("refined", REFINED), ("row", b"")]


def test_a_receiver_that_keeps_no_pictures_says_so_and_nobody_waits() -> None:
    bench = on_air()
    bench.results(replace(result(0, model="m"), complete=False))
    bench.results(result(0, model="m"))
    assert bench.sent() == ["store", "CONFIRM"] and happened(bench) == [("row", b"")]


def test_where_the_receiver_is_gone_for_good_the_row_is_kept_without_its_picture() -> None:
    bench = on_air()
    at = bench.now
    first = replace(result(0, {"preview": 0.5, "refined": 0.25}, model="m"), complete=False)
    bench.results(first)
    bench.tick(c.PICTURES_S - 1)
    assert not bench.rows
    bench.tick(1)
    assert bench.row["status"] == "delivered"
    # Times are of when the result came, not of when nobody waited any longer.
    began = bench.row["time_to_refined_s"] - bench.row["time_to_preview_s"]
    assert began == pytest.approx(0.25) and bench.row["time_to_preview_s"] < at
    assert bench.sent().count("CONFIRM") == 1


@pytest.mark.parametrize(
    ("returns", "model"), [(None, "m"), (m.Returns(upto="preview"), "m"), (PNG, None)]
)
def test_only_what_is_wanted_and_made_is_waited_for(
    returns: m.Returns | None, model: str | None
) -> None:
    bench = on_air(returns)
    hear(bench, *stage("preview", PREVIEW))
    assert happened(bench) == ([("preview", PREVIEW)] if returns else [])
    bench.results(replace(result(0, model=model), complete=False))
    assert bench.sent() == ["store", "CONFIRM"]


def test_what_an_earlier_life_has_sent_brings_its_pictures_with_the_offer() -> None:
    bench = Bench([job(0)], returns=PNG)
    bench.results(replace(result(0, model="m"), complete=False))
    assert not bench.rows  # it is not confirmed, so it comes again
    bench.results(result(0, model="m"), pictures=(PREVIEW, REFINED))
    assert happened(bench) == [("preview", PREVIEW), ("refined", REFINED), ("row", b"")]


# Frames that come while tx runs


def test_of_frames_that_wait_only_the_newest_is_kept() -> None:
    bench = Bench([job(0)], latest=True).on_air()
    for i in (1, 2, 3):
        assert bench.tx.room == 1
        bench.tx.add(job(i))
    assert bench.sent() == ["store", "store"]
    assert {bench.rows[frame_id(i)]["status"] for i in (1, 2)} == {"dropped"}
    row = bench.rows[frame_id(1)]
    assert (row["image"], row["cbr"], row["attempts"]) == ("photo1.png", POINT.bandwidth_ratio, 0)
    assert "newer frame" in row["reason"] and not bench.tx.problems
    bench.results(result(0))
    bench.tick()
    assert list(bench.tx.flights) == [frame_id(3)] and not bench.tx.done


def test_a_frame_that_waits_leaves_no_room() -> None:
    bench = Bench([])
    bench.receive(welcome())
    for i, room in enumerate((2, 1)):
        assert bench.tx.room == room
        bench.tx.add(job(i))
    bench.tick()
    assert bench.tx.room == 0 and list(bench.tx.flights) == [frame_id(0)]
    bench.results(result(0))
    assert bench.tx.room == 1
