"""The manifest: every frame of a run, known before the first is sent."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from simulator.errors import ImageError, SettingsError, path_from
from simulator.images import Pixels, file_sha256, find_images, sample_photographs
from simulator.link.ids import draw_key, frame_id
from simulator.link.messages import WirePoint
from simulator.settings import Settings

UNREADABLE = bytes(32)  # stands for the hash of a file that cannot be read


@dataclass(frozen=True, slots=True)
class Job:
    """One image at one operating point, once."""

    frame_id: bytes
    draw_key: bytes
    path: Path
    image_sha256: bytes
    repeat: int
    point: WirePoint
    label: str = ""  # of ``labels_of``
    # Where ``path`` is but a name: (H, W, 3) uint8 RGB, or the bytes of an image file.
    pixels: Pixels | None = None
    file: bytes | None = None
    notes: tuple[str, ...] = ()  # of ``Picture``, where ``pixels`` were a file

    @property
    def name(self) -> str:
        return self.label or self.path.name


def labels_of(paths: Sequence[Path]) -> list[str]:
    """Names that tell images apart and say nothing of this machine: their paths below the folder
    that all of them share, such as ``a/img.png`` and ``b/img.png``."""
    if not paths:
        return []
    whole = [path.absolute() for path in paths]
    shared = os.path.commonpath([path.parent for path in whole])
    return [path.relative_to(shared).as_posix() for path in whole]


def points_of(settings: Settings) -> list[WirePoint]:
    """The operating points of a sweep: every kind, ratio and SNR, each once."""
    tx, channel = settings.tx, settings.channel
    snrs: Sequence[float | None] = channel.snr_db
    if channel.snr_trace or channel.snr_source:
        snrs = [None]
    points = (
        WirePoint(channel=kind, snr_db=snr_db, bandwidth_ratio=ratio)
        for kind in channel.kind
        for ratio in tx.bandwidth_ratio
        for snr_db in snrs
    )
    return list(dict.fromkeys(points))


def one_point_of(settings: Settings) -> WirePoint:
    """Of frames that come one by one. Raises ``SettingsError`` where there are several."""
    points = points_of(settings)
    if len(points) > 1:
        raise SettingsError(
            "frames that come one by one have one operating point; give one kind of channel, one "
            "SNR and one bandwidth ratio."
        )
    return points[0]


def build_manifest(settings: Settings, known: Mapping[str, bytes] | None = None) -> list[Job]:
    """Every frame, in the order of sending: points, then repeats, then images.

    Equal images count as repeats of one another, so that each has noise of its own. ``known``:
    SHA-256 of images that need not be read again, by path. The frames of a source are not known
    beforehand. Raises ``ImageError`` where there is no
    image at all.
    """
    if settings.tx.source:
        one_point_of(settings)
        return []
    given = settings.tx.images
    paths = find_images([path_from(p) for p in given]) if given else sample_photographs()
    hashes = []
    for path in paths:
        try:
            hashes.append((known or {}).get(str(path)) or file_sha256(path))
        except (ImageError, OSError):
            hashes.append(UNREADABLE)
    labels = labels_of(paths)
    jobs: list[Job] = []
    for point in points_of(settings):
        seen: Counter[bytes] = Counter()
        for _ in range(settings.tx.repeats):
            for path, label, sha256 in zip(paths, labels, hashes, strict=True):
                repeat = seen[sha256]
                seen[sha256] += 1
                here = replace(point, trace_index=len(jobs))
                if point.snr_db is not None:
                    here = point
                jobs.append(
                    Job(
                        frame_id=frame_id(settings.run, here.name, sha256, repeat),
                        draw_key=draw_key(settings.seed, sha256, repeat),
                        path=path,
                        image_sha256=sha256,
                        repeat=repeat,
                        point=here,
                        label=label,
                    )
                )
    return jobs
