"""One HTTP connection, with an end to those that are slow or too many, and a count of both."""

from __future__ import annotations

import asyncio
from collections import Counter
from http import HTTPStatus
from typing import Protocol, runtime_checkable

from uvicorn.protocols.http.h11_impl import H11Protocol

from simulator.link.text import to_json
from tx.door.refusal import Reason


class Bounds(Protocol):
    """``headers_s``: in which the headers of a request have to come; ``connections`` at once."""

    @property
    def headers_s(self) -> float: ...
    @property
    def connections(self) -> int: ...


@runtime_checkable
class Bounded(Protocol):
    """An ASGI application that says what its server takes. ``refused``: counts by reason."""

    @property
    def limits(self) -> Bounds: ...
    @property
    def refused(self) -> Counter[str]: ...


class Connection(H11Protocol):
    """uvicorn itself would wait for a request for as long as it takes."""

    _bounded: Bounded

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        app = self.config.app
        assert isinstance(app, Bounded)
        self._bounded = app
        self._await_request()
        if len(self.connections) > app.limits.connections:
            self._refuse(503, "connections", "too many connections at once; try later.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "http", "this is not HTTP/1.1.")

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._timer.cancel()
        self._await_request()

    def _await_request(self) -> None:
        self._timer = self.loop.call_later(self._bounded.limits.headers_s, self._late)

    @property
    def _between(self) -> bool:
        """No request is under way."""
        return self.cycle is None or self.cycle.response_complete

    def _late(self) -> None:
        if self._between:
            limit = f"{self._bounded.limits.headers_s:g} s"
            self._refuse(408, "slow", f"the request was not here within {limit}.")

    def _refuse(self, status: int, reason: Reason, sentence: str) -> None:
        """Below ASGI: there is no request, or none that could be read."""
        if self.transport.is_closing():
            return
        self._bounded.refused[reason] += 1
        if self._between or not self.cycle.response_started:
            body = to_json({"error": sentence})
            head = (
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nConnection: close\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            self.transport.write((head + body).encode())
        self.transport.close()
