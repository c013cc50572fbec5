"""The systemd units in docker/systemd: read here, never started."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers import cli

from simulator.errors import EXIT_CODES

FOLDER = Path(__file__).parents[2] / "docker" / "systemd"
ROLES = ("tx", "channel", "rx")


def unit(role: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read_string((FOLDER / f"diffjscc-{role}.service").read_text())
    return parser


def test_there_is_a_unit_for_each_process() -> None:
    assert {p.name for p in FOLDER.iterdir()} == {f"diffjscc-{role}.service" for role in ROLES}


@pytest.mark.parametrize("role", ROLES)
def test_the_command_is_one(role: str) -> None:
    program, name, *words = unit(role)["Service"]["ExecStart"].split()
    assert (program, name) == ("/opt/diffjscc/bin/diffjscc", role)
    known = cli(role, "--help").stdout
    assert all(word in known for word in words if word.startswith("--"))
    # With files that are not there it is understood, and says what is missing.
    done = cli(role, *words)
    assert done.returncode == 3, done.stderr
    assert f"/etc/diffjscc/{role}.toml" in done.stderr


@pytest.mark.parametrize("role", ROLES)
def test_mistakes_are_not_repeated_and_accidents_are(role: str) -> None:
    service = unit(role)["Service"]
    final = {int(code) for code in service["RestartPreventExitStatus"].split()}
    assert final < EXIT_CODES.keys()
    assert not final & {0, 1, 7, 8, 130}
    assert service["Restart"] == ("on-failure" if role == "tx" else "always")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
@pytest.mark.parametrize("role", ROLES)
def test_systemd_understands_it(role: str) -> None:
    command = ["systemd-analyze", "verify", str(FOLDER / f"diffjscc-{role}.service")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = [line for line in done.stderr.splitlines() if f"diffjscc-{role}" in line]
    assert all("is not executable" in line for line in said), said
