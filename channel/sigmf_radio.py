"""A radio of files: first the bursts are written, later a recording of them is heard.

SigmfWriter   burst -> recording, to be played;  burst + emulated noise -> what is heard
SigmfReader   recording of what a radio received -> what is heard
"""

from __future__ import annotations

from channel.shot import Shot
from channel.sigmf import Writer, read_recording
from simulator.errors import SettingsError
from simulator.link.messages import WireError
from simulator.phy.burst import SILENCE
from simulator.phy.hunt import Hunt, all_starts, received_of
from simulator.phy.synchronise import Received
from simulator.radio import RadioSettings


class SigmfWriter:
    """Raises ``SettingsError`` for a recording that cannot go on."""

    def __init__(self, radio: RadioSettings, symbol_rate_hz: float) -> None:
        self._radio = radio
        self._max_offset = radio.max_offset_hz / symbol_rate_hz
        self._writer = Writer(radio.write, radio.sps * symbol_rate_hz)

    def exchange(self, shot: Shot) -> Received:
        """Raises ``StorageError`` where the recording cannot be written."""
        silence = SILENCE * self._radio.sps
        label = shot.burst.name.hex()[:16]  # SigMF wants labels to be short
        end = len(shot.samples) - silence
        self._writer.add(shot.samples, silence, end, label, shot.comment)
        hunt = Hunt(shot.burst, self._radio.sps, self._max_offset)
        try:
            found = hunt.feed(shot.samples + shot.noise())
        except ValueError as error:
            raise WireError("unsupported", str(error)) from None
        if found is None:
            raise WireError("unsupported", "no preamble was found in so much emulated noise")
        return found

    def close(self) -> None:
        """Each burst is in the recording already."""


class SigmfReader:
    """Looks for all bursts at once, at the start. Raises ``SettingsError``."""

    def __init__(self, radio: RadioSettings, symbol_rate_hz: float) -> None:
        self._radio = radio
        self._samples = read_recording(radio.read, radio.sps * symbol_rate_hz)
        max_offset = radio.max_offset_hz / symbol_rate_hz
        self._starts = list(all_starts(self._samples, radio.sps, max_offset))
        if not self._starts:
            raise SettingsError(
                f"no preamble was found in {radio.read}; check gain, frequency and sample rate of "
                f"that recording, and channel.radio.max_offset_hz."
            )

    def exchange(self, shot: Shot) -> Received:
        """Of a burst that was recorded twice, the first that is whole."""
        ours = [start for start in self._starts if start.is_of(shot.burst)]
        reason = (
            f"none of the {len(self._starts)} bursts of the recording is this frame's; images, "
            f"seed and settings have to be those of the run that wrote the bursts"
        )
        for start in ours:
            try:
                return received_of(self._samples, start, shot.burst, self._radio.sps)
            except ValueError as error:
                reason = str(error)
        raise WireError("unsupported", reason)

    def close(self) -> None:
        """Nothing is open."""
