"""A sweep on several processes of this machine, each on one core.

    chunk -pipe-> process (a SweepWorker with its models) -pipe-> Done

How many fit is measured: the first process says how much memory it takes with its models.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any

from rx.memory import available_bytes, resident_bytes
from simulator.errors import DiffJsccError
from simulator.evaluation.dispatch import WorkerDied, dispatch
from simulator.evaluation.engine import Done, Engine, SweepWorker, load_pixels
from simulator.evaluation.experiment import Experiment
from simulator.evaluation.jobs import Chunk
from simulator.evaluation.sweep import Description, MakeEngine, describe, local_engine

#: What a worker needs beside what it has when its models are loaded.
WORK_BYTES = 1 << 30
#: Results fewer than these are there before other processes have started.
WORTHWHILE = 24


def serve(connection: Connection, experiment: Experiment, device: str) -> None:
    """The life of a worker process. It ends with the process that has the other end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and closes
    threads = experiment.threads or 1
    os.environ["OMP_NUM_THREADS"] = str(threads)
    worker: SweepWorker | None = None
    try:
        try:
            worker = SweepWorker(experiment.model_copy(update={"threads": threads}), device)
            connection.send((describe(worker, device), more_like_this()))
        except DiffJsccError as error:
            connection.send(error)
            return
        while True:
            chunk: Chunk = connection.recv()
            try:
                connection.send(worker.do(chunk, *map(load_pixels, chunk.sources)))
            except Exception as error:
                connection.send(error)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


class WorkerProcess:
    """A worker and this end of its pipe. ``told``: what it has, and how many more like it the
    memory holds, once it has said so."""

    def __init__(self, experiment: Experiment, device: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(
            target=serve, args=(theirs, experiment, device), daemon=True
        )
        self._process.start()
        theirs.close()
        self.told: tuple[Description, int] | None = None

    def start(self) -> tuple[Description, int]:
        """Waits until it is ready. Raises ``WorkerDied``, and what is wrong with its settings."""
        if self.told is None:
            self.told = self._receive()
        return self.told

    def give(self, chunk: Chunk) -> None:
        """It need not be ready. One that has died is found out by ``collect``."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(chunk)

    def collect(self) -> Done:
        self.start()
        done: Done = self._receive()
        return done

    def end(self) -> None:
        self.connection.close()
        self._process.terminate()
        self._process.join()

    def _receive(self) -> Any:
        try:
            found = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            raise WorkerDied(ending(self._process.exitcode)) from None
        if isinstance(found, Exception):
            raise found
        return found


def ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"


class ProcessEngine:
    """``workers``: at most; fewer where they would not fit into the memory that is free.

    Raises what a worker's methods and metrics raise, ``WorkerDied`` where the first one cannot
    start.
    """

    def __init__(self, experiment: Experiment, device: str, workers: int) -> None:
        self._hire = partial(WorkerProcess, experiment, device)
        self._workers = [self._hire()]
        try:
            self.description, more = self._workers[0].start()
        except BaseException:
            self.close()
            raise
        self._workers += [self._hire() for _ in range(min(workers - 1, more))]

    def run(self, chunks: Sequence[Chunk]) -> Iterator[Done]:
        """Raises ``WorkersDied``."""
        return dispatch(self, self._workers, chunks)

    def hire(self) -> WorkerProcess:
        self._workers.append(self._hire())
        return self._workers[-1]

    def give(self, worker: WorkerProcess, chunk: Chunk) -> WorkerProcess:
        worker.give(chunk)
        return worker

    def wait(self, tickets: Sequence[WorkerProcess]) -> WorkerProcess:
        while True:
            ready = wait([worker.connection for worker in tickets])[0]
            worker = next(worker for worker in tickets if worker.connection is ready)
            if worker.told is not None:
                return worker
            try:
                worker.start()
            except WorkerDied:  # ``collect`` says so
                return worker

    def collect(self, ticket: WorkerProcess) -> Done:
        return ticket.collect()

    def close(self) -> None:
        """Ends the workers, in the middle of a chunk too."""
        for worker in self._workers:
            worker.end()


def more_like_this() -> int:
    """How many processes of this one's size the free memory holds, with room for their work."""
    try:
        return max(0, available_bytes() - WORK_BYTES) // (resident_bytes() + WORK_BYTES)
    except OSError:  # not Linux: not measured
        return os.cpu_count() or 1


def process_engine(workers: int) -> MakeEngine:
    """How ``run_sweep`` makes the engine. ``workers`` 0: one for each core, where the sweep is
    long enough and no accelerator does the work; 1: none, everything happens in this process."""

    def make(experiment: Experiment, device: str, images: int) -> tuple[Engine, Description]:
        wanted = workers or automatic(experiment, device, images)
        if wanted == 1:
            return local_engine(experiment, device, images)
        engine = ProcessEngine(experiment, device, wanted)
        return engine, engine.description

    return make


def automatic(experiment: Experiment, device: str, images: int) -> int:
    per_image = len(experiment.points) * len(experiment.methods) * experiment.repeats
    if device != "cpu" or per_image * images < WORTHWHILE:
        return 1
    return max(1, (os.cpu_count() or 1) // (experiment.threads or 1))
