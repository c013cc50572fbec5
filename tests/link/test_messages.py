"""The wire format: every message survives the round trip; nothing else gets in."""

import math
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from simulator.link import constants as c
from simulator.link import ids
from simulator.link import messages as m
from simulator.link.clock import ClockOffset
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
    m.Point,
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
    cyclic_prefix=st.integers(0, 64), estimator=st.sampled_from(["ls", "lmmse"]),
    antennas=st.builds(
        Antennas, transmit=st.integers(1, 8), receive=st.integers(1, 8), age=st.integers(0, 9),
        transmit_correlation=st.floats(0, 0.99), receive_correlation=st.floats(0, 0.99),
        scheme=st.sampled_from(["multiplexing", "svd"]), detector=st.just("mmse"),
    ),
)  # fmt: skip
MESSAGES: dict[type[m.Message], st.SearchStrategy[Any]] = {
    m.Hello: st.builds(m.Hello, version=whole, role=st.sampled_from(["tx", "rx"]), name=name,
                       run=text, settings=text, codec=text),
    m.Welcome: st.builds(m.Welcome, epoch=text, settings=text, waveform=waveforms,
                         receivers=whole),
    m.Reject: st.builds(m.Reject, reason=text),
    m.Request: st.builds(m.Request, frame_id=frame_ids, draw_key=keys, point=points, k=k,
                         rounds=st.integers(1, c.MAX_ROUNDS)),
    m.Grant: st.builds(m.Grant, frame_id=frame_ids, snr_db=finite, settings=text,
                       number=st.integers(0, c.MAX_ROUNDS - 1)),
    m.Held: st.builds(m.Held, frame_id=frame_ids),
    m.Frame: st.builds(m.Frame, **sent),
    m.Arrival: st.builds(m.Arrival, **sent, air=airs),
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
        assert len(parts) == {m.Grant: 2, m.Frame: 3, m.Arrival: 4}.get(cls, 0)

    check()


def test_the_longest_texts_that_can_be_said_can_be_heard() -> None:
    longest = "\U0001f600" * m.MAX_TEXT
    message = m.Nack(code="failed", reason=longest, frame_id=bytes(16))
    assert m.decode(m.encode(message))[0] == message


def plain(value: Any) -> Any:
    """A message as dictionaries whose keys are in the order of the fields; ``kind`` is the last."""
    if isinstance(value, Waveform):
        return asdict(value)
    if not isinstance(value, m.Header):
        return value
    fields = {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    return fields | ({"kind": value.kind} if isinstance(value, m.Message) else {})


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


# Payloads


def make_frame(k: int, pilots: int = 0, height: int = 2, width: int = 2) -> m.Frame:
    point = m.Point(channel="awgn", snr_db=1.0, bandwidth_ratio="1/384")
    return m.Frame(frame_id=bytes(16), draw_key=bytes(32), point=point, k=k, pilots=pilots,
                   codec="", height=height, width=width, label="", image_sha256=bytes(32),
                   settings="")  # fmt: skip


def test_symbols_come_through() -> None:
    sent = np.arange(7).astype("<c8")
    for part in (sent.tobytes(), memoryview(sent.tobytes()), bytearray(sent.tobytes())):
        assert np.array_equal(m.symbols_of(make_frame(4, 3), part), sent)


@pytest.mark.parametrize("size", [0, 1, 8, 31, 33, 40])
def test_symbols_of_wrong_length_are_refused(size: int) -> None:
    with pytest.raises(m.WireError, match="instead of 32") as caught:
        m.symbols_of(make_frame(3, 1), bytes(size))
    assert caught.value.code == "bad-payload"


def put(at: int, *bad: complex) -> Callable[[np.ndarray], None]:
    def change(symbols: np.ndarray) -> None:
        symbols[at : at + len(bad)] = bad

    return change


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "spoil",
    [
        put(0, complex(math.nan, 0)),
        put(99, complex(0, math.nan)),
        put(50, complex(math.inf, 0)),
        put(3, complex(math.inf, -math.inf)),
        put(3, complex(math.inf, 0), complex(-math.inf, 0)),
    ],
)
def test_symbols_that_are_not_finite_are_refused(spoil: Callable[[np.ndarray], None]) -> None:
    symbols = np.ones(100, "<c8")
    spoil(symbols)
    with pytest.raises(m.WireError, match="not finite") as caught:
        m.symbols_of(make_frame(100), symbols.tobytes())
    assert caught.value.code == "bad-payload"


def test_large_finite_symbols_are_not_mistaken_for_infinite_ones() -> None:
    symbols = np.full(100, 3e38 + 3e38j, "<c8")
    assert np.isfinite(m.symbols_of(make_frame(100), symbols.tobytes())).all()


def test_references_fit_the_image_or_are_absent() -> None:
    frame = make_frame(1, height=3, width=5)
    m.check_reference(frame, b"")
    m.check_reference(frame, bytes(45))
    for size in (1, 44, 46, 15):
        with pytest.raises(m.WireError, match="for 5x3") as caught:
            m.check_reference(frame, bytes(size))
        assert caught.value.code == "bad-payload"


# Names of frames, operating points and clocks


def test_frame_ids_depend_on_run_point_image_and_repeat() -> None:
    base = ("run", "awgn@1dB@1/384", bytes(32), 0)
    others = [
        ("run2", *base[1:]),
        (base[0], "awgn@2dB@1/384", *base[2:]),
        (*base[:2], b"\x01" * 32, 0),
        (*base[:3], 1),
        ("runawgn", "@1dB@1/384", bytes(32), 0),
    ]
    made = {ids.frame_id(*names) for names in [base, *others]}
    assert len(made) == 6 and {len(i) for i in made} == {16}
    assert ids.frame_id(*base) == ids.frame_id(*base)


def test_draw_keys_depend_on_seed_image_and_repeat_alone() -> None:
    made = {
        ids.draw_key(s, i, r) for s in (0, 1) for i in (bytes(32), b"\x01" * 32) for r in (0, 1)
    }
    assert len(made) == 8 and {len(i) for i in made} == {32}


@example(0.1)
@given(st.floats(-30, 60))
def test_names_of_points(snr_db: float) -> None:
    point = m.Point(channel="rician", snr_db=snr_db, bandwidth_ratio="1/48")
    assert point.name == f"rician@{snr_db!r}dB@1/48"
    trace = m.Point(channel="awgn", snr_db=None, bandwidth_ratio="1/48", trace_index=7)
    assert trace.name == "awgn@trace[7]@1/48"


def test_the_shortest_round_trip_gives_the_offset() -> None:
    clock = ClockOffset()
    clock.add(0.0, 103.0, 104.0, 5.0)  # 4 s on the way, 3 of them there: off by one
    assert (clock.offset_s, clock.round_trip_s) == (101.0, 4.0)
    clock.add(10.0, 110.5, 111.5, 12.0)
    assert (clock.offset_s, clock.round_trip_s) == (100.0, 1.0)
    clock.add(20.0, 150.0, 151.0, 31.0)  # slower: ignored
    clock.add(20.0, 19.0, 29.0, 21.0)  # impossible: ignored
    assert (clock.offset_s, clock.round_trip_s) == (100.0, 1.0)
    clock.reset()
    clock.add(20.0, 150.0, 151.0, 31.0)
    assert clock.round_trip_s == 10.0
