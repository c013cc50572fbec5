"""The digital methods by name, for configurations, sweeps and the command line.

    SOURCE+ldpc              the scheme of the average SNR (the paper's two, and in between)
    SOURCE+ldpc-envelope     the best scheme at each operating point
    SOURCE+ldpc-adaptive     the best scheme for each gain, which the transmitter knows
    SOURCE+ldpc-loading      a modulation for each gain that the transmitter knows, one rate for all
    SOURCE+ldpc-harq         up to four rounds of a quarter of the uses, whose LLRs are added
    SOURCE+capacity          error-free bits at the rate of this image's gain
    SOURCE+capacity-ergodic  the same at the mean rate over gains

SOURCE is hevc, jpeg2000 or avif; hevc-fullsize never shrinks the image, as the literature's BPG.
``ldpc`` is 802.11n; ``ldpc5g`` and ``polar5g`` are 5G NR's (extra ``nr``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial

from simulator.chain import Draw
from simulator.errors import SettingsError
from simulator.methods.digital import capacity
from simulator.methods.digital.avif import Avif
from simulator.methods.digital.fit import Fitter
from simulator.methods.digital.harq import HarqMcs
from simulator.methods.digital.hevc import HevcIntra
from simulator.methods.digital.jpeg2000 import Jpeg2000
from simulator.methods.digital.loading import LoadedMcs
from simulator.methods.digital.system import (
    AdaptiveMcs,
    BestMcs,
    CapacityMethod,
    FixedMcs,
    LdpcMethod,
)
from simulator.methods.method import Method

Factory = Callable[[], Method]
Rate = Callable[[Draw, int], float]

SOURCES: dict[str, tuple[str, Callable[[], Fitter]]] = {
    "hevc": (HevcIntra.label, lambda: Fitter(HevcIntra())),
    "jpeg2000": (Jpeg2000.label, lambda: Fitter(Jpeg2000())),
    "avif": (Avif.label, lambda: Fitter(Avif())),
    "hevc-fullsize": (f"{HevcIntra.label}, never shrunk", lambda: Fitter(HevcIntra(), False)),
}
CODES = {
    "ldpc": ("LDPC", "802.11n"),
    "ldpc5g": ("5G LDPC", "5g"),
    "polar5g": ("5G polar", "5g-polar"),
}
CHOICES: dict[str, tuple[str, type[LdpcMethod]]] = {
    "": ("", FixedMcs),
    "-envelope": (", best MCS", BestMcs),
    "-adaptive": (", MCS for each h", AdaptiveMcs),
    "-loading": (", bit loading", LoadedMcs),
    "-harq": (", HARQ", HarqMcs),
}
BOUNDS: dict[str, tuple[str, Rate]] = {
    "capacity": ("capacity", capacity.instantaneous),
    "capacity-ergodic": ("ergodic capacity", capacity.ergodic),
}


@lru_cache(maxsize=len(SOURCES))
def fitter(source: str) -> Fitter:
    """One for all methods of a source: they share its encodings."""
    return SOURCES[source][1]()


def make_ldpc(source: str, code: str, choice: str) -> Method:
    code_label, standard = CODES[code]
    choice_label, method = CHOICES[choice]
    label = f"{SOURCES[source][0]} + {code_label}{choice_label}"
    return method(f"{source}+{code}{choice}", label, fitter(source), standard)


def make_capacity(source: str, bound: str) -> Method:
    bound_label, rate = BOUNDS[bound]
    label = f"{SOURCES[source][0]} + {bound_label}"
    return CapacityMethod(f"{source}+{bound}", label, fitter(source), rate)


#: Name -> factory.
METHODS: Mapping[str, Factory] = {
    f"{source}+{code}{choice}": partial(make_ldpc, source, code, choice)
    for source in SOURCES
    for code in CODES
    for choice in CHOICES
} | {
    f"{source}+{bound}": partial(make_capacity, source, bound)
    for source in SOURCES
    for bound in BOUNDS
}


def make_method(name: str) -> Method:
    """Raises ``SettingsError`` for a name that is not in ``METHODS``."""
    if name not in METHODS:
        raise SettingsError(f"there is no method {name!r}; there are {', '.join(METHODS)}.")
    return METHODS[name]()
