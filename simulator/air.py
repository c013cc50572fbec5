"""The settings of the air, and what all sections of settings have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from simulator.phy.allocation import Power
from simulator.phy.antennas import MAX_ANTENNAS, Antennas, Detector, Scheme
from simulator.phy.estimate import Estimator
from simulator.phy.impairments import Impairment, parse
from simulator.phy.laws import LAWS, MAX_SUBCARRIERS, Waveform
from simulator.phy.own import CHANNELS
from simulator.phy.packets import Loss
from simulator.phy.profile import Name, profile_of

# A kind of channel: of this project, or of a plugin.
Kind = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
# Periods of the Doppler shift during one OFDM symbol: of gains that are taken to stand still in it,
# and of others.
MAX_TURN, MAX_TURN_WITHIN = 0.05, 0.5

# Versions of the random draws (simulator.phy.streams). Files that say nothing were written when
# there was only the first.
FIRST_DRAWS, NEWEST_DRAWS = 1, 2


def listed(value: Any) -> Any:
    """Settings that sweep take one value or a list."""
    return list(value) if isinstance(value, list | tuple) else [value]


def check_kind(kind: str, csit: str) -> None:
    """Raises ``ValueError`` for a kind of channel that there is not, or not under this CSIT."""
    if kind not in LAWS and kind not in CHANNELS:
        raise ValueError(
            f"there is no channel {kind!r}; there are {', '.join((*LAWS, *CHANNELS))}, and with "
            f"--plugin FILE those of that file"
        )
    if kind in CHANNELS and csit == "delayed":
        raise ValueError(
            f"channel {kind!r} of a plugin has no delayed CSIT: how its gains move is not known"
        )


NotEmpty = Field(min_length=1)
LEAST_SNR_DB, MOST_SNR_DB = -30, 60
SnrDb = Annotated[float, Field(ge=LEAST_SNR_DB, le=MOST_SNR_DB)]


class Section(BaseModel):
    # What stands below a field is its description: ``diffjscc settings`` prints it.
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class MultipathSettings(Section):
    """OFDM over several paths, for the kind multipath."""

    profile: Name = "exponential"
    """The power of the paths by their delay: exp(-l / 4) at each sample l, or one of 3GPP's."""
    taps: Annotated[int, Field(ge=1, le=1024)] = 8
    """Samples that the exponential profile is long."""
    delay_spread_s: Annotated[float, Field(ge=0)] = 100e-9
    """The root mean square delay of the profiles of 3GPP, in seconds."""
    doppler_hz: Annotated[float, Field(ge=0)] = 0.0
    """The largest Doppler shift; 0: gains keep for an image."""
    subcarriers: Annotated[int, Field(ge=2, le=MAX_SUBCARRIERS)] = 64
    """Of an OFDM symbol; all of them are used."""
    cyclic_prefix: Annotated[int, Field(ge=0, le=MAX_SUBCARRIERS)] = 16
    """Samples in front of each OFDM symbol; they count as channel uses."""
    pilot_spacing: Annotated[int, Field(ge=0)] = 0
    """OFDM symbols that share one of pilots, where CSIR is estimated; 0: all of an image."""
    comb: Annotated[int, Field(ge=0, le=MAX_SUBCARRIERS)] = 0
    """Pilots are on every comb-th subcarrier of one in pilot_spacing OFDM symbols, and symbols on
    the others; 0: a whole OFDM symbol in front of pilot_spacing others."""
    estimator: Estimator = "lmmse"
    """How gains are estimated from pilots: least squares, or linear minimum mean square error with
    the profile known."""
    within_symbol: bool = False
    """Whether gains that move by doppler_hz move within an OFDM symbol, too: its subcarriers then
    disturb each other."""
    power: Power = "equal"
    """How the transmitter, where both ends know the gains, shares its power over the subcarriers:
    equally, for the most bits (water-filling), or for the least mean square error of symbols."""
    scramble: bool = False
    """Whether subcarriers are turned by a Zadoff-Chu sequence: the symbols of an image resemble one
    another, and peaks of their samples are clipped by amplifiers."""


