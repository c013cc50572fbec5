"""The one list of learned methods. Adding one is a new file and a line here.

A factory takes ``context`` (the model folder, the codec and the device of a comparison: see
``method.Context``) and, by keyword, options of its own; among them ``codec`` and ``model``
where the method is to have other ones. All give a ``Method``.
"""

from __future__ import annotations

from collections.abc import Callable

from simulator.methods.diffjscc import make_deepjscc_adv, make_swinjscc
from simulator.methods.learned.diffcom import make_diffcom
from simulator.methods.learned.inversejscc import make_inversejscc
from simulator.methods.learned.yilmaz import make_yilmaz
from simulator.methods.method import Method

METHODS: dict[str, Callable[..., Method]] = {
    "deepjscc-adv": make_deepjscc_adv,
    "swinjscc": make_swinjscc,
    "yilmaz": make_yilmaz,
    "inversejscc": make_inversejscc,
    "diffcom": make_diffcom,
}
