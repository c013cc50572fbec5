"""What a channel tells those who watch, without sockets: it is bounded, and waits for no page."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from broker_world import World, confirm, frame_id, one, result
from msgspec.structs import replace

from channel.onlookers import MAX_FLYING_BYTES, MAX_ONLOOKERS, STALLED_S, Onlookers
from channel.watched import KEPT, PICTURES_BYTES, Watched
from simulator.link import constants as c
from simulator.link import messages as m
from simulator.link import watching as w

NOTHING = w.Status(
    passed_on=0, states={}, waiting=0, admitted=0, returning=0, queued=0, held_bytes=0,
    refused={}, tx=[], tx_count=0, rx=[], rx_count=0, pages=0,
)  # fmt: skip


class Seen(World):
    """A broker whose messages are seen, and pages that ask what they are."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.watched = Watched()
        self.refused: list[str] = []
        self.answers: dict[bytes, tuple[w.View, bytes]] = {}
        self.full: set[bytes] = set()  # pages that take nothing
        self.onlookers = Onlookers(
            "epoch", self.watched, lambda pages: replace(NOTHING, pages=pages), self.told,
            self.refused.append,
        )  # fmt: skip

    def send(self, side: Any, identity: bytes, message: m.Message, parts: tuple[Any, ...]) -> bool:
        sent = super().send(side, identity, message, parts)
        if sent and hasattr(self, "watched"):
            self.watched.sent(message, parts, "gpu-1")
        return sent

    def told(self, identity: bytes, parts: list[Any]) -> bool:
        if identity in self.full:
            return False
        self.answers[identity] = w.decode_view([bytes(part) for part in parts])
        return True

    def look(self, page: bytes = b"p", **fields: Any) -> tuple[w.View, bytes] | None:
        """What a page is answered; its word is right unless it says another."""
        last = self.answers.pop(page, None)
        word = last[0].word if last else b""
        asked = w.Look(**({"version": w.VERSION, "word": word, "epoch": "epoch"} | fields))
        self.onlookers.receive(page, w.encode(asked), self.now)
        return self.answers.get(page)

    def frames(self, **fields: Any) -> list[w.Passed]:
        found = self.look(**fields)
        assert found is not None
        return found[0].frames


def picture_of(i: int, stage: w.Stage = "preview") -> w.PictureOf:
    return w.PictureOf(frame_id=frame_id(i), stage=stage)


def staged(i: int, stage: Any = "preview") -> m.Stage:
    return m.Stage(frame_id=frame_id(i), tx="tx", stage=stage, elapsed_s=0.5)


@pytest.fixture
def world() -> Seen:
    seen = Seen()
    seen.tx()
    seen.rx(slots=8)
    seen.hear(b"t")
    return seen


def test_a_frame_from_the_air_to_its_row(world: Seen) -> None:
    world.bring(1)
    (frame,) = world.frames()
    assert (frame.state, frame.number) == ("at rx", 1)
    heard = frame.heard
    assert (heard["receiver"], heard["channel"], heard["snr_db"]) == ("gpu-1", "rayleigh", 10.0)
    assert heard["h_abs2"] > 0 and heard["k"] == 8 and heard["returns"] == ""
    assert len(np.frombuffer(frame.symbols, "<c8")) == 8 and len(frame.gain) == 2
    assert world.frames(after=frame.change) == []
    world.say("back", b"r", staged(1))
    assert [each.state for each in world.frames(after=frame.change)] == ["preview"]
    told = replace(result(1), values={"psnr_preview": 21.5, "caption": "x" * 900, "strange": 1})
    world.say("back", b"r", told)
    (frame,) = world.frames()
    assert frame.state == "stored" and frame.values["psnr_preview"] == 21.5
    assert len(str(frame.values["caption"])) == 500 and "strange" not in frame.values
    world.say("front", b"t", confirm(1))
    assert world.frames()[0].state == "delivered"
    world.say("back", b"r", result(1))  # offered once more
    assert world.frames()[0].state == "delivered"
    assert +world.watched.states == {"delivered": 1}


def test_a_frame_that_fails(world: Seen) -> None:
    world.bring(1)
    world.say("back", b"r", m.Nack(code="failed", reason="no memory", frame_id=frame_id(1)))
    (frame,) = world.frames()
    assert (frame.state, frame.reason) == ("failed", "no memory")


def test_pictures_are_kept_for_who_watches_and_are_bounded(world: Seen) -> None:
    world.bring(1)
    world.say("back", b"r", staged(1), b"early")
    assert world.frames()[0].pictures == {}  # nobody had asked
    world.say("back", b"r", staged(1, "refined"), b"p" * 100)
    (frame,) = world.frames()
    assert (frame.state, frame.pictures) == ("refined", {"refined": 100})
    found = world.look(picture=picture_of(1, "refined"))
    assert found is not None and found[1] == b"p" * 100
    assert found[0].picture == picture_of(1, "refined")
    world.say("back", b"r", staged(1), bytes(w.MAX_PICTURE_BYTES + 1))
    assert world.frames()[0].too_large == ["preview"]
    for i in range(2, 6):
        world.hear(b"t")
        world.bring(i)
        world.say("back", b"r", staged(i), bytes(w.MAX_PICTURE_BYTES))
    kept = [sum(frame.pictures.values()) for frame in world.frames()]
    assert sum(kept) <= PICTURES_BYTES and kept[-1] == w.MAX_PICTURE_BYTES
    found = world.look(picture=picture_of(1, "refined"))
    assert found is not None and (found[1], found[0].picture) == (b"", picture_of(1, "refined"))
    world.later(c.SILENCE_S + STALLED_S, ("front", b"t"), ("back", b"r"))
    world.onlookers.tick(world.now)
    assert world.watched.picture(picture_of(5)) == b"" and not world.watched.watched


