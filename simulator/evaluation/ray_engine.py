"""A sweep on several workers, of this machine or of a Ray cluster.

chunk -> actor (a worker process of Ray's, with its models) -> Done
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from simulator.errors import DiffJsccError, SettingsError, missing_package
from simulator.evaluation.dispatch import WorkerDied, dispatch
from simulator.evaluation.engine import HELD, Done, Engine, SweepWorker, load_pixels
from simulator.evaluation.experiment import Experiment
from simulator.evaluation.jobs import Chunk, Source
from simulator.evaluation.sweep import Description, MakeEngine, describe
from simulator.images import Pixels


class Actor:
    """A ``SweepWorker`` in a process of Ray. ``describe`` says what is wrong with its settings: an
    actor that fails while it is made has no words of its own."""

    def __init__(self, experiment: Experiment, device: str) -> None:
        self._wrong: DiffJsccError | None = None
        try:
            self._worker = SweepWorker(experiment, device)
            self._described = describe(self._worker, device)
        except DiffJsccError as error:
            self._wrong = error

    def describe(self) -> Description | DiffJsccError:
        return self._wrong or self._described

    def do(self, chunk: Chunk, *pixels: Pixels | str) -> Done:
        return self._worker.do(chunk, *pixels)


def ray_engine(workers: int, address: str = "") -> MakeEngine:
    """How ``run_sweep`` makes the engine. ``address``: of a cluster; empty: one of its own."""

    def make(experiment: Experiment, device: str, images: int) -> tuple[Engine, Description]:
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
        self._actors = [self._make() for _ in range(workers)]
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
        found: Description | DiffJsccError = self._ray.get(self._actors[0].describe.remote())
        if isinstance(found, DiffJsccError):
            raise found
        return found

    def run(self, chunks: Sequence[Chunk]) -> Iterator[Done]:
        """Raises ``WorkersDied``."""
        return dispatch(self, self._actors, chunks)

    def hire(self) -> Any:
        return self._make()

    def give(self, worker: Any, chunk: Chunk) -> Any:
        """A reference to what will be done."""
        return worker.do.remote(chunk, *map(self._pixels, chunk.sources))

    def wait(self, tickets: Sequence[Any]) -> Any:
        ready, _ = self._ray.wait(list(tickets), num_returns=1)
        return ready[0]

    def collect(self, ticket: Any) -> Done:
        try:
            done: Done = self._ray.get(ticket)
        except self._ray.exceptions.RayActorError as error:
            raise WorkerDied(str(error).splitlines()[0]) from None
        return done

    def _pixels(self, source: Source) -> Any:
        """In Ray's store: the machines of a cluster need not have the image's file."""
        if source not in self._held:
            if len(self._held) >= HELD:
                del self._held[next(iter(self._held))]
            self._held[source] = self._ray.put(load_pixels(source))
        return self._held[source]

    def close(self) -> None:
        """Ends the workers, in the middle of a chunk too."""
        self._ray.shutdown()
