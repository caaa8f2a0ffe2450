"""Gate: a policy that decides before a call and counts its outcome after it. It never calls twice.

A subclass has two decisions, `enter` and `leave`. The three ways to use a gate are here: as a layer of a pipeline
(`wrap`, `wrap_async`), as a decorator (`gate(fn)`), and as a context manager (`with gate:`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from types import TracebackType
from typing import Any, TypeVar

from ... import forked
from ...call import FAILURE, IGNORED, SUCCESS, AsyncStep, Call, Classifier, R, Step, Verdict, raised
from ...events import Listener, Port
from ...runtime import SYSTEM, Runtime
from ..deadline.deadline import current
from . import checks
from .gate_wrappers import NO_CALL, wrap_function, wrap_step
from .with_blocks import OpenBlocks, block_frame

F = TypeVar("F", bound=Callable[..., Any])


class Gate:
    """`enter` before a call, `leave` after it. One object may guard functions, pipelines and clients at once.

    What the wrappers read without a call:
    `admits`: `enter` would admit and change nothing; its permit is then `generation`.
    `quiet`: `leave(…, SUCCESS, …)` would change nothing, for any permit.
    `counted`, `plain_until`, `slow_call`: a success of the permit `counted`, before `plain_until` (monotonic seconds)
    and no longer than `slow_call`, is counted by `step()` alone.
    `timed`: `leave` gets how long the call took.
    """

    # What the wrappers read has slots: quicker than a dictionary, more so where a subclass has many attributes.
    __slots__ = (
        "__weakref__",
        "_blocks",
        "admits",
        "classify",
        "counted",
        "generation",
        "name",
        "plain_until",
        "port",
        "quiet",
        "runtime",
        "slow_call",
        "step",
    )  # fmt: skip
    tier = "cluster"
    timed: bool = False
    counts_outcomes: bool = False
    """Whether it counts how calls end: then a policy that hides failures belongs outside of it."""
    measures_latency: bool = False
    """Whether it measures how long answers take: then nothing that waits or repeats belongs inside of it."""
    asks_call: bool = False
    """Whether it must see the `Call` in order to decide: then a pipeline makes one, around plain functions too."""

    def __init__(self, name: str, *, classify: Classifier | None = None, runtime: Runtime = SYSTEM) -> None:
        self.name: str = checks.name(name)
        self.classify: Classifier | None = checks.function("classify", classify, "the call, the result and the error")
        self.runtime: Runtime = runtime
        self.port: Port = Port()
        self.admits: bool = False
        self.quiet: bool = False
        self.generation: int = 0
        self.counted: int = -1
        self.plain_until: float = -inf
        self.slow_call: float = inf
        self.step: Callable[[], object] = int
        self._blocks = OpenBlocks()
        forked.register(self)

    def _after_fork(self) -> None:
        """In a forked child: new locks, and nothing is under way. Those with more of their own go on."""
        self.port._after_fork()
        self._blocks._after_fork()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def enter(self, now: float) -> int:
        """Admit one call: the permit to give back with `leave`. Raises `Rejected`."""
        raise NotImplementedError

    def leave(self, permit: int, verdict: Verdict, now: float, took: float = 0.0) -> None:
        """Count the outcome of the call that got `permit`; `took` is its seconds (0 for gates that are not `timed`)."""
        raise NotImplementedError

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each event of this gate from now on; the function returned ends that."""
        return self.port.subscribe(listener)

    # --- as a layer of a pipeline ----------------------------------------------------------------------------------

    def wrap(self, step: Step[R], run: Runtime, classify: Classifier) -> Step[R]:
        return wrap_step(step, self, run, self.classify or classify)

    def wrap_async(self, step: AsyncStep[R], run: Runtime, classify: Classifier) -> AsyncStep[R]:
        return wrap_step(step, self, run, self.classify or classify, "await ")

    # A classifier that raises gives no verdict, and the permit comes back all the same.
    def _leave_with(
        self,
        permit: int,
        classify: Classifier,
        call: Call,
        result: object,
        error: BaseException | None,
        now: Callable[[], float],
        start: float,
    ) -> None:
        verdict = IGNORED
        try:
            if error is None or isinstance(error, Exception):
                verdict = classify(call, result, error)
            elif _too_late(call, error, now()):
                verdict = FAILURE
        finally:
            end = now()
            self.leave(permit, verdict, end, end - start if self.timed else 0.0)

    def _end(self, permit: int, verdict: Verdict, now: Callable[[], float], start: float) -> None:
        end = now()
        self.leave(permit, verdict, end, end - start if self.timed else 0.0)

    # --- as a decorator --------------------------------------------------------------------------------------------

    def __call__(self, fn: F) -> F:
        """Guard a function: plain, async, generator or async generator; its kind and signature stay."""
        return wrap_function(fn, self, self.runtime, self.classify or raised)

    async def _enter_async(self, run: Runtime) -> int:
        return self.enter(run.now())

    def _lines(self, wait: str, patience: str, args: str) -> dict[str, str]:
        """Lines of the templates in `gate_wrappers` that this kind of gate replaces.

        `wait` is "await " or nothing, `patience` the arguments that say how long the caller may be made to wait, and
        `args` those of the guarded function.
        """
        return {}

    def _names(self, is_async: bool) -> dict[str, Any]:
        """The names that those lines use."""
        return {}

    # --- as a context manager --------------------------------------------------------------------------------------

    def __enter__(self) -> None:
        now = self.runtime.now()
        self._open_block(block_frame(), self.enter(now), now)

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close_block(block_frame(), error)

    def __aenter__(self) -> Awaitable[None]:
        now = self.runtime.now()
        self._open_block(block_frame(), self.enter(now), now)
        return _READY

    def __aexit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> Awaitable[None]:
        self._close_block(block_frame(), error)
        return _READY

    def _open_block(self, frame: int, permit: int, now: float) -> None:
        self._blocks.begin(frame, permit, now)

    def _close_block(self, frame: int, error: BaseException | None) -> None:
        permit, start = self._blocks.end(frame)
        if error is None:
            self._end(permit, SUCCESS, self.runtime.now, start)
        else:
            self._leave_with(permit, self.classify or raised, NO_CALL, None, error, self.runtime.now, start)


def _too_late(call: Call, error: BaseException, now: float) -> bool:
    """Whether a cancellation came because the server let the call's own deadline pass; any other is no failure.

    Without a pipeline no `Call` carries the deadline: then it is the one in force here. Event
    loops may fire a timer up to a tick early (uvloop counts in milliseconds), hence the slack.
    """
    if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
        return False
    due = call.deadline if call.deadline < inf else current()
    return due < inf and now >= due - 0.002


class _Ready:
    """An awaitable that is done: `async with gate:` has nothing to wait for."""

    __slots__ = ()

    def __await__(self) -> Any:
        return iter(())


_READY = _Ready()
