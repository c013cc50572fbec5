"""A frame on its way through tx, the work that it needs, and what the worker answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar, Literal

import numpy as np

from simulator.link import constants as c
from simulator.link.messages import Result
from simulator.link.states import AT_TX, Stateful, Table
from simulator.phy.law import Law
from simulator.phy.state import ChannelState
from tx.pace import Cap
from tx.source import Job

Stage = Literal["preview", "refined"]
STAGES: tuple[Stage, Stage] = ("preview", "refined")


@dataclass(frozen=True, eq=False)
class Granted:
    """What a GRANT says. ``state``: without gains where pilots are to say them."""

    state: ChannelState
    settings: str
    number: int = 0

    def same_as(self, other: Granted) -> bool:
        """Whether the same symbols would be sent, in round 0."""
        first = self.number == other.number == 0
        return first and self.settings == other.settings and self.state.same_as(other.state)


@dataclass(frozen=True)
class Loaded:
    """The worker has read an image."""

    job: Job
    pixels: np.ndarray
    notes: str
    k: int  # symbols at most, of all rounds
    rounds: int  # that it is sent in
    began_at: float  # tx's monotonic clock
    load_s: float
    ks: Mapping[Fraction, int] = field(default_factory=dict)  # the same at each ratio up to that


@dataclass(frozen=True)
class Encoded:
    """The worker has encoded an image under a grant."""

    frame_id: bytes
    grant: Granted
    symbols: np.ndarray  # (K,) complex64, of one round
    side: bytes
    encode_s: float
    joules: float | None = None  # of the encoder, where they are measured


@dataclass(frozen=True)
class Refused:
    """An image that cannot be sent, with the sentence that says why."""

    job: Job
    reason: str


@dataclass(frozen=True)
class Problem:
    """What a person should know, and of which frame, where it is of one."""

    sentence: str
    frame_id: bytes | None


@dataclass(frozen=True)
class Happened:
    """For whoever waits for a frame: its row, the last that happens, or the picture of a stage."""

    frame_id: bytes
    name: str  # of the picture
    stage: Stage | Literal["row"]
    picture: bytes = b""  # a file
    row: Mapping[str, Any] | None = None
    began_at: float | None = None  # with the row: when tx began on it, in this life of it


@dataclass(frozen=True)
class Load:
    """Work: read this image."""

    job: Job


@dataclass(frozen=True)
class Encode:
    """Work: encode these pixels for the state that was granted."""

    job: Job
    pixels: np.ndarray
    grant: Granted
    law: Law
    ratio: Fraction
    sent: tuple[np.ndarray, ...] = ()  # (K,) symbols of the rounds before
    returned: tuple[np.ndarray, ...] = ()  # (P + K,) what came back of each


@dataclass
class Flight(Stateful):
    """A frame on its way."""

    table: ClassVar[Table] = AT_TX

    job: Job
    state: str = "loading"
    deadline: float = float("inf")
    patience_s: float = c.REQUEST_TIMEOUT_S
    attempts: int = 0
    loaded: Loaded | None = None
    cap: Cap | None = None  # of its ratio, where one was set
    encoded: Encoded | None = None
    asked_at: float = 0.0
    grant_wait_s: float = 0.0
    encode_s: float = 0.0  # of all rounds
    encode_j: float | None = None
    sent_at: float = 0.0
    overhead_bytes: int = 0
    sent: tuple[np.ndarray, ...] = ()  # of each round
    returned: tuple[np.ndarray, ...] = ()
    stages: dict[str, tuple[float, float]] = field(default_factory=dict)  # arrival, rx elapsed
    pictures: set[str] = field(default_factory=set)  # stages whose picture has come back
    result: Result | None = None  # waits for pictures that are lost, until
    result_until: float = float("inf")

    def count(self, encoded: Encoded) -> None:
        """What encoding has cost, with that of the rounds before."""
        first = encoded.grant.number == 0
        self.encode_s = encoded.encode_s + (0.0 if first else self.encode_s)
        if encoded.joules is not None:
            self.encode_j = encoded.joules + (0.0 if first else self.encode_j or 0.0)
