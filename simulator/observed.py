"""The settings of what a process shows to those who watch it from outside."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from simulator.air import Section


class ObserveSettings(Section):
    """Metrics and traces of this process: see docs/observing.md."""

    metrics_address: str = ""
    """HOST:PORT where Prometheus finds the metrics of this process, such as 127.0.0.1:9100; empty:
    nowhere."""
    metrics_open: bool = False
    """Whether that address may be one that other machines can reach: whoever does can read the
    metrics, without a password."""
    traces_endpoint: str = ""
    """The address of a collector that takes OTLP over HTTP, such as http://127.0.0.1:4318, for
    a trace of every frame; empty: none."""
    traces_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The share of frames that are traced. Processes with the same share choose the same frames."""
