"""The files in docker/, as tests read them without an engine."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from environments import ROOT

DOCKER = ROOT / "docker"
ROLES = ("tx", "channel", "rx")
COMPOSED = [DOCKER / "compose.yaml", *sorted((DOCKER / "hosts").glob("*.yaml"))]
HOME = "/home/diffjscc"
PREFIX = "/opt/diffjscc"  # where the images have their environment
KNOWN = {"FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "USER", "HEALTHCHECK", "ENTRYPOINT"}

Step = tuple[str, str]


def read_stages(text: str) -> list[list[Step]]:
    """The (instruction, argument) pairs of each build stage."""
    stages: list[list[Step]] = []
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, argument = line.partition(" ")
        if word == "FROM":
            stages.append([])
        assert stages, f"{line!r} stands before FROM"
        stages[-1].append((word, argument.strip()))
    return stages


def dockerfile(role: str) -> list[list[Step]]:
    return read_stages((DOCKER / f"{role}.Dockerfile").read_text())


def arguments(stage: list[Step], instruction: str) -> list[str]:
    return [argument for word, argument in stage if word == instruction]


def copied(role: str) -> list[str]:
    """What a Dockerfile takes from the repository; each lands under its own name."""
    names = []
    for argument in arguments(dockerfile(role)[0], "COPY"):
        *sources, target = shlex.split(argument)
        assert target == "./" or [target] == sources, argument
        names += sources
    return names


def read_yaml(text: str) -> dict[str, Any]:
    """The YAML that compose.yaml is written in: mappings, block lists of scalars, flow lists in
    JSON. PyYAML is no dependency; anything else fails here.
    """
    root: dict[str, Any] = {}
    parents: list[tuple[int, Any]] = [(-1, root)]
    lines = [line for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]
    for number, line in enumerate(lines):
        assert "\t" not in line
        indent = len(line) - len(line.lstrip())
        while parents[-1][0] >= indent:
            parents.pop()
        parent = parents[-1][1]
        if line.lstrip().startswith("- "):
            parent.append(scalar(line.lstrip()[2:]))
            continue
        found = re.fullmatch(r"([\w.-]+):(?: (.+))?", line.strip())
        assert found, f"not understood: {line!r}"
        key, value = found.groups()
        assert key not in parent, f"twice: {line!r}"
        if value is None:
            below = lines[number + 1] if number + 1 < len(lines) else ""
            deeper = len(below) - len(below.lstrip()) > indent
            value = ([] if below.lstrip().startswith("- ") else {}) if deeper else None
            parents.append((indent, value))
            parent[key] = value
        else:
            parent[key] = scalar(value)
    return root


def scalar(text: str) -> Any:
    if text[0] in '["' or text in ("true", "false"):
        return json.loads(text)
    assert re.fullmatch(r"[A-Za-z.][\w./-]*", text), f"quote {text!r}"
    return text


def key_commands() -> list[list[str]]:
    """What the README has one type to make keys: arguments of ``diffjscc``."""
    lines = (DOCKER / "README.md").read_text().splitlines()
    return [shlex.split(line) for line in lines if re.match(r"    keys \w", line)]
