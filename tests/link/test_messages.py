"""The wire format: every message survives the round trip; nothing else gets in."""

import math
import tracemalloc
from dataclasses import asdict
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from message_world import make_frame

from simulator.link import constants as c
from simulator.link import messages as m
from simulator.phy.antennas import Antennas
from simulator.phy.laws import Waveform

quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
name = text.filter(bool)
frame_ids = st.binary(min_size=16, max_size=16)
keys = st.binary(min_size=32, max_size=32)
finite = st.floats(allow_nan=False, allow_infinity=False)
seconds = st.floats(0, 1e9)
whole = st.integers(0, 2**63 - 1)
k = st.integers(1, c.MAX_SYMBOLS)
value = st.one_of(text, st.integers(-(2**63), 2**63), finite, st.booleans(), st.none())
values = st.dictionaries(text, value, max_size=8)
points = st.builds(
    m.WirePoint,
    channel=st.sampled_from(["awgn", "rayleigh", "rician"]),
    snr_db=st.floats(-100, 100) | st.none(),
    bandwidth_ratio=st.sampled_from(["1/384", "1/48", "1", "3/512"]),
    trace_index=whole,
)
airs = st.builds(
    m.Air,
    tx=name,
    snr_db=finite,
    csit=text,
    csir=text,
    h_abs2=seconds,
    received_snr_db=finite,
    papr_db=finite,
    feedback_bits=whole,
    queue_s=seconds,
    airtime_modelled_s=seconds,
    airtime_observed_s=seconds,
    came_at_s=finite,
)
sent: dict[str, st.SearchStrategy[Any]] = {
    "frame_id": frame_ids, "draw_key": keys, "point": points, "k": k,
    "pilots": st.integers(0, c.MAX_SYMBOLS), "codec": text,
    "height": st.integers(1, c.MAX_SIDE_PX), "width": st.integers(1, c.MAX_SIDE_PX),
    "label": text, "image_sha256": keys, "settings": text,
}  # fmt: skip
waveforms = st.builds(
    Waveform, coherence_time=st.just(0) | st.integers(65, 10**6), pilots=st.integers(0, 64),
    profile=st.sampled_from(["exponential", "tdl-a", "tdl-e"]), taps=st.integers(1, 64),
    delay_spread=st.floats(0, 100), doppler=st.floats(0, 0.01), subcarriers=st.integers(2, 256),
    cyclic_prefix=st.integers(0, 64), comb=st.just(0) | st.just(2), within_symbol=st.booleans(),
    estimator=st.sampled_from(["ls", "lmmse"]), power=st.just("equal"),
    antennas=st.builds(
        Antennas, transmit=st.integers(1, 8), receive=st.integers(1, 8), age=st.integers(0, 9),
        transmit_correlation=st.floats(0, 0.99), receive_correlation=st.floats(0, 0.99),
        scheme=st.sampled_from(["multiplexing", "svd"]), detector=st.just("mmse"),
    ),
)  # fmt: skip
partners = st.builds(m.Partner, run=text, frames=whole)
places = st.builds(m.Place, user=st.sampled_from([0, 1]), index=whole, frames=whole,
                   partner=st.none() | partners)  # fmt: skip
