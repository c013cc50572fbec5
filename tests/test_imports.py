"""The import rules of the folders, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "diffusers", "transformers", "torchvision"}
PROCESSES = ("tx", "channel", "rx")
Graph = dict[str, set[str]]
# The ground. What it may use of itself, downwards: a part may import those named and itself.
# tx, channel and rx use the ground alone.
DOWNWARDS = {
    "simulator.phy": (),
    "simulator.link": ("simulator.phy",),
    "simulator.errors": (),
    "simulator.address": (),
    "simulator.allocator": (),
    "simulator.rgb": (),
    "simulator.images": ("simulator.errors", "simulator.rgb"),
    "simulator.png": ("simulator.wholefile",),
    "simulator.denoising": ("simulator.link", "simulator.wholefile"),
    "simulator.textfile": (),
    "simulator.captions": ("simulator.errors", "simulator.link", "simulator.textfile"),
    "simulator.models": ("simulator.errors", "simulator.textfile"),
    "simulator.jscc": (
        "simulator.errors",
        "simulator.images",
        "simulator.link",
        "simulator.metrics",
        "simulator.models",
        "simulator.phy",
        "simulator.tensors",
        "simulator.textfile",
        "simulator.threads",
        "simulator.wholefile",
    ),
    "simulator.metrics": ("simulator.errors", "simulator.tensors", "simulator.threads"),
    "simulator.own_receivers": ("simulator.errors", "simulator.jscc"),
    "simulator.toml": ("simulator.errors", "simulator.textfile"),
    "simulator.air": ("simulator.phy",),
    "simulator.radio": ("simulator.air",),  # a section of settings
    "simulator.receiving": ("simulator.air",),
    "simulator.observed": ("simulator.air",),  # another
    "simulator.edge": ("simulator.air",),  # two more
    "simulator.observe": (
        "simulator.address",
        "simulator.connection",
        "simulator.errors",
        "simulator.link",
        "simulator.observed",
        "simulator.version",
    ),
    "simulator.settings": (
        "simulator.air",
        "simulator.edge",
        "simulator.errors",
        "simulator.jscc",
        "simulator.observed",
        "simulator.phy",
        "simulator.radio",
        "simulator.receiving",
        "simulator.toml",
    ),
    "simulator.process": ("simulator.address", "simulator.errors", "simulator.link"),
    "simulator.logs": ("simulator.link",),
    "simulator.live": ("simulator.logs",),
    "simulator.threads": (),
    "simulator.connection": ("simulator.errors", "simulator.link"),
    "simulator.newest": (),
    "simulator.rowfile": ("simulator.errors", "simulator.link", "simulator.wholefile"),
    "simulator.runfolder": (
        "simulator.air",
        "simulator.errors",
        "simulator.images",
        "simulator.jscc",
        "simulator.link",
        "simulator.models",
        "simulator.own_receivers",
        "simulator.settings",
        "simulator.toml",
        "simulator.version",
        "simulator.wholefile",
    ),
    "simulator.tensors": (),
    "simulator.version": (),
    "simulator.wholefile": ("simulator.errors",),
}


def modules(root: Path = ROOT) -> Iterator[tuple[str, Path]]:
    for package in ("simulator", *PROCESSES):
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def graph_of(root: Path = ROOT) -> Graph:
    """Which modules of the project each imports: at the top, inside functions, for types
    alone, and by a string such as ``"simulator.jscc.cnn:CnnCodec"``."""
    paths = dict(modules(root))
    return {name: set(imports_of(path, paths.keys())) - {name} for name, path in paths.items()}


def imports_of(path: Path, names: Collection[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module in names and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in names else str(node.module)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            module, colon, _ = node.value.partition(":")  # of a list by name, for importlib
            if colon and module in names:
                yield module


def part_of(module: str) -> str:
    """The unit that the rules speak of."""
    parts = module.split(".")
    return parts[0] if parts[0] in PROCESSES else ".".join(parts[:2])


def parts_of(graph: Graph) -> Graph:
    found: Graph = {}
    for name, used in graph.items():
        part = part_of(name)
        found.setdefault(part, set()).update(map(part_of, used))
        found[part].discard(part)
    return found


def floors_of(graph: Graph) -> list[set[str]]:
    """What imports nothing, what imports only that, and so on. ``CycleError`` names a circle."""
    sorter = TopologicalSorter(graph)
    sorter.prepare()
    floors = []
    while sorter.is_active():
        floors.append(set(sorter.get_ready()))
        sorter.done(*floors[-1])
    return floors


MODULES = graph_of()


@pytest.mark.parametrize("name", MODULES)
def test_rules(name):
    part = part_of(name)
    used = set(map(part_of, MODULES[name])) - {part}
    if part in DOWNWARDS:
        assert used <= set(DOWNWARDS[part]), f"{name} imports {used}"
    elif part in PROCESSES:
        assert used <= DOWNWARDS.keys(), f"{name} imports {used}"
    elif part == "simulator.training":
        assert not used & {"simulator.evaluation", "simulator.methods"}, f"{name} imports {used}"


def test_no_circles_between_modules():
    floors_of(MODULES)


def test_nine_floors_at_most_and_no_circles_between_parts():
    floors = floors_of(parts_of(MODULES))
    assert len(floors) <= 9, floors
    assert set(PROCESSES) <= floors[4], "the three processes stand on the same floor"


@pytest.mark.parametrize(
    "lazy",
    [
        "def run():\n    from simulator.a import x\n",
        "def run():\n    import simulator.a\n",
        "A = {'a': 'simulator.a:x'}\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from simulator.a import x\n",
    ],
)
def test_a_lazy_circle_is_seen(tmp_path, lazy):
    (tmp_path / "simulator").mkdir()
    (tmp_path / "simulator" / "__init__.py").touch()
    (tmp_path / "simulator" / "a.py").write_text("from simulator import b\n")
    (tmp_path / "simulator" / "b.py").write_text("x = 1\n")
    graph = graph_of(tmp_path)
    assert floors_of(graph) == [{"simulator", "simulator.b"}, {"simulator.a"}]
    (tmp_path / "simulator" / "b.py").write_text(lazy)
    with pytest.raises(CycleError):
        floors_of(graph_of(tmp_path))


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


def test_other_commands_do_not_wait_for_the_options_of_trainings():
    code = (
        "import sys, typer.main; from simulator.cli.main import app; typer.main.get_command(app);"
        "print([name for name in sys.modules if name.startswith('simulator.training')])"
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
