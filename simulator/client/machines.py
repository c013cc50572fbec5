"""A channel and receivers on this machine, for a notebook or a test, and a link to them.

import simulator

with simulator.local({"channel.kind": "rayleigh"}) as link:
    preview = link.send(array, snr_db=10).preview()
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from simulator.child import Child, ChildFailed
from simulator.children import make_children, on_this_machine, run_keys, stop, tend
from simulator.client.client import Client, Fail, Upto, WhenBusy
from simulator.settings import Settings, make_settings

LOOK_S = 0.1  # between two looks at them


@contextmanager
def machines(settings: Settings, folder: Path, fail: Fail) -> Iterator[Settings]:
    """Run a channel and receivers, with their logs in ``folder``, and restart those that die.
    ``fail`` gets the error when a restart cannot help."""
    with run_keys(settings) as keys:
        children = make_children(settings, folder, keys)[1:]
        ended = Event()
        watching = Thread(target=watch, args=(children, ended, fail), name="watch", daemon=True)
        own = {"keys": str(keys / "tx" / settings.tx.name)} if keys else {}
        try:
            for child in children:
                child.start()
            watching.start()
            yield settings.model_copy(update={"tx": settings.tx.model_copy(update=own)})
        finally:
            ended.set()
            if watching.is_alive():
                watching.join()
            stop(children)


def watch(children: list[Child], ended: Event, fail: Fail) -> None:
    try:
        while not ended.wait(LOOK_S):
            tend(children)
    except ChildFailed as error:
        fail(error)


def local(
    settings: Mapping[str, Any] | None = None,
    *,
    out: str | Path = "",
    returns: Upto = "refined",
    when_busy: WhenBusy = "wait",
    durable: bool = True,
    config: Path | None = None,
) -> Client:
    """A link over a channel and receivers of its own, which end with it.

    ``settings``: as of ``diffjscc simulate --set``, such as ``{"channel.kind": "rayleigh",
    "rx.refine": False}``; the rest as for ``connect``. Raises ``DiffJsccError``.
    """
    overrides = {"name": "client", "tx.window": 2} if config is None else {}
    overrides |= {"out": str(out)} if out else {}
    overrides |= {"tx.returns": returns, "tx.when_busy": when_busy, **(settings or {})}
    made = on_this_machine(make_settings(config, overrides=overrides))
    return Client(made, durable, machines)