arrivals = st.builds(m.Arrival, **sent, air=airs)
MESSAGES: dict[type[m.Message], st.SearchStrategy[Any]] = {
    m.Hello: st.builds(m.Hello, version=whole, role=st.sampled_from(["tx", "rx"]), name=name,
                       run=text, settings=text, codec=text),
    m.Welcome: st.builds(m.Welcome, epoch=text, settings=text, waveform=waveforms,
                         receivers=whole, symbol_rate_hz=st.floats(1.0, 1e9),
                         guard_s=st.floats(0, 1)),
    m.Reject: st.builds(m.Reject, reason=text),
    m.Request: st.builds(m.Request, frame_id=frame_ids, draw_key=keys, point=points, k=k,
                         rounds=st.integers(1, c.MAX_ROUNDS), place=st.none() | places),
    m.Grant: st.builds(m.Grant, frame_id=frame_ids, snr_db=finite, settings=text,
                       number=st.integers(0, c.MAX_ROUNDS - 1), partner=st.none() | partners),
    m.Held: st.builds(m.Held, frame_id=frame_ids),
    m.Frame: st.builds(m.Frame, **sent),
    m.Arrival: arrivals,
    m.Pair: st.builds(m.Pair, first=arrivals, second=arrivals, share=st.floats(0.01, 0.99),
                      draws=st.sampled_from([1, 2])),
    m.Ready: st.builds(m.Ready, slots=st.integers(0, 1024)),
    m.Stage: st.builds(m.Stage, frame_id=frame_ids, tx=name, elapsed_s=seconds),
    m.Result: st.builds(m.Result, frame_id=frame_ids, tx=name, receiver=name, settings=text,
                        values=values, stages=st.dictionaries(
                            st.sampled_from(["preview", "refined"]), seconds)),
    m.Confirm: st.builds(m.Confirm, frame_id=frame_ids, receiver=name),
    m.Nack: st.builds(m.Nack, reason=text, frame_id=frame_ids | st.none(), tx=text),
    m.Heartbeat: st.builds(m.Heartbeat, times=st.lists(finite, max_size=3), epoch=text,
                           running=st.lists(frame_ids, max_size=4)),
}  # fmt: skip
any_message = st.one_of(*MESSAGES.values())


def wire(message: m.Message) -> list[bytes]:
    return m.encode(message, [b""] * message.parts)


def fields_of(message: m.Message) -> dict[str, Any]:
    fields: dict[str, Any] = msgpack.unpackb(m.encode(message)[0])
    return fields


def header(**fields: Any) -> list[bytes]:
    return [msgpack.packb(fields, use_bin_type=True)]


def refused(parts: list[Any], code: str = "bad-message") -> str:
    with pytest.raises(m.WireError) as caught:
        m.decode(parts)
    assert caught.value.code == code
    assert 0 < len(caught.value.reason) <= m.MAX_TEXT
    m.Nack(code=caught.value.code, reason=caught.value.reason)  # can be said to the peer
    return caught.value.reason


def decodes_or_refuses(parts: list[Any]) -> None:
    try:
        message, _ = m.decode(parts)
    except m.WireError as error:
        m.Nack(code=error.code, reason=error.reason)
    else:
        assert type(message) in MESSAGES


# What gets through


def test_every_kind_is_tested() -> None:
    assert set(MESSAGES) == set(m.KINDS.values()) == set(m.Message.__subclasses__())


@pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.kind)
def test_round_trip(cls: type[m.Message]) -> None:
    @settings(quick, max_examples=25)
    @given(MESSAGES[cls])
    def check(message: m.Message) -> None:
        got, parts = m.decode(wire(message))
        assert got == message and type(got) is cls
        # Equal is not enough: True == 1 == 1.0.
        assert repr(got) == repr(message)
        assert len(parts) == {
            m.Grant: 2, m.Frame: 3, m.Arrival: 4, m.Pair: 4, m.Stage: 1, m.Result: 2
        }.get(cls, 0)  # fmt: skip

    check()


def test_the_longest_texts_that_can_be_said_can_be_heard() -> None:
    longest = "\U0001f600" * m.MAX_TEXT
    message = m.Nack(code="failed", reason=longest, frame_id=bytes(16))
    assert m.decode(m.encode(message))[0] == message


def plain(value: Any, inside: bool = False) -> Any:
    """A message as dictionaries whose keys are in the order of the fields; ``kind`` is the last, of
    a message inside another one the first."""
    if isinstance(value, Waveform):
        return asdict(value)
    if not isinstance(value, m.Header):
        return value
    fields = {name: plain(getattr(value, name), True) for name in value.__struct_fields__}
    kind = {"kind": value.kind} if isinstance(value, m.Message) else {}
    return kind | fields if inside else fields | kind


