"""Pictures of a frame that is being denoised: what rx writes into its run folder, and a page reads.

    denoising/NAME.preview.jpg   what is refined
    denoising/NAME.step.jpg      what it has become, after the newest step that is shown

NAME is the receiver's. There are two files at most for each, of its newest frame, and each is
there whole. What it is of stands in the comment of the file, as JSON, so that both are always of
one frame.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta
from PIL import Image

from simulator.link.text import readable
from simulator.wholefile import write_whole

FOLDER = "denoising"
QUALITY = 90
MAX_SIDE_PX = 1280
MAX_FILES = 128  # that are looked at in a folder

Stage = Literal["preview", "step"]
Text = Annotated[str, Meta(max_length=512)]
Number = Annotated[int, Meta(ge=0, le=100_000)]


class About(msgspec.Struct, frozen=True):
    """``frame_id`` in hexadecimal digits. ``step`` of ``steps``: 0 where denoising begins, all of
    them where the picture is the refined image."""

    frame_id: Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    image: Text
    receiver: Text
    height: Number
    width: Number
    step: Number
    steps: Number


_decoder = msgspec.json.Decoder(About)


def path_of(folder: Path, receiver: str, stage: Stage) -> Path:
    return folder / FOLDER / f"{receiver}.{stage}.jpg"


def write(path: Path, pixels: np.ndarray, about: About) -> None:
    """(H, W, 3) uint8 RGB, ``MAX_SIDE_PX`` on its longer side at most. Raises ``StorageError``."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
    file = BytesIO()
    plain = msgspec.structs.replace(about, image=readable(about.image))
    picture.save(file, "JPEG", quality=QUALITY, comment=msgspec.json.encode(plain))
    write_whole(path, file.getvalue())


def read(path: Path) -> About | None:
    """What a picture is of; None for a file that is gone, or none of these."""
    try:
        with Image.open(path, formats=("JPEG",)) as picture:
            return _decoder.decode(picture.info["comment"])
    except Exception:  # of a file that anybody may have put there
        return None
