"""The channel's broker under a virtual clock: each rule of the protocol."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broker_world import (
    BACK,
    FRONT,
    K,
    World,
    confirm,
    frame_id,
    hello,
    nack,
    one,
    only,
    payload,
    reject,
    request,
    result,
)
from msgspec.structs import replace

from simulator.link import constants as c
from simulator.link import messages as m

# Greeting


def test_hello_is_welcomed() -> None:
    w = World(csir="estimated", pilots=4, snr_db=3.0, kind="rician")
    welcome = one(w.tx())
    assert isinstance(welcome, m.Welcome)
    assert (welcome.epoch, welcome.settings) == ("epoch", w.broker.hash)
    assert (welcome.waveform.pilots, welcome.waveform.rician_k) == (4, 10**0.6)
    assert welcome.receivers == 0


def test_transmitters_hear_how_many_receivers_there_are() -> None:
    w = World()
    w.tx()
    w.rx(b"r1", "one")
    w.rx(b"r2", "two")
    assert [x.receivers for x in only(m.Welcome, w.hear(b"t"))] == [1, 2]
    w.later(c.SILENCE_S + 1, FRONT)
    assert only(m.Welcome, w.hear(b"t"))[-1].receivers == 0


def test_without_hello_everything_else_is_refused() -> None:
    w = World()
    said = nack(w.ask(1), "say-hello")
    assert said.frame_id == frame_id(1)
    nack(w.say("back", b"r", m.Ready(slots=1)), "say-hello")
    nack(w.say("back", b"r", m.Heartbeat(times=[0.0])), "say-hello")
    assert not w.broker.entries and w.broker.refused == {"say-hello": 3}


def test_rejections_say_what_to_do() -> None:
    w = World()
    reject(w.tx(version=99), "version", "99", "same release")
    reject(w.say("front", b"x", hello("rx", "rx")), "bad-message", "front door")
    reject(w.say("back", b"x", hello("tx", "tx")), "bad-message", "back door")
    w.tx(codec="abc")
    reject(w.say("back", b"r", hello("rx", "rx", codec="xyz")), "codec", "abc", "xyz", "--codec")
    assert len(w.broker.peers["front"]) == 1 and not w.broker.peers["back"]


def test_other_settings_within_a_run_are_rejected() -> None:
    w = World()
    w.tx(settings="a")
    w.rx()
    w.say("back", b"r", result(0))
    w.later(10)  # it is gone, but has not confirmed
    reject(w.tx(b"t2", settings="b"), "settings", "'tx'", "'run'")
    assert isinstance(one(w.tx(b"t2", settings="a")), m.Welcome)
    assert isinstance(one(w.tx(b"t3", settings="b", run="next")), m.Welcome)
    assert isinstance(one(w.tx(b"t4", "tx4", settings="b")), m.Welcome)


def test_too_many_clients_are_rejected_but_one_that_comes_back_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(c, "MAX_CLIENTS", 3)
    w = World()
    for i in range(3):
        w.say("back", b"r%d" % i, hello("rx", f"rx{i}"))
    reject(w.say("back", b"r3", hello("rx", "rx3")), "full")
    assert isinstance(one(w.say("back", b"r4", hello("rx", "rx1"))), m.Welcome)
    assert isinstance(one(w.say("back", b"r0", hello("rx", "rx0"))), m.Welcome)


def test_a_codec_rejection_stays_short_whatever_there_is() -> None:
    w = World()
    for i in range(200):
        w.tx(b"t%d" % i, f"tx{i}", codec=f"{i}" + "x" * 100)
    reject(w.say("back", b"r", hello("rx", "r" * 128, codec="y" * 128)), "codec")


def test_two_processes_of_one_name_do_not_chase_each_other() -> None:
    w = World()
    w.rx(b"r1")
    w.rx(b"r2")  # took the name over
    nack(w.say("back", b"r1", m.Heartbeat(times=[0.0])), "say-hello")
    reject(w.say("back", b"r1", hello("rx", "rx")), "name", "rx.name=")
    assert list(w.broker.peers["back"]) == [b"r2"]
    assert isinstance(one(w.say("back", b"r1", hello("rx", "other"))), m.Welcome)


def test_hostile_bytes_are_counted_and_answered() -> None:
    w = World()
    for raw in ([], [b""], [b"\x91" * 60_000], [b"x"] * 9, [b"\xc0" * 70_000]):
        w.broker.receive("front", b"x", raw, w.now)
        nack(w.hear(b"x"), "bad-message")
    assert w.broker.refused == {"bad-message": 5}


def test_messages_of_the_wrong_side_are_refused_and_nacks_never_answered() -> None:
    w = World()
    w.tx()
    w.rx()
    w.hear(b"t")
    nack(w.say("front", b"t", result(1)), "bad-message")
    nack(w.say("back", b"r", request(1)), "bad-message")
    w.hear(b"t")
    for side, identity in (FRONT, BACK):
        assert w.say(side, identity, m.Nack(code="failed", reason="", frame_id=frame_id(1))) == []


def test_heartbeats_are_answered_with_times() -> None:
    w = World()
    w.tx()
    beat = one(w.say("front", b"t", m.Heartbeat(times=[7.0])))
    assert beat == m.Heartbeat(times=[7.0, w.now, w.now], epoch="epoch")


# One frame's way


def test_a_frame_from_request_to_confirmation() -> None:
    w = World()
    w.tx()
    w.rx()
    w.hear(b"t")
    w.ask(1)
    (h,) = np.frombuffer(w.grants[frame_id(1)][1][0], "<c8")
    grant = w.grants[frame_id(1)][0]
    assert (grant.snr_db, grant.settings) == (10.0, w.broker.hash)
    assert w.put(1) == []
    ((frame, parts),) = w.boxes.pop(b"r")
    assert isinstance(frame, m.Arrival)
    assert (frame.frame_id, frame.air.tx, frame.air.snr_db) == (frame_id(1), "tx", 10.0)
    assert np.frombuffer(parts[1], "<c8") == pytest.approx([h])
    assert frame.air.h_abs2 == pytest.approx(abs(h) ** 2, rel=1e-5)
    sent, got = (np.frombuffer(x, "<c8") for x in (payload(1), parts[0]))
    assert 0.02 < np.abs(got - h * sent).mean() < 0.9
    assert isinstance(one(w.ask(1)), m.Held)
    stage = m.Stage(frame_id=frame_id(1), tx="tx", stage="preview", elapsed_s=0.1)
    w.say("back", b"r", stage)
    assert w.hear(b"t") == [stage]
    w.say("back", b"r", result(1))
    assert w.hear(b"t") == [result(1)]
    assert not w.broker.entries and not w.broker.held_bytes
    assert w.ask(1) == [result(1)]
    assert w.say("front", b"t", confirm(1)) == [] and w.hear(b"r") == [confirm(1)]
    assert not w.broker.remembered


def test_estimated_csir_gives_no_true_gain_to_the_receiver() -> None:
    w = World(csir="estimated", pilots=4)
    w.tx()
    w.rx()
    w.hear(b"t")
    w.ask(1)
    nack(w.put(1), "bad-payload")  # no pilots
    w.ask(1)
    w.say("front", b"t", w.frame(1, pilots=4), payload(1, pilots=4), b"", b"")
    ((frame, parts),) = w.boxes.pop(b"r")
    assert isinstance(frame, m.Arrival) and frame.pilots == 4
    assert (len(parts[0]), parts[1]) == (8 * (K + 4), b"")


@pytest.mark.parametrize(
    ("fields", "part", "code"),
    [
        ({"draw_key": bytes(32)}, payload(1), "bad-message"),
        ({"k": K + 1}, payload(1, K + 1), "bad-message"),
        ({"codec": "other"}, payload(1), "bad-message"),
        ({}, payload(1)[:-8], "bad-payload"),
        ({}, payload(1)[:-4] + b"\x00\x00\xc0\x7f", "bad-payload"),
        ({}, (1.2 * np.frombuffer(payload(1), "<c8")).astype("<c8").tobytes(), "bad-payload"),
        ({}, bytes(8 * K), "bad-payload"),
        ({}, np.full(K, 2e38 + 2e38j, "<c8").tobytes(), "bad-payload"),
        ({"settings": "old"}, payload(1), "stale"),
    ],
)
def test_frames_that_are_not_what_was_granted(
    fields: dict[str, Any], part: bytes, code: str
) -> None:
    w = World()
    w.tx()
    w.rx()
    w.hear(b"t")
    w.ask(1)
    said = nack(w.say("front", b"t", w.frame(1, **fields), part, b"", b""), code)
    assert said.frame_id == frame_id(1)
    assert only(m.Arrival, w.hear(b"r")) == [] and not w.broker.held_bytes
    assert w.state(1) == ("granted" if code == "stale" else None)  # its place is free again
    assert w.bring(1) == [] and w.state(1) == "leased"  # the right one gets through


def test_a_transmitter_cannot_write_what_the_channel_writes() -> None:
    w = World()
    w.tx()
    w.ask(1)
    air = m.Air(tx="tx", snr_db=10.0, csit="", csir="", h_abs2=1.0, received_snr_db=10.0, queue_s=0,
                papr_db=0.0, feedback_bits=0,
                airtime_modelled_s=0, airtime_observed_s=0, came_at_s=0)  # fmt: skip
    sent = {name: getattr(w.frame(1), name) for name in m.Sent.__struct_fields__}
    arrival = m.Arrival(**sent, air=air)
    nack(w.say("front", b"t", arrival, payload(1), b"12345678", b"", b""), "bad-message")
    assert w.state(1) == "granted"
    nack(w.put(1, reference=b"123"), "bad-payload")
    w.ask(1)
    w.put(1, reference=bytes(12))
    assert w.state(1) == "queued"


def test_what_cannot_be_emulated_is_refused_by_name() -> None:
    w = World()
    w.tx()
    point = m.WirePoint(channel="awgn", snr_db=None, bandwidth_ratio="1/384")
    assert nack(w.ask(1, point=point), "unsupported").frame_id == frame_id(1)


def test_a_duplicate_frame_is_held_and_a_late_one_has_no_grant() -> None:
    w = World()
    w.tx()
    assert w.bring(1) == []
    held = w.broker.held_bytes
    assert isinstance(one(w.put(1)), m.Held) and w.broker.held_bytes == held
    w.rx()
    w.hear(b"t")
    w.say("back", b"r", result(1))
    w.hear(b"t")
    nack(w.put(1), "no-grant")
    assert only(m.Result, w.ask(1)) == [result(1)]


def test_the_settings_hash_follows_the_values_of_a_trace(tmp_path: Path) -> None:
    hashes = []
    for values in ("1\n2\n", "1\n2\n", "1\n3\n"):
        (tmp_path / "t.csv").write_text("snr_db\n" + values)
        hashes.append(World(snr_trace=str(tmp_path / "t.csv")).broker.hash)
    assert hashes[0] == hashes[1] != hashes[2]


def at_the_receiver() -> tuple[World, m.Stage]:
    """A frame that a receiver holds, and its first STAGE."""
    w = World()
    w.tx()
    w.rx()
    w.hear(b"t")
    w.bring(1)
    w.boxes.clear()
    return w, m.Stage(frame_id=frame_id(1), tx="tx", stage="preview", elapsed_s=0.1)


def test_pictures_are_passed_on_and_not_kept() -> None:
    w, stage = at_the_receiver()
    w.say("back", b"r", stage, b"picture")
    assert w.boxes.pop(b"t") == [(stage, [b"picture"])]
    w.say("back", b"r", result(1), b"", b"refined")
    assert w.boxes.pop(b"t") == [(result(1), [b"", b"refined"])]
    # Who asks again gets the row at once, and the pictures with the receiver's next offer.
    assert w.ask(1) == [replace(result(1), complete=False)]


def test_a_picture_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c, "MAX_PICTURE_BYTES", 8)
    w, stage = at_the_receiver()
    for message, parts in ((stage, [bytes(9)]), (result(1), [b"", bytes(9)])):
        (refusal,) = w.say("back", b"r", message, *parts)
        assert isinstance(refusal, m.Nack) and refusal.code == "bad-payload"
    assert not w.hear(b"t") and w.state(1) == "leased"


def test_what_a_channel_was_started_with_and_frames_do_not_follow_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("snr_db\n3\n")
    w = World(kind="awgn", snr_trace=str(trace))
    w.tx()
    for i in range(2):
        w.ask(i)  # Rayleigh, 10 dB
    said = [record.getMessage() for record in caplog.records]
    assert [text.partition(",")[0] for text in said] == [
        "a frame asks for rayleigh",
        "a frame asks for 10 dB",
    ]
    assert ["channel.kind" in said[0], "channel.snr_trace" in said[1]] == [True, True]
    caplog.clear()
    w = World()  # no kind was given: any will do
    w.tx()
    w.ask(1)
    assert not caplog.records
