"""Waiting gate: a gate with a wait queue, for bulkheads, adaptive limits and rate limits.

A subclass adds three ways in to the two decisions of a `Gate`. `take` never waits and never raises; `wait` and
`wait_async` come after a `take` without a permit; they return one or raise `Rejected`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from ...call import Verdict
from ...runtime import Runtime
from .gate import _READY, Gate
from .with_blocks import block_frame

NONE = -1  # no permit: permits are 0 and up


class WaitingGate(Gate):
    """A gate whose callers may wait for a permit."""

    needs_leave: bool = True
    """Whether `leave` does anything at all."""

    def take(self, now: float) -> int:
        """A permit at once, or `NONE`. A call that is refused or queued goes on to `wait`."""
        raise NotImplementedError

    def wait(self, run: Runtime, deadline: float = inf) -> int:
        """A permit, after waiting in this thread for as long as the policy allows; raises `Rejected`."""
        raise NotImplementedError

    async def wait_async(self, run: Runtime, deadline: float = inf) -> int:
        """The same for a task of any event loop."""
        raise NotImplementedError

    async def _enter_async(self, run: Runtime) -> int:
        permit = self.take(run.now())
        return await self.wait_async(run) if permit < 0 else permit

    def _lines(self, wait: str, patience: str, args: str) -> dict[str, str]:
        permit = f"_permit = _take(_now())\n    if _permit < 0: _permit = {wait}_wait({patience})"
        if not self.needs_leave:
            return {"permit": permit, "failed": "pass", "settle": "pass"}
        return {"permit": f"{permit}\n    _start = _now()" if self.timed else permit}

    def _names(self, is_async: bool) -> dict[str, Any]:
        now, leave = self.runtime.now, self.leave

        def later(permit: int, start: float) -> Callable[[Verdict], None]:
            took = now() - start  # a streamed response keeps its slot until it is closed; its latency is known now
            return lambda verdict: leave(permit, verdict, now(), took)

        return {"_take": self.take, "_wait": self.wait_async if is_async else self.wait, "_later": later}

    def __enter__(self) -> None:
        permit = self.take(self.runtime.now())
        permit = self.wait(self.runtime) if permit < 0 else permit
        self._open_block(block_frame(), permit, self.runtime.now())

    def __aenter__(self) -> Any:
        frame, now = block_frame(), self.runtime.now()
        permit = self.take(now)
        if permit < 0:
            return self._arrive(frame)
        self._open_block(frame, permit, now)
        return _READY

    async def _arrive(self, frame: int) -> None:
        permit = await self.wait_async(self.runtime)
        self._open_block(frame, permit, self.runtime.now())
