"""Names, images, folders and texts that people might bring, drawn from a seeded generator."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, features

from simulator.images import SUFFIXES

MAX_NAME_BYTES = 255
STEMS = [
    b"photo", b"IMG_0001", b"-rf", b"--out", b"a b", b" lead", b"trail ", b"a'b", b'a"b', b"a\\b",
    b"<script>alert(1)<", b"%s%d%n", b"{0}", b"[x]*?", b"~", b"$HOME", b"a\nb", b"a\tb", b"\x01",
    b"\x1b[31m", b"CON", b"nul", b"..x", b"a.tar", b"a,b;c", b"#", b"&amp;", b"[bold]x[/bold]",
    "été".encode(), "e\u0301te\u0301".encode(), "\u202egnp.exe".encode(), "\U0001f600".encode(),
    "照片".encode(), "照片".encode("gbk"), b"\xff\xfe", b"\xc3\x28", "\ufeffx".encode(), b"x" * 230,
    "é".encode() * 120, b"0", b"1/48".replace(b"/", "\u2215".encode()), b"nan", b"None", b"=1+1",
]  # fmt: skip
OTHERS = [".txt", ".mp4", ".png.txt", "", ".PNG.bak", ".svg", ".json", ".pdf"]
MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F", "HSV"]
FORMATS = ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000"]
if features.check("avif"):
    FORMATS.append("AVIF")
SIDES = [1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 48]
LITERALS = [
    "0", "-1", "1e308", "-1e-308", "nan", "inf", "-inf", "true", "false", '""', "'x'", "[]", "[[]]",
    "[1, 2]", "{}", "{a = 1}", '"1/0"', '"1/48"', '"a/b/c"', "99999999999999999999", "1.5", "-0.0",
    '"\\u0000"', '"tcp://"', '"/dev/null"', '"nowhere"', '["x", 1]', "1979-05-27", '"' + "a" * 5000
    + '"', '"\\U0001F600"', "0x10", "1_000", '["1/48", "1/48"]', '"rayleigh"', '"awgn"', "10", "1",
]  # fmt: skip


class Things:
    """Everything is a function of the seed."""

    def __init__(self, *seed: int) -> None:
        self.random = random.Random(repr(seed))
        self.numbers = np.random.default_rng(seed)

    def name(self, images_only: bool = False) -> bytes:
        """A file name as the system takes it: at most 255 bytes, without a slash or a zero."""
        stem = self.random.choice(STEMS)
        if self.random.random() < 0.4:
            stem += b"%d" % self.random.randrange(1000)
        if self.random.random() < 0.1:
            stem = bytes(
                self.random.choice(range(1, 256)) for _ in range(self.random.randint(1, 12))
            )
        suffix = self.random.choice(SUFFIXES)
        if self.random.random() < 0.2:
            suffix = suffix.upper()
        if not images_only and self.random.random() < 0.1:
            suffix = self.random.choice(OTHERS)
        whole = stem.replace(b"/", b"_").replace(b"\0", b"_")
        whole = whole[: MAX_NAME_BYTES - len(suffix)] + suffix.encode()
        return whole if whole.strip(b".") else b"dots.png"

    def image(self, damage: float = 0.5) -> bytes:
        """An image file of any mode, depth, size and number of frames; ``damage``: which part of
        them is damaged."""
        whole = self._whole()
        if self.random.random() >= damage:
            return whole
        kind = self.random.uniform(0.5, 1)
        if kind < 0.6:
            return whole[: self.random.randrange(len(whole) + 1)]
        if kind < 0.65:
            return whole + self.numbers.bytes(self.random.randrange(200))
        if kind < 0.68:
            return self.random.choice([b"", b"text\n", b"\0" * 64, b"%PDF-1.7", b"GIF89a"])
        damaged = bytearray(whole)
        reach = min(len(damaged), 64) if self.random.random() < 0.5 else len(damaged)
        for _ in range(self.random.choice([1, 1, 2, 8])):
            damaged[self.random.randrange(reach)] = self.random.randrange(256)
        return bytes(damaged)

    def _whole(self) -> bytes:
        """Pillow refuses some combinations: the next draw then."""
        while True:
            height, width = self.random.choice(SIDES), self.random.choice(SIDES)
            mode, form = self.random.choice(MODES), self.random.choice(FORMATS)
            file = BytesIO()
            with suppress(OSError, ValueError, KeyError):
                image = self._picture(mode, height, width)
                more: dict[str, object] = {}
                if form in ("JPEG", "PNG", "WEBP", "TIFF") and self.random.random() < 0.4:
                    exif = Image.Exif()
                    exif[0x0112] = self.random.randrange(10)  # the orientation
                    more["exif"] = exif
                if form in ("JPEG", "PNG", "WEBP") and self.random.random() < 0.2:
                    more["icc_profile"] = self.numbers.bytes(self.random.choice([0, 8, 200]))
                if form in ("GIF", "TIFF", "WEBP", "PNG") and self.random.random() < 0.2:
                    frames = [self._picture(mode, height, width) for _ in range(2)]
                    more |= {"save_all": True, "append_images": frames}
                image.save(file, form, **more)
                return file.getvalue()

    def _picture(self, mode: str, height: int, width: int) -> Image.Image:
        noise = self.numbers.integers(0, 256, (height, width, 3), dtype=np.uint8)
        if self.random.random() < 0.2:
            noise[:] = self.random.choice([0, 128, 255])
        if mode == "F":
            scale = self.random.choice([1.0, 1 / 255, 1e6, float("nan")])
            return Image.fromarray(noise[..., 0].astype(np.float32) * scale)
        if mode == "I;16":
            return Image.fromarray(
                noise[..., 0].astype(np.uint16) * self.random.choice([1, 16, 257])
            )
        if mode == "I":
            return Image.fromarray(
                noise[..., 0].astype(np.int32) * self.random.choice([1, -1, 70000])
            )
        return Image.fromarray(noise).convert(mode)

    def file(self, folder: Path, images_only: bool = False, damage: float = 0.5) -> Path | None:
        """A new file in ``folder``; None where one of its name is there already."""
        path = Path(os.fsdecode(os.fsencode(folder) + b"/" + self.name(images_only)))
        if path.exists():
            return None
        path.write_bytes(self.image(damage))
        return path

    def files(
        self, folder: Path, count: int, images_only: bool = False, damage: float = 0.5
    ) -> list[Path]:
        folder.mkdir(parents=True)
        made: list[Path] = []
        while len(made) < count:
            if (path := self.file(folder, images_only, damage)) is not None:
                made.append(path)
        return made

    def tree(self, root: Path) -> None:
        """A folder with links, loops, pipes, depth, hidden and empty folders, and some images."""
        root.mkdir(parents=True)
        folders = [root]
        for _ in range(self.random.randint(1, 14)):
            folder = self.random.choice(folders)
            path = folder / f"x{self.random.randrange(10**6)}"
            kind = self.random.randrange(10)
            with suppress(FileExistsError, OSError):  # a path may become longer than is allowed
                if kind < 2:
                    self.file(folder)
                elif kind < 4:
                    name = self.random.choice([path.name, "." + path.name, "d" * 200, "a b.png"])
                    (folder / name).mkdir()
                    folders.append(folder / name)
                elif kind == 4:
                    path.with_suffix(".png").symlink_to(self.random.choice(folders))
                elif kind == 5:
                    path.symlink_to(self.random.choice([root, Path("/nowhere"), path, Path("..")]))
                elif kind == 6:
                    os.mkfifo(path.with_suffix(".png"))
                elif kind == 7:
                    made = self.file(folder, images_only=True)
                    if made is not None:
                        path.with_suffix(".jpg").symlink_to(made)
                elif kind == 8:
                    deep = folder.joinpath(*["deep"] * self.random.randint(1, 30))
                    deep.mkdir(parents=True)
                    self.file(deep, images_only=True)
                else:
                    for index in range(self.random.choice([3, 300])):
                        (folder / f"t{index}.txt").touch()

    def settings(self, text: str) -> bytes:
        """A configuration file with a few things wrong, or none."""
        lines = text.splitlines()
        for _ in range(self.random.choice([0, 1, 1, 1, 2, 4])):
            place = self.random.randrange(len(lines))
            line, kind = lines[place], self.random.randrange(8)
            if kind < 4 and "=" in line:
                lines[place] = f"{line.partition('=')[0]}= {self.random.choice(LITERALS)}"
            elif kind == 4:
                del lines[place]
            elif kind == 5:
                lines.insert(place, line)
            elif kind == 6:
                lines.insert(place, f"key{place} = {self.random.choice(LITERALS)}")
            else:
                lines[place] = line.replace("=", self.random.choice(["", "==", ":", "= ="]))
        text, kind = "\n".join(lines) + "\n", self.random.randrange(20)
        if kind == 0:
            return text.encode("utf-16")
        if kind == 1:
            return b"\xef\xbb\xbf" + text.encode()
        if kind == 2:
            return text.replace("\n", "\r\n").encode()
        if kind == 3:
            return (text + "# caf\u00e9\n").encode("latin-1")
        data = text.encode()
        return self.damaged(data) if kind == 4 else data

    def damaged(self, data: bytes) -> bytes:
        """A part left out, doubled or replaced."""
        if not data:
            return b"\0"
        start = self.random.randrange(len(data))
        stop = min(len(data), start + self.random.choice([1, 1, 4, 50, 4000]))
        middle = self.random.choice(
            [b"", data[start:stop] * 2, self.numbers.bytes(stop - start), b"NaN", b"null", b"-1",
             b'"\\ud800"', b"1e999", b"[]", b"{}"]
        )  # fmt: skip
        return data[:start] + middle + data[stop:]
