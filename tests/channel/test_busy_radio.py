"""A channel that waits for a radio answers its peers before they think that it is dead."""

from __future__ import annotations

import threading
import time

import numpy as np
import zmq
from broker_world import hello, request
from helpers import wait_for

from channel.service import ChannelService
from simulator.children import free_ports
from simulator.link import constants as c
from simulator.link import messages as m
from simulator.link import sockets
from simulator.phy.pilots import pilot_symbols
from simulator.process import Stopper
from simulator.settings import ChannelSettings

K, WAIT_S, FRAMES = 64, 1.5, 5
POINT = m.WirePoint(channel="radio", snr_db=10.0, bandwidth_ratio="1/384")


def frame(i: int, settings: str) -> tuple[m.Frame, tuple[bytes, bytes, bytes]]:
    asked = request(i, point=POINT, k=K)
    symbols = np.concatenate([pilot_symbols(16), np.ones(K, np.complex64)])
    made = m.Frame(
        frame_id=asked.frame_id, draw_key=asked.draw_key, point=POINT, k=K, pilots=16,
        codec="codec", height=8, width=8, label="", image_sha256=bytes(32), settings=settings,
    )  # fmt: skip
    return made, (symbols.tobytes(), b"", b"")


def said(socket: zmq.Socket[bytes]) -> list[m.Message]:
    found = []
    while (raw := sockets.receive(socket)) is not None:
        found.append(m.decode(raw)[0])
    return found


def test_heartbeats_are_answered_while_many_frames_wait_for_a_mute_radio() -> None:
    front, back, send, receive = (f"tcp://127.0.0.1:{port}" for port in free_ports(4))
    radio = {"send": f"bind:{send}", "receive": f"connect:{receive}", "wait_s": WAIT_S}
    settings = ChannelSettings.model_validate(
        {
            "kind": "radio", "csir": "estimated", "csit": "average", "front": front, "back": back,
            "radio": radio,
        }
    )  # fmt: skip
    service = ChannelService(settings)
    stop = Stopper()
    thread = threading.Thread(target=service.run, args=(stop,))
    thread.start()
    context = zmq.Context()
    tx, rx, mute = sockets.dealer(context), sockets.dealer(context), context.socket(zmq.SUB)
    try:
        mute.setsockopt(zmq.SUBSCRIBE, b"")
        mute.connect(send)
        sockets.connect(tx, front)
        sockets.connect(rx, back)
        sockets.send(tx, m.encode(hello("tx", "tx")))
        sockets.send(rx, m.encode(hello("rx", "rx")))
        for i in range(FRAMES):
            sockets.send(tx, m.encode(request(i, point=POINT, k=K)))
        granted: list[m.Grant] = []

        def all_granted() -> bool:
            granted.extend(each for each in said(tx) if isinstance(each, m.Grant))
            return len(granted) == FRAMES

        wait_for(all_granted)
        for i in range(FRAMES):  # all at once
            sockets.send(tx, m.encode(*frame(i, granted[i].settings)))
        silent = {"tx": 0.0, "rx": 0.0}
        heard = dict.fromkeys(silent, time.monotonic())
        refused: list[m.Nack] = []
        while len(refused) < FRAMES:
            for name, socket in (("tx", tx), ("rx", rx)):
                sockets.send(socket, m.encode(m.Heartbeat(times=[0.0])))
                got = said(socket)
                assert not any(isinstance(each, m.Reject) for each in got)
                refused += [each for each in got if isinstance(each, m.Nack)]
                now = time.monotonic()
                silent[name] = max(silent[name], now - heard[name])
                heard[name] = now if got else heard[name]
            time.sleep(0.05)
            assert max(silent.values()) < c.SILENCE_S
    finally:
        stop.stop()
        thread.join()
        service.close()
        for socket in (tx, rx, mute):
            socket.close(0)
        context.term()
    assert {nack.code for nack in refused} == {"failed"}, refused
    assert WAIT_S - 0.5 < max(silent.values()) < 2 * WAIT_S  # less than two frames at a time
