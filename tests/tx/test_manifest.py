"""The manifest: which frames a run has, under which names, in which order."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers import make_photographs
from msgspec.structs import replace

from channel.medium import Medium
from simulator.errors import ImageError
from simulator.images import file_sha256
from simulator.settings import ChannelSettings, make_settings
from tx.source import UNREADABLE, Job, build_manifest, labels_of, points_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    make_photographs(folder, 3, size=(8, 8))
    return folder


def manifest(*images: Path, **options: Any) -> list[Job]:
    given = {key.replace("__", "."): value for key, value in options.items()}
    paths = [str(path) for path in images]
    return build_manifest(make_settings(overrides={"run": "run", "tx.images": paths} | given))


def test_points_are_every_kind_ratio_and_snr() -> None:
    given = {
        "channel.kind": ["awgn", "rayleigh"],
        "tx.bandwidth_ratio": ["1/384", "1/96"],
        "channel.snr_db": [1, 13],
    }
    points = points_of(make_settings(overrides=given))
    assert [point.name for point in points] == [
        f"{kind}@{snr}dB@{ratio}"
        for kind in ("awgn", "rayleigh")
        for ratio in ("1/384", "1/96")
        for snr in ("1.0", "13.0")
    ]


def test_a_point_that_is_named_twice_is_sent_once(folder: Path) -> None:
    given = {"channel.snr_db": [10, 4, 10.0], "tx.bandwidth_ratio": ["1/384", "2/768"]}
    assert len(points_of(make_settings(overrides=given))) == 2
    jobs = manifest(folder, channel__snr_db=[10, 10])
    assert len(jobs) == len({job.frame_id for job in jobs}) == 3


def test_order_is_points_then_repeats_then_images(folder: Path) -> None:
    jobs = manifest(folder, tx__repeats=2, channel__snr_db=[1, 13])
    names = [f"photo0{i}.png" for i in range(3)]
    assert [(job.point.snr_db, job.repeat, job.path.name) for job in jobs] == [
        (snr_db, repeat, name) for snr_db in (1, 13) for repeat in (0, 1) for name in names
    ]
    assert all(job.image_sha256 == file_sha256(job.path) for job in jobs)


def test_frame_ids_are_unique_and_repeatable(folder: Path) -> None:
    options = {"tx__repeats": 3, "channel__snr_db": [1, 1.0000001], "channel__kind": "rayleigh"}
    jobs = manifest(folder, tx__bandwidth_ratio=["1/384", "1/96"], **options)
    assert len({job.frame_id for job in jobs}) == len(jobs) == 3 * 3 * 2 * 2
    assert jobs == manifest(folder, tx__bandwidth_ratio=["1/384", "1/96"], **options)


def test_equal_images_are_repeats_with_noise_of_their_own(folder: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    shutil.copy(folder / "photo00.png", first)
    shutil.copy(folder / "photo00.png", second)
    jobs = manifest(first, folder / "photo01.png", second, tx__repeats=2)
    assert [(job.path.name, job.repeat) for job in jobs] == [
        ("a.png", 0), ("photo01.png", 0), ("b.png", 1),
        ("a.png", 2), ("photo01.png", 1), ("b.png", 3),
    ]  # fmt: skip
    assert len({job.frame_id for job in jobs}) == len({job.draw_key for job in jobs}) == 6
    medium = Medium(ChannelSettings())
    equal = [job for job in jobs if job.path in (first, second)]
    gains = {medium.csit(job.draw_key, jobs[0].point, 8).gain for job in equal}
    assert len(gains) == 1  # AWGN
    rayleigh = replace(jobs[0].point, channel="rayleigh")
    assert len({medium.csit(job.draw_key, rayleigh, 8).gain for job in equal}) == 4


def test_draw_keys_depend_on_seed_image_and_repeat_only(folder: Path) -> None:
    base = manifest(folder, tx__repeats=2)
    keys = [job.draw_key for job in base]
    for options in (
        {"run": "another"},
        {"channel__snr_db": 3.0},
        {"tx__bandwidth_ratio": "1/96"},
        {"channel__kind": "rayleigh"},
        {"receivers": 3},
        {"tx__name": "tx2"},
    ):
        other = manifest(folder, tx__repeats=2, **options)
        assert [job.draw_key for job in other] == keys, options
    assert not set(keys) & {job.draw_key for job in manifest(folder, tx__repeats=2, seed=1)}


def test_frame_ids_depend_on_run_and_point(folder: Path) -> None:
    base = {job.frame_id for job in manifest(folder)}
    for options in (
        {"run": "another"},
        {"channel__snr_db": 3.0},
        {"tx__bandwidth_ratio": "1/96"},
        {"channel__kind": "rayleigh"},
    ):
        assert not base & {job.frame_id for job in manifest(folder, **options)}, options


def test_the_place_of_an_image_is_not_part_of_its_name(folder: Path, tmp_path: Path) -> None:
    """A run can go on where its images have been moved to."""
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    assert [job.frame_id for job in manifest(moved)] == [job.frame_id for job in manifest(folder)]


def test_a_trace_gives_each_frame_its_own_index(folder: Path, tmp_path: Path) -> None:
    options = {"channel__snr_trace": str(tmp_path / "trace.csv"), "channel__snr_db": [1, 13]}
    jobs = manifest(folder, tx__repeats=2, channel__kind=["awgn", "rayleigh"], **options)
    assert [job.point.trace_index for job in jobs] == list(range(12))
    assert all(job.point.snr_db is None for job in jobs)
    assert len({job.frame_id for job in jobs}) == 12


def test_a_file_that_cannot_be_read_has_its_place_in_the_run(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "b.png").symlink_to("nowhere")
    (tmp_path / "c.png").symlink_to("nowhere else")
    shutil.copy(folder / "photo00.png", tmp_path / "a.png")
    jobs = manifest(tmp_path)
    assert [job.path.name for job in jobs] == ["a.png", "b.png", "c.png"]
    assert [job.image_sha256 for job in jobs[1:]] == [UNREADABLE, UNREADABLE]
    assert len({job.frame_id for job in jobs}) == 3


@pytest.mark.parametrize(
    ("paths", "labels"),
    [
        (["photos/img.png"], ["img.png"]),
        (["/home/me/photos/a/x.png", "/home/me/photos/b/x.png"], ["a/x.png", "b/x.png"]),
        (["photos/a/x.png", "photos/y.png"], ["a/x.png", "y.png"]),
        (["photos/x.png", "photos/x.png"], ["x.png", "x.png"]),
        ([], []),
    ],
)
def test_labels_tell_images_apart_and_nothing_of_the_machine(
    paths: list[str], labels: list[str]
) -> None:
    assert labels_of([Path(path) for path in paths]) == labels


def test_no_image_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="holds no image"):
        manifest(tmp_path)
    with pytest.raises(ImageError, match="does not exist"):
        manifest(tmp_path / "gone.png")


def test_without_images_the_sample_photographs_are_sent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tx.source.sample_photographs", lambda: [folder / "photo02.png"])
    assert [job.path.name for job in manifest()] == ["photo02.png"]
