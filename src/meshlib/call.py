"""Call and verdict: a `Call` goes down through the policies, a `Verdict` comes up."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from .errors import DeadlineExceeded, MeshError, Rejected

R = TypeVar("R")


class Verdict(Enum):
    """What the outcome of one attempt means about the server. One classifier decides it for every policy."""

    SUCCESS = "success"
    FAILURE = "failure"  # the server failed; another attempt may succeed
    FATAL = "fatal"  # the server failed, and trying again cannot help
    IGNORED = "ignored"  # no evidence at all: cancelled, rejected by a policy, or ignored by the caller's choice

    if not TYPE_CHECKING:
        __hash__ = object.__hash__  # members are singletons; Enum's own hash is a Python-level call

    @property
    def failed(self) -> bool:
        """Whether the server failed, worth another attempt or not."""
        return self is Verdict.FAILURE or self is Verdict.FATAL


SUCCESS, FAILURE, FATAL, IGNORED = Verdict.SUCCESS, Verdict.FAILURE, Verdict.FATAL, Verdict.IGNORED


class Call:
    """One attempt. Policies never change it; they pass on a copy (`again`, `by`).

    `what` is for the innermost step. `deadline` is in monotonic seconds (`inf`: none), `attempt`
    counts from 1, and `replayable` says whether `what` may be sent a second time at all.

    `later` is None for a call that is over when its step returns. A streamed response is not: then the gates append
    their `leave` to this list, outermost last, and closing the stream calls each with the verdict.
    """

    __slots__ = ("attempt", "deadline", "later", "replayable", "what")

    def __init__(self, what: Any, deadline: float = inf, attempt: int = 1, replayable: bool = True) -> None:
        self.what: Any = what
        self.deadline: float = deadline
        self.attempt: int = attempt
        self.replayable: bool = replayable
        self.later: list[Callable[[Verdict], None]] | None = None

    def again(self) -> Call:
        """The next attempt at the same thing."""
        return Call(self.what, self.deadline, self.attempt + 1, self.replayable)

    def by(self, deadline: float) -> Call:
        """The same call, to be answered by `deadline` at the latest. Deadlines only ever shorten."""
        return self if deadline >= self.deadline else Call(self.what, deadline, self.attempt, self.replayable)

    def __repr__(self) -> str:
        return f"Call({self.what!r}, deadline={self.deadline}, attempt={self.attempt}, replayable={self.replayable})"


Step: TypeAlias = Callable[[Call], R]
AsyncStep: TypeAlias = Callable[[Call], Coroutine[Any, Any, R]]
Classifier: TypeAlias = Callable[[Call, object, BaseException | None], Verdict]


def raised(call: Call, result: object, error: BaseException | None) -> Verdict:
    """The default classifier: an exception is a failure, a returned value is a success.

    Rejections, and deadlines that passed before the request was sent, are no evidence about the server. What is no
    `Exception` (a cancellation, `KeyboardInterrupt`, `GeneratorExit`) is ignored.
    """
    if error is None:
        return SUCCESS
    if not isinstance(error, MeshError):
        return FAILURE if isinstance(error, Exception) else IGNORED
    unsent = isinstance(error, Rejected) or (isinstance(error, DeadlineExceeded) and not error.sent)
    return IGNORED if unsent else FAILURE