@quick
@given(any_message)
def test_bytes_of_a_header_are_those_of_any_msgpack(message: m.Message) -> None:
    packed = msgpack.packb(plain(message), use_bin_type=True)
    assert m.encode(message)[0] == packed
    backwards = dict(reversed(fields_of(message).items()))
    assert m.decode([msgpack.packb(backwards), *wire(message)[1:]])[0] == message


@pytest.mark.parametrize(
    "value", ["x" * (m.MAX_TEXT + 1), math.nan, math.inf, -math.inf, b"bytes", [1], {}]
)
def test_values_that_could_not_be_heard_are_found_before_they_are_said(value: Any) -> None:
    with pytest.raises(m.WireError, match="cannot be sent"):
        m.check_values({"caption": value})
    fields = fields_of(m.Result(frame_id=bytes(16), tx="tx", receiver="rx", settings="",
                                stages={}, values={}))  # fmt: skip
    refused([msgpack.packb(fields | {"values": {"caption": value}})])
    m.check_values({"caption": "x" * m.MAX_TEXT, "k": 1, "psnr": 1.5, "more": None, "so": True})


def test_binary_parts_are_passed_as_they_are() -> None:
    frame = make_frame(2)
    parts = [b"\x01" * 16, b"side", b"\x03" * 12]
    got, tail = m.decode(m.encode(frame, parts))
    assert got == frame and list(tail) == parts


# What does not


@settings(quick, max_examples=300)
@given(st.lists(st.binary(max_size=80), max_size=6))
def test_arbitrary_bytes(parts: list[bytes]) -> None:
    decodes_or_refuses(parts)


tree = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), text,
              st.binary(max_size=40),
              st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4))),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.one_of(text, st.binary(max_size=4), st.integers(0, 9)), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@quick
@given(tree)
def test_arbitrary_structures(structure: Any) -> None:
    decodes_or_refuses([msgpack.packb(structure)])


@settings(quick, max_examples=200)
@given(any_message, st.data())
def test_a_field_of_another_type_added_or_lost(message: m.Message, data: st.DataObject) -> None:
    fields = fields_of(message)
    if data.draw(st.booleans()):
        fields[data.draw(st.sampled_from(list(fields)))] = data.draw(tree)
    else:
        fields.pop(data.draw(st.sampled_from(list(fields))))
    decodes_or_refuses([msgpack.packb(fields), *wire(message)[1:]])


@settings(quick, max_examples=200)
@given(any_message, st.data())
def test_flipped_and_cut_bytes(message: m.Message, data: st.DataObject) -> None:
    whole, *rest = wire(message)
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole = whole[:at] + bytes([data.draw(st.integers(0, 255))]) + whole[at + 1 :]
    else:
        whole = whole[: data.draw(st.integers(0, len(whole)))]
    decodes_or_refuses([whole, *rest])


@quick
@given(any_message)
def test_extra_fields_are_refused(message: m.Message) -> None:
    fields = fields_of(message) | {"shell": "rm"}
    assert "shell" in refused([msgpack.packb(fields), *wire(message)[1:]])


def test_extra_fields_are_refused_inside_points() -> None:
    fields = fields_of(make_frame(1))
    fields["point"]["more"] = 1
    reason = refused([msgpack.packb(fields), b"", b""])
    assert "FRAME" in reason and "more" in reason and "point" in reason


