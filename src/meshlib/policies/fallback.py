"""Fallback: answers in place of a call that failed, was rejected or took too long."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Hashable
from math import inf
from threading import Lock
from types import EllipsisType
from typing import Any, cast

from .. import forked
from ..call import SUCCESS, AsyncStep, Call, Classifier, R, Step, raised
from ..errors import DeadlineExceeded, Rejected
from ..runtime import SYSTEM, Runtime
from .shell import checks
from .shell.call_policy import CallPolicy, F, Packed, call_key
from .shell.classifiers import Errors, error_predicate
from .shell.codegen import is_coroutine_function
from .shell.fused_calls import fused_fallback, fused_value


class Fallback(CallPolicy):
    """A substitute answer for a call that failed, was rejected or took too long.

    `Fallback(value)` answers with that value; `Fallback(function)` with what the function returns for the error, or for
    the result that counts as a failure; `instead=` calls another function, or another pipeline, with the same
    arguments; `stale=` answers with the last good result if it is at most that many seconds old (kept per argument
    list, or per `key(*args, **kwargs)`; at most `max_keys` of them). With `stale` and another answer, the other one is
    for when no good result is kept.

    It answers for rejections, for `DeadlineExceeded`, and for what the pipeline's classifier (or its own `classify`)
    calls a failure, be it an error or a result. `on` narrows that to these errors; `on_result` (a predicate) widens it
    by results. What the classifier ignores or calls a success is returned as it is, as is Hystrix's BAD_REQUEST; a
    cancellation always is. If the fallback fails too, or more than `max_concurrent` run (Hystrix: 10), the caller gets
    the original error or result. Raises ValueError for values out of range.
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
            raise ValueError("value: expected a value, a function of the error, instead=… or stale=…")
        if classify is not None and (on is not None or on_result is not None):
            raise ValueError(f"classify={classify!r}: expected a function, without on or on_result")
        self.classify: Classifier | None = checks.function("classify", classify, "the call, the result and the error")
        self.value = value
        self.instead: Callable[..., Any] | None = checks.function(
            "instead", instead, "the same arguments", may_be_async=True
        )
        self.on: Callable[[BaseException], bool] | None = None if on is None else error_predicate("on", on)
        self.on_result: Callable[[Any], bool] | None = checks.function("on_result", on_result, "the result")
        self.hides: bool = on is None and classify is None
        self.max_concurrent: float = inf if max_concurrent is None else checks.count("max_concurrent", max_concurrent)
        self.active: int = 0
        self.stale: float | None = None if stale is None else checks.seconds("stale", stale, infinite=True)
        self.key: Callable[..., Hashable] | None = checks.function("key", key, "the arguments")
        self.max_keys: int = checks.count("max_keys", max_keys)
        self._lock = Lock()

    def _after_fork(self) -> None:
        super()._after_fork()
        self._lock = Lock()
        self.active = 0

    def wrap(self, step: Step[R], run: Runtime, classify: Classifier) -> Step[R]:
        self._check_sync()
        classify, kept, now = self.classify or classify, self._kept(), run.now
        trusting = self._trusts_results(classify)

        def answered(call: Call) -> R:
            try:
                result = step(call)
            except Exception as error:
                return cast(R, self._outcome(call, None, error, classify, kept, now()))
            if trusting:
                return result
            return cast(R, self._outcome(call, result, None, classify, kept, now()))

        return answered

    def wrap_async(self, step: AsyncStep[R], run: Runtime, classify: Classifier) -> AsyncStep[R]:
        classify, kept, now = self.classify or classify, self._kept(), run.now
        trusting = self._trusts_results(classify)

        async def answered(call: Call) -> R:
            try:
                result = await step(call)
            except Exception as error:
                return cast(R, await self._outcome_async(call, None, error, classify, kept, now()))
            if trusting:
                return result
            return cast(R, await self._outcome_async(call, result, None, classify, kept, now()))

        return answered

    def short(self, classify: Classifier) -> bool:
        return classify is raised and self._trusts_results(self.classify or classify)

    def guard(self, fn: F, run: Runtime, classify: Classifier, *, inner: bool = False) -> F:
        slow = super().guard(fn, run, classify, inner=inner)
        if not self.short(classify):
            return slow
        if self._is_constant():
            return fused_value(fn, slow, self.value, self.on, inner=inner)
        classify, now = self.classify or classify, run.now
        way: Any = self._outcome_async if is_coroutine_function(fn) else self._outcome

        def rescue(call: Call, error: Exception) -> Any:
            return way(call, None, error, classify, None, now())

        return fused_fallback(fn, slow, rescue, inner=inner)

    # --- decisions -------------------------------------------------------------------------------------------------

    def _trusts_results(self, classify: Classifier) -> bool:
        """Whether each result is returned as it is, without a look at it."""
        classified = self.on is None and classify is not raised
        return not classified and self.on_result is None and self.stale is None

    def _is_constant(self) -> bool:
        """Whether the answer is a value: it takes no time, so `max_concurrent` does not apply."""
        made = callable(self.value) or inspect.isawaitable(self.value)
        return self.instead is None and self.stale is None and self.max_concurrent == inf and not made

    def _returns_as_is(
        self,
        call: Call,
        result: object,
        error: Exception | None,
        classify: Classifier,
        kept: _StaleAnswers | None,
        now: float,
    ) -> bool:
        """Whether the caller gets this outcome as it is."""
        if error is not None and self.on is not None:
            return not self.on(error)
        if isinstance(error, Rejected | DeadlineExceeded):
            return False
        verdict = classify(call, result, error)
        if error is not None:
            return not verdict.failed
        if (self.on_result is not None and self.on_result(result)) or (self.on is None and verdict.failed):
            return False
        if kept is not None and verdict is SUCCESS:
            kept.keep(call, result, now)
        return True

    def _answer(self, call: Call, outcome: object, kept: _StaleAnswers | None, now: float) -> Any:
        if kept is not None:
            found, answer = kept.find(call, now)
            if found:
                return answer
        if self.instead is not None:
            what = call.what
            return self.instead(*what.args, **what.kwargs) if isinstance(what, Packed) else self.instead(call)
        if isinstance(self.value, EllipsisType):
            raise _NoAnswer
        return self.value(outcome) if callable(self.value) else self.value

    # --- sync and async --------------------------------------------------------------------------------------------

    def _outcome(
        self,
        call: Call,
        result: object,
        error: Exception | None,
        classify: Classifier,
        kept: _StaleAnswers | None,
        now: float,
    ) -> Any:
        if not self._returns_as_is(call, result, error, classify, kept, now) and self._enter(error):
            try:
                return self._answer(call, result if error is None else error, kept, now)
            except Exception as second:
                _note(error, f"{self.name}: failed too: {second!r}", second)
            finally:
                self._leave()
        if error is not None:
            raise error
        return result

    async def _outcome_async(
        self,
        call: Call,
        result: object,
        error: Exception | None,
        classify: Classifier,
        kept: _StaleAnswers | None,
        now: float,
    ) -> Any:
        if not self._returns_as_is(call, result, error, classify, kept, now) and self._enter(error):
            try:
                answer = self._answer(call, result if error is None else error, kept, now)
                return await answer if inspect.isawaitable(answer) else answer
            except Exception as second:
                _note(error, f"{self.name}: failed too: {second!r}", second)
            finally:
                self._leave()
        if error is not None:
            raise error
        return result

    def _enter(self, error: Exception | None) -> bool:
        """Whether one more fallback may run; at most `max_concurrent` do."""
        with self._lock:
            free = self.active < self.max_concurrent
            self.active += free
        if not free:
            _note(error, f"{self.name}: not called: max_concurrent={self.max_concurrent} fallbacks are already running")
        return free

    def _leave(self) -> None:
        with self._lock:
            self.active = max(0, self.active - 1)  # a forked child may hear of a call of its parent

    def _check_sync(self) -> None:
        if any(is_coroutine_function(answer) for answer in (self.value, self.instead) if answer is not None):
            raise TypeError(f"{self.name}: an async fallback cannot answer for a sync function")

    def _kept(self) -> _StaleAnswers | None:
        """One store for each guarded function: calls of different functions are never equal."""
        return None if self.stale is None else _StaleAnswers(self.stale, self.key, self.max_keys)


