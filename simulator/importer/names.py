"""From official tensor names to those of a module of ours, by a table of prefixes.

The module asks for each of its tensors by name; the table says where it lies. So what is
missing, left over or of another shape shows before anything is written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from simulator.errors import ModelError
from simulator.importer.source import Tensors

SHOWN = 3  # names in a message


def pull(
    module: nn.Module,
    official: Tensors,
    table: Mapping[str, str],
    where: str,
) -> Tensors:
    """The tensors that ``module`` (on any device, also meta) needs, by its own names.

    ``table``: prefix in the module -> official prefix; the longest that fits counts, whole
    name parts only. ``where``: the official prefix of the part, for messages. Raises
    ``ModelError``.
    """
    sources = {name: official_name(name, table) for name in module.state_dict()}
    missing = [
        where + source
        for name, source in sources.items()
        if source not in official and not name.endswith("num_batches_tracked")
    ]
    if missing:
        raise ModelError(f"the checkpoint lacks {listing(missing)}.")
    extra = sorted(where + name for name in official.keys() - sources.values())
    if extra:
        raise ModelError(
            f"the checkpoint has {listing(extra)}, which networks of its sizes do not have."
        )
    return {
        name: fitted(official[sources[name]], wanted, where + sources[name])
        for name, wanted in module.state_dict().items()
        if sources[name] in official
    }


def official_name(name: str, table: Mapping[str, str]) -> str:
    """``name`` with its longest known prefix exchanged."""
    prefix, rest = name, ""
    while prefix:
        if prefix in table:
            return table[prefix] + rest
        prefix, dot, last = prefix.rpartition(".")
        rest = dot + last + rest
    return name


def fitted(tensor: Tensor, wanted: Tensor, name: str) -> Tensor:
    """``tensor`` in the shape of ``wanted``; a 1x1 convolution serves as a linear layer."""
    shape = list(tensor.shape)
    while len(shape) > wanted.dim() and shape[-1] == 1:
        shape.pop()
    if shape != list(wanted.shape):
        raise ModelError(
            f"{name} has the shape {tuple(tensor.shape)}, but networks of its sizes have "
            f"{tuple(wanted.shape)}."
        )
    return tensor.reshape(shape)


def listing(names: Collection[str]) -> str:
    """The first few names, and how many more."""
    shown = list(names)[:SHOWN]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
