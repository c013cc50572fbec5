"""Checkpoints as the authors' trainer writes them, read without running anything in them.

PyTorch Lightning keeps callbacks, optimisers and hyperparameters beside the tensors, keyed by
classes: ``torch.load(weights_only=True)`` refuses such a file. Here a pickle gives tensors and
plain containers; whatever else it names is never imported and never called, and what it would
have made is an ``Inert``.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor
from torch._utils import _rebuild_tensor_v2


class Inert:
    """Stands for an object of a pickle. It takes whatever a pickle would put into it, and keeps
    its attributes alone, in ``state``: a network that was saved whole has its weights there."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: dict[Any, Any] = {}

    def ignore(self, *given: Any) -> None:
        """Items, members and keys."""

    append = extend = add = update = __setitem__ = ignore

    def __repr__(self) -> str:
        return f"<inert {self.name}>"


def tensor(
    storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Tensor:
    """A tensor from its storage; hooks and the wish for a gradient stay behind."""
    rebuild: Callable[..., Tensor] = _rebuild_tensor_v2
    return rebuild(storage, offset, size, stride, False, OrderedDict())


def parameter(data: Any, *_: Any) -> Any:
    return data


# What a pickle may call, by the names that it has there.
KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): tensor,
    ("torch._utils", "_rebuild_parameter"): parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): parameter,
    ("torch", "Size"): tuple,
}


def made(what: Any, arguments: tuple[Any, ...]) -> Any:
    """The result of a call that a pickle asks for."""
    if isinstance(what, Inert):
        return Inert(what.name)
    if not any(what is known for known in KNOWN.values()):
        raise pickle.UnpicklingError("a call of something that is no class")
    return what(*arguments)


class InertUnpickler(pickle._Unpickler):
    """The pickle machine of the standard library, in Python, without its four ways out: names
    are looked up in ``KNOWN``, calls go through ``made``, state goes to an ``Inert`` alone, and
    extensions are refused."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    append: Callable[[Any], None]
    readline: Callable[[], bytes]
    pop_mark: Callable[[], list[Any]]

    def find_class(self, module: str, name: str) -> Any:
        return KNOWN.get((module, name)) or Inert(f"{module}.{name}")

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = made(self.stack[-1], arguments)

    def load_newobj(self) -> None:
        self.load_reduce()

    def load_newobj_ex(self) -> None:
        self.stack.pop()  # keywords
        self.load_reduce()

    def load_inst(self) -> None:
        module = self.readline()[:-1].decode("ascii")
        name = self.readline()[:-1].decode("ascii")
        self.append(made(self.find_class(module, name), tuple(self.pop_mark())))

    def load_obj(self) -> None:
        what, *arguments = self.pop_mark()
        self.append(made(what, tuple(arguments)))

    def load_build(self) -> None:
        state, held = self.stack.pop(), self.stack[-1]
        if isinstance(held, Inert) and isinstance(state, dict):
            held.state = state

    def load_extension(self) -> NoReturn:
        raise pickle.UnpicklingError("an extension code")

    for opcode, handler in (
        (pickle.REDUCE, load_reduce),
        (pickle.NEWOBJ, load_newobj),
        (pickle.NEWOBJ_EX, load_newobj_ex),
        (pickle.INST, load_inst),
        (pickle.OBJ, load_obj),
        (pickle.BUILD, load_build),
        (pickle.EXT1, load_extension),
        (pickle.EXT2, load_extension),
        (pickle.EXT4, load_extension),
    ):
        dispatch[opcode[0]] = handler


# What ``torch.load`` takes for a pickle module.
MODULE = ModuleType("inert")
MODULE.Unpickler, MODULE.UnpicklingError = InertUnpickler, pickle.UnpicklingError  # type: ignore[attr-defined]


def load_inert(path: Path) -> Any:
    """What ``torch.save`` wrote, mapped into memory: tensors and plain containers of them.

    Raises ``pickle.UnpicklingError`` for a file that is no archive of tensors (the format before
    torch 1.6, TorchScript), and what torch raises for one that is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        names = [name.rpartition("/")[2] for name in archive.namelist()]
    if "data.pkl" not in names or "constants.pkl" in names:
        raise pickle.UnpicklingError("no archive of tensors")
    return torch.load(path, map_location="cpu", mmap=True, weights_only=False, pickle_module=MODULE)
