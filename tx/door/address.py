"""Where the door is: the address that it binds, and who can reach it there."""

from __future__ import annotations

import socket

from simulator.address import is_loopback, resolved, split_address
from simulator.errors import AddressError

BACKLOG = 64


def bind(address: str, token: str, what: str = "the door") -> socket.socket:
    """A socket that listens, for ``what``. Raises ``AddressError``, also where others could come
    in."""
    host, port = split_address(address)
    if not host or port is None:
        raise AddressError(
            f"{address!r} is not an address for {what}, such as 127.0.0.1:8080 or [::1]:8080."
        )
    try:
        family, where = resolved(host, port)
        if not token and not is_loopback(where[0]):
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
