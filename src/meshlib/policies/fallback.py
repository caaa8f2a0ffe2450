"""What is said when nobody answers? A value, a function of the error, somebody else, or what was last known."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Hashable
from math import inf
from threading import Lock
from types import EllipsisType
from typing import Any, cast

from ..call import SUCCESS, AsyncStep, Call, Classifier, R, Step, raised
from ..errors import DeadlineExceeded, Rejected
from ..runtime import SYSTEM, Runtime
from .shell import checks
from .shell.call_policy import CallPolicy, F, Packed, call_key
from .shell.classifiers import Errors, error_predicate
from .shell.codegen import is_coroutine_function
from .shell.fused_calls import fused_fallback, fused_value


class Fallback(CallPolicy):
    """Answers in the place of a call that failed, was refused or took too long.

    `Fallback(value)` gives that value; `Fallback(function)` what the function makes of the error, or of the result that
    was no good; `instead=` calls another function, or another pipeline, with the same arguments; `stale=` gives the
    last good answer if it is no older than that many seconds (kept per argument list, or per `key(*args, **kwargs)`; at
    most `max_keys` of them). With `stale` and another answer, the other one is for when nothing is remembered.

    It answers for refusals, for `DeadlineExceeded`, and for what the pipeline's classifier (or a `classify` of its own)
    calls a failure, be it an error or a result. `on` narrows that to the errors that it claims; `on_result` (a
    predicate) widens it by results. What the classifier ignores or calls a good answer stays the caller's, as Hystrix's
    BAD_REQUEST does; so does a cancellation. If the fallback fails too, or more than `max_concurrent` are at work
    (Hystrix: 10), the caller gets the original error or result. Raises ValueError for values without sense.
    """

    def __init__(
        self,
        value: Any = ...,
        *,
        instead: Callable[..., Any] | None = None,
        stale: float | None = None,
        key: Callable[..., Hashable] | None = None,
        max_keys: int = 1000,
        on: Errors | None = None,
        on_result: Callable[[Any], bool] | None = None,
        classify: Classifier | None = None,
        max_concurrent: int | None = None,
        name: str = "fallback",
        runtime: Runtime = SYSTEM,
    ) -> None:
        super().__init__(name, runtime=runtime)
        if instead is not None and not isinstance(value, EllipsisType):
            raise ValueError(f"value={value!r}, instead={instead!r}: expected one of the two")
        if instead is None and isinstance(value, EllipsisType) and stale is None:
            raise ValueError("value: expected a value, a function of the error, `instead=` or `stale=`")
        if classify is not None and (on is not None or on_result is not None):
            raise ValueError(f"classify={classify!r}: expected a function, without on or on_result")
        self.classify = checks.function("classify", classify, "the call, the result and the error")
        self.value = value
        self.instead = checks.function("instead", instead, "the same arguments", may_be_async=True)
        self.on = None if on is None else error_predicate("on", on)
        self.on_result = checks.function("on_result", on_result, "the result")
        self.hides = on is None and classify is None
        self.max_concurrent = inf if max_concurrent is None else checks.count("max_concurrent", max_concurrent)
        self.active = 0
        self.stale = None if stale is None else checks.seconds("stale", stale, infinite=True)
        self.key = checks.function("key", key, "the arguments")
        self.max_keys = checks.count("max_keys", max_keys)
        self._lock = Lock()

    def wrap(self, step: Step[R], run: Runtime, classify: Classifier) -> Step[R]:
        self._check_sync()
        judges, last, now = self.classify or classify, self._memory(), run.now
        trusting = self._trusts_results(judges)

        def answered(call: Call) -> R:
            try:
                result = step(call)
            except Exception as error:
                return cast(R, self._rescue(call, None, error, judges, last, now()))
            if trusting:
                return result
            return cast(R, self._rescue(call, result, None, judges, last, now()))

        return answered

    def wrap_async(self, step: AsyncStep[R], run: Runtime, classify: Classifier) -> AsyncStep[R]:
        judges, last, now = self.classify or classify, self._memory(), run.now
        trusting = self._trusts_results(judges)

        async def answered(call: Call) -> R:
            try:
                result = await step(call)
            except Exception as error:
                return cast(R, await self._rescue_async(call, None, error, judges, last, now()))
            if trusting:
                return result
            return cast(R, await self._rescue_async(call, result, None, judges, last, now()))

        return answered

    def short(self, classify: Classifier) -> bool:
        return classify is raised and self._trusts_results(self.classify or classify)

    def guard(self, fn: F, run: Runtime, classify: Classifier, *, inner: bool = False) -> F:
        slow = super().guard(fn, run, classify, inner=inner)
        if not self.short(classify):
            return slow
        if self._stands_ready():
            return fused_value(fn, slow, self.value, self.on, inner=inner)
        judges, now = self.classify or classify, run.now
        way: Any = self._rescue_async if is_coroutine_function(fn) else self._rescue

        def rescue(call: Call, error: Exception) -> Any:
            return way(call, None, error, judges, None, now())

        return fused_fallback(fn, slow, rescue, inner=inner)

    # --- decisions -------------------------------------------------------------------------------------------------

    def _trusts_results(self, judges: Classifier) -> bool:
        """Whether nobody wants to see what came back from a call that raised nothing."""
        asked = self.on is None and judges is not raised
        return not asked and self.on_result is None and self.stale is None

    def _stands_ready(self) -> bool:
        """Whether the answer is a value that is known now: giving it takes no time, so no place is taken either."""
        made = callable(self.value) or inspect.isawaitable(self.value)
        return self.instead is None and self.stale is None and self.max_concurrent == inf and not made

    def _stands(
        self, call: Call, result: object, error: Exception | None, judges: Classifier, last: _Last | None, now: float
    ) -> bool:
        """Whether this outcome is the caller's, as it is."""
        if error is not None and self.on is not None:
            return not self.on(error)
        if isinstance(error, Rejected | DeadlineExceeded):
            return False
        verdict = judges(call, result, error)
        if error is not None:
            return not verdict.failed
        if (self.on_result is not None and self.on_result(result)) or (self.on is None and verdict.failed):
            return False
        if last is not None and verdict is SUCCESS:
            last.keep(call, result, now)
        return True

    def _answer(self, call: Call, outcome: object, last: _Last | None, now: float) -> Any:
        if last is not None:
            known, answer = last.known(call, now)
            if known:
                return answer
        if self.instead is not None:
            what = call.what
            return self.instead(*what.args, **what.kwargs) if isinstance(what, Packed) else self.instead(call)
        if isinstance(self.value, EllipsisType):
            raise _NothingKnown
        return self.value(outcome) if callable(self.value) else self.value

    # --- the two ways to the answer --------------------------------------------------------------------------------

    def _rescue(
        self, call: Call, result: object, error: Exception | None, judges: Classifier, last: _Last | None, now: float
    ) -> Any:
        if not self._stands(call, result, error, judges, last, now) and self._enter(error):
            try:
                return self._answer(call, result if error is None else error, last, now)
            except Exception as second:
                _note(error, f"{self.name}: failed as well: {second!r}", second)
            finally:
                self._leave()
        if error is not None:
            raise error
        return result

    async def _rescue_async(
        self, call: Call, result: object, error: Exception | None, judges: Classifier, last: _Last | None, now: float
    ) -> Any:
        if not self._stands(call, result, error, judges, last, now) and self._enter(error):
            try:
                answer = self._answer(call, result if error is None else error, last, now)
                return await answer if inspect.isawaitable(answer) else answer
            except Exception as second:
                _note(error, f"{self.name}: failed as well: {second!r}", second)
            finally:
                self._leave()
        if error is not None:
            raise error
        return result

    def _enter(self, error: Exception | None) -> bool:
        """Take one of the places that the fallback has."""
        with self._lock:
            free = self.active < self.max_concurrent
            self.active += free
        if not free:
            _note(error, f"{self.name}: no answer, {self.max_concurrent} fallbacks are at work already")
        return free

    def _leave(self) -> None:
        with self._lock:
            self.active -= 1

    def _check_sync(self) -> None:
        if any(is_coroutine_function(answer) for answer in (self.value, self.instead) if answer is not None):
            raise TypeError(f"{self.name}: an async fallback cannot answer for a sync function")

    def _memory(self) -> _Last | None:
        """One for each function that is guarded: their calls are never equal."""
        return None if self.stale is None else _Last(self.stale, self.key, self.max_keys)


class _NothingKnown(Exception):
    """There is no last good answer, and no other one: the original outcome stands."""


def _note(error: Exception | None, note: str, second: Exception | None = None) -> None:
    if error is not None and error is not second and not isinstance(second, _NothingKnown):
        error.add_note(note)


class _Last:
    """The last good answers, the least recently given one forgotten first."""

    __slots__ = ("_answers", "_key", "_limit", "_lock", "_most")

    def __init__(self, limit: float, key: Callable[..., Hashable] | None, most: int) -> None:
        self._limit = limit
        self._key = key
        self._most = most
        self._answers: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()
        self._lock = Lock()

    def keep(self, call: Call, answer: object, now: float) -> None:
        key = call_key(call, self._key)
        with self._lock:
            self._answers[key] = now, answer
            self._answers.move_to_end(key)
            if len(self._answers) > self._most:
                self._answers.popitem(last=False)

    def known(self, call: Call, now: float) -> tuple[bool, Any]:
        with self._lock:
            at, answer = self._answers.get(call_key(call, self._key), (-inf, None))
        return now - at <= self._limit and at > -inf, answer
