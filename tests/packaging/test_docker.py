"""What the files in docker/ say, read without an engine."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from typing import Any

import pytest
from docker_world import (
    COMPOSED,
    DOCKER,
    HOME,
    KNOWN,
    PREFIX,
    ROLES,
    arguments,
    copied,
    dockerfile,
    key_commands,
    read_stages,
    read_yaml,
)
from environments import ROOT
from typer.testing import CliRunner

from simulator.cli.main import app
from simulator.link import keyfolder
from simulator.metrics.fetch import LPIPS_PACKAGE
from simulator.settings import make_settings


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return read_yaml((DOCKER / "compose.yaml").read_text())


def test_checks_notice_what_is_wrong():
    assert read_stages("# x\nFROM a\nRUN b \\\n  c\n") == [[("FROM", "a"), ("RUN", "b    c")]]
    with pytest.raises(AssertionError):
        read_stages("RUN a\nFROM b\n")
    assert read_yaml('a:\n  b: ["c"]\n  d:\n    - "e"\nf:\n') == {
        "a": {"b": ["c"], "d": ["e"]},
        "f": None,
    }
    for wrong in ("a: no: b", "a: 1", "- a", "a\n", "a: b\na: c", "a: *b"):
        with pytest.raises((AssertionError, AttributeError)):
            read_yaml(wrong)


def test_there_is_a_dockerfile_for_each_process():
    assert {path.stem for path in DOCKER.glob("*.Dockerfile")} == set(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_dockerfile(role):
    build, final = dockerfile(role)
    steps = build + final
    assert {word for word, _ in steps} <= KNOWN
    assert arguments(steps, "FROM") == ["python:3.11-slim AS build", "python:3.11-slim"]
    for script in arguments(steps, "RUN"):
        subprocess.run(["sh", "-n", "-c", script], check=True)

    # The environment is made in one stage and moved to the other, where it is on the path.
    assert arguments(final, "COPY") == [f"--from=build {PREFIX} {PREFIX}"]
    assert arguments(final, "ENV") == [f"PATH={PREFIX}/bin:$PATH"]

    (user,) = arguments(final, "USER")
    words = [word for word, _ in final]
    assert user not in ("root", "0") and words.index("USER") < words.index("ENTRYPOINT")
    assert f"useradd --create-home --uid 1000 {user}" in arguments(final, "RUN")
    assert arguments(final, "WORKDIR") == [HOME] == [f"/home/{user}"]

    (entrypoint,) = arguments(final, "ENTRYPOINT")
    commands = {each.name or each.callback.__name__ for each in app.registered_commands}
    assert json.loads(entrypoint) == ["diffjscc", role] and role in commands


@pytest.mark.parametrize("role", ROLES)
def test_sources_exist_and_reach_the_engine(role):
    sources = copied(role)
    assert [name for name in sources if not (ROOT / name).exists()] == []
    first, *rest = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert first == "*"
    assert {line[1:] for line in rest if line.startswith("!")} == set(sources)
    assert [line for line in rest if not line.startswith("!")] == ["**/__pycache__"]


def test_packages_match_the_rest_of_the_project():
    installs = {role: " ".join(arguments(dockerfile(role)[0], "RUN")) for role in ROLES}
    assert '".[tx,metrics]"' in installs["tx"] and "torch" not in installs["tx"].lower()
    assert '".[metrics]"' in installs["channel"]
    assert '".[rx,metrics]"' in installs["rx"] and f"--no-deps {LPIPS_PACKAGE}" in installs["rx"]


@pytest.mark.parametrize("path", sorted(DOCKER.rglob("*")), ids=lambda path: path.name)
def test_no_host_names(path):
    if path.is_file():
        assert not re.search(r"https?://|\b[\w-]+\.(com|org|io|net)\b", path.read_text())


def test_compose(compose):
    services = compose["services"]
    assert set(services) == set(ROLES)
    assert compose["networks"] == {"link": {"internal": True}}
    for role, service in services.items():
        context = (DOCKER / service["build"]["context"]).resolve()
        assert context == ROOT
        assert service["build"]["dockerfile"] == f"docker/{role}.Dockerfile"
        assert service["networks"] == ["link"]
        assert "ports" not in service and "network_mode" not in service
        assert set(service.get("depends_on", [])) <= set(services)
        check_keys(role, service, compose.get("secrets", {}), "./keys")
        for volume in service["volumes"]:
            source, target, *mode = volume.split(":")
            assert target.startswith(f"{HOME}/")
            # The user's folders are read only; what is written goes to a volume.
            assert mode == ["ro"] if source.startswith("./") else source in compose["volumes"]
    assert services["tx"]["restart"] == "no"
    assert {services[role]["restart"] for role in ("channel", "rx")} == {"unless-stopped"}
    assert "--insecure" not in services["channel"]["command"]


def check_keys(role: str, service: dict[str, Any], secrets: dict[str, Any], folder: str) -> None:
    """The channel's folder is mounted, because it is read again; those of the others are secrets:
    what ``keys init`` makes, each seen by its own container alone."""
    if role == "channel":
        assert f"{folder}/channel:{HOME}/keys:ro" in service["volumes"]
        assert "secrets" not in service
        return
    assert set(service["secrets"]) == {f"{role}.secret", f"{role}.pub", "channel.pub"}
    assert not any("keys" in volume for volume in service["volumes"])
    for name in service["secrets"]:
        assert secrets[name]["file"] in (f"{folder}/{role}/{name}", f"{folder}/channel/{name}")


@pytest.mark.parametrize("role", ROLES)
def test_a_host_of_its_own(role, compose):
    """As compose.yaml, but for addresses: the channel is open to others, who are told where it
    is."""
    alone = read_yaml((DOCKER / "hosts" / f"{role}.yaml").read_text())
    (service,) = alone["services"].values()
    together = compose["services"][role]
    assert service["build"]["dockerfile"] == together["build"]["dockerfile"]
    assert (DOCKER / "hosts" / service["build"]["context"]).resolve() == ROOT
    assert service["command"][: len(together["command"])] == together["command"]
    assert (service["image"], service["restart"]) == (together["image"], together["restart"])
    check_keys(role, service, alone.get("secrets", {}), "../keys")
    more = service["command"][len(together["command"]) :]
    if role == "channel":
        assert service["ports"] == ["5550:5550", "5551:5551"] and not more
    else:
        port = {"tx": 5550, "rx": 5551}[role]
        assert more[0] == "--set" and re.fullmatch(
            rf"{role}\.connect=tcp://\$\{{CHANNEL_HOST:\?[^}}]+\}}:{port}", more[1]
        )
        assert "ports" not in service
    assert service.get("gpus") == ("all" if role == "rx" else None)


@pytest.mark.parametrize("role", ROLES)
def test_the_health_check_asks_the_process(role):
    (check,) = arguments(dockerfile(role)[1], "HEALTHCHECK")
    command = json.loads(check.partition(" CMD ")[2])
    settings = getattr(make_settings(DOCKER / "config" / f"{role}.toml"), role)
    assert command == ["diffjscc", "doctor", "--health", settings.observe.metrics_address]


@pytest.mark.parametrize("path", COMPOSED, ids=lambda path: path.name)
def test_compose_equals_what_pyyaml_reads(path):
    yaml = pytest.importorskip("yaml", reason="a second opinion, where PyYAML is installed")
    assert yaml.safe_load(path.read_text()) == read_yaml(path.read_text())


def test_configs_are_accepted_and_fit_together(compose):
    paths = {path.stem: path for path in (DOCKER / "config").glob("*.toml")}
    assert set(paths) == set(ROLES)
    settings = {role: make_settings(path) for role, path in paths.items()}
    for role, service in compose["services"].items():
        command = service["command"]
        assert command[command.index("--config") + 1] == f"config/{role}.toml"
        assert f"./config:{HOME}/config:ro" in service["volumes"]
    assert f"./images:{HOME}/images:ro" in compose["services"]["tx"]["volumes"]
    assert settings["tx"].tx.images == ["images"]
    doors = settings["channel"].channel
    assert settings["tx"].tx.connect == doors.front.replace("0.0.0.0", "channel")
    assert settings["rx"].rx.connect == doors.back.replace("0.0.0.0", "channel")
    assert settings["tx"].codec == settings["rx"].codec


def test_keys_of_the_readme_are_those_of_the_configs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in key_commands():
        made = CliRunner().invoke(app, words)
        assert made.exit_code == 0, (words, made.exception)
    settings = {role: make_settings(DOCKER / "config" / f"{role}.toml") for role in ROLES}
    # Each container has its own folder mounted under that name.
    assert settings["channel"].channel.keys == "keys"
    assert settings["tx"].tx.keys == settings["rx"].rx.keys == "/run/secrets"
    server = keyfolder.read_channel(tmp_path / "keys" / "channel")
    for role, name in (("tx", settings["tx"].tx.name), ("rx", settings["rx"].rx.name)):
        pair, trusted = keyfolder.read_client(tmp_path / "keys" / role, role, name)
        (admitted,) = keyfolder.admitted(tmp_path / "keys" / "channel", role)
        assert (admitted.public, trusted) == (pair.public, server.public)


def test_keys_of_three_hosts_are_the_secrets_of_their_files(tmp_path, monkeypatch):
    """The README's commands in the order in which they stand, each on its host; what is said to be
    copied is carried by this test."""
    homes = {role: tmp_path / role for role in ROLES}
    for home in homes.values():
        (home / "keys").mkdir(parents=True)
    lines = (DOCKER / "README.md").read_text().splitlines()
    commands = [shlex.split(line) for line in lines if line.startswith("    keys_in diffjscc-")]
    assert len(commands) == 5
    for _, image, *words in commands:
        role = image.removeprefix("diffjscc-")
        for public in tmp_path.glob("*/keys/*/*.pub"):
            shutil.copy(public, homes[role] / "keys")
        monkeypatch.chdir(homes[role])
        made = CliRunner().invoke(app, words)
        assert made.exit_code == 0, (words, made.exception)
    for role in ("tx", "rx"):
        alone = read_yaml((DOCKER / "hosts" / f"{role}.yaml").read_text())
        for secret in alone["secrets"].values():
            assert (homes[role] / secret["file"].removeprefix("../")).is_file()
        (admitted,) = keyfolder.admitted(homes["channel"] / "keys" / "channel", role)
        pair, _ = keyfolder.read_client(homes[role] / "keys" / role, role, role)
        assert admitted.public == pair.public
