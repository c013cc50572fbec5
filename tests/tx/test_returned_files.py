"""What comes back to tx becomes files of its run folder."""

from pathlib import Path

import pytest

from simulator.errors import StorageError
from simulator.settings import TxSettings
from tx.flight import Happened
from tx.returned import FOLDER, ReturnedFiles, listener


def happened(name: str, number: int = 1, picture: bytes = b"picture") -> Happened:
    return Happened(number.to_bytes(16, "big")[::-1], name, "preview", picture)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / FOLDER).iterdir())


def test_each_picture_is_a_file_that_its_frame_names(tmp_path: Path) -> None:
    with listener(TxSettings(returns="preview", return_format="jpeg"), tmp_path) as listen:
        listen(happened("a/photo.png", 1))
        listen(happened("b/photo.png", 2))
        listen(Happened(bytes(16), "photo.png", "row", row={}))
    assert names(tmp_path) == ["photo_01000000.preview.jpeg", "photo_02000000.preview.jpeg"]
    assert (tmp_path / FOLDER / "photo_01000000.preview.jpeg").read_bytes() == b"picture"


def test_names_of_any_length_and_kind_are_bounded(tmp_path: Path) -> None:
    files = ReturnedFiles(tmp_path, "png")
    for number, name in enumerate(("画" * 200, "a\udcd6.png", ".png", "x" * 400)):
        files.listen(happened(name, number))
    files.close()
    assert len(names(tmp_path)) == 4


def test_nothing_is_made_where_nothing_comes_back(tmp_path: Path) -> None:
    with listener(TxSettings(), tmp_path) as listen:
        listen(happened("photo.png"))
    assert not (tmp_path / FOLDER).exists()


def test_a_disk_that_takes_no_more_ends_the_run_with_its_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise StorageError(f"{path} cannot be written: no space; make room.")

    monkeypatch.setattr("tx.returned.write_whole", full)
    files = ReturnedFiles(tmp_path, "png")
    files.listen(happened("photo.png"))
    with pytest.raises(StorageError, match="make room"):
        files.close()
    with pytest.raises(StorageError, match="make room"):
        files.listen(happened("photo.png", 2))


def test_a_folder_that_cannot_be_made_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file")
    with pytest.raises(StorageError, match="cannot be made"):
        ReturnedFiles(tmp_path, "png")
