"""``diffjscc settings`` and what else names settings: all of them exist, as declared."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import cli

from simulator.cli.settings import COLUMNS, choices
from simulator.settings import Section, Settings, make_settings
from simulator.version import __version__

ROOT = Path(__file__).parents[2]
ONE_MACHINE = ROOT / "configs" / "one-machine.toml"
TEXTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(path for part in ("docs", "docker") for path in (ROOT / part).rglob("*.md")),
    ]
)
# A line of a configuration, also one that is commented out.
LINE = re.compile(r"(?:# )?(\w+) =")


def declared(section: type[Section] = Settings, path: str = "") -> Iterator[tuple[str, str, str]]:
    """(name, meaning, values of a choice) of every setting; sections come last."""
    below = []
    for name, field in section.model_fields.items():
        if isinstance(field.default, Section):
            below.append((type(field.default), f"{path}{name}."))
        else:
            yield f"{path}{name}", field.description or "", ", ".join(choices(field.annotation))
    for inner, name in below:
        yield from declared(inner, name)


def named(text: str) -> list[str]:
    """The settings that a configuration has, in their order."""
    found, section = [], ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"\[([\w.]+)\]", line):
            section = heading[1] + "."
        elif setting := LINE.match(line):
            found.append(section + setting[1])
    return found


def table_cells(text: str) -> Iterator[str]:
    """The last cells of the rows of tables that have settings there."""
    inside = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[-1] == "setting":
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not set(cells[-1]) <= {"-"}:
            yield cells[-1]


SETTINGS = {name: (meaning, values) for name, meaning, values in declared()}


@pytest.fixture(scope="module")
def shown() -> str:
    done = cli("settings")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_is_shown_once_and_none_else(shown: str) -> None:
    assert named(shown) == list(SETTINGS)
    assert len(SETTINGS) == len(set(named(shown))) > 60


@pytest.mark.parametrize("name", SETTINGS)
def test_each_says_what_it_means(name: str, shown: str) -> None:
    meaning, values = SETTINGS[name]
    assert meaning.endswith(".") and len(meaning) > 10, meaning
    section, _, last = name.rpartition(".")
    texts = re.split(r"^\[([\w.]+)\]$", shown, flags=re.MULTILINE)
    parts = dict(zip(["", *texts[1::2]], texts[::2], strict=True))
    (block,) = [b for b in parts[section].split("\n\n") if last in named(b)]
    words = " ".join(line.removeprefix("# ") for line in block.splitlines()[:-1])
    told = " ".join(meaning.split())
    assert words == (f"{told} One of {values}." if values else told)


def test_it_is_readable_and_a_configuration(shown: str, tmp_path: Path) -> None:
    assert max(map(len, shown.splitlines())) <= COLUMNS
    config = tmp_path / "settings.toml"
    config.write_text(shown, encoding="utf-8")
    assert make_settings(config) == Settings()


def test_the_configuration_in_configs_has_the_defaults() -> None:
    text = ONE_MACHINE.read_text(encoding="utf-8")
    assert make_settings(ONE_MACHINE) == Settings()
    given = tomllib.loads(text)
    sections = {name: value for name, value in given.items() if isinstance(value, dict)}
    count = len(given) - len(sections) + sum(map(len, sections.values()))
    assert count > 30 and set(named(text)) <= SETTINGS.keys() and len(named(text)) >= count


def settings_of(text: str) -> set[str]:
    """What a text calls a setting: after --set, in backticks (tx.db is a file), in tables."""
    found = set(re.findall(r"(?:--set '?|`)((?:tx|channel|rx)\.(?!db`)\w+(?:\.\w+)*)", text))
    for cell in table_cells(text):
        words = re.findall(r"`([a-z_.]+)[^`]*`", cell)
        assert words, f"no setting in {cell!r}"
        found |= set(words)
    return found


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_texts_name_exists(path: Path) -> None:
    found = settings_of(path.read_text(encoding="utf-8"))
    sections = {name.rpartition(".")[0] for name in SETTINGS}
    assert found <= SETTINGS.keys() | sections, found - SETTINGS.keys()


def test_the_texts_are_read() -> None:
    """A setting of each table, one of a command, one of a sentence."""
    found = set().union(*(settings_of(path.read_text(encoding="utf-8")) for path in TEXTS))
    assert {"channel.csir", "rx.tile", "rx.equalizer", "channel.client_frames"} <= found


def test_a_text_that_names_what_is_not_there_is_seen() -> None:
    table = "| the channel can | setting |\n|---|---|\n| fade | `channel.kinds=awgn`, `rx.tile` |\n"
    assert settings_of(table) == {"channel.kinds", "rx.tile"}
    assert settings_of("`rx.stesp`, `tx.db`, --set rx.solvers=ddim") == {"rx.stesp", "rx.solvers"}


def test_a_wrong_name_leads_to_the_list() -> None:
    done = cli("simulate", "--set", "rx.stesp=4")
    assert done.returncode == 3 and "see diffjscc settings" in done.stderr


def test_the_version_is_an_option() -> None:
    done = cli("--version")
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")
