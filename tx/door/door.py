"""HTTP, for programs that have a picture and no Python: a door into a link.

door = Door(link, "127.0.0.1:8080")
door.start()     # curl --data-binary @photo.jpg "http://127.0.0.1:8080/frame?wait=row"
door.close()
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING

from simulator.address import is_loopback
from simulator.errors import SettingsError, missing_package
from simulator.images import MAX_FILE_BYTES, MAX_PIXELS
from simulator.rgb import White
from tx.door.address import bind
from tx.door.guard import Guard
from tx.door.limits import MAX_WAITING, Limits
from tx.link import Link

if TYPE_CHECKING:
    from tx.door.serving import Serving

PACKAGES = {"starlette": "starlette", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}

log = logging.getLogger("tx")


class Door:
    """An address at which ``link`` takes pictures by HTTP.

    ``address``: HOST:PORT; ``token``: what every request has to show, needed where other machines
    can reach the address. ``max_bytes``, ``max_pixels``: of one image; ``max_waiting``: requests
    for a frame at once. Others bound how long a request may take for its headers, for its body and
    for taking its answer. ``white``: as for ``decode_image``. Raises ``SettingsError`` and
    ``MissingPackageError``.
    """

    def __init__(
        self,
        link: Link,
        address: str,
        token: str = "",
        max_bytes: int = MAX_FILE_BYTES,
        max_pixels: int = MAX_PIXELS,
        max_waiting: int = MAX_WAITING,
        headers_s: float = 10.0,
        body_s: float = 30.0,
        answer_s: float = 60.0,
        white: White = "full",
    ) -> None:
        if not all(find_spec(module) for module in PACKAGES):
            raise missing_package("the door", ", ".join(PACKAGES.values()), "live")
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise SettingsError("the door's token has to be ASCII, without spaces.")
        self._link, self._address, self._token, self._white = link, address, token, white
        self._limits = Limits(max_bytes, max_pixels, max_waiting, headers_s, body_s, answer_s)
        self._serving: Serving | None = None
        self.url = ""  # once it is open

    @property
    def refused(self) -> dict[str, int]:
        """What was not done, by reason; ``GET /`` says the same."""
        return dict(self._serving.app.refused) if self._serving else {}

    def start(self) -> None:
        """Raises ``AddressError``: a bad address, a busy port, or others could come in."""
        from tx.door.serving import Serving  # what it is made of takes a while to import

        listener = bind(self._address, self._token)
        host, port = listener.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        guard = Guard(self._token, is_loopback(host))
        self._serving = Serving(self._link, guard, self._limits, self._white, listener)
        log.info("the door is open at %s", self.url)

    def close(self) -> None:
        """Requests that wait are answered; frames that the link has taken are on their way."""
        if self._serving is None or not self._serving.close():
            return
        if self.refused:
            told = ", ".join(f"{count} {reason}" for reason, count in self.refused.items())
            log.info("the door refused %s", told)
