"""Deadline timer: ends a step after so many seconds, or at the deadline of its call."""

from __future__ import annotations

from math import inf
from typing import Any

from ...call import AsyncStep, Call, R, Step
from ...errors import DeadlineExceeded
from ...runtime import Expired, Runtime
from . import deadline as _deadline


def within(step: Step[R], run: Runtime, seconds: float, name: str) -> Step[R]:
    """`step`, begun only if time is left; a late answer becomes `DeadlineExceeded`."""
    now, enter, leave = run.now, _deadline.enter, _deadline.leave

    def timed(call: Call) -> R:
        start = now()
        due = min(start + seconds, call.deadline)
        limit = seconds if due < call.deadline else None
        if start >= due:
            raise DeadlineExceeded(name, limit=limit, sent=False)
        token = enter(due)
        try:
            result = step(call.by(due))
        except TimeoutError as error:  # perhaps of a socket whose timeout was `remaining()`
            if isinstance(error, DeadlineExceeded) or now() < due:
                raise
            raise DeadlineExceeded(name, limit=limit) from error
        finally:
            leave(token)
        if now() >= due:
            raise DeadlineExceeded(name, limit=limit)
        return result

    return timed


def within_async(
    step: AsyncStep[R], run: Runtime, seconds: float, name: str, *, outermost: bool = True, cancels: bool = True
) -> AsyncStep[R]:
    """`step`, cancelled after `seconds` or at the call's own deadline, whichever is first.

    Unless `outermost`, a policy outside keeps the call's deadline already: then only a shorter one needs a timer.
    Unless `cancels`, the step ends by the deadline of its call itself, and gets no timer.
    """
    now, until, enter, leave = run.now, run.until, _deadline.enter, _deadline.leave

    async def timed(call: Call) -> R:
        start = now()
        due = start + seconds
        limit: float | None = seconds
        if due >= call.deadline:
            if not outermost:
                return await step(call)
            due, limit = call.deadline, None
            if start >= due:
                raise DeadlineExceeded(name, sent=False)
        token = enter(due)
        try:
            work = step(call.by(due))
            return await (until(due, work) if cancels else work)
        except Expired as error:
            raise DeadlineExceeded(name, limit=limit) from error
        finally:
            leave(token)

    return timed


def bounded(step: Step[R], run: Runtime) -> Step[R]:
    """Where no Timeout is outermost, a deadline from outside still ends the call; without one this is a comparison."""
    kept = within(step, run, inf, "deadline")

    def bounded(call: Call) -> R:
        return step(call) if call.deadline == inf else kept(call)

    return bounded


def bounded_async(step: AsyncStep[R], run: Runtime, *, timer: bool = True) -> AsyncStep[R]:
    """The same, awaited. Without a `timer` the step ends by `call.deadline` itself."""
    kept = within_async(step, run, inf, "deadline", cancels=timer)

    def bounded(call: Call) -> Any:
        return step(call) if call.deadline == inf else kept(call)

    return bounded