class MimoSettings(Section):
    """Several antennas, for the kind mimo: Rayleigh fading with one gain an image for each pair."""

    transmit: Annotated[int, Field(ge=1, le=MAX_ANTENNAS)] = 2
    """Antennas that transmit."""
    receive: Annotated[int, Field(ge=1, le=MAX_ANTENNAS)] = 2
    """Antennas that receive."""
    transmit_correlation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """rho of the gains of neighbouring antennas that transmit; rho^abs(i - j) between others."""
    receive_correlation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The same of antennas that receive."""
    scheme: Scheme = "alamouti"
    """Maximum ratio combining of one transmit antenna, Alamouti's code over two, one stream from
    each antenna, or one on each singular vector of the H that the transmitter knows."""
    detector: Detector = "mmse"
    """How streams that are sent at once are taken apart."""

    @model_validator(mode="after")
    def _usable(self) -> MimoSettings:
        self.antennas(0)
        return self

    def antennas(self, age: int) -> Antennas:
        """Raises ``ValueError`` for antennas that the scheme cannot use. ``age``: of CSIT."""
        return Antennas(**self.model_dump(), age=age)


class PacketSettings(Section):
    """Symbols in packets that can be lost; the receiver knows which."""

    size: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Symbols of a packet; 0: no packets."""
    interleaved: bool = True
    """Whether neighbouring symbols go into different packets."""
    loss: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The share of packets that are lost, each by itself; of two states, in the good one."""
    loss_bad: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The share of packets that are lost in the bad state."""
    good_to_bad: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How likely the bad state follows a packet of the good one (Gilbert-Elliott); 0: there is
    none."""
    bad_to_good: Annotated[float, Field(gt=0, le=1)] = 0.5
    """How likely the good state follows a packet of the bad one."""

    @model_validator(mode="after")
    def _packets(self) -> PacketSettings:
        if (self.loss or self.good_to_bad) and not self.size:
            raise ValueError("losses need packets: give their size, too")
        return self

    @property
    def model(self) -> Loss:
        return Loss(self.loss, self.loss_bad, self.good_to_bad, self.bad_to_good)


class AirSettings(Section):
    """What the air does to a frame: for the three processes, sweeps and baselines alike."""

    kind: Annotated[Sequence[str], NotEmpty, BeforeValidator(listed)] = ["awgn"]
    """The kind of channel, one or several."""
    snr_trace: str = ""
    """A CSV file with a column snr_db, which replaces snr_db; empty: none."""
    assumed_snr_db: SnrDb | None = None
    """The SNR that both ends take to be true, instead of the true one."""
    coherence_time: Annotated[int, Field(ge=0)] = 0
    """Symbols that have one gain h; 0: all symbols of an image."""
    rician_k_db: Annotated[float, Field(ge=-30, le=40)] = 6.0
    """K factor of Rician fading, in dB."""
    csit: Literal["perfect", "average", "delayed", "quantised"] = "perfect"
    """What the transmitter knows of the channel: h and SNR, the SNR alone, an older h, or h in a
    few bits, which feedback_bits of a row counts; they are not charged."""
    csit_bits: Annotated[int, Field(ge=1, le=16)] = 4
    """Bits of the real and of the imaginary part of each gain, where CSIT is quantised."""
    csit_delay_blocks: Annotated[int, Field(ge=1)] = 1
    """Age of delayed CSIT, in blocks."""
    block_correlation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The correlation of the gains of a block and the next, for delayed CSIT."""
    csir: Literal["perfect", "estimated"] = "perfect"
    """What the receiver knows of h: its value, or an estimate from pilots."""
    pilots: Annotated[int, Field(ge=1, le=4096)] = 16
    """Pilots per block where CSIR is estimated; they count as channel uses. Under multipath they
    are whole OFDM symbols instead, see multipath.pilot_spacing; under mimo each stream has so
    many."""
    side: Literal["capacity", "free"] = "capacity"
    """What the side information of a codec is charged: channel uses at the capacity of the SNR, or
    nothing."""
    feedback_snr_db: SnrDb | None = None
    """The SNR of what a codec with feedback gets back; empty: it comes back without noise."""
    draws: Literal[1, 2] | None = None
    """The version of the random draws; unset: that of the folder that goes on, or else 2."""
    symbol_rate_hz: Annotated[float, Field(gt=0)] = 1e6
    """Channel uses per second on the air: under multipath, samples per second."""
    impairments: Annotated[list[str], BeforeValidator(listed)] = []
    """What the radios do to the samples, in this order: clip:ratio, rapp:backoff_db,smoothness (at
    the transmitter), cfo:hz, phase-noise:linewidth_hz, iq:gain_db,phase_deg,
    adc:bits,headroom_db, impulsive:probability,power_db,length (at the receiver); for example
    ["rapp:backoff_db=3", "cfo:hz=50"], or one of them as a text."""
    multipath: MultipathSettings = MultipathSettings()
    mimo: MimoSettings = MimoSettings()
    packets: PacketSettings = PacketSettings()

    @model_validator(mode="after")
    def _together(self) -> AirSettings:
        # Whatever the kind: a channel that is started alone is asked for others than its own.
        if "multipath" in self.kind or self.multipath != MultipathSettings():
            self._check_multipath()
        if self.csit == "delayed" and (self.coherence_time or not self.block_correlation):
            raise ValueError(
                "csit = 'delayed' needs one h an image (coherence_time = 0) and a "
                "block_correlation above 0"
            )
        if (
            self.coherence_time
            and self.csit in ("perfect", "quantised")
            and set(self.kind) != {"awgn"}
        ):
            raise ValueError("a coherence_time of fading channels needs csit = 'average'")
        if self.csir == "estimated" and 0 < self.coherence_time <= self.pilots:
            raise ValueError("coherence_time must hold more symbols than pilots")
        if "mimo" in self.kind and self.impairments:
            raise ValueError("impairments are of one radio at each end; there are none under mimo")
        if "mimo" in self.kind and self.coherence_time:
            raise ValueError("coherence_time is for flat fading; under mimo h keeps for an image")
        if self.mimo.scheme == "svd" and self.csit in ("average", "quantised"):
            raise ValueError(
                "mimo.scheme svd sends along the singular vectors of h, which is not known under "
                f"csit = {self.csit!r}; take csit = 'perfect' or 'delayed', or another scheme"
            )
        _ = self.radio_impairments
        return self

    def _check_multipath(self) -> None:
        if self.coherence_time and "multipath" in self.kind:
            raise ValueError(
                "coherence_time is for flat fading; gains under multipath change with "
                "multipath.doppler_hz"
            )
        m, wave = self.multipath, self.waveform
        if m.doppler_hz and self.csit != "average":
            raise ValueError("multipath.doppler_hz needs csit = 'average'")
        if m.power != "equal" and (
            (self.csit, self.csir) != ("perfect", "perfect") or self.assumed_snr_db is not None
        ):
            raise ValueError(
                f"multipath.power {m.power} is for ends that both know the gains and the SNR: it "
                "needs csit = 'perfect', csir = 'perfect' and no assumed_snr_db"
            )
        longest = profile_of(wave.profile, wave.taps, wave.delay_spread).longest
        if longest > m.cyclic_prefix:
            raise ValueError(
                f"the longest path comes {longest:.1f} samples late, which a cyclic_prefix of "
                f"{m.cyclic_prefix} does not cover; give a longer one, or a smaller spread or "
                f"symbol_rate_hz"
            )
        turned = wave.doppler * (m.subcarriers + m.cyclic_prefix)
        most = MAX_TURN_WITHIN if m.within_symbol else MAX_TURN
        if turned > most:
            more = "" if m.within_symbol else f", or {MAX_TURN_WITHIN} with multipath.within_symbol"
            raise ValueError(
                f"with this multipath.doppler_hz gains turn by {turned:.2g} of a period during one "
                f"OFDM symbol; at most {most} is computed{more}"
            )

    @property
    def pilots_per_block(self) -> int:
        return self.pilots if self.csir == "estimated" else 0

    @property
    def waveform(self) -> Waveform:
        """What both ends must know of it."""
        m = self.multipath
        return Waveform(
            coherence_time=self.coherence_time,
            pilots=self.pilots_per_block,
            rician_k=10 ** (self.rician_k_db / 10),
            correlation=self.block_correlation,
            profile=m.profile,
            taps=m.taps,
            delay_spread=m.delay_spread_s * self.symbol_rate_hz,
            doppler=m.doppler_hz / self.symbol_rate_hz,
            subcarriers=m.subcarriers,
            cyclic_prefix=m.cyclic_prefix,
            pilot_spacing=m.pilot_spacing,
            comb=m.comb,
            estimator=m.estimator,
            within_symbol=m.within_symbol,
            power=m.power,
            scramble=m.scramble,
            antennas=self.mimo.antennas(self.csit_delay_blocks if self.csit == "delayed" else 0),
            packet_size=self.packets.size,
            interleaved=self.packets.interleaved,
        )

    @property
    def radio_impairments(self) -> list[Impairment]:
        """As they are applied. Raises ``ValueError``."""
        return [parse(text, self.symbol_rate_hz) for text in self.impairments]

    @property
    def unsuperposed(self) -> str:
        """A setting under which the frames of two users are never on the same channel uses; empty
        where there is none."""
        given = {
            "channel.coherence_time": self.coherence_time,
            "channel.csir = 'estimated'": self.csir == "estimated",
            "channel.packets": self.packets.size,
            "channel.impairments": self.impairments,
        }
        return next((name for name, value in given.items() if value), "")

    @property
    def draw_version(self) -> int:
        return self.draws or NEWEST_DRAWS

    def result_changing(self) -> dict[str, Any]:
        """The settings that change results at a given operating point."""
        other = ("kind", "symbol_rate_hz", "multipath", "mimo", "packets")
        names = [name for name in AirSettings.model_fields if name not in other]
        fields = {name: getattr(self, name) for name in names}
        for section in ("multipath", "mimo", "packets"):
            own = getattr(self, section)
            if own != AirSettings.model_fields[section].default:
                fields |= {f"{section}.{name}": value for name, value in own.model_dump().items()}
        if self.multipath != MultipathSettings() or self.impairments:  # what is in seconds or Hz
            fields["symbol_rate_hz"] = self.symbol_rate_hz
        return as_before(fields | {"draws": self.draw_version})


# Settings of the air that are younger than some results, and what these were made with.
YOUNGER: dict[str, Any] = {
    "feedback_snr_db": None,
    "side": "capacity",
    "draws": FIRST_DRAWS,
    "impairments": [],
    "csit_bits": 4,
    "multipath.comb": 0,
    "multipath.within_symbol": False,
    "multipath.power": "equal",
    "multipath.scramble": False,
}


def as_before(fields: dict[str, Any]) -> dict[str, Any]:
    """Without younger settings at their old value: results from before say nothing of them."""
    return {k: v for k, v in fields.items() if k not in YOUNGER or v != YOUNGER[k]}
