"""Files of the newest frames stay, and no file goes that a newer frame has, too."""

import os
from pathlib import Path

import pytest

from simulator.newest import Newest, stem_of


def made(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text(name)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("keep", "left"), [(0, "abcd"), (1, "d"), (3, "bcd"), (9, "abcd")])
def test_the_newest_stay(tmp_path: Path, keep: int, left: str) -> None:
    newest = Newest(keep)
    for frame in "abcd":
        for stage in ("preview", "refined"):
            newest.add(frame, made(tmp_path, f"{frame}.{stage}.png"))
    assert names(tmp_path) == [f"{f}.{stage}.png" for f in left for stage in ("preview", "refined")]


def test_a_file_of_several_frames_stays_with_the_newest_of_them(tmp_path: Path) -> None:
    newest, shared = Newest(2), made(tmp_path, "shared.png")
    newest.add("first", shared)
    for frame in ("second", "third"):
        newest.add(frame, made(tmp_path, frame))
    assert names(tmp_path) == ["second", "third"]
    for frame in ("fourth", "fifth", "fifth"):
        newest.add(frame, made(tmp_path, "shared.png"))
    newest.add("sixth", made(tmp_path, "sixth"))
    assert names(tmp_path) == ["shared.png", "sixth"]


def test_files_of_an_earlier_life_are_older_by_their_time(tmp_path: Path) -> None:
    for age, name in enumerate(("new_1.preview.png", "old_2.preview.png", "old_2.refined.png")):
        os.utime(made(tmp_path, name), (100 - age, 100 - age))
    newest = Newest(2, [(stem_of(path), path) for path in tmp_path.iterdir()])
    assert len(names(tmp_path)) == 3
    newest.add("newest_3", made(tmp_path, "newest_3.preview.png"))
    assert names(tmp_path) == ["new_1.preview.png", "newest_3.preview.png"]


def test_what_a_person_has_deleted_is_no_error(tmp_path: Path) -> None:
    newest = Newest(1)
    newest.add("a", made(tmp_path, "a"))
    (tmp_path / "a").unlink()
    newest.add("b", made(tmp_path, "b"))
    assert names(tmp_path) == ["b"]
