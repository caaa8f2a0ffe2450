"""Partition: an adaptive limit as the calls of one name see it, `limit.partition("batch")`."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from ...events import Port
from ...runtime import Runtime
from ..shell.waiting_gate import WaitingGate

if TYPE_CHECKING:
    from .adaptive_limit import AdaptiveLimit


class Partition(WaitingGate):
    """An `AdaptiveLimit` as seen by one partition."""

    timed = True
    counts_outcomes = True
    measures_latency = True

    def __init__(self, whole: AdaptiveLimit, name: str) -> None:
        super().__init__(f"{whole.name}/{name}" if name else whole.name, classify=whole.classify, runtime=whole.runtime)
        self.whole = whole
        self.partition = name
        self.port: Port = whole.port
        self.leave = whole.leave  # type: ignore[method-assign]

    def enter(self, now: float = 0.0) -> int:
        return self.whole.enter(now, self.partition)

    def take(self, now: float = 0.0) -> int:
        return self.whole.take(now, self.partition)

    def wait(self, run: Runtime, deadline: float = inf) -> int:
        return self.whole.wait(run, deadline)

    async def wait_async(self, run: Runtime, deadline: float = inf) -> int:
        return await self.whole.wait_async(run, deadline)
