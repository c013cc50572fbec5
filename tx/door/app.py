"""The requests of the door, as an ASGI application.

POST /frame  an image, which the link sends
GET /        how it goes
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from simulator.rgb import White
from tx.door.answer import answer_of, taken
from tx.door.form import check_kind, image_of
from tx.door.giver import Giver, Order
from tx.door.guard import Guard
from tx.door.incoming import Incoming, Room
from tx.door.limits import BODIES, Limits
from tx.door.question import Question, wrong
from tx.door.refusal import Gone, Refusal, later
from tx.link import Link
from tx.sent import comes_back

log = logging.getLogger("tx")
Handler = Callable[[Request, Incoming], Awaitable[Response]]
# One request a connection: so its time has one beginning. Answers are for programs alone.
HEADERS = {"Connection": "close", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class App:
    """``refused``: counts of what was not done, by reason. ``closing``: of the loop it runs in."""

    def __init__(
        self,
        link: Link,
        guard: Guard,
        limits: Limits,
        white: White,
        closing: asyncio.Future[None],
    ) -> None:
        self.limits, self.refused = limits, Counter[str]()
        self._link, self._guard, self._closing = link, guard, closing
        self._giver = Giver(link, limits.max_pixels, white)
        self._room = Room(BODIES * limits.max_bytes)
        self._frames = self._inside = 0
        self._handlers: dict[str, tuple[str, Handler]] = {
            "/": ("GET", self._status),
            "/frame": ("POST", self._frame),
        }

    def close(self) -> None:
        """Answer every request that waits. Call it in the thread of the loop."""
        if not self._closing.done():
            self._closing.set_result(None)

    def end(self) -> None:
        """When it is asked nothing any more."""
        self._giver.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        incoming = Incoming(receive, request.headers, self.limits)
        try:
            response = await self._answered(request, incoming)
            response.headers.update(HEADERS)
            await response(scope, receive, send)
        except Gone:
            self.refused["gone"] += 1

    async def _answered(self, request: Request, incoming: Incoming) -> Response:
        try:
            self._guard.check(request.headers)
            return await self._handler(request)(request, incoming)
        except Gone:
            raise
        except Refusal as refusal:
            return await self._refuse(refusal, incoming)
        except Exception:
            log.exception("the door failed")
            defect = Refusal(500, "defect", "this is a defect; the log of tx says more.")
            return await self._refuse(defect, incoming)

    async def _refuse(self, refusal: Refusal, incoming: Incoming) -> Response:
        self.refused[refusal.reason] += 1
        if refusal.reason not in ("slow", "closing"):
            await incoming.drain()
        return JSONResponse(refusal.body, refusal.status, refusal.headers)

    def _handler(self, request: Request) -> Handler:
        path = request.scope["path"]  # a URL would need a Host that is one
        if path not in self._handlers:
            raise Refusal(404, "path", "there is nothing here but GET / and POST /frame.")
        method, handler = self._handlers[path]
        if request.method != method:
            raise Refusal(405, "method", f"use {method} for {path}.", {"Allow": method})
        return handler

    async def _status(self, request: Request, incoming: Incoming) -> Response:
        return JSONResponse(
            {
                "frames": self._frames,
                "requests": self._inside,
                "waiting_for": self._link.waiting_for,
                "refused": self.refused,
            }
        )

    async def _frame(self, request: Request, incoming: Incoming) -> Response:
        question = Question.of(request.query_params.multi_items())
        self._check_stage(question)
        check_kind(request.headers)
        if self._inside >= self.limits.max_waiting:
            most = self.limits.max_waiting
            raise later(429, "busy", f"{most} requests are being answered; try again later.")
        self._inside += 1
        try:
            return await self._sent(question, request, incoming)
        finally:
            self._inside -= 1

    def _check_stage(self, question: Question) -> None:
        """Before anything is sent for nothing."""
        stage = question.stage
        if stage and not comes_back(stage, self._link.upto):
            raise wrong(
                f"the {stage} image does not come back over this link; set tx.returns={stage}."
            )

    async def _sent(self, question: Question, request: Request, incoming: Incoming) -> Response:
        body = await self._read(incoming)
        size = len(body)
        gone = asyncio.ensure_future(incoming.until_gone())
        try:
            data, name = await image_of(body, request.headers)
            del body
            order = Order(data, question.name or name, question)
            del data
            ends = (gone, self._closing)
            sent = await taken(self._giver, order, ends, self._link.why)
            self._room.give_back(size)
            size = 0
            self._frames += 1
            return await answer_of(sent, order, ends, self._link.why)
        finally:
            self._room.give_back(size)
            gone.cancel()

    async def _read(self, incoming: Incoming) -> bytes:
        reading = asyncio.ensure_future(incoming.read(self._room))
        ends: set[asyncio.Future[Any]] = {reading, self._closing}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        try:
            if not reading.done():
                reading.cancel()
                raise later(503, "closing", "the door closes; this frame is not sent.")
            return reading.result()
        finally:  # an error that refers to itself would keep what was read
            del reading, ends
