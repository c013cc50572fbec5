"""The requests of the page, as an ASGI application.

GET /                       the page; /watch.css and /watch.js are its parts
GET /events                 frames as they are known, counts (server-sent events)
GET /picture/KEY/STAGE      a picture of a frame, by the frame's id and never by a path
GET /symbols/KEY            its symbols, and what multipath did to them
GET /report                 the whole report of what there is now
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from simulator.link.clock import monotonic
from simulator.link.text import to_json
from simulator.watch.pictures import SIDES
from simulator.watch.source import STAGES, Frame, Source, State
from tx.door.guard import Guard
from tx.door.refusal import Refusal

LOOK_S = 0.5  # between two looks at what there is
ALIVE_S = 15.0  # between two signs of life on a connection that has nothing to say
MAX_WATCHERS = 16
COOKIE = "diffjscc-watch"
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
# What the page shows of a row.
SHOWN = (
    *("image", "repeat", "status", "reason", "attempts", "height", "width", "codec", "model", "k"),
    *("bandwidth_ratio", "cbr", "channel", "csit", "csir", "snr_db", "h_abs2", "received_snr_db"),
    *("receiver", "caption", "steps", "psnr_preview", "psnr_refined", "ms_ssim_preview"),
    *("ms_ssim_refined", "lpips_preview", "lpips_refined", "papr_db", "packets_lost"),
    *(
        "encode_s",
        "grant_wait_s",
        "airtime_observed_s",
        "channel_queue_s",
        "rx_queue_s",
        "decode_s",
    ),
    *("diffusion_s", "time_to_preview_s", "time_to_refined_s"),
)
POLICY = "; ".join(
    [
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("img", "style", "script", "connect")),
        *(f"{what} 'none'" for what in ("frame-ancestors", "base-uri", "form-action")),
    ]
)
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class Limits:
    """Of connections: a browser opens six for a page."""

    headers_s: float = 10.0
    connections: int = 8 * MAX_WATCHERS


class App:
    """``guard``: who may see it. ``refused``: counts of what was not done, by reason."""

    def __init__(self, source: Source, guard: Guard) -> None:
        self.limits, self.refused = Limits(), Counter[str]()
        self._source, self._guard = source, guard
        self._epoch = f"{monotonic():.3f}"
        self._watchers = 0
        self._ended = False
        routes = [
            Route("/", self._page),
            Route("/events", self._events),
            Route("/report", self._whole),
            Route("/version", self._version),
            Route("/picture/{key:str}/{stage:str}", self._picture),
            Route("/symbols/{key:str}", self._its_symbols),
            Route("/{name:str}", self._part),
        ]
        self._app = Starlette(routes=routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        response = self._let_in(request)
        if response is None:
            await self._app(scope, receive, send)
        else:
            await response(scope, receive, send)

    def _let_in(self, request: Request) -> Response | None:
        """A refusal, or the cookie that stands for a token in the address; None: come in."""
        token = request.query_params.get("token") or request.cookies.get(COOKIE, "")
        headers: Mapping[str, str] = request.headers
        if token and "authorization" not in headers:
            headers = {**headers, "authorization": f"Bearer {token}"}
        try:
            self._guard.check(headers)
        except Refusal as refusal:
            self.refused[refusal.reason] += 1
            sentence = f"{refusal.body['error']}\n"
            return PlainTextResponse(sentence, refusal.status, {**HEADERS, **refusal.headers})
        if "token" not in request.query_params:
            return None
        rest = [(k, v) for k, v in request.query_params.multi_items() if k != "token"]
        there = f"{request.scope['path']}?{urlencode(rest)}" if rest else request.scope["path"]
        answer = RedirectResponse(there, 303, HEADERS)
        answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        return answer

    def end(self) -> None:
        """Streams end within a look."""
        self._ended = True

    async def look(self) -> None:
        """Until ``end``."""
        while not self._ended:
            await run_in_threadpool(self._source.look)
            await asyncio.sleep(LOOK_S)

    async def _page(self, request: Request) -> Response:
        return part("watch.html")

    async def _part(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name == "favicon.ico":  # every browser asks for it
            return Response(status_code=204, headers=HEADERS)
        if name not in ("watch.css", "watch.js"):
            return PlainTextResponse("there is nothing here.\n", 404, HEADERS)
        return part(name)

    async def _whole(self, request: Request) -> Response:
        if self._source.report is None:
            return PlainTextResponse("a channel has no report.\n", 404, HEADERS)
        text = await run_in_threadpool(self._source.report.page)
        body = text.encode("utf-8", "backslashreplace")  # it has a policy of its own
        return Response(body, media_type="text/html; charset=utf-8", headers=HEADERS)

    async def _version(self, request: Request) -> Response:
        report = self._source.report
        version = await run_in_threadpool(report.version) if report else ""
        return PlainTextResponse(version, headers=HEADERS)

    async def _picture(self, request: Request) -> Response:
        stage, key = request.path_params["stage"], request.path_params["key"]
        side = SIDES.get(request.query_params.get("size", "large"))
        made = None
        if stage in STAGES and side:
            made = await run_in_threadpool(self._source.picture, key, stage, side)
        if made is None:
            return PlainTextResponse("this picture is not here.\n", 404, HEADERS)
        kept = {**HEADERS, "Cache-Control": "private, max-age=3600"}
        return Response(made, media_type="image/webp", headers=kept)

    async def _its_symbols(self, request: Request) -> Response:
        found = await run_in_threadpool(self._source.symbols, request.path_params["key"])
        if found is None:
            return PlainTextResponse("this frame is not here.\n", 404, HEADERS)
        return Response(to_json(found), media_type="application/json", headers=HEADERS)

    async def _events(self, request: Request) -> Response:
        if self._watchers >= MAX_WATCHERS:
            self.refused["busy"] += 1
            sentence = f"{MAX_WATCHERS} pages watch already.\n"
            return PlainTextResponse(sentence, 503, {**HEADERS, "Retry-After": "10"})
        epoch, _, seq = request.headers.get("last-event-id", "").partition(" ")
        last = int(seq) if epoch == self._epoch and seq.isdecimal() and len(seq) < 16 else 0
        return StreamingResponse(self._told(last), media_type="text/event-stream", headers=HEADERS)

    async def _told(self, last: int) -> AsyncIterator[bytes]:
        """What is new, when it is; first all that a page needs to begin with."""
        self._watchers += 1
        begun, said_at = last == 0, monotonic()
        before: tuple[State, int] | None = None
        try:
            while not self._ended:
                frames = self._source.after(last)
                state, refused = now = self._source.state, self.refused.total()
                if frames or now != before:
                    last = frames[-1].seq if frames else last
                    told = {
                        "title": self._source.title,
                        "report": self._source.report is not None,
                        "anew": begun,
                        "refused": refused,
                        "frames": [shown(frame) for frame in frames],
                        **asdict(state),
                    }
                    yield f"id: {self._epoch} {last}\ndata: {to_json(told)}\n\n".encode()
                    begun, before, said_at = False, now, monotonic()
                elif monotonic() - said_at > ALIVE_S:
                    yield b": here\n\n"
                    said_at = monotonic()
                await asyncio.sleep(LOOK_S)
        finally:
            self._watchers -= 1


def shown(frame: Frame) -> dict[str, object]:
    values = {key: frame.row.get(key) for key in SHOWN}
    about = {"key": frame.key, "seq": frame.seq, "number": frame.number}
    return {**about, "pictures": list(frame.pictures), "absent": dict(frame.absent), **values}


def part(name: str) -> Response:
    """A file of the page."""
    data = resources.files("simulator.watch").joinpath("page", name).read_bytes()
    kind = KINDS[name.rpartition(".")[2]]
    headers = {**HEADERS, "Content-Security-Policy": POLICY}
    return Response(data, media_type=f"{kind}; charset=utf-8", headers=headers)


async def serve_with(app: App, serve: Callable[[], Awaitable[None]]) -> None:
    """``serve()`` beside the looking."""
    looking = asyncio.create_task(app.look())
    try:
        await serve()
    finally:
        app.end()
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
