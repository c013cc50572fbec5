"""Files are there whole or not at all, and what stands in the way is said."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from simulator.cli.main import guarded
from simulator.errors import StorageError
from simulator.wholefile import whole, write_whole

LIMIT = 4096


@pytest.fixture
def small_files():
    """No file of this process may be larger than ``LIMIT``: as on a disk that fills up."""
    resource, signal = pytest.importorskip("resource"), pytest.importorskip("signal")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_it_takes_its_place_when_it_is_whole(tmp_path):
    path = tmp_path / "file"
    write_whole(path, "before")
    with whole(path) as temporary:
        temporary.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert names(tmp_path) == ["file"]


def save_tensors(path):
    save_file({"a": torch.zeros(LIMIT)}, path)


def save_text(path):
    path.write_text("x" * 2 * LIMIT)


@pytest.mark.parametrize("save", [save_tensors, save_text])
def test_what_cannot_be_written_leaves_what_was_there(tmp_path, small_files, save):
    path = tmp_path / "file"
    path.write_text("before")
    reason = "file cannot be written: File too large; make room"
    with pytest.raises(StorageError, match=reason), whole(path) as temporary:
        save(temporary)
    assert path.read_text() == "before"
    assert names(tmp_path) == ["file"]


def test_another_error_is_not_one_of_storage(tmp_path):
    with pytest.raises(KeyError), whole(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise KeyError
    assert names(tmp_path) == []


def test_a_library_that_writes_by_itself_ends_in_a_sentence(tmp_path, small_files, capsys):
    assert guarded(lambda: save_tensors(tmp_path / "file")) == StorageError.exit_code
    assert capsys.readouterr().err == "error: storage failed: File too large; make room.\n"
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 / 0)
