"""The import rules of the folders, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "diffusers", "transformers", "torchvision"}
GROUND = (
    "simulator.phy",
    "simulator.link",
    "simulator.jscc",
    "simulator.metrics",
    "simulator.models",
)
GROUND_FILES = {"simulator", "simulator.settings", "simulator.errors", "simulator.images",
                "simulator.process", "simulator.connection", "simulator.logs",
                "simulator.runfolder"}  # fmt: skip
PROCESSES = ("tx", "channel", "rx")
# What ground may use of ground, downwards: a part may import those named and itself.
DOWNWARDS = {
    "simulator.phy": (),
    "simulator.link": (),
    "simulator.errors": (),
    "simulator.images": ("simulator.errors",),
    "simulator.models": ("simulator.errors",),
    "simulator.jscc": ("simulator.errors", "simulator.models", "simulator.phy"),
    "simulator.metrics": ("simulator.errors",),
    "simulator.settings": ("simulator.errors", "simulator.jscc"),
    "simulator.process": ("simulator.errors",),
    "simulator.logs": (),
    "simulator.connection": ("simulator.errors", "simulator.link"),
    "simulator.runfolder": (
        "simulator.errors",
        "simulator.images",
        "simulator.jscc",
        "simulator.link",
        "simulator.models",
        "simulator.settings",
    ),
    "simulator": (),
}


def modules() -> Iterator[tuple[str, Path]]:
    for package in ("simulator", *PROCESSES):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports_of(path: Path, top_level: bool = False) -> set[str]:
    """Modules of the project and heavy packages that a file imports."""
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part_of(module: str) -> str:
    """The unit that the rules speak of."""
    parts = module.split(".")
    if parts[0] in PROCESSES:
        return parts[0]
    return ".".join(parts[:2]) if len(parts) > 1 else parts[0]


NAMES = {name for name, _ in modules()}


def project_parts(path: Path) -> set[str]:
    return {part_of(name) for name in imports_of(path) if name in NAMES and name != "simulator"}


def is_ground(part: str) -> bool:
    return part in GROUND or part in GROUND_FILES


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda v: str(v)[-40:])
def test_rules(name, path):
    part = part_of(name)
    used = project_parts(path) - {part}
    if name == "simulator":
        used -= {"simulator.launch"}  # ``simulator.simulate``, resolved when asked for
    if part in DOWNWARDS:
        assert used <= set(DOWNWARDS[part]), f"{name} imports {used}"
    elif part in PROCESSES:
        assert all(is_ground(other) for other in used), f"{name} imports {used}"


def test_no_circles_between_parts():
    graph: dict[str, set[str]] = {}
    for name, path in modules():
        top = {n for n in imports_of(path, top_level=True) if n in NAMES}
        graph[name] = top - {name}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for other in graph[name]:
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def run_python(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    return result.stdout.strip()


def test_tx_and_channel_load_nothing_heavy():
    code = (
        "import sys, tx, channel, tx.service, channel.service, simulator.cli;"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    assert run_python(code) == "[]"


def test_importing_the_channel_costs_at_most_60_mb():
    rss = "int(open('/proc/self/statm').read().split()[1]) * 4096"
    code = f"before = {rss}; import simulator.cli, channel.service; print({rss} - before)"
    assert int(run_python(code)) < 60e6


def test_the_link_knows_no_wall_clock() -> None:
    """A step of the clock cannot hurt who never reads it: durations are monotonic.

    ``keyfolder`` writes down for people when a key was added.
    """
    for name, path in modules():
        if name == "simulator.link.keyfolder":
            continue
        if part_of(name) in (*PROCESSES, "simulator.link", "simulator.process"):
            text = path.read_text()
            for word in ("time.time(", "datetime.now", "utcnow", "localtime", "gmtime", "strftime"):
                assert word not in text, (path, word)