@pytest.mark.parametrize("depth", [3, 500, 1024, 1025, 5_000, 60_000])
@pytest.mark.parametrize(
    "level", [b"\x91", b"\x81\xa1a", b"\xdc\x00\x01", b"\xde\x00\x01\xa1a"], ids=repr
)
def test_nesting_bombs(depth: int, level: bytes) -> None:
    """Thousands of arrays in an array, within the size of a header, must not end a process."""
    depth = min(depth, (c.MAX_HEADER_BYTES - 60) // len(level))
    bomb = level * depth + b"\xc0"
    refused([bomb])
    kind = b"\x82\xa4kind\xa9HEARTBEAT\xa5times"
    refused([kind + bomb])
    values = b"\x82\xa4kind\xa6RESULT\xa6values\x81\xa1x"
    refused([values + bomb])


def test_sizes_announced_are_not_allocated() -> None:
    for start in (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff",
                  b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x01"):  # fmt: skip
        for field in (b"", b"\x82\xa4kind\xa9HEARTBEAT\xa7running",
                      b"\x82\xa4kind\xa6RESULT\xa6values", b"\x82\xa4kind\xa5HELLO\xa5about",
                      b"\x82\xa4kind\xa4HELD\xa8frame_id"):  # fmt: skip
            tracemalloc.start()
            refused([field + start + b"\x00" * 50])
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
            tracemalloc.stop()


def test_caps_of_the_header() -> None:
    assert "over the limit" in refused([b"\xc0" * (c.MAX_HEADER_BYTES + 1)])
    refused(header(**{f"f{i}": 0 for i in range(65)}))
    refused(header(kind="HEARTBEAT", times=[0.0] * 1025))
    refused(header(kind="HEARTBEAT", times=[], running=[bytes(16)] * 1025))
    refused(header(kind="HELD", frame_id=msgpack.ExtType(1, bytes(16))))
    refused(header(kind="HELD", frame_id=msgpack.Timestamp(1)))
    refused(header(kind="RESULT", values={str(i): 0 for i in range(65)}))
    refused([msgpack.packb({b"kind": 1, 1: 2}, strict_types=False)])
    refused([*header(kind="HELD", frame_id=bytes(16)), b"more"])
    refused([header(kind="HELD", frame_id=bytes(16))[0] + b"\xc0"])


def test_number_of_parts_and_their_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    refused([])
    frame = make_frame(1)
    for count in (0, 1, 2, 4, 50):
        assert "parts" in refused(m.encode(frame, [b""] * count))
    assert "parts" in refused(m.encode(m.Ready(slots=1), [b"", b"", b""]))
    monkeypatch.setattr(c, "MAX_MESSAGE_BYTES", 1000)
    assert "over the limit" in refused(m.encode(frame, [b"", b"", bytes(1000)]))


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "PICKLE"},
        {"kind": None},
        {"kind": ["HELD"]},
        {"kind": "HELD"},
        {"kind": "HELD", "frame_id": bytes(15)},
        {"kind": "HELD", "frame_id": bytes(17)},
        {"kind": "READY", "slots": -1},
        {"kind": "READY", "slots": 1025},
        {"kind": "READY", "slots": math.nan},
        {"kind": "HEARTBEAT", "times": [math.nan]},
        {"kind": "HEARTBEAT", "times": [math.inf]},
        {"kind": "HEARTBEAT", "times": [0.0] * 4},
        {"kind": "STAGE", "frame_id": bytes(16), "tx": "tx", "stage": "other", "elapsed_s": 0},
        {"kind": "STAGE", "frame_id": bytes(16), "tx": "tx", "stage": "preview", "elapsed_s": -1},
        {"kind": "CONFIRM", "frame_id": bytes(16), "receiver": ""},
        {"kind": "CONFIRM", "frame_id": bytes(16), "receiver": "r" * 129},
        {"kind": "NACK", "code": "whatever", "reason": ""},
    ],
)
def test_fields_out_of_range(fields: dict[str, Any]) -> None:
    refused(header(**fields))


@pytest.mark.parametrize(
    "ratio", ["1e-999999999", "1e999999999", "1/0x2", "", "1/", "\u0661/\u0663", "1/4\n"]
)
def test_ratios_on_the_wire_are_plain_fractions(ratio: str) -> None:
    fields = fields_of(make_frame(1))
    fields["point"]["bandwidth_ratio"] = ratio
    assert "bandwidth_ratio" in refused([msgpack.packb(fields), b"", b""])
