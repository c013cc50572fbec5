"""Checkpoints as trainers write them: tensors come out, and nothing that is in them is run."""

from __future__ import annotations

import io
import pickle
import random
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from simulator.errors import ModelError
from simulator.importer.inert import Inert, load_inert
from simulator.importer.source import read_state

TENSORS = {
    "control_model.weight": torch.arange(6.0).reshape(2, 3).t(),  # not contiguous
    "cond.bias": torch.ones(3, dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "blip.half": torch.full((2, 2), 0.5, dtype=torch.float16),
}


def same(found: dict[str, Tensor], wanted: dict[str, Tensor] = TENSORS) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[k], wanted[k]) for k in wanted)


@pytest.fixture
def lightning(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A trainer's classes, which are here while it saves and gone when the file is read."""
    module = types.ModuleType("pytorch_lightning_of_old")

    class ModelCheckpoint:
        def __init__(self) -> None:
            self.best = "step=100.ckpt"

    class AttributeDict(dict):  # type: ignore[type-arg]
        def __setstate__(self, state: Any) -> None:
            raise AssertionError("its state was set")

    for each in (ModelCheckpoint, AttributeDict):
        each.__module__, each.__qualname__ = module.__name__, each.__name__
        setattr(module, each.__name__, each)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def saved_by_lightning(path: Path, module: Any, prefix: str = "") -> Path:
    """The keys of PyTorch Lightning 1.4.2, callbacks by their class."""
    network = nn.Linear(3, 2)
    adam = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    adam.step()
    record = {
        "epoch": 3,
        "global_step": 25001,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": OrderedDict(
            (prefix + name, nn.Parameter(t) if t.is_floating_point() else t)
            for name, t in TENSORS.items()
        ),
        "callbacks": {module.ModelCheckpoint: {"best_model_score": torch.tensor(0.1)}},
        "optimizer_states": [adam.state_dict()],
        "lr_schedulers": [{"scheduler": module.ModelCheckpoint()}],
        "hyper_parameters": module.AttributeDict(rate=1e-4, path=Path("data")),
        "hparams_name": "kwargs",
    }
    torch.save(record, path)
    del sys.modules[module.__name__]
    return path


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_checkpoint_of_the_authors_trainer(tmp_path: Path, lightning: Any, prefix: str) -> None:
    path = saved_by_lightning(tmp_path / "model.ckpt", lightning, prefix)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    assert same(read_state(path))
    (key,) = load_inert(path)["callbacks"]
    assert isinstance(key, Inert) and key.name == "pytorch_lightning_of_old.ModelCheckpoint"
    assert "pytorch_lightning_of_old" not in sys.modules


def test_plain_state_dicts_of_both_formats(tmp_path: Path) -> None:
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.ckpt"
        torch.save(TENSORS, path, _use_new_zipfile_serialization=zipped)
        assert same(read_state(path))
    assert read_state_of_part(tmp_path) == {"module.a", "b"}


def read_state_of_part(folder: Path) -> set[str]:
    """``module.`` before some names is a name, and no trainer's prefix."""
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, folder / "part.ckpt")
    return set(read_state(folder / "part.ckpt"))


# Hostile files


class Calls:
    """Pickles as a call of ``what``."""

    def __init__(self, what: Any, *arguments: Any) -> None:
        self.what, self.arguments = what, arguments

    def __reduce__(self) -> Any:
        return self.what, self.arguments


def archive_of(path: Path, data: bytes) -> Path:
    """A checkpoint with this pickle in it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/version", "3\n")
    return path


def attacks(sprung: str) -> dict[str, bytes]:
    """Ways to have something run by a pickle; each would make the file ``sprung``."""
    code = f"open({sprung!r}, 'w')"
    name, text = sprung.encode(), code.encode()
    trap = Calls(eval, code)
    return {
        "reduce": pickle.dumps(trap),
        "in a value": pickle.dumps({"state_dict": {"a": trap}}),
        "in a key": pickle.dumps({"state_dict": {(1, trap): 1}}),
        "global and reduce": b"cbuiltins\neval\n(V" + text + b"\ntR.",
        "inst": b"(V" + text + b"\nibuiltins\neval\n.",
        "obj": b"(cbuiltins\neval\nV" + text + b"\no.",
        "newobj": b"\x80\x02cio\nFileIO\n(V" + name + b"\nVw\nt\x81.",
        "newobj_ex": b"\x80\x04cio\nFileIO\n(V" + name + b"\nVw\nt}\x92.",
        "stack_global": b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93(V" + text + b"\ntR.",
        "build": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}V__defaults__\n(cos\nsystem\ntsbb.",
        "build of a class": b"\x80\x02ccollections\nOrderedDict\n}V__init__\ncos\nsystem\nsb.",
        "attribute of a module": b"\x80\x04\x8c\x08builtins\x8c\x0ceval.__call__\x93(V"
        + text
        + b"\ntR.",
        "method of a tensor": b"\x80\x04\x8c\x0ctorch.storage\x8c\x10_load_from_bytes\x93(V"
        + text
        + b"\ntR.",
        "call of a result": b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(Vos\ntRVsystem\ntR"
        + b"(Vtouch "
        + name
        + b"\ntR.",
        "extension": b"\x80\x02\x82\x01.",
    }


@pytest.mark.parametrize("name", sorted(attacks("")))
def test_nothing_in_a_checkpoint_is_run(tmp_path: Path, name: str) -> None:
    sprung = tmp_path / "sprung"
    path = archive_of(tmp_path / "model.ckpt", attacks(str(sprung))[name])
    before = torch._utils._rebuild_tensor_v2.__defaults__
    try:
        assert read_state(path) == {}
    except ModelError as error:
        assert str(error)
    assert not sprung.exists()
    assert torch._utils._rebuild_tensor_v2.__defaults__ == before
    assert OrderedDict.__init__ is not None and OrderedDict(a=1) == {"a": 1}


def test_the_attacks_are_attacks(tmp_path: Path) -> None:
    """Python's own unpickler springs these."""
    for name in ("reduce", "inst", "obj", "stack_global", "call of a result"):
        sprung = tmp_path / name.replace(" ", "-")
        pickle.load(io.BytesIO(attacks(str(sprung))[name]))
        assert sprung.exists(), name


def test_torchscript_is_not_loaded(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "model.ckpt"))
    with pytest.raises(ModelError, match="cannot be read without running"):
        read_state(tmp_path / "model.ckpt")


def test_damage_is_a_sentence(tmp_path: Path, lightning: Any) -> None:
    whole = saved_by_lightning(tmp_path / "whole.ckpt", lightning).read_bytes()
    with zipfile.ZipFile(tmp_path / "whole.ckpt") as archive:
        (name,) = [each for each in archive.namelist() if each.endswith("data.pkl")]
        data = archive.read(name)
    rng = random.Random(0)
    refused = 0
    for case in range(300):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path = archive_of(tmp_path / "damaged.ckpt", bytes(damaged))
        if case % 10 == 0:
            path.write_bytes(whole[: rng.randrange(len(whole))])
        try:
            read_state(path)
        except ModelError:
            refused += 1
    assert refused > 100
