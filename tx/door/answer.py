"""What a frame's request waits for, and how it is answered.

None of it blocks the loop: futures of other threads tell it when they are done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from starlette.responses import JSONResponse, Response

from simulator.errors import DeliveryError, DiffJsccError, ImageError, SettingsError
from simulator.link.text import to_json
from tx.door.giver import Giver, Order, Unwanted
from tx.door.limits import CLOSE_S
from tx.door.refusal import Gone, Reason, Refusal, later
from tx.sent import Sent, called

#: Done when the client has gone; done when the door closes.
Ends = tuple["asyncio.Future[None]", "asyncio.Future[None]"]
Why = Callable[[], str]
Value = TypeVar("Value")
MAGIC = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


class Closing(Exception):
    """The door closes."""


def told(future: Future[Any]) -> asyncio.Future[None]:
    """Done when ``future`` is. To cancel it cancels nothing: others may wait, too."""
    loop = asyncio.get_running_loop()
    here: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not here.done():
            here.set_result(None)

    def done(future: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell)

    future.add_done_callback(done)
    return here


async def until(future: Future[Any], ends: Ends, seconds: float) -> None:
    """Raises ``Gone``, ``Closing``, ``TimeoutError``."""
    gone, closing = ends
    await asyncio.wait(
        {told(future), gone, closing}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
    )
    if future.done():
        return
    if gone.done():
        raise Gone
    if closing.done():
        raise Closing
    raise TimeoutError


async def taken(giver: Giver, order: Order, ends: Ends, why: Why) -> Sent:
    """When the link has taken it. Raises ``Refusal``, ``Gone``."""
    job, ended = giver.give(order), None
    try:
        await until(job, ends, order.left_s)
    except (Gone, Closing, TimeoutError) as error:
        ended = error
        order.forget()
        if not job.cancel() and not isinstance(error, Gone):
            # It is being decoded, or the link is about to take it or not.
            await asyncio.wait({told(job)}, timeout=CLOSE_S)
    if ended and (not job.done() or job.cancelled()):
        raise _not_taken(ended, order, job.cancelled(), why)
    try:
        return job.result()
    except (SettingsError, ImageError) as error:
        reason: Reason = "image" if isinstance(error, ImageError) else "setting"
        raise Refusal(400, reason, str(error)) from None
    except (TimeoutError, Unwanted) as error:
        raise _not_taken(ended or error, order, True, why) from None
    except DiffJsccError as error:
        raise later(503, "link", str(error)) from None
    finally:  # an error that refers to itself would keep the image
        del job


def _not_taken(ended: Exception, order: Order, known: bool, why: Why) -> Exception:
    """``known``: that it is not sent."""
    if isinstance(ended, Gone):
        return ended
    if isinstance(ended, Closing):
        fate = "this frame is not sent" if known else "this frame may be sent, or not"
        return later(503, "closing", f"the door closes; {fate}.")
    limit = f"{order.question.timeout:g} s"
    return later(503, "link", f"the link took no frame within {limit}{why()}; try again later.")


async def answer_of(sent: Sent, order: Order, ends: Ends, why: Why) -> Response:
    """When what was asked for is here. Raises ``Refusal``, ``Gone``."""
    stage = order.question.stage
    known = {"frame_id": sent.frame_id, "number": sent.number, "name": sent.name}
    if order.question.wait == "row":
        row = await _come(sent, sent.rows, order, ends, why)
        return Response(to_json(row), media_type="application/json")
    if stage:
        file = await _come(sent, sent.pictures[stage], order, ends, why)
        headers = {"Frame-Id": sent.frame_id, "Frame-Number": str(sent.number)}
        return Response(file, media_type=kind_of(file), headers=headers)
    return JSONResponse(known, 202)


async def _come(sent: Sent, future: Future[Value], order: Order, ends: Ends, why: Why) -> Value:
    known: dict[str, Any] = {"frame_id": sent.frame_id}
    try:
        await until(future, ends, order.left_s)
        return future.result(0)
    except DeliveryError as error:
        await asyncio.wait({told(sent.rows)}, timeout=order.left_s)
        row = sent.rows.result(0) if sent.rows.done() else {}
        status = 409 if row.get("status") == "dropped" else 410
        raise Refusal(status, "undelivered", str(error), **known) from None
    except DiffJsccError as error:
        raise later(503, "link", str(error), **known) from None
    except Closing:
        sentence = f"the door closes; {sent.name} is on its way."
        raise later(503, "closing", sentence, **known) from None
    except TimeoutError:
        limit, wait = f"{order.question.timeout:g} s", order.question.wait
        sentence = f"the {called(wait)} of {sent.name} is not here after {limit}{why()}."
        raise Refusal(504, "late", sentence, **known) from None


def kind_of(file: bytes) -> str:
    """Of a picture that came back."""
    kinds = (kind for start, kind in MAGIC.items() if file.startswith(start))
    return next(kinds, "application/octet-stream")
