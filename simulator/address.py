"""Addresses of HTTP servers, ``HOST:PORT``: how they are written, and who can reach them."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether a name or an address, without brackets, is that of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def split_address(text: str) -> tuple[str, int | None]:
    """Host without brackets, and port; ``("", None)`` for what is no address."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "", None
    return ("", None) if parts.netloc != text or "@" in text else (host, port)


def resolved(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """What a server binds for a name. Raises ``OSError`` and ``UnicodeError``."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # A name that has both is IPv4, as for the link.
    family, *_, where = min(found, key=lambda each: each[0] != socket.AF_INET)
    return family, (str(where[0]), port)