def test_the_oldest_frames_are_forgotten_and_counts_go_on() -> None:
    watched = Watched()
    values = {f"psnr_{stage}": 1.0 for stage in ("preview", "refined")} | {"caption": "c" * 500}
    for i in range(3 * KEPT):
        watched.sent(replace(result(i), values=values), (b"", b""), "")
    frames = list(watched.after(0))
    assert len(frames) == KEPT and frames[-1].number == 3 * KEPT
    assert watched.states == {"stored": 3 * KEPT, "at rx": 0}
    huge = dict.fromkeys(("image", "caption", "notes", "reason"), "𐎠" * 500)
    others = ("model", "codec", "solver", "run", "channel", "cbr")
    many = huge | dict.fromkeys(others, huge["image"])
    watched.sent(replace(result(0), values=many), (b"", b""), "")
    last = list(watched.after(0))[-1]
    assert last.values == {} and "too large" in last.reason


def test_what_a_view_cannot_hold_comes_with_the_next(world: Seen) -> None:
    for i in range(60):
        values = dict.fromkeys(("caption", "notes", "reason", "model"), "v" * 400)
        world.watched.sent(replace(result(i), values=values), (b"", b""), "")
    seen: list[int] = []
    view = None
    while view is None or view.more:
        found = world.look(after=view.after if view else 0)
        assert found is not None
        view = found[0]
        seen += [frame.number for frame in view.frames]
    assert seen == list(range(1, 61))


def test_a_page_that_does_not_read_is_told_nothing_more(world: Seen) -> None:
    assert world.look() is not None
    for word in (b"", b"guessed", bytes(16)):
        world.answers.clear()
        assert world.look(word=word) is None
    assert world.refused == ["watch-unread"] * 3
    world.later(STALLED_S + 1, ("front", b"t"), ("back", b"r"))
    world.onlookers.tick(world.now)
    assert world.look() is not None  # it is a new one


def test_what_cannot_be_sent_is_asked_for_again(world: Seen) -> None:
    first = world.look()
    assert first is not None
    world.full.add(b"p")
    world.answers[b"p"] = first
    assert world.look() is None
    world.full.clear()
    world.answers[b"p"] = first
    assert world.look() is not None and world.refused == []


def test_pages_are_not_too_many_and_speak_its_language(world: Seen) -> None:
    for i in range(MAX_ONLOOKERS):
        assert world.look(b"page%d" % i) is not None
    found = world.look(b"one more")
    assert found is not None and "8 pages watch" in found[0].refused and not found[0].word
    world.look(b"strange", version=w.VERSION + 1)
    assert "the same release" in world.answers[b"strange"][0].refused
    for raw in ([], [b""], [b"\xff" * 100], m.encode(m.Heartbeat(times=[0.0])), [b"", b""],
                [b"x" * 5000], m.encode(result(1), (b"", b""))):  # fmt: skip
        world.onlookers.receive(b"hostile", raw, world.now)
    assert b"hostile" not in world.answers and len(world.onlookers.here) == MAX_ONLOOKERS
    assert world.refused.count("watch-bad-message") == 7


def test_pictures_on_their_way_are_bounded_over_all_pages(world: Seen) -> None:
    world.look(b"page0")
    world.bring(1)
    world.say("back", b"r", staged(1), bytes(w.MAX_PICTURE_BYTES))
    found = [world.look(b"page%d" % i, picture=picture_of(1)) for i in range(4)]
    sizes = [len(each[1]) for each in found if each]
    assert sum(sizes) <= MAX_FLYING_BYTES and sizes[-1] == 0
    assert found[-1] is not None and found[-1][0].picture is None  # not yet: ask again
    world.look(b"page0")  # it has read its own
    late = world.look(b"page3", picture=picture_of(1))
    assert late is not None and len(late[1]) == w.MAX_PICTURE_BYTES


def test_one_channel_process_is_not_another(world: Seen) -> None:
    world.bring(1)
    change = world.frames()[0].change
    assert world.frames(after=change) == []
    assert len(world.frames(after=change, epoch="another")) == 1


def test_the_link_hears_nothing_of_watching(world: Seen) -> None:
    """A LOOK at a door of the link is no message of it."""
    world.broker.receive("front", b"x", w.encode(w.Look(version=w.VERSION)), world.now)
    nack = one(world.hear(b"x"))
    assert isinstance(nack, m.Nack) and nack.code == "bad-message"
