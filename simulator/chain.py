"""One frame in this process, through the very functions of ``tx``, ``channel`` and ``rx``.

    image -Encoder (5), (2)-> sent -Medium (3)-> received -equalise (4)-> -Decoder (5)-> preview
              ^ Draw.csit             ^ gains and noise of the draw key

No sockets, and nothing of the chain said again: a frame here has the bits that it has between three
processes, under every setting of the channel. Sweeps, baselines, the constellations of a report and
the link's own tests go this way. ``simulator.jscc.chain`` is the differentiable one, for training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from pydantic import ValidationError

from channel.medium import Medium, OperatingPoint, Reception, joined
from rx.chain import Decoder, check_equalizer, given_to_decoder, make_decoder
from simulator.air import AirSettings
from simulator.errors import SettingsError
from simulator.images import Pixels, check_pixels
from simulator.jscc.beside import NOTHING, Beside
from simulator.jscc.folder import read_codec_folder
from simulator.jscc.rates import parse_ratio
from simulator.jscc.signal import ToEncode
from simulator.link.clock import monotonic
from simulator.link.messages import WireError
from simulator.phy.law import Law
from simulator.phy.packets import FEEDBACK_AND_PACKETS
from simulator.phy.reception import Equalizer, Heard
from simulator.phy.state import ChannelState
from simulator.phy.streams import sampler_seed
from simulator.settings import Runtime, TxSettings
from tx.encoder import make_encoder
from tx.feedback import Rounds, learnt
from tx.interface import Encoder


@dataclass(frozen=True)
class Air:
    """A frame on the air: what the receiver knows of it, and the truth about it.

    ``received``: all that arrived, complex64; ``h``: (M,) complex64, the effective gains;
    ``pilots``: P; ``h_abs2``: mean of abs(h)^2 over the symbols; ``received_snr_db``: faded signal
    over noise, as it was drawn; ``papr_db``: of what the antenna sent; ``packets_lost``: their
    number; ``feedback_bits``: of a quantised CSIT.
    """

    heard: Heard
    received: np.ndarray
    h: np.ndarray
    pilots: int
    h_abs2: float
    received_snr_db: float
    papr_db: float
    packets_lost: int
    feedback_bits: int


@dataclass(frozen=True)
class Draw:
    """What chance and the channel have in store for one frame; equal for every method.

    ``key`` is the draw key of ``simulator.link.ids``. Whatever is asked here is a function of it,
    of the medium's settings and of the point; never of what was asked before. ``partner``: the
    frame of another user at the same time, for methods that superpose two.
    """

    medium: Medium
    key: bytes
    point: OperatingPoint
    partner: Partner | None = None

    @classmethod
    def under(cls, settings: AirSettings, key: bytes, point: OperatingPoint) -> Draw:
        """Through a medium of its own. Raises ``SettingsError`` for a trace that cannot be read,
        and for a radio, which hears a frame but once."""
        if point.channel == "radio":
            raise SettingsError("what a radio has heard cannot be computed again.")
        return cls(Medium(settings), key, point)

    @property
    def seed(self) -> int:
        """Of the receiver's own draws, such as a diffusion sample."""
        return sampler_seed(self.key)

    @property
    def snr_db(self) -> float:
        """The true average SNR. Raises ``SettingsError`` where neither side says it."""
        try:
            return self.medium.snr_db(self.point)
        except WireError as error:
            raise SettingsError(f"{error.reason}.") from None

    @property
    def given_snr_db(self) -> float:
        """The SNR that both ends are given: ``snr_db``, or ``assumed_snr_db``."""
        assumed = self.medium.settings.assumed_snr_db
        return self.snr_db if assumed is None else assumed

    def csit(self, k: int) -> ChannelState:
        """What the transmitter is given before it sends K symbols."""
        return self.medium.csit(self.key, self.point, k)

    def likely(self, k: int, count: int) -> np.ndarray:
        """(count, M) or (1, M) gains that K symbols may meet, so far as the transmitter knows."""
        return self.medium.likely(self.key, self.point, k, count)

    def gains(self, k: int) -> np.ndarray:
        """(1,) or (K,) complex64, the truth of each symbol behind the detector of the receiver."""
        h = self.law.effective(self.medium.gains(self.key, self.point, k), self.snr_db)
        return h if len(h) == 1 else self.law.of_each_symbol(h, k)

    def capacity(self, k: int) -> float:
        """Bits that each of K symbols brings at most under the true gains: for bounds, not for
        systems."""
        h = self.medium.gains(self.key, self.point, k)
        return self.law.capacity(h, k, 10 ** (self.snr_db / 10))

    def h_abs2(self, k: int) -> float:
        """The mean of abs(h)^2 over K symbols."""
        return float(np.mean(np.abs(self.gains(k)) ** 2))

    @property
    def law(self) -> Law:
        """Of the kind of channel: which gains, pilots and channel uses K symbols have."""
        return self.medium.law(self.point)

    def transmit(self, symbols: np.ndarray) -> Air:
        """(K,) complex64 symbols of mean power 1, behind their pilots."""
        return self.heard([self.receive(symbols)], len(symbols))

    def receive(self, symbols: np.ndarray, number: int = 0) -> Reception:
        """One round on the air: (K,) symbols behind their pilots."""
        k = len(symbols)
        pilots = self.law.pilot_symbols(k)
        sent = np.concatenate([pilots, symbols]) if len(pilots) else symbols
        return self.medium.transmit(self.key, self.point, k, sent, number)

    def heard(self, rounds: Sequence[Reception], k: int) -> Air:
        """What the receiver knows of a frame whose rounds, of K symbols each, have all come."""
        got, count = joined(rounds), len(rounds)
        # Where pilots are to say the gains, the true ones are not looked at.
        heard = self.law.hear(got.symbols, got.h, k, got.snr_db, count)
        p = count * self.law.pilots(k)
        heard = heard.without(self.medium.packets.erased(got.lost, k))
        return Air(
            heard=heard,
            received=got.symbols,
            h=self.law.effective(got.h, self.snr_db),
            pilots=p,
            h_abs2=got.h_abs2,
            received_snr_db=got.received_snr_db,
            papr_db=got.papr_db,
            packets_lost=int(got.lost.sum()),
            feedback_bits=got.feedback_bits,
        )

    def learnt(
        self, sent: Sequence[np.ndarray], rounds: Sequence[Reception]
    ) -> tuple[ChannelState, Rounds]:
        """What a transmitter with feedback knows before its next round."""
        back = [
            self.medium.returned(self.key, self.point, each.symbols, number)
            for number, each in enumerate(rounds)
        ]
        state = ChannelState(self.given_snr_db, rounds[0].h)
        return learnt(sent, back, state, self.law)


