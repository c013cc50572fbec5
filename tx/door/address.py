"""Where the door is: the address that it binds, and who can reach it there."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from simulator.errors import AddressError

BACKLOG = 64


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


def bind(address: str, token: str, what: str = "the door") -> socket.socket:
    """A socket that listens, for ``what``. Raises ``AddressError``, also where others could come
    in."""
    host, port = split_address(address)
    if not host or port is None:
        raise AddressError(
            f"{address!r} is not an address for {what}, such as 127.0.0.1:8080 or [::1]:8080."
        )
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # A name that has both is IPv4, as for the link.
        family, *_, where = min(found, key=lambda each: each[0] != socket.AF_INET)
        if not token and not is_loopback(str(where[0])):
            raise AddressError(
                f"{what} at {address} can be reached from other machines and has no token; give "
                f"it one, which every request has to show, or bind it to 127.0.0.1:{port}."
            )
        return socket.create_server(where, family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AddressError(
            f"{what} cannot be opened at {address}: {reason}; take another address or port."
        ) from None
