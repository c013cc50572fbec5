"""The settings of a transmitter that is to be as slow as a small board, and of its way back."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from simulator.air import Section


class EdgeSettings(Section):
    """A board that tx is to behave like: see docs/edge.md."""

    profile: str = ""
    """Its name, in the notes of rows."""
    encode_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """Seconds that the encoder takes there for an image of 768x512; tx measures at its start what
    it takes here, and slows it down by the ratio; 0: it is not slowed down."""
    by: Literal["auto", "quota", "pause"] = "auto"
    """How it is slowed down: by a quota of processor time (cgroups v2), which holds for all of tx,
    or by a pause after each use of the encoder; auto: by a quota where one is allowed."""
    memory_mb: Annotated[int, Field(ge=0)] = 0
    """Memory that tx may use, in millions of bytes: in its cgroup where that is allowed, else as
    the limit of its data (RLIMIT_DATA); 0: no limit."""


class DownlinkSettings(Section):
    """The way back to transmitters, for what is said of frames: grants, notices, results."""

    delay_s: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Seconds that each message takes, one way."""
    loss: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The share of messages that are lost; what is lost is asked for again."""
