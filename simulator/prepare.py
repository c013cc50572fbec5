"""A run made ready, once: its settings, its frames, and what it is made with.

settings -> absolute paths -> images, hashed -> frames -> fingerprints of weights -> Run

Nothing is written here: what is wrong with a run is known before it has a folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from simulator.errors import SettingsError, path_from
from simulator.jscc.folder import WEIGHTLESS, read_codec_folder
from simulator.link.text import readable
from simulator.models.folder import SHIPPED
from simulator.runfolder import fingerprints, name_run
from simulator.settings import AUTO, Settings
from simulator.wholefile import write_whole
from tx.encoder import make_encoder
from tx.source import UNREADABLE, Job, build_manifest

IMAGES = "images.json"  # of a run folder: the SHA-256 of each image that is sent


@dataclass(frozen=True)
class Run:
    """``made_with``: fingerprints of the codec, and where they are here, of model and preview."""

    settings: Settings
    jobs: Sequence[Job]
    made_with: Mapping[str, str]

    @cached_property
    def order(self) -> dict[bytes, int]:
        """Places of the frames in the manifest, by their ids."""
        return {job.frame_id: index for index, job in enumerate(self.jobs)}

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each image in hex, by path."""
        return {str(job.path): job.image_sha256.hex() for job in self.jobs}


def prepare(settings: Settings, refines: bool = True, hashes: Path | None = None) -> Run:
    """A run of these settings, named and with absolute paths.

    ``refines``: whether the receiver is of this run, so that its model counts. ``hashes``: a run
    folder whose images were hashed by the process that started this one. Raises ``SettingsError``,
    ``ImageError`` and ``ModelError``.
    """
    settings = with_ratio(absolute(name_run(settings)))
    made_with = fingerprints(settings, refines)
    known = read_hashes(hashes) if hashes else {}
    return Run(settings, build_manifest(settings, known), made_with)


def with_ratio(settings: Settings) -> Settings:
    """Settings that name the codec's largest ratio, where it is to be chosen for each frame."""
    if settings.tx.bandwidth_ratio != [AUTO]:
        return settings
    encoder = make_encoder(settings.tx, read_codec_folder(settings.codec))
    largest = [str(max(encoder.ratios))]
    return settings.model_copy(
        update={"tx": settings.tx.model_copy(update={"bandwidth_ratio": largest})}
    )


def write_hashes(hashes: Mapping[str, str], folder: Path) -> None:
    """For the transmitter, and for people. Raises ``StorageError``."""
    write_whole(folder / IMAGES, json.dumps(hashes, indent=1, allow_nan=False) + "\n")


def read_hashes(folder: Path) -> dict[str, bytes]:
    """By path; none where the folder has no record of them. An unreadable image has none."""
    try:
        found = json.loads((folder / IMAGES).read_bytes())
        hashes = {path: bytes.fromhex(digest) for path, digest in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    return {path: digest for path, digest in hashes.items() if digest != UNREADABLE}


def absolute(settings: Settings) -> Settings:
    """Settings whose paths hold in any working directory.

    Raises ``SettingsError`` for a path that run.toml cannot hold.
    """
    tx, channel, rx = settings.tx, settings.channel, settings.rx
    radio = channel.radio
    return settings.model_copy(
        update={
            "model": named_or_path(settings.model, SHIPPED),
            "codec": named_or_path(settings.codec, SHIPPED + WEIGHTLESS),
            "out": said(settings.out),
            "plugins": [path_of(name) for name in settings.plugins],
            "tx": tx.model_copy(
                update={
                    "images": [path_of(name) for name in tx.images],
                    "captions": path_of(tx.captions),
                    "source": picture_source_of(tx.source),
                    "token": path_of(tx.token),
                    "keys": path_of(tx.keys),
                }
            ),
            "channel": channel.model_copy(
                update={
                    "snr_trace": path_of(channel.snr_trace),
                    "snr_source": source_of(channel.snr_source),
                    "keys": path_of(channel.keys),
                    "radio": radio.model_copy(
                        update={"write": path_of(radio.write), "read": path_of(radio.read)}
                    ),
                }
            ),
            "rx": rx.model_copy(
                update={
                    "preview": named_or_path(rx.preview, SHIPPED + WEIGHTLESS),
                    "captioner": captioner_of(rx.captioner),
                    "reference": named_or_path(rx.reference, ("attached", "none")),
                    "keys": path_of(rx.keys),
                }
            ),
        }
    )


def said(path: str) -> str:
    """``path``, as a file that holds it can say it. Raises ``SettingsError``."""
    if readable(path) != path:
        raise SettingsError(
            f"a path in the settings is not UTF-8 ({readable(path)}); rename it, or name the "
            f"folder that it is in."
        )
    return path


def path_of(text: str) -> str:
    if not text:
        return ""
    path = str(path_from(said(text)).absolute())
    try:
        path.encode()
    except UnicodeEncodeError:  # a working directory of other bytes: TOML could not hold it
        return text
    return path


def source_of(text: str) -> str:
    """A file with an SNR; the address of a socket stays."""
    return text if text.startswith(("sub:", "pull:")) else path_of(text)


def picture_source_of(text: str) -> str:
    """With the path of a folder or of a file; an address and a device stay."""
    kind, colon, what = text.partition(":")
    named = kind == "http" or "://" in what or not what
    return text if named else f"{kind}{colon}{path_of(what)}"


def named_or_path(text: str, names: tuple[str, ...]) -> str:
    """A name that is known, or a hub id, stays; what is here is a path."""
    here = text and text not in names and path_from(text).exists()
    return path_of(text) if here else text


def captioner_of(text: str) -> str:
    if text.startswith("given:"):
        return "given:" + path_of(text.removeprefix("given:"))
    return named_or_path(text, ("keywords", "blip2", "none"))
