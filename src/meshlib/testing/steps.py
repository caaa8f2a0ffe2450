"""A server made of a list: each attempt gets the next answer, after as much virtual time as it says."""

from __future__ import annotations

from typing import Any

from ..call import Call
from ..runtime import SYSTEM, Runtime


class After:
    """`answer`, `seconds` after it was asked for."""

    __slots__ = ("answer", "seconds")

    def __init__(self, seconds: float, answer: Any = None) -> None:
        self.seconds: float = seconds
        self.answer: Any = answer


class ScriptedStep:
    """Answers in turn: a value is returned, an exception raised; the last answer is repeated for ever.

    Put it beneath a pipeline (`Pipeline(…).over(step)`, `.over_async(step.send)`) or under a decorator, where it takes
    any arguments (`retry(step.ask)`, `retry(step.ask_async)`). `calls` are the calls that came, `running` how many are
    not yet answered: 0 at the end, unless something was left behind. `After(0.5, …)` takes its time from `runtime`.
    """

    def __init__(self, *answers: Any, runtime: Runtime = SYSTEM) -> None:
        if not answers:
            raise ValueError("answers=(): expected at least one answer")
        self.answers = answers
        self.runtime = runtime
        self.calls: list[Call] = []
        self.running: int = 0

    def __call__(self, call: Call) -> Any:
        after = self._next(call)
        if after.seconds:
            self.runtime.sleep(after.seconds)
        return _give(after.answer)

    async def send(self, call: Call) -> Any:
        after = self._next(call)
        self.running += 1
        try:
            await self.runtime.sleep_async(after.seconds)
        finally:
            self.running -= 1
        return _give(after.answer)

    def ask(self, *args: Any, **kwargs: Any) -> Any:
        return self(Call((args, kwargs)))

    async def ask_async(self, *args: Any, **kwargs: Any) -> Any:
        return await self.send(Call((args, kwargs)))

    def _next(self, call: Call) -> After:
        answer = self.answers[min(len(self.calls), len(self.answers) - 1)]
        self.calls.append(call)
        return answer if isinstance(answer, After) else After(0.0, answer)


def _give(answer: Any) -> Any:
    if isinstance(answer, BaseException):
        raise answer
    return answer
