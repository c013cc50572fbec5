"""The authors' ``config.yaml``: a tree of ``target`` and ``params``, wherever they nest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from simulator.errors import ModelError

T = TypeVar("T", int, float, bool, str)

# Part of the model -> the key that holds its target and params.
PARTS = {
    "unet": "unet_config",
    "vae": "first_stage_config",
    "text": "cond_stage_config",
    "control": "control_stage_config",
    "codec": "preprocess_config",
}


@dataclass(frozen=True)
class Params:
    """The parameters of one class. Numbers may be written as text, as YAML 1.1 reads ``1e-4``."""

    where: str
    values: Mapping[str, Any]

    def get(self, name: str, default: T) -> T:
        """The value as the type of ``default``; raises ``ModelError`` where it is another."""
        value = self.values.get(name)
        if value is None:
            return default
        kind = type(default)
        try:
            if isinstance(value, bool) is not (kind is bool) or isinstance(value, list | dict):
                raise ValueError
            number = kind(value)
            if kind is int and number != float(value):
                raise ValueError
        except (ValueError, TypeError):
            raise self.wrong(name, f"a {kind.__name__}") from None
        return number

    def need(self, name: str, kind: type[T]) -> T:
        """A value without a default."""
        if self.values.get(name) is None:
            raise ModelError(f"{self.where} does not give {name}.")
        return self.get(name, kind())

    def integers(self, name: str) -> list[int]:
        """A list of whole numbers; a single one is a list, too."""
        value = self.values.get(name)
        value = [value] if isinstance(value, int) else value
        if not isinstance(value, list) or not all(isinstance(item, int) for item in value):
            raise self.wrong(name, "a list of whole numbers")
        return [int(item) for item in value]

    def below(self, name: str) -> Params:
        """A mapping inside, such as ``ddconfig``."""
        value = self.values.get(name)
        if not isinstance(value, Mapping):
            raise self.wrong(name, "a mapping")
        return Params(f"{self.where}.{name}", value)

    def wrong(self, name: str, wanted: str) -> ModelError:
        return ModelError(f"{self.where}.{name} is {self.values.get(name)!r}, not {wanted}.")

    def require(self, **only: Any) -> None:
        """Refuse options whose networks are not in this layout. None and absent pass."""
        for name, wanted in only.items():
            value = self.values.get(name)
            if value is not None and value != wanted:
                raise ModelError(
                    f"{self.where}.{name} is {value!r}; only {wanted!r} can be imported."
                )


@dataclass(frozen=True)
class OfficialConfig:
    """``path`` for messages, ``tree`` as YAML gives it."""

    path: str
    tree: Any

    def part(self, name: str) -> Params:
        """The parameters of one of ``PARTS``."""
        key = PARTS[name]
        for node in mappings(self.tree):
            if isinstance(node.get(key), Mapping):
                inside = node[key].get("params", node[key])
                return Params(f"{self.path}: {key}", inside or {})
        raise ModelError(f"{self.path} has no {key}; it is not the configuration of this model.")

    def alone(self) -> tuple[str, Params] | None:
        """The class and parameters of a codec that is all there is: the authors' stage 1."""
        if any(key in node for node in mappings(self.tree) for key in PARTS.values()):
            return None
        for node in mappings(self.tree):
            target, params = node.get("target"), node.get("params")
            if isinstance(target, str) and isinstance(params, Mapping):
                return target, Params(self.path, params)
        return None

    def target(self, name: str) -> str:
        """The class of one of ``PARTS``; empty where none is named."""
        key = PARTS[name]
        for node in mappings(self.tree):
            if isinstance(node.get(key), Mapping):
                return str(node[key].get("target") or "")
        return ""

    def diffusion(self) -> Params:
        """The parameters around the parts: noise schedule and scale factor."""
        for node in mappings(self.tree):
            if PARTS["control"] in node:
                return Params(self.path, node)
        return Params(self.path, {})


def mappings(tree: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping of a tree, outer ones first."""
    if isinstance(tree, Mapping):
        yield tree
    children = tree.values() if isinstance(tree, Mapping) else tree
    for child in children if isinstance(tree, Mapping | list) else ():
        if isinstance(child, Mapping | list):
            yield from mappings(child)
