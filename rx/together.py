"""The previews of two frames that came as one PAIR.

PAIR -> users, and what their encoders were given -> ``rx.successive`` -> two previews
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rx.chain import Decoder, Preview
from rx.receiver import Both
from rx.successive import Arrived, Asked, Part, Successive
from simulator.images import Pixels
from simulator.link.clock import Clock
from simulator.link.messages import WireError
from simulator.link.payloads import values_of
from simulator.phy.reception import Equalizer
from simulator.phy.superposition import states_of, users_of


@dataclass(frozen=True)
class Came:
    """``row``: what the row of this user's frame says of the other one, by the keys of rows."""

    preview: Preview
    row: Mapping[str, Any]


def receive_both(
    both: Both, decoder: Decoder, equalizer: Equalizer, clock: Clock
) -> tuple[Came, Came]:
    """The reconstructions of both users, in their order.

    ``equalize_s`` of the user that is decoded second is what cancelling took. Raises ``WireError``
    where the payload is not one, and ``SettingsError`` for a codec that cannot encode again.
    """
    began = clock()
    two = Successive(arrived_of(both), decoder, decoder, equalizer)
    strong = two.strong
    equalized = clock()
    pixels = two.strong_pixels
    decoded = clock()
    weak = two.weak(two.measured())
    cancelled = clock()
    others = decoder.decode(weak.given)

    def came(user: int, part: Part, pixels: Pixels, *seconds: float) -> Came:
        preview = Preview(pixels, part.given, decoder.said(part.given), *seconds)
        return Came(preview, row_of(both, user, part))

    ahead = came(two.first, strong, pixels, equalized - began, decoded - equalized)
    behind = came(1 - two.first, weak, others, cancelled - decoded, clock() - cancelled)
    return (ahead, behind) if two.first == 0 else (behind, ahead)


def arrived_of(both: Both) -> Arrived:
    """Raises ``WireError`` where the parts are not those of two frames."""
    pair, (one, other) = both.pair, both.tasks
    frames = one.frame, other.frame
    ks = frames[0].k, frames[1].k
    try:
        received = values_of(one.parts[0], max(ks))
        gains = [complex(value) for value in values_of(one.parts[1], 4)]
        ratios = [Fraction(frame.point.bandwidth_ratio) for frame in frames]
    except (ValueError, ZeroDivisionError) as error:
        raise WireError("bad-payload", str(error)) from None
    snr_db = frames[0].air.snr_db
    states = states_of(pair.share, (gains[2], gains[3]), ks, snr_db)
    asked = [
        Asked(state, (frame.height, frame.width), ratio)
        for state, frame, ratio in zip(states, frames, ratios, strict=True)
    ]
    users = users_of(pair.share, (gains[0], gains[1]), ks)
    key, draws = frames[0].draw_key, pair.draws
    return Arrived(received, users, (asked[0], asked[1]), snr_db, key, draws)


def row_of(both: Both, user: int, part: Part) -> dict[str, Any]:
    frames, share = (both.pair.first, both.pair.second), both.pair.share
    return {
        "superposed_with": frames[1 - user].frame_id.hex(),
        "share": (share, round(1 - share, 12))[user],
        "sinr_db": part.sinr_db,
    }
