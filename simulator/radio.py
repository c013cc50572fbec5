"""The settings of a radio that takes the place of the emulated air."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from simulator.air import Section

MAX_WAIT_S = 4.0  # the channel answers nobody meanwhile, and peers count 6 s of silence as death


class RadioSettings(Section):
    """Where the samples of each frame go, and come back from, for the kind radio: see
    docs/radio.md."""

    via: Literal["zmq", "sigmf"] = "zmq"
    """Whether samples go through sockets, as the ZMQ blocks of GNU Radio have them, or through
    files in the SigMF format."""
    sockets: Literal["pub-sub", "push-pull"] = "pub-sub"
    """The kind of sockets: a PUB and a SUB here go with a SUB Source and a PUB Sink there, a PUSH
    and a PULL with a PULL Source and a PUSH Sink."""
    send: str = "bind:tcp://127.0.0.1:5560"
    """The address that samples are sent to: bind: or connect:, then where."""
    receive: str = "connect:tcp://127.0.0.1:5561"
    """The address that samples are received from: bind: or connect:, then where."""
    write: str = ""
    """A SigMF recording that is made of every burst that is sent; the frames of that run are heard
    through emulated noise."""
    read: str = ""
    """A SigMF recording of what a radio received of these bursts."""
    sps: Annotated[int, Field(ge=1, le=16)] = 4
    """Samples per symbol; the sample rate is sps times symbol_rate_hz. 1: no pulse shaping."""
    amplitude: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Root mean square of the samples of a burst; most radios clip above 1, and peaks are about
    four times as high."""
    max_offset_hz: Annotated[float, Field(ge=0)] = 10e3
    """The largest carrier frequency offset that is looked for; it may be a tenth of
    symbol_rate_hz."""
    wait_s: Annotated[float, Field(gt=0, le=MAX_WAIT_S)] = 2.0
    """Seconds until a burst that has not come back counts as lost; the channel does nothing else
    meanwhile."""

    @model_validator(mode="after")
    def _one_file(self) -> RadioSettings:
        if self.via == "sigmf" and bool(self.write) == bool(self.read):
            raise ValueError("via = 'sigmf' needs one of write and read, the recording's path")
        return self

    def result_changing(self) -> dict[str, Any]:
        """What changes the samples of a burst, or what is heard of them."""
        names = ("via", "read", "sps", "amplitude", "max_offset_hz")
        return {f"radio.{name}": getattr(self, name) for name in names}
