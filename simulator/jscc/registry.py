"""The one list of codecs. Adding a codec is a new file and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from simulator.errors import ModelError, SettingsError
from simulator.jscc.own import OWN, source_sha256

if TYPE_CHECKING:
    from simulator.jscc.codec import JsccCodec

CODECS = {
    "adaptive": "simulator.jscc.adaptive:AdaptiveCodec",
    "adjscc": "simulator.jscc.adjscc:AdjsccCodec",
    "cddm": "simulator.jscc.denoised:DenoisedCodec",
    "cnn": "simulator.jscc.cnn:CnnCodec",
    "deepjscc": "simulator.jscc.deepjscc:DeepJsccCodec",
    "deepjscc-f": "simulator.jscc.deepjscc_f:DeepJsccFCodec",
    "deepjscc-l": "simulator.jscc.layered:LayeredCodec",
    "deepjscc-q": "simulator.jscc.quantized:QuantizedCodec",
    "feedback": "simulator.jscc.with_feedback:FeedbackCodec",
    "feedback-vit": "simulator.jscc.feedback_vit:FeedbackVitCodec",
    "generative": "simulator.jscc.generative:GenerativeCodec",
    "mamba": "simulator.jscc.mamba:MambaCodec",
    "mambajscc-official": "simulator.jscc.mambajscc_official:OfficialMambaCodec",
    "ntscc": "simulator.jscc.ntscc:NtsccCodec",
    "ntscc-official": "simulator.jscc.ntscc_official:OfficialNtsccCodec",
    "null": "simulator.jscc.null:NullCodec",
    "ofdm-jscc": "simulator.jscc.ofdm:OfdmCodec",
    "padc": "simulator.jscc.padc:PadcCodec",
    "policy": "simulator.jscc.policy:PolicyCodec",
    "sketch": "simulator.jscc.sketched:SketchCodec",
    "space-time": "simulator.jscc.space_time:SpaceTimeCodec",
    "swin": "simulator.jscc.swin:SwinCodec",
    "swin-official": "simulator.jscc.swin_official:OfficialSwinCodec",
    "swinjscc-official": "simulator.jscc.swinjscc_official:OfficialSwinJsccCodec",
    "witt": "simulator.jscc.witt:WittCodec",
}


def register_codec(codec: type[JsccCodec]) -> None:
    """So that it can be trained, and that a folder whose ``codec.json`` names it can be loaded and
    sent. One without parameters needs no folder: its name is enough. Raises ``SettingsError`` for
    a name of this project."""
    if codec.name in CODECS and codec.name not in OWN:
        raise SettingsError(
            f"codec {codec.name!r} is one of this project; give yours another name."
        )
    CODECS[codec.name] = f"{codec.__module__}:{codec.__qualname__}"
    OWN[codec.name] = source_sha256(codec)


def codec_class(name: str) -> type[JsccCodec]:
    """The class behind a codec name; raises ``ModelError`` for an unknown one."""
    if name not in CODECS:
        raise ModelError(
            f"unknown codec {name!r}; there are {', '.join(sorted(CODECS))}, and with "
            f"--plugin FILE those of that file."
        )
    module, attribute = CODECS[name].split(":")
    return getattr(import_module(module), attribute)  # type: ignore[no-any-return]


def make_codec(name: str, config: dict[str, Any]) -> JsccCodec:
    """A codec from the name and config of its folder, with the one inside it, where it has one.

    Raises ``ModelError`` for an unknown name; whatever its ``__init__`` raises for another config.
    """
    cls: Any = codec_class(name)
    if "inner" not in config:
        return cls(**config)  # type: ignore[no-any-return]
    own = {key: value for key, value in config.items() if key not in ("inner", "inner_config")}
    return cls(make_codec(config["inner"], config["inner_config"]), **own)  # type: ignore[no-any-return]
