"""Keyed limit: a rate limit as one key sees it, `limit.key("acme")`."""

from __future__ import annotations

from collections.abc import Hashable
from math import inf
from typing import TYPE_CHECKING

from ...call import IGNORED, Verdict
from ...events import Port
from ...runtime import Runtime
from ..shell.waiting_gate import WaitingGate

if TYPE_CHECKING:
    from .rate_limit import RateLimit


class KeyedLimit(WaitingGate):
    """A `RateLimit` as it is for one key."""

    needs_leave = False

    def __init__(self, whole: RateLimit, key: Hashable, permits: int | None) -> None:
        super().__init__(whole.name, runtime=whole.runtime)
        self.whole = whole
        self.of = key
        self.permits = permits
        self.port: Port = whole.port

    def enter(self, now: float) -> int:
        return self.whole.enter(now, self.of, self.permits)

    def take(self, now: float) -> int:
        return self.whole.take(now, self.of, self.permits)

    def leave(self, permit: int = 0, verdict: Verdict = IGNORED, now: float = 0.0, took: float = 0.0) -> None:
        """Nothing: a permit that was used is gone."""

    def wait(self, run: Runtime, deadline: float = inf) -> int:
        return self.whole.wait(run, deadline, self.of, self.permits)

    async def wait_async(self, run: Runtime, deadline: float = inf) -> int:
        return await self.whole.wait_async(run, deadline, self.of, self.permits)
