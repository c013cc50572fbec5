"""Which part of a body is the image: all of it, or the field ``image`` of a form."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import PurePosixPath

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from tx.door.question import checked_name
from tx.door.refusal import Refusal

FORM = "multipart/form-data"
# curl says of any file that it is a form of the second kind.
PLAIN = ("", "application/octet-stream", "application/x-www-form-urlencoded")
FIELD = "image"


class InMemory(MultiPartParser):
    """The body is in memory already: it is not written to a disk on its way."""

    spool_max_size = 2**62


def check_kind(headers: Headers) -> None:
    """Raises ``Refusal`` for what cannot be an image, by its headers."""
    kind = kind_of(headers)
    if not (kind.startswith("image/") or kind == FORM or kind in PLAIN):
        raise Refusal(415, "kind", f"send an image file, as it is or as {FORM}.")
    if headers.get("content-encoding", "identity") != "identity":
        raise Refusal(415, "kind", "send the image file as it is, without Content-Encoding.")


def kind_of(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


async def image_of(body: bytes, headers: Headers) -> tuple[bytes, str]:
    """The image file, and its name, which may be empty. Raises ``Refusal``."""
    if kind_of(headers) != FORM:
        return body, ""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await InMemory(headers, stream(), max_files=1, max_fields=0).parse()
    except (MultiPartException, KeyError) as error:  # a form without a boundary is a KeyError
        reason = str(getattr(error, "message", "it names no boundary")).rstrip(".")
        raise Refusal(400, "image", f"the form cannot be read ({reason}).") from None
    try:
        file = form.get(FIELD)
        if not isinstance(file, UploadFile):
            raise Refusal(400, "image", f"the form has no file in a field {FIELD!r}.")
        name = PurePosixPath((file.filename or "").replace("\\", "/")).name
        return await file.read(), checked_name(name)
    finally:
        await form.close()
