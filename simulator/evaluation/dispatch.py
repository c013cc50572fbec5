"""Which worker does which chunk, whatever the workers are.

    chunks, by image -> an idle worker: its own image's next, an untouched image's, another's last
                 ^------- chunk of a worker that died ------'

The images of one worker stay with it: encodings and features of an original are made once. A
worker has one chunk at a time. One that dies is replaced, and its chunk goes back; rows are
written by the process that started the sweep alone, so nothing is lost and nothing is double.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from simulator.errors import DiffJsccError
from simulator.evaluation.engine import Done
from simulator.evaluation.jobs import Chunk

MAX_DEATHS = 3  # on one chunk

Share = tuple[int, int]  # repeat and image


class WorkerDied(Exception):
    """With the reason, as far as it is known."""


class WorkersDied(DiffJsccError):
    """A chunk ends every worker that tries it."""


class Crew(Protocol):
    """Workers of one kind. A ticket stands for a chunk that a worker has."""

    def hire(self) -> Any:
        """A new worker."""
        ...

    def give(self, worker: Any, chunk: Chunk) -> Any:
        """A ticket."""
        ...

    def wait(self, tickets: Sequence[Any]) -> Any:
        """One of them whose chunk is done, or whose worker is."""
        ...

    def collect(self, ticket: Any) -> Done:
        """Raises ``WorkerDied``, and whatever the worker could not do."""
        ...


class Shares:
    """Chunks that nobody has yet, by repeat and image, in the order of the sweep."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self._waiting: dict[Share, deque[Chunk]] = {}
        self._owner: dict[Share, int] = {}
        for chunk in chunks:
            self._waiting.setdefault(share_of(chunk), deque()).append(chunk)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def next_for(self, worker: int) -> Chunk:
        """``worker``: a number of the caller's. There must be a chunk."""
        mine = next((s for s in self._waiting if self._owner.get(s) == worker), None)
        free = next((s for s in self._waiting if s not in self._owner), None)
        if mine is not None:
            return self._take(mine)
        if free is not None:
            self._owner[free] = worker
            return self._take(free)
        longest = max(self._waiting, key=lambda share: len(self._waiting[share]))
        return self._take(longest, last=True)

    def put_back(self, chunk: Chunk) -> None:
        self._waiting.setdefault(share_of(chunk), deque()).appendleft(chunk)

    def _take(self, share: Share, last: bool = False) -> Chunk:
        waiting = self._waiting[share]
        chunk = waiting.pop() if last else waiting.popleft()
        if not waiting:
            del self._waiting[share]
        return chunk


def share_of(chunk: Chunk) -> Share:
    return chunk.repeat, chunk.source.index


def dispatch(crew: Crew, workers: Sequence[Any], chunks: Sequence[Chunk]) -> Iterator[Done]:
    """Each chunk once, as they are finished. Raises ``WorkersDied``, and what a worker raises."""
    shares, deaths = Shares(chunks), Counter[int]()
    places = list(workers)  # a place keeps its shares when the worker in it is replaced
    idle = deque(range(len(places)))
    busy: dict[Any, tuple[int, Chunk]] = {}
    while shares or busy:
        while shares and idle:
            place = idle.popleft()
            chunk = shares.next_for(place)
            busy[crew.give(places[place], chunk)] = place, chunk
        ticket = crew.wait(list(busy))
        place, chunk = busy.pop(ticket)
        idle.append(place)
        try:
            done = crew.collect(ticket)
        except WorkerDied as error:
            deaths[id(chunk)] += 1
            if deaths[id(chunk)] == MAX_DEATHS:
                raise WorkersDied(
                    f"{MAX_DEATHS} workers died of {chunk.method} with {chunk.source.name} "
                    f"({error}); is there enough memory?"
                ) from None
            shares.put_back(chunk)
            places[place] = crew.hire()
            continue
        yield done