@dataclass(frozen=True, eq=False)
class Partner:
    """Another user's frame: its image, (H, W, 3) uint8, and what is in store for it."""

    pixels: Pixels
    draw: Draw


@dataclass(frozen=True)
class Received:
    """The preview of one frame, (H, W, 3) uint8, and how it came.

    ``sent`` and ``equalised``: (K,) complex64, of all ``rounds``; ``side_uses``: channel uses that
    side information is charged; ``said``: what it says of the image; ``seconds``: from encoding to
    preview, the channel's work included.
    """

    pixels: Pixels
    sent: np.ndarray
    equalised: np.ndarray
    air: Air
    seconds: float
    rounds: int = 1
    side_uses: int = 0
    said: Beside = NOTHING


@dataclass(frozen=True)
class Link:
    """Both ends of one codec, and the receiver's equaliser. Raises ``SettingsError`` for one that
    the codec does not go with."""

    encoder: Encoder
    decoder: Decoder
    equalizer: Equalizer = "zero-forcing"

    def __post_init__(self) -> None:
        check_equalizer(self.decoder, self.equalizer)

    def send(self, image: Pixels, ratio: Fraction | str, draw: Draw, text: str = "") -> Received:
        """One (H, W, 3) uint8 image; ``text``: about it, for a codec that sends one. Raises
        ``SettingsError`` for an image of another form and at a ratio that the codec does not have.
        """
        check_pixels(image)
        ratio = parse_ratio(ratio)
        if self.encoder.rounds > 1 and draw.medium.packets.size:
            raise SettingsError(f"{FEEDBACK_AND_PACKETS}.")
        began = monotonic()
        size = (image.shape[0], image.shape[1])
        asked = ToEncode(image, draw.csit(self.encoder.k(size, ratio)), ratio, text=text)
        signal = self.encoder.encode(asked)
        sent, rounds = [signal.symbols], [draw.receive(signal.symbols)]
        for number in range(1, self.encoder.rounds):
            state, heard_of = draw.learnt(sent, rounds)
            again = self.encoder.encode(replace(asked, state=state, heard=heard_of))
            sent.append(again.symbols)
            rounds.append(draw.receive(again.symbols, number))
        air = draw.heard(rounds, len(signal.symbols))
        given = given_to_decoder(air.heard, self.equalizer, size, signal.side)
        said, pixels = self.decoder.said(given), self.decoder.decode(given)
        return Received(
            pixels=pixels,
            sent=np.concatenate(sent),
            equalised=given.symbols,
            air=air,
            seconds=monotonic() - began,
            rounds=len(rounds),
            side_uses=draw.medium.side_uses(draw.point, len(signal.side)),
            said=said,
        )


def load_link(
    codec: str,
    runtime: Runtime = "onnx",
    device: str = "cpu",
    equalizer: Equalizer = "zero-forcing",
    target_psnr_db: float | None = None,
) -> Link:
    """Both ends of a shipped name, a codec folder or the codec of a model folder, as tx and rx load
    them; ``target_psnr_db``: as of ``tx``. Raises ``SettingsError``, ``ModelError``,
    ``MissingPackageError``."""
    try:
        settings = TxSettings(runtime=runtime, target_psnr_db=target_psnr_db)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise SettingsError(f"{first['loc'][0]} = {first['input']}: {first['msg']}.") from None
    encoder = make_encoder(settings, read_codec_folder(codec))
    return Link(encoder, make_decoder(codec, device), equalizer)
