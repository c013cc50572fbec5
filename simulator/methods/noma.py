"""Two users on one medium at once, as methods: what one of them receives.

    images i and i + 1, the last one with the first -> superposed -> the image of user 1 or 2

An image is user 1 beside its successor, and user 2 beside its predecessor, so that the rows of both
users are of the same pairs. Each frame has twice the symbols of the point's ratio, and the two of
them share their channel uses: every row is charged what ``jscc`` is at the same point, where each
user has half of the uses with all the power.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar, get_args

from simulator.chain import Draw
from simulator.errors import SettingsError
from simulator.images import Pixels
from simulator.methods.diffjscc import codec_of, link_of
from simulator.methods.digital.methods import SOURCES, fitter
from simulator.methods.digital.system import channel_uses, error_free
from simulator.methods.method import Context, Method, Point, Sent
from simulator.methods.superposed import Cancel, Sharing, check_air, received_users
from simulator.phy.propagation import noise_variance
from simulator.phy.superposition import charges, stronger, views_of

T = TypeVar("T")


class Superposing(Method):
    """``user``: 0 or 1, whose image the result is."""

    def __init__(self, label: str, user: int) -> None:
        self.name, self.label = "noma", f"{label}, user {user + 1}"
        self.user, self.beside = user, (1, -1)[user]

    def both(self, image: Pixels, draw: Draw) -> tuple[tuple[Pixels, Pixels], tuple[Draw, Draw]]:
        """Images and draws of user 1 and user 2. Raises ``SettingsError`` for a lone image."""
        other = draw.partner
        if other is None:
            raise SettingsError("two users send two images at once: give at least two.")
        return self.ordered(image, other.pixels), self.ordered(draw, other.draw)

    def ordered(self, own: T, other: T) -> tuple[T, T]:
        return (own, other) if self.user == 0 else (other, own)


class NomaMethod(Superposing):
    """Superposed symbols of a JSCC codec."""

    def __init__(self, user: int, sharing: Sharing) -> None:
        super().__init__("DeepJSCC superposed", user)
        self._sharing = sharing

    def send(self, image: Pixels, point: Point, draw: Draw) -> Sent:
        images, draws = self.both(image, draw)
        got = self._sharing.send(images, 2 * point.cbr, draws, self.user)
        details = {
            "symbols": got.k,
            "first": got.first,
            "told_sinr_db": got.told_sinr_db,
            "sinr_db": got.sinr_db,
            "seconds": got.seconds,
        }
        return Sent(got.pixels, got.charged, side_uses=got.side_uses, details=details)


class NomaCapacityMethod(Superposing):
    """A source codec and the bits that arrive of a user: of the one that is decoded first with the
    other one as Gaussian noise, then of the other one alone. Together they are the capacity of the
    medium."""

    def __init__(self, user: int, share: float, source: str) -> None:
        super().__init__(f"{SOURCES[source][0]} + capacity superposed", user)
        self._share, self._fitter = share, fitter(source)

    def send(self, image: Pixels, point: Point, draw: Draw) -> Sent:
        check_air(draw)
        images, draws = self.both(image, draw)
        whole = Point(point.channel, 2 * point.cbr, point.snr_db)
        ks = channel_uses(images[0], whole), channel_uses(images[1], whole)
        users = received_users(self._share, draws, ks)
        view = views_of(users, noise_variance(draw.snr_db))[self.user]
        details: dict[str, Any] = {
            "symbols": view.user.k,
            "first": stronger(users) == self.user,
            "sinr_db": view.sinr_db,
        }
        bits = math.floor(view.bits)
        return error_free(self._fitter, image, bits, charges(ks)[self.user], details)


def make_noma(
    context: Context,
    user: int = 1,
    share: float = 0.8,
    cancel: Cancel = "measured",
    scramble: bool = True,
    codec: str = "",
    model: str = "",
) -> NomaMethod:
    """``user``: 1 or 2; ``share``: of the power, user 1's; ``cancel``, ``scramble``: as of
    ``Sharing``; ``codec``, ``model``: as of ``jscc``. Raises ``SettingsError`` for other values."""
    check(user, share)
    if cancel not in get_args(Cancel):
        raise SettingsError(f"cancel={cancel}: use {', '.join(get_args(Cancel))}.")
    if not isinstance(scramble, bool):
        raise SettingsError(f"scramble={scramble}: use true or false.")
    link = link_of(codec_of(context, codec, model), context)
    return NomaMethod(user - 1, Sharing(link, float(share), cancel, scramble))


def make_noma_capacity(
    user: int = 1, share: float = 0.8, source: str = "hevc"
) -> NomaCapacityMethod:
    """Options as above; ``source``: of ``diffjscc baseline``. Raises ``SettingsError``."""
    check(user, share)
    if source not in SOURCES:
        raise SettingsError(f"source={source}: use {', '.join(SOURCES)}.")
    return NomaCapacityMethod(user - 1, float(share), source)


def check(user: int, share: float) -> None:
    """Raises ``SettingsError``."""
    if user not in (1, 2):
        raise SettingsError(f"user={user}: use 1 or 2.")
    if not isinstance(share, int | float) or not 0 < share < 1:
        raise SettingsError(f"share={share}: user 1's part of the power is between 0 and 1.")
