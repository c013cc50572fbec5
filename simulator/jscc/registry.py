"""The one list of codecs. Adding a codec is a new file and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from simulator.errors import ModelError

if TYPE_CHECKING:
    from simulator.jscc.codec import JsccCodec

CODECS = {
    "adaptive": "simulator.jscc.adaptive:AdaptiveCodec",
    "cnn": "simulator.jscc.cnn:CnnCodec",
    "null": "simulator.jscc.null:NullCodec",
    "swin": "simulator.jscc.swin:SwinCodec",
    "swin-official": "simulator.jscc.swin_official:OfficialSwinCodec",
}


def codec_class(name: str) -> type[JsccCodec]:
    """The class behind a codec name; raises ``ModelError`` for an unknown one."""
    if name not in CODECS:
        raise ModelError(f"unknown codec {name!r}; there are {', '.join(sorted(CODECS))}.")
    module, attribute = CODECS[name].split(":")
    return getattr(import_module(module), attribute)  # type: ignore[no-any-return]
