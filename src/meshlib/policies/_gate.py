"""Gates: policies that are asked before a call and told after it. They never wait and never call twice.

A subclass has two decisions, `enter` and `leave`. Everything through which a gate can be used stands here once: as a
layer of a pipeline (`wrap`, `wrap_async`), as a decorator (`gate(fn)`), and as a context manager (`with gate:`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from math import inf
from threading import Lock
from types import TracebackType
from typing import Any, TypeVar

from ..call import FAILURE, SUCCESS, AsyncStep, Call, Classifier, R, Step, Verdict, raised
from ..events import Listener, Port
from ..runtime import SYSTEM, Runtime
from ._guard import guard

F = TypeVar("F", bound=Callable[..., Any])
NO_CALL = Call(None)  # what a classifier is given where there is no pipeline, and so nothing that travels


class Gate:
    """Asked before (`enter`), told after (`leave`). One object may guard functions, pipelines and clients at once.

    `admits` is True while `enter` would admit and change nothing: its permit is then `generation`. `quiet` is True
    while besides `leave(…, SUCCESS, …)` would change nothing, for any permit. The shells skip what need not be asked.
    A `timed` gate is told how long the call took.
    """

    tier = "cluster"
    timed: bool = False

    def __init__(self, name: str, *, classify: Classifier | None = None, runtime: Runtime = SYSTEM) -> None:
        if not isinstance(name, str) or not name:
            raise ValueError(f"name={name!r}: expected a name, as it shall stand in errors and events")
        self.name = name
        self.classify = classify
        self.runtime = runtime
        self.port = Port()
        self.admits = False
        self.quiet = False
        self.generation = 0
        self._entered: dict[int, list[tuple[int, float]]] = {}
        self._entering = Lock()

    def enter(self, now: float) -> int:
        """Admit one call: the permit to give back with `leave`. Raises `Rejected`."""
        raise NotImplementedError

    def leave(self, permit: int, verdict: Verdict, now: float, took: float = 0.0) -> None:
        """Hear how the call ended that got `permit`; `took` is its seconds (only told to `timed` gates)."""
        raise NotImplementedError

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each event of this gate from now on; the function returned ends that."""
        return self.port.subscribe(listener)

    def wrap(self, step: Step[R], run: Runtime, classify: Classifier) -> Step[R]:
        judge = self.classify or classify
        enter, leave, now = self.enter, self.leave, run.now

        def gated(call: Call) -> R:
            permit = self.generation if self.admits else enter(now())
            start = now() if self.timed else 0.0
            try:
                result = step(call)
            except BaseException as error:
                self._failed(permit, judge(call, None, error), now, start)
                raise
            if call.later is not None:
                call.later.append(lambda verdict: self._failed(permit, verdict, now, start))
                return result
            if not (self.quiet and judge is raised):
                end = now()
                leave(permit, judge(call, result, None), end, end - start if self.timed else 0.0)
            return result

        return gated

    def wrap_async(self, step: AsyncStep[R], run: Runtime, classify: Classifier) -> AsyncStep[R]:
        judge = self.classify or classify
        enter, leave, now = self.enter, self.leave, run.now

        async def gated(call: Call) -> R:
            permit = self.generation if self.admits else enter(now())
            start = now() if self.timed else 0.0
            try:
                result = await step(call)
            except BaseException as error:
                self._failed(permit, _verdict(judge, call, error, now), now, start)
                raise
            if call.later is not None:
                call.later.append(lambda verdict: self._failed(permit, verdict, now, start))
                return result
            if not (self.quiet and judge is raised):
                end = now()
                leave(permit, judge(call, result, None), end, end - start if self.timed else 0.0)
            return result

        return gated

    def _failed(self, permit: int, verdict: Verdict, now: Callable[[], float], start: float) -> None:
        end = now()
        self.leave(permit, verdict, end, end - start if self.timed else 0.0)

    async def _enter_async(self, run: Runtime) -> int:
        return self.enter(run.now())

    def _lines(self, wait: str) -> dict[str, str]:
        """Lines of `_guard`'s template that this kind of gate writes in its own way; `wait` is "await " or nothing."""
        return {}

    def _names(self, is_async: bool) -> dict[str, Any]:
        """What those lines speak of."""
        return {}

    def __call__(self, fn: F) -> F:
        """Guard a function: plain, async, generator or async generator; its kind and signature stay."""
        return guard(fn, self, self.runtime, self.classify or raised)

    def __enter__(self) -> None:
        self._come_in(id(sys._getframe(1)))

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        self._go_out(id(sys._getframe(1)), error)

    def __aenter__(self) -> _Ready:
        self._come_in(id(sys._getframe(1)))
        return _READY

    def __aexit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> _Ready:
        self._go_out(id(sys._getframe(1)), error)
        return _READY

    # One gate serves many `with` blocks at once, and a block may be left from another task or thread than it was
    # entered from (a closed async generator). What stays the same is the frame in which the block stands.
    def _come_in(self, frame: int) -> None:
        now = self.runtime.now()
        self._note(frame, self.enter(now), now)

    def _note(self, frame: int, permit: int, now: float) -> None:
        with self._entering:
            self._entered.setdefault(frame, []).append((permit, now))

    def _go_out(self, frame: int, error: BaseException | None) -> None:
        with self._entering:
            # An ExitStack enters and leaves from two frames of its own: then the youngest entry is as good as any.
            frame = frame if frame in self._entered else next(reversed(self._entered))
            entries = self._entered[frame]
            permit, start = entries.pop()
            if not entries:
                del self._entered[frame]
        verdict = SUCCESS if error is None else (self.classify or raised)(NO_CALL, None, error)
        now = self.runtime.now()
        self.leave(permit, verdict, now, now - start)


def _verdict(judge: Classifier, call: Call, error: BaseException, now: Callable[[], float]) -> Verdict:
    """A cancellation is nobody's failure, unless it came because the server let the call's own deadline pass.

    Event loops may fire a timer up to a tick early (uvloop counts in milliseconds), hence the slack.
    """
    if call.deadline < inf and not isinstance(error, Exception) and now() >= call.deadline - 0.002:
        return FAILURE
    return judge(call, None, error)


class _Ready:
    """An awaitable that is done: `async with gate:` has nothing to wait for."""

    __slots__ = ()

    def __await__(self) -> Any:
        return iter(())


_READY = _Ready()
