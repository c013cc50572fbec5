"""A sweep on several workers, of this machine or of a Ray cluster.

    chunks -> queue -> actor (a worker process with its models) -> Done
                 ^------- chunk of an actor that died --------'

An actor has one chunk at a time. One that dies is replaced, and its chunk goes back; rows are
written by the process that started the sweep alone, so nothing is lost and nothing is double.
"""

from __future__ import annotations

import importlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from simulator.errors import DiffJsccError, SettingsError, missing_package
from simulator.evaluation.engine import Done, Engine, Worker, load_pixels
from simulator.evaluation.experiment import Experiment
from simulator.evaluation.jobs import Chunk, Source
from simulator.evaluation.sweep import Description, describe
from simulator.images import Pixels

MAX_DEATHS = 3  # on one chunk


class WorkersDied(DiffJsccError):
    """A chunk ends every worker that tries it."""


class Actor:
    """A ``Worker`` in a process of Ray's. What is wrong with its settings is told by ``describe``:
    an actor that fails while it is made has no words of its own."""

    def __init__(self, experiment: Experiment, device: str) -> None:
        self._wrong: DiffJsccError | None = None
        try:
            self._worker = Worker(experiment, device)
            self._described = describe(self._worker, device)
        except DiffJsccError as error:
            self._wrong = error

    def describe(self) -> Description | DiffJsccError:
        return self._wrong or self._described

    def do(self, chunk: Chunk, pixels: Pixels) -> Done:
        return self._worker.do(chunk, pixels)


def ray_engine(
    workers: int, address: str = ""
) -> Callable[[Experiment, str], tuple[Engine, Description]]:
    """How ``run_sweep`` makes the engine. ``address``: of a cluster; empty: one of its own."""

    def make(experiment: Experiment, device: str) -> tuple[Engine, Description]:
        engine = RayEngine(experiment, device, workers, address)
        try:
            return engine, engine.describe()
        except BaseException:
            engine.close()
            raise

    return make


class RayEngine:
    """Raises ``MissingPackageError`` without Ray, ``SettingsError`` where a cluster cannot be
    reached or has too few GPUs."""

    def __init__(self, experiment: Experiment, device: str, workers: int, address: str) -> None:
        # Ray reports its use to its makers unless it is told not to.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError:
            raise missing_package("--engine ray", "ray", "ray") from None
        cpus = experiment.threads or 1
        gpus = 1 if device.startswith("cuda") else 0
        self._start(address, {} if address else {"num_cpus": workers * cpus})
        if gpus * workers > self._ray.cluster_resources().get("GPU", 0):
            self._ray.shutdown()
            raise SettingsError(f"there are fewer than {workers} GPUs; give --workers.")
        remote = self._ray.remote(num_cpus=cpus, num_gpus=gpus)(Actor)
        self._make: Callable[[], Any] = lambda: remote.remote(experiment, device)
        self._idle = [self._make() for _ in range(workers)]
        self._busy: dict[Any, tuple[Any, Chunk]] = {}  # reference -> actor, chunk
        self._held: dict[Source, Any] = {}

    def _start(self, address: str, options: dict[str, Any]) -> None:
        try:
            self._ray.init(
                address=address or "local",
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level="ERROR",
                **options,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise SettingsError(f"Ray does not start ({address or 'here'}): {reason}.") from None

    def describe(self) -> Description:
        """What the first actor has: all are made alike."""
        found: Description | DiffJsccError = self._ray.get(self._idle[0].describe.remote())
        if isinstance(found, DiffJsccError):
            raise found
        return found

    def run(self, chunks: Sequence[Chunk]) -> Iterator[Done]:
        """Each chunk once, as they are finished. Raises ``WorkersDied``."""
        queue, deaths = deque(chunks), Counter[int]()
        actor_error = self._ray.exceptions.RayActorError
        while queue or self._busy:
            while queue and self._idle:
                self._give(self._idle.pop(), queue.popleft())
            ready, _ = self._ray.wait(list(self._busy), num_returns=1)
            actor, chunk = self._busy.pop(ready[0])
            try:
                done: Done = self._ray.get(ready[0])
            except actor_error as error:
                deaths[id(chunk)] += 1
                if deaths[id(chunk)] == MAX_DEATHS:
                    raise WorkersDied(
                        f"{MAX_DEATHS} workers died of {chunk.method} with {chunk.source.name} "
                        f"({str(error).splitlines()[0]}); is there enough memory?"
                    ) from None
                queue.appendleft(chunk)
                self._idle.append(self._make())
                continue
            self._idle.append(actor)
            yield done

    def _give(self, actor: Any, chunk: Chunk) -> None:
        self._busy[actor.do.remote(chunk, self._pixels(chunk.source))] = (actor, chunk)

    def _pixels(self, source: Source) -> Any:
        """In Ray's store: the machines of a cluster need not have the image's file."""
        if source not in self._held:
            if len(self._held) > 1:
                del self._held[next(iter(self._held))]
            self._held[source] = self._ray.put(load_pixels(source))
        return self._held[source]

    def close(self) -> None:
        """Ends the workers, in the middle of a chunk too."""
        self._ray.shutdown()
