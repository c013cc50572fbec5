"""Whether a running process lives, by asking its own metrics: ``doctor --health HOST:PORT``."""

from __future__ import annotations

import re
import urllib.request
from http.client import HTTPException

from simulator.address import split_address
from simulator.doctor.finding import Finding
from simulator.errors import AddressError

MAX_LOOP_S = 30.0  # the loop of a process that lives goes round several times a second
TIMEOUT_S = 5.0
MAX_BYTES = 4 << 20
SAMPLE = re.compile(r"^diffjscc_(loop_age_seconds|channel_connected|process_info\S*) (\S+)$", re.M)


def ask(address: str) -> str:
    """The metrics as text. Raises ``AddressError``."""
    host, port = split_address(address)
    if not host or not port:
        raise AddressError(f"{address!r} is not an address such as 127.0.0.1:9100.")
    get = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    try:
        with get(f"http://{address}/metrics", timeout=TIMEOUT_S) as answer:
            return str(answer.read(MAX_BYTES).decode("utf-8", "replace"))
    except (OSError, HTTPException, ValueError) as error:
        reason = str(getattr(error, "reason", None) or error) or type(error).__name__
        raise AddressError(
            f"nobody answers at {address} ({reason.rstrip('.')}); set observe.metrics_address of "
            f"that process to it."
        ) from None


def examine_health(address: str) -> list[Finding]:
    """What the process says of itself. Raises ``AddressError`` where it says nothing."""
    found = dict(SAMPLE.findall(ask(address)))
    info = next((key for key in found if key.startswith("process_info")), "")
    age = number(found.get("loop_age_seconds"))
    if not info or age is None:
        raise AddressError(f"what answers at {address} is no process of diffjscc.")
    named = re.search(r'process="([^"]*)"', info)
    process = named[1] if named else "process"
    findings = [
        Finding(process, age <= MAX_LOOP_S, f"its loop went round {age:.1f} s ago"),
    ]
    if (connected := number(found.get("channel_connected"))) is not None:
        text = "has welcomed it" if connected else "does not answer it"
        findings.append(Finding("channel", bool(connected), text))
    return findings


def number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