class _NoAnswer(Exception):
    """No good result is kept, and there is no other answer: the caller gets the original outcome."""


def _note(error: Exception | None, note: str, second: Exception | None = None) -> None:
    if error is not None and error is not second and not isinstance(second, _NoAnswer):
        error.add_note(note)


class _StaleAnswers:
    """The last good result of each key, for `max_age` seconds; above `max_keys`, the oldest is dropped."""

    __slots__ = ("__weakref__", "_answers", "_key", "_lock", "_max_age", "_max_keys")

    def __init__(self, max_age: float, key: Callable[..., Hashable] | None, max_keys: int) -> None:
        self._max_age = max_age
        self._key = key
        self._max_keys = max_keys
        self._answers: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()
        self._lock = Lock()
        forked.register(self)

    def _after_fork(self) -> None:
        if forked.held(self._lock):
            self._answers = OrderedDict()
        self._lock = Lock()

    def keep(self, call: Call, answer: object, now: float) -> None:
        key = call_key(call, self._key)
        with self._lock:
            self._answers[key] = now, answer
            self._answers.move_to_end(key)
            if len(self._answers) > self._max_keys:
                self._answers.popitem(last=False)

    def find(self, call: Call, now: float) -> tuple[bool, Any]:
        with self._lock:
            at, answer = self._answers.get(call_key(call, self._key), (-inf, None))
        return now - at <= self._max_age and at > -inf, answer
