"""A run is made ready once: images are hashed once, and nothing is written before it may start."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import cli, make_photographs

from simulator.errors import ImageError, ModelError
from simulator.images import file_sha256
from simulator.launch import simulate
from simulator.prepare import IMAGES, prepare, read_hashes, write_hashes
from simulator.settings import Settings, make_settings
from tx import source


def settings_for(folder: Path, **options: object) -> Settings:
    given = {"codec": "null", "rx.reference": "none", "tx.images": [str(folder)]}
    return make_settings(overrides=given | options)


def test_it_says_what_is_sent_and_what_it_is_made_with(tmp_path: Path) -> None:
    paths = make_photographs(tmp_path / "photos", 3)
    run = prepare(settings_for(tmp_path / "photos", **{"channel.snr_db": [1, 10]}))
    assert [job.path for job in run.jobs] == paths * 2
    assert list(run.order.values()) == list(range(6))
    assert run.order[run.jobs[4].frame_id] == 4
    assert run.made_with["codec"].startswith("null-") and "model" not in run.made_with
    refined = prepare(settings_for(tmp_path / "photos", **{"codec": "compact"}))
    assert set(refined.made_with) == {"codec", "model"}
    alone = prepare(settings_for(tmp_path / "photos", **{"codec": "compact"}), refines=False)
    assert set(alone.made_with) == {"codec"}


def test_what_is_wrong_is_said_before_anything_is_written(tmp_path: Path) -> None:
    make_photographs(tmp_path / "photos", 1)
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ImageError):
        simulate(settings_for(tmp_path / "empty", out=str(tmp_path / "run")))
    with pytest.raises(ModelError):
        simulate(settings_for(tmp_path / "photos", codec="none", out=str(tmp_path / "run")))
    assert sorted(tmp_path.rglob("*")) == before


def test_images_are_hashed_once_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    make_photographs(tmp_path / "photos", 3)
    (tmp_path / "photos" / "broken.png").mkdir()
    (tmp_path / "photos" / "text.png").write_text("this is no image")
    hashed: list[Path] = []

    def watched(path: Path) -> bytes:
        hashed.append(path)
        return file_sha256(path)

    monkeypatch.setattr(source, "file_sha256", watched)
    settings = settings_for(tmp_path / "photos", run="r", out=str(tmp_path / "run"))
    first = prepare(settings)
    assert len(hashed) == len(set(hashed)) == 4
    write_hashes(first.hashes, tmp_path / "run")
    again = prepare(settings, hashes=tmp_path / "run")
    assert again == replace(first) and len(hashed) == 4


@pytest.mark.parametrize("text", ["", "[1]", '{"a": 1}', '{"a": "xy"}'])
def test_a_damaged_record_is_no_record(tmp_path: Path, text: str) -> None:
    (tmp_path / IMAGES).write_text(text)
    assert read_hashes(tmp_path) == {}
    assert read_hashes(tmp_path / "nowhere") == {}


def test_a_run_folder_has_the_hashes(tmp_path: Path) -> None:
    paths = make_photographs(tmp_path / "photos", 2)
    out = tmp_path / "run"
    words = ("--out", out, "--codec", "null", "--reference", "none")
    done = cli("simulate", tmp_path / "photos", *words)
    assert done.returncode == 0, done.stderr
    found = json.loads((out / IMAGES).read_text())
    assert found == {str(path): file_sha256(path).hex() for path in paths}
