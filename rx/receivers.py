"""Receivers by name: what turns previews into refined images.

A model folder's ``model_index.json`` names the class; adding one is a file and a line here, and its
components in ``simulator.models.folder.COMPONENTS``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from simulator.models.folder import COMPONENTS

RECEIVERS = {
    "DiffJSCCPipeline": "rx.pipeline:DiffJSCCPipeline",
    "RestorePipeline": "rx.restore_pipeline:RestorePipeline",
}


def has_sampler(name: str) -> bool:
    """Whether this receiver can diffuse."""
    return "scheduler" in COMPONENTS[name]


def receiver_class(name: str) -> Any:
    """The class that ``_class_name`` of a model folder names; ``read_model_index`` has checked
    that there is one."""
    module, attribute = RECEIVERS[name].split(":")
    return getattr(import_module(module), attribute)
