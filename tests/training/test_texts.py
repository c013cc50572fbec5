"""Captions and caches of training photographs that have one name in several folders."""

from __future__ import annotations

import json
from pathlib import Path

from simulator.training.latents import tags_of
from simulator.training.texts import captions_of


def write(path: Path, *lines: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def test_captions_by_path_from_a_folder_above(tmp_path: Path) -> None:
    """As Hugging Face's image folders have them."""
    paths = [tmp_path / "data" / name for name in ("a/img.png", "b/img.png", "b/c/img.png")]
    write(
        tmp_path / "data" / "metadata.jsonl",
        {"file_name": "a/img.png", "text": "a dog"},
        {"file_name": "b/img.png", "text": "a cat"},
        {"file_name": "img.png", "text": "of none of them"},
    )
    write(tmp_path / "data" / "b" / "c" / "metadata.jsonl",
          {"file_name": "img.png", "text": "beside"})  # fmt: skip
    write(tmp_path / "metadata.jsonl", {"file_name": "data/a/img.png", "text": "beyond"})
    assert captions_of(paths, [tmp_path / "data"]) == [["a dog"], ["a cat"], ["beside"]]
    # Without a data set's folder only what lies beside a photograph counts.
    assert captions_of(paths) == [[], [], ["beside"]]


def test_photographs_of_one_name_have_caches_of_their_own() -> None:
    paths = [Path("one/x/img.png"), Path("two/x/img.png"), Path("one/y/img.png")]
    tags = tags_of(paths)
    assert len(set(tags)) == 3
    # A data set may move; a name that is not UTF-8 is a name.
    assert tags_of([Path("elsewhere/y/img.png")]) == tags[2:]
    assert len(tags_of([Path("x/caf\udce9.png")])) == 1
