"""A transmitter whose frames share their channel uses: what it says, keeps and refuses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import make_photographs, sentence
from msgspec.structs import replace
from transmitter_world import (
    Bench,
    Granting,
    K,
    frame_id,
    grant,
    job,
    nack,
    result,
    symbols,
    welcome,
)

from simulator.errors import DeliveryError, SettingsError
from simulator.link import messages as m
from simulator.link.session import Session
from simulator.phy.superposition import scrambling
from simulator.prepare import prepare
from simulator.settings import make_settings
from tx.flight import Refused
from tx.service import TransmitterService
from tx.source import Job
from tx.stream import Manifest, Stream
from tx.superposed import Mine, SuperposedTransmitter
from tx.transmitter import Transmitter

PARTNER = m.Partner(run="other run", frames=1)


class User(Bench):
    """User 2 beside cam1, with two frames; ``kept``: what its ledger has beside rows."""

    def __init__(self, kept: dict[str, str] | None = None, **options: Any) -> None:
        self.kept = kept if kept is not None else {}
        super().__init__([job(0), job(1)], window=2, **options)

    def made(self, jobs: Sequence[Job], session: Session, given: dict[str, Any]) -> Transmitter:
        places = {each.frame_id: index for index, each in enumerate(jobs)}
        mine = Mine(1, "cam1", places)
        return SuperposedTransmitter(mine, self, jobs, session, self, *given.values())

    def get(self, key: str) -> str | None:
        return self.kept.get(key)

    def require(self, key: str, value: str) -> None:
        self.calls.append(("keep", value))
        assert self.kept.setdefault(key, value) == value

    def asking_for_two(self) -> None:
        self.receive(welcome())
        self.tick()
        self.load()

    def granted(self, i: int, partner: m.Partner | None) -> np.ndarray:
        """The symbols of a frame under such a grant."""
        message, parts = grant(i)
        self.receive(Granting(replace(message, partner=partner), parts))
        self.encode()
        return np.frombuffer(self.parts[0], np.complex64)


def test_a_request_says_its_place_and_the_ledger_keeps_the_other_ones_number() -> None:
    user = User()
    user.asking_for_two()
    places = [message.place for kind, message in user.calls if kind == "REQUEST"]
    assert places == [m.Place(user=1, index=index, frames=2) for index in (0, 1)]
    user.sent()
    sent = user.granted(0, PARTNER)
    assert np.array_equal(sent, scrambling(1, K).done(symbols()))
    assert not np.array_equal(sent, symbols())
    assert user.sent() == ["keep", "FRAME"]  # kept before anything is sent
    # What is sent alone is sent as on any channel.
    assert np.array_equal(user.granted(1, None), symbols())
    again = User(user.kept)
    again.asking_for_two()
    (place, _) = [message.place for kind, message in again.calls if kind == "REQUEST"]
    assert place.partner == PARTNER
    user.results(result(0), result(1))
    assert set(user.rows) == {frame_id(0), frame_id(1)} and user.tx.done


def test_it_says_for_whom_it_waits() -> None:
    user = User()
    user.asking_for_two()
    assert user.tx.waiting_for is None
    user.tick(5.0)
    assert "wait for those of tx cam1" in str(user.tx.waiting_for)
    user.granted(0, PARTNER)
    assert user.tx.waiting_for is None


@pytest.mark.parametrize("what", ["unreadable", "unsupported", "failed"])
def test_a_frame_that_cannot_be_sent_ends_the_process_and_has_no_row(what: str) -> None:
    user = User()
    user.asking_for_two()
    with pytest.raises(DeliveryError, match=r"frame of tx cam1 that goes with it") as caught:
        if what == "unreadable":
            user.tx.worked(Refused(job(0), "photo0.png is no image."), user.now)
        for _ in range(3):
            user.receive(nack(0, what))
    assert "(photo0.png is no image)" in sentence(caught) or "(because)" in sentence(caught)
    assert not user.rows and frame_id(0) in user.tx.jobs


def in_folder(folder: Path, stream: bool = False, **options: Any) -> TransmitterService:
    photographs = folder / "photographs"
    if not photographs.exists():
        make_photographs(photographs, 1, (64, 96))
    given = {
        "codec": "null", "out": str(folder / "run"), "run": "run", "tx.images": [str(photographs)],
        "tx.name": "cam1", "channel.superposed": ["cam1", "cam2"], "tx.connect": "tcp://127.0.0.1:9",
    }  # fmt: skip
    run = prepare(make_settings(overrides=given | options), refines=False)
    feed = Stream("client", "run", 0) if stream else Manifest(run.jobs)
    (folder / "run").mkdir(exist_ok=True)
    return TransmitterService(run.settings, folder / "run", feed)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tx.name": "cam3"}, "--set tx.name=cam1"),
        ({"stream": True}, "leave tx.source"),
        ({"tx.when_busy": "latest"}, "tx.when_busy out"),
        ({"channel.snr_db": [1, 2]}, "one operating point"),
        ({"tx.target_fps": 2.0}, "leave tx.target_psnr_db"),
        ({"codec": "null-feedback"}, "feedback"),
    ],
)
def test_what_no_user_can_be_is_refused_at_the_start(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        in_folder(tmp_path, **options)
    assert sentence(caught) and not (tmp_path / "run" / "tx.db").exists()


def test_its_settings_are_part_of_what_results_depend_on() -> None:
    plain = make_settings(overrides={"codec": "null"})
    two = make_settings(overrides={"codec": "null", "channel.superposed": ["cam1", "cam2"]})
    assert "superposed" not in plain.tx_hash_fields("codec")
    assert two.tx_hash_fields("codec")["superposed"] == ["cam1", "cam2"]
    assert "share" not in plain.channel.result_changing()
    assert two.channel.result_changing()["share"] == 0.8
