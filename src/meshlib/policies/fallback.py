"""What is said when nobody answers? A value, a function of the error, somebody else, or what was last known."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Hashable
from math import inf
from threading import Lock
from types import EllipsisType
from typing import Any, cast

from ..call import SUCCESS, AsyncStep, Call, Classifier, R, Step
from ..errors import DeadlineExceeded, Rejected
from ..runtime import SYSTEM, Runtime
from . import _check
from ._guard import is_coroutine_function
from ._judge import Errors, _predicate
from ._loop import Loop, Packed, identity


class Fallback(Loop):
    """Answers in the place of a call that failed, was refused or took too long.

    `Fallback(value)` gives that value; `Fallback(function)` what the function makes of the error; `instead=` calls
    another function, or another pipeline, with the same arguments; `stale=` gives the last good answer if it is no
    older than that many seconds (kept per argument list, or per `key(*args, **kwargs)`; at most `remember` of them).
    With `stale` and another answer, the other one is for when nothing is remembered.

    It answers for failures, refusals and `DeadlineExceeded`, or for just the errors that `on` claims. What the
    classifier ignores or calls a good answer stays the caller's, as Hystrix's BAD_REQUEST does; so does a cancellation.
    If the fallback fails too, or more than `concurrency` are at work (Hystrix: 10), the original error is raised.
    """

    def __init__(
        self,
        value: Any = ...,
        *,
        instead: Callable[..., Any] | None = None,
        stale: float | None = None,
        key: Callable[..., Hashable] | None = None,
        remember: int = 1000,
        on: Errors | None = None,
        concurrency: int | None = None,
        name: str = "fallback",
        runtime: Runtime = SYSTEM,
    ) -> None:
        super().__init__(name, runtime=runtime)
        if instead is not None and not isinstance(value, EllipsisType):
            raise ValueError(f"value={value!r}, instead={instead!r}: expected one of the two")
        if instead is None and isinstance(value, EllipsisType) and stale is None:
            raise ValueError("value: expected a value, a function of the error, `instead=` or `stale=`")
        self.value = value
        self.instead = instead
        self.on = None if on is None else _predicate("on", on)
        self.hides = on is None
        self.concurrency = inf if concurrency is None else _check.count("concurrency", concurrency)
        self.active = 0
        self.stale = None if stale is None else _check.seconds("stale", stale, infinite=True)
        self.key = key
        self.remember = _check.count("remember", remember)
        self._lock = Lock()

    def wrap(self, step: Step[R], run: Runtime, classify: Classifier) -> Step[R]:
        if any(is_coroutine_function(answer) for answer in (self.value, self.instead) if answer is not None):
            raise TypeError(f"{self.name}: an async fallback cannot answer for a sync function")
        last, now = self._memory(), run.now

        def answered(call: Call) -> R:
            try:
                result = step(call)
            except Exception as error:
                if not self._answers(call, error, classify):
                    raise
                with _Place(self, error):
                    return cast(R, self._answer(call, error, last, now()))
            if last is not None and classify(call, result, None) is SUCCESS:
                last.keep(call, result, now())
            return result

        return answered

    def wrap_async(self, step: AsyncStep[R], run: Runtime, classify: Classifier) -> AsyncStep[R]:
        last, now = self._memory(), run.now

        async def answered(call: Call) -> R:
            try:
                result = await step(call)
            except Exception as error:
                if not self._answers(call, error, classify):
                    raise
                with _Place(self, error):
                    answer = self._answer(call, error, last, now())
                    return cast(R, await answer if inspect.isawaitable(answer) else answer)
            if last is not None and classify(call, result, None) is SUCCESS:
                last.keep(call, result, now())
            return result

        return answered

    def _answers(self, call: Call, error: Exception, classify: Classifier) -> bool:
        if self.on is not None:
            return self.on(error)
        return isinstance(error, Rejected | DeadlineExceeded) or classify(call, None, error).failed

    def _memory(self) -> _Last | None:
        """One for each function that is guarded: their calls are never equal."""
        return None if self.stale is None else _Last(self.stale, self.key, self.remember)

    def _answer(self, call: Call, error: Exception, last: _Last | None, now: float) -> Any:
        if last is not None:
            known, answer = last.known(call, now)
            if known:
                return answer
        if self.instead is not None:
            what = call.what
            return self.instead(*what.args, **what.kwargs) if isinstance(what, Packed) else self.instead(call)
        if isinstance(self.value, EllipsisType):
            raise error
        return self.value(error) if callable(self.value) else self.value


class _Place:
    """One of the places that a fallback has; whatever goes wrong in it, the caller hears the original error."""

    __slots__ = ("_error", "_fallback")

    def __init__(self, fallback: Fallback, error: Exception) -> None:
        self._fallback = fallback
        self._error = error

    def __enter__(self) -> None:
        fallback = self._fallback
        with fallback._lock:
            if fallback.active >= fallback.concurrency:
                self._error.add_note(f"{fallback.name}: no answer, {fallback.active} fallbacks are at work already")
                raise self._error
            fallback.active += 1

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        fallback, original = self._fallback, self._error
        with fallback._lock:
            fallback.active -= 1
        if isinstance(error, Exception) and error is not original:
            original.add_note(f"{fallback.name}: failed as well: {error!r}")
            raise original from None


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
        key = identity(call, self._key)
        with self._lock:
            self._answers[key] = now, answer
            self._answers.move_to_end(key)
            if len(self._answers) > self._most:
                self._answers.popitem(last=False)

    def known(self, call: Call, now: float) -> tuple[bool, Any]:
        with self._lock:
            at, answer = self._answers.get(identity(call, self._key), (-inf, None))
        return now - at <= self._limit and at > -inf, answer
