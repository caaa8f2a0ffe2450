"""Gates at which a caller may stand and wait: bulkheads, adaptive limits, rate limits.

A subclass adds three ways in to the two decisions of a `Gate`. `take` never waits and never raises; `wait` and
`wait_async` are only asked when `take` had nothing to give, and come back with a permit or raise `Rejected`.
"""

from __future__ import annotations

from math import inf
from typing import Any

from ..call import AsyncStep, Call, Classifier, R, Step
from ..runtime import Runtime
from ._blocks import place
from ._gate import _READY, Gate

NONE = -1  # no permit: permits are 0 and up


class WaitingGate(Gate):
    """A gate with a queue before it."""

    hears: bool = True
    """Whether `leave` does anything at all."""

    def take(self, now: float) -> int:
        """A permit at once, or `NONE`. A call that is refused or queued goes on to `wait`."""
        raise NotImplementedError

    def wait(self, run: Runtime, deadline: float = inf) -> int:
        """A permit, after waiting in this thread for as long as the policy allows; raises `Rejected`."""
        raise NotImplementedError

    async def wait_async(self, run: Runtime, deadline: float = inf) -> int:
        """The same for a task of whichever event loop runs it."""
        raise NotImplementedError

    def wrap(self, step: Step[R], run: Runtime, classify: Classifier) -> Step[R]:
        judge = self.classify or classify
        take, wait, leave, now = self.take, self.wait, self.leave, run.now

        def gated(call: Call) -> R:
            start = now()
            permit = take(start)
            if permit < 0:
                permit = wait(run, call.deadline)
                start = now()
            try:
                result = step(call)
            except BaseException as error:
                end = now()
                leave(permit, judge(call, None, error), end, end - start)
                raise
            end = now()
            if call.later is None:
                leave(permit, judge(call, result, None), end, end - start)
            else:  # a streamed answer keeps its place until it is closed; its latency is known now
                call.later.append(lambda verdict: leave(permit, verdict, now(), end - start))
            return result

        def passed(call: Call) -> R:
            if take(now()) < 0:
                wait(run, call.deadline)
            return step(call)

        return gated if self.hears else passed

    def wrap_async(self, step: AsyncStep[R], run: Runtime, classify: Classifier) -> AsyncStep[R]:
        judge = self.classify or classify
        take, wait, leave, now = self.take, self.wait_async, self.leave, run.now

        async def gated(call: Call) -> R:
            start = now()
            permit = take(start)
            if permit < 0:
                permit = await wait(run, call.deadline)
                start = now()
            try:
                result = await step(call)
            except BaseException as error:
                end = now()
                leave(permit, judge(call, None, error), end, end - start)
                raise
            end = now()
            if call.later is None:
                leave(permit, judge(call, result, None), end, end - start)
            else:  # a streamed answer keeps its place until it is closed; its latency is known now
                call.later.append(lambda verdict: leave(permit, verdict, now(), end - start))
            return result

        async def passed(call: Call) -> R:
            if take(now()) < 0:
                await wait(run, call.deadline)
            return await step(call)

        return gated if self.hears else passed

    async def _enter_async(self, run: Runtime) -> int:
        permit = self.take(run.now())
        return await self.wait_async(run) if permit < 0 else permit

    def _lines(self, wait: str) -> dict[str, str]:
        permit = f"_permit = _take(_now())\n    if _permit < 0: _permit = {wait}_wait(_run)"
        if not self.hears:
            return {"permit": permit, "failed": "pass", "settle": "pass"}
        return {"permit": f"{permit}\n    _start = _now()" if self.timed else permit}

    def _names(self, is_async: bool) -> dict[str, Any]:
        return {"_take": self.take, "_wait": self.wait_async if is_async else self.wait, "_run": self.runtime}

    def __enter__(self) -> None:
        permit = self.take(self.runtime.now())
        permit = self.wait(self.runtime) if permit < 0 else permit
        self._note(place(), permit, self.runtime.now())

    def __aenter__(self) -> Any:
        frame, now = place(), self.runtime.now()
        permit = self.take(now)
        if permit < 0:
            return self._arrive(frame)
        self._note(frame, permit, now)
        return _READY

    async def _arrive(self, frame: int) -> None:
        permit = await self.wait_async(self.runtime)
        self._note(frame, permit, self.runtime.now())
