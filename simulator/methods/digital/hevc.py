"""HEVC intra, the codec inside BPG, by x265 (in PyAV's wheel): "HEVC intra (BPG class)".

    RGB --BT.601--> planes --x265, one intra slice of fixed QP--> NAL units --slice--> payload

What counts is the slice's NAL unit without its start code and its constant two-byte header, but
with its slice header. VPS, SPS and PPS are the receiver's own.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from simulator.errors import missing_package
from simulator.methods.digital.source import DamagedPayload, Pixels, SourceCodec, grey
from simulator.methods.digital.ycbcr import Plane, to_pixels, to_planes

WORST_QP = 51
BEST_QP = 6
START_CODE = b"\0\0\0\1"
# Of the smallest coding unit: the picture is padded to whole ones.
CELL = 8
# A constant QP with every tool for PSNR and none for the eye; one thread, so that it repeats.
X265 = (
    "qp={qp}:ipratio=1:keyint=1:bframes=0:aq-mode=0:psy-rd=0:psy-rdoq=0:"
    "info=0:hash=0:aud=0:wpp=0:pools=none:frame-threads=1:log-level=error"
)
PRESET = "veryslow"


def pyav() -> Any:
    """PyAV. Raises ``MissingPackageError``."""
    try:
        import av
    except ImportError:
        raise missing_package("HEVC", "PyAV", "eval") from None
    return av


class HevcIntra(SourceCodec):
    name = "hevc"
    label = "HEVC intra (BPG class)"
    qualities = WORST_QP - BEST_QP + 1
    growth = 0.15
    variants = ("420", "444")
    min_side_px = 16

    def encode(self, pixels: Pixels, quality: int, variant: str) -> bytes:
        sets, payload = split(x265(to_planes(padded(pixels), variant), WORST_QP - quality, variant))
        if sets != parameter_sets(cells(pixels.shape[:2]), variant):
            raise RuntimeError(
                "x265's parameter sets depend on the picture; they cannot be left out"
            )
        return payload

    def decode(self, payload: bytes, size: tuple[int, int], variant: str) -> Pixels:
        av = pyav()
        stream = parameter_sets(cells(size), variant) + slice_unit(payload)
        decoder = av.CodecContext.create("hevc", "r")
        decoder.thread_count = 1
        try:
            frames = decoder.decode(av.Packet(stream)) + decoder.decode(None)
        except av.FFmpegError as error:
            raise DamagedPayload(f"HEVC: {error}") from None
        if not frames:
            raise DamagedPayload("HEVC: no picture")
        planes = [plane_array(plane) for plane in frames[0].planes]
        return to_pixels(planes)[: size[0], : size[1]]


def cells(size: tuple[int, ...]) -> tuple[int, int]:
    """(H, W) in whole coding units."""
    return -(-size[0] // CELL) * CELL, -(-size[1] // CELL) * CELL


def padded(pixels: Pixels) -> Pixels:
    """Extended by its right and bottom edge to whole coding units."""
    height, width = cells(pixels.shape[:2])
    extra = ((0, height - pixels.shape[0]), (0, width - pixels.shape[1]), (0, 0))
    return np.pad(pixels, extra, mode="edge")


def x265(planes: list[Plane], qp: int, chroma: str) -> bytes:
    """One intra picture as an Annex B stream."""
    av = pyav()
    height, width = planes[0].shape
    encoder = av.CodecContext.create("libx265", "w")
    encoder.width, encoder.height = width, height
    encoder.pix_fmt = f"yuvj{chroma}p"
    encoder.time_base = Fraction(1, 25)
    encoder.thread_count = 1
    encoder.options = {"preset": PRESET, "tune": "psnr", "x265-params": X265.format(qp=qp)}
    frame = av.VideoFrame(width, height, encoder.pix_fmt)
    for target, plane in zip(frame.planes, planes, strict=True):
        lines = np.zeros((target.height, target.line_size), np.uint8)
        lines[:, : target.width] = plane
        target.update(lines.tobytes())
    frame.pts = 0
    return b"".join(bytes(packet) for packet in encoder.encode(frame) + encoder.encode(None))


def plane_array(plane: Any) -> Plane:
    lines = np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, plane.line_size)
    return lines[:, : plane.width]


# NAL unit header of an IDR picture without leading pictures (type 20).
IDR = bytes([20 << 1, 1])


def slice_unit(payload: bytes) -> bytes:
    return START_CODE + IDR + payload


def split(stream: bytes) -> tuple[bytes, bytes]:
    """Parameter sets with their start codes, and what the only slice holds."""
    at = stream.rindex(b"\0\0\1" + IDR)
    sets = stream[:at].rstrip(b"\0")
    return sets, stream[at + 3 + len(IDR) :]


@lru_cache(maxsize=64)
def parameter_sets(size: tuple[int, int], chroma: str) -> bytes:
    """VPS, SPS and PPS of pictures of ``size`` (H, W): the same for every picture and QP."""
    return split(x265(to_planes(grey(size), chroma), WORST_QP, chroma))[0]
