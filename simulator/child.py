"""A process that another supervises, and its log."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from simulator.errors import DiffJsccError


class ChildFailed(DiffJsccError):
    """A process ended with a documented exit code; the text is its own sentence."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


@dataclass
class Child:
    """One supervised process and its log."""

    name: str
    command: list[str]
    log_path: Path
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    stillborn: int = 0
    stdin: int | None = subprocess.DEVNULL  # None: that of the supervisor
    log: IO[bytes] | None = field(default=None, repr=False)
    log_from: int = 0  # where the log of its present life begins

    def start(self) -> None:
        self.log = self.log_path.open("ab")
        self.log_from = self.log.tell()
        self.process = subprocess.Popen(
            self.command,
            stdin=self.stdin,
            stdout=self.log,
            stderr=self.log,
            env=os.environ | {"PYTHONIOENCODING": "utf-8"},  # logs are, on every machine
            # Ctrl-C in a terminal is for the supervisor, which ends its children in order.
            process_group=0,
        )

    def poll(self) -> int | None:
        return self.process.poll() if self.process else None

    def sentence(self) -> str:
        """The last error line of its present life."""
        log = self.log_path.read_bytes()[self.log_from :]
        lines = log.decode("utf-8", "replace").splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        return errors[-1].removeprefix("error: ") if errors else f"see {self.log_path}"

    def last_words(self) -> str:
        """The last line of its present life, such as that of a traceback."""
        log = self.log_path.read_bytes()[self.log_from :].decode("utf-8", "replace")
        return next((line for line in reversed(log.splitlines()) if line.strip()), "")

    def has_said(self, text: str) -> bool:
        """Whether it stands in the log of its present life."""
        return text.encode() in self.log_path.read_bytes()[self.log_from :]

    def stop(self) -> None:
        """SIGTERM, then SIGKILL for one that does not listen."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def reap(self, deadline: float) -> None:
        if self.process:
            try:
                self.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.log:
            self.log.close()
