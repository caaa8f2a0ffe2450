"""Throttle: sends a random share of the calls no further while a server refuses or fails.

Three ways to know the share of calls to shed, each a pure object, and the gate `Throttle` over any of them:

    SreThrottle        (requests − k · accepts) / (requests + 1) over two minutes           Google SRE book, ch. 21
    FailureThrottle    (calls − successes / 0.9) / (calls + 1) over a minute, at most 0.9   failsafe-go
    NackThrottle       1 − average of "not nacked" / 0.5, at most 0.75                      Finagle NackAdmissionFilter
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, inf
from threading import RLock
from typing import Any, Protocol

from ...call import IGNORED, SUCCESS, Classifier, Verdict
from ...errors import Throttled
from ...events import CallRejected
from ...runtime import SYSTEM, Runtime
from ..shell import checks
from ..shell.classifiers import Errors, make_classifier
from ..shell.gate import Gate
from ..statistics.sliding_counts import SlidingCounts
from .in_flight import InFlight
from .nack import http_nack, nacks

__all__ = ["FailureThrottle", "NackThrottle", "Shedding", "SreThrottle", "Throttle", "ThrottleMetrics", "http_nack"]


UNSEEN = -1  # the permit of a call that was not seen to begin

_AT_LEAST_EVERY = 1.0  # seconds: a call that comes so long after the last one let through is never shed


class Shedding(Protocol):
    """How much to shed. A call asks; then it either begins, and `record` or `forget` ends it, or is refused."""

    def probability(self, now: float) -> float:
        """The share of calls to refuse now, from 0 to 1."""

    def ask(self, now: float) -> float:
        """The same, for one call that comes now."""

    def begin(self, now: float) -> int:
        """That call is sent. Its permit, for `record` or `forget`."""

    def refuse(self, now: float) -> None:
        """That call is refused here."""

    def record(self, accepted: bool, now: float, permit: int = UNSEEN) -> None:
        """One call came back: the server took it (True), or refused it or failed (False)."""

    def forget(self, now: float, permit: int = UNSEEN) -> None:
        """One call that was sent came back without evidence: as if it had never been."""


class SreThrottle:
    """max(0, (requests − k · accepts) / (requests + 1)), over the last `window` seconds in `slices` of the clock.

    requests are the calls that came back, those that were refused here, and those that are overdue: under way for more
    than 1 s and three times the usual (10 s, as long as fewer than ten calls have come back). A call on its way says
    nothing yet, so a burst is no reason to shed; a server that takes calls and never answers is. accepts are those that
    the server took. `k` is 2 in the book: as many again as the server takes may be tried; 1.1 sheds sooner.
    At most `max_shed`, and nothing below `minimum_calls` requests. Raises ValueError for values without sense.
    """

    def __init__(
        self,
        *,
        k: float = 2.0,
        window: float = 120.0,
        buckets: int = 120,
        max_shed: float = 1.0,
        minimum_calls: int = 10,
    ) -> None:
        self.k: float = checks.number("k", k, min_value=1.0)
        self.max_shed: float = checks.ratio("max_shed", max_shed)
        self.minimum_calls: int = checks.count("minimum_calls", minimum_calls, min_value=0)
        self.counts: SlidingCounts = SlidingCounts(window, buckets)
        self._in_flight = InFlight()
        self.begin: Callable[[float], int]
        self.begin, self._end = self._in_flight.begin, self._in_flight.end

    def ask(self, now: float) -> float:
        counts = self.counts
        if now >= counts.turns:
            counts.turn(now)
        if now >= self._in_flight.turns:
            counts.first += self._in_flight.turn(now)
        requests = counts.first
        over = requests - self.k * counts.second
        return 0.0 if over <= 0.0 or requests < self.minimum_calls else min(self.max_shed, over / (requests + 1))

    probability = ask

    def refuse(self, now: float) -> None:
        self.counts.add(now, 1, 0)

    def record(self, accepted: bool, now: float, permit: int = UNSEEN) -> None:
        counts = self.counts
        if now >= counts.turns:
            counts.turn(now)
        if permit < 0 or self._end(permit, now, accepted):  # else it was overdue, and is counted already
            counts.first += 1
        if accepted:
            counts.second += 1

    def forget(self, now: float, permit: int = UNSEEN) -> None:
        if permit >= 0 and not self._end(permit, now, False):
            self.counts.add(now, -1, 0)

    def forget_all(self) -> None:
        """What is under way never comes back: it is the parent's of a forked process."""
        self._in_flight.forget_all()


class FailureThrottle:
    """min(max_shed, max(0, calls − successes / threshold) / (calls + 1)), over the last `window` seconds in `buckets`.

    calls are those that came back; what was refused here is not counted. `threshold` is the share of successes that is
    good enough. Below `minimum_calls` calls nothing is shed. Defaults are failsafe-go's: 0.9, 0.9, 1 minute in 20, 0.
    Raises ValueError for values without sense.
    """

    def __init__(
        self,
        *,
        threshold: float = 0.9,
        max_shed: float = 0.9,
        window: float = 60.0,
        buckets: int = 20,
        minimum_calls: int = 0,
    ) -> None:
        self.threshold: float = checks.ratio("threshold", threshold)
        self.max_shed: float = checks.ratio("max_shed", max_shed)
        self.minimum_calls: int = checks.count("minimum_calls", minimum_calls, min_value=0)
        self.counts: SlidingCounts = SlidingCounts(window, buckets)

    def probability(self, now: float) -> float:
        calls, successes = self.counts.totals(now)
        if calls < self.minimum_calls:
            return 0.0
        return min(self.max_shed, max(0.0, calls - successes / self.threshold) / (calls + 1))

    ask = probability

    def begin(self, now: float) -> int:
        """Nothing, as `refuse` and `forget`: a call is counted when it comes back."""
        return 0

    def refuse(self, now: float) -> None: ...

    def record(self, accepted: bool, now: float, permit: int = 0) -> None:
        self.counts.add(now, 1, accepted)

    def forget(self, now: float, permit: int = 0) -> None: ...


class NackThrottle:
    """1 − average / (1 − threshold), at most `max_shed`; a call that was taken counts 1, a nacked one 0.

    It starts at 1 and forgets with exp(−dt / window). While fewer than `min_rate` calls a second come (counted over
    one second, the current call included), a nack counts as taken, so that a rare call is never shed. `start` is when
    the average began (default: with the gate, or the first call, whichever was earlier). Defaults are Finagle's: 2 min,
    0.5, 0.75, 5 a second. Raises ValueError for values without sense.
    """

    def __init__(
        self,
        *,
        window: float = 120.0,
        threshold: float = 0.5,
        max_shed: float = 0.75,
        min_rate: float = 5.0,
        start: float | None = None,
    ) -> None:
        self.window: float = checks.seconds("window", window)
        self.threshold: float = checks.ratio("threshold", threshold)
        if self.threshold >= 1.0:
            raise ValueError(f"threshold={threshold!r}: expected a ratio above 0 and below 1")
        self.max_shed: float = checks.ratio("max_shed", max_shed)
        self.min_rate: float = checks.number("min_rate", min_rate, min_value=0.0)
        self.average: float = 1.0
        self.last = None if start is None else checks.number("start", start)  # when the average was moved last
        self.counts: SlidingCounts = SlidingCounts(1.0, 10)
        self._begun = False

    def probability(self, now: float) -> float:
        enough = 1.0 - self.threshold
        return 0.0 if self.average >= enough else min(self.max_shed, 1.0 - self.average / enough)

    def ask(self, now: float) -> float:
        if not self._begun:
            self._begun = True
            if self.last is None or self.last > now:  # the gate was made by another clock than it is driven by
                self.last = now
        self.counts.add(now, 1, 0)
        return self.probability(now)

    def begin(self, now: float) -> int:
        """Nothing, as `refuse` and `forget`: only an answer moves the average."""
        return 0

    def refuse(self, now: float) -> None: ...

    def record(self, accepted: bool, now: float, permit: int = 0) -> None:
        if not accepted and self.min_rate and self.counts.totals(now)[0] < self.min_rate:
            accepted = True
        last = now if self.last is None else self.last
        weight = exp(-max(0.0, now - last) / self.window)
        self.average = self.average * weight + accepted * (1.0 - weight)
        self.last = max(last, now)

    def forget(self, now: float, permit: int = 0) -> None: ...


@dataclass(frozen=True, slots=True)
class ThrottleMetrics:
    """A throttle at one moment."""

    probability: float
    rejected: int


class Throttle(Gate):
    """Refuses a random share of the calls with `Throttled`, before they are sent; `by` computes it (`SreThrottle()`).

    However much is shed, one call a second goes through: without it no answer would show that the server works again.

    What counts as refused or failed: with `nack`, a predicate on the result or the error, exactly what it claims (the
    server said "not me, not now"; see `http_nack`), and whatever else came back was taken. Without it: failures, as
    `on`, `ignore`, `on_result` or one `classify` define them. A cancelled call is evidence of nothing.
    `random` draws from [0, 1). Raises ValueError for values without sense.
    """

    counts_outcomes = True

    def __init__(
        self,
        by: Shedding | None = None,
        *,
        nack: Callable[[object], bool] | None = None,
        on: Errors | None = None,
        ignore: Errors | None = None,
        on_result: Callable[[object], bool] | None = None,
        random: Callable[[], float] | None = None,
        name: str = "throttle",
        classify: Classifier | None = None,
        runtime: Runtime = SYSTEM,
    ) -> None:
        chosen = make_classifier(on=on, ignore=ignore, on_result=on_result, classify=classify)
        if nack is not None:
            if chosen is not None:
                raise checks.refused("nack", nack, "no on, ignore, on_result or classify beside it")
            chosen = nacks(nack)
        super().__init__(name, classify=chosen, runtime=runtime)
        self.by: SreThrottle | Shedding = (
            SreThrottle() if by is None else checks.like("by", by, "refuse", "a throttle, such as SreThrottle(k=2.0)")
        )
        if isinstance(self.by, NackThrottle) and self.by.last is None:
            self.by.last = runtime.now()
        self.random: Callable[[], float] = (
            runtime.random if random is None else checks.function("random", random, "no argument")
        )
        self._ask, self._begin, self._record = self.by.ask, self.by.begin, self.by.record
        self._lock = RLock()
        self._sent = -inf  # when the last call was let through
        self._rejected = 0

    def _after_fork(self) -> None:
        super()._after_fork()
        self._lock = RLock()
        if isinstance(self.by, SreThrottle):
            self.by.forget_all()

    def enter(self, now: float) -> int:
        """Admit one call, or raise `Throttled`."""
        with self._lock:
            probability = self._ask(now)
            if probability <= 0.0 or now - self._sent >= _AT_LEAST_EVERY or self.random() >= probability:
                self._sent = now
                return self._begin(now)
            self.by.refuse(now)
            self._rejected += 1
        error = Throttled(self.name, f"sheds {probability:.0%} of the calls, because the server refuses or fails")
        if self.port.listeners:
            self.port.send(CallRejected(self.name, str(error)))
        raise error

    def leave(self, permit: int, verdict: Verdict, now: float, took: float = 0.0) -> None:
        """Record whether the server took the call. IGNORED: as if it had not been sent."""
        with self._lock:
            if verdict is IGNORED:
                self.by.forget(now, permit)
            else:
                self._record(verdict is SUCCESS, now, permit)

    def _names(self, is_async: bool) -> dict[str, Any]:
        now = self.runtime.now

        def later(permit: int, start: float) -> Callable[[Verdict], None]:
            with self._lock:  # a streamed answer may take as long as it likes: the server has answered
                self.by.forget(now(), permit)
            return lambda verdict: self.leave(UNSEEN, verdict, now())

        return {"_later": later}

    def metrics(self, now: float | None = None) -> ThrottleMetrics:
        """Everything at one moment, for a live view. `now` defaults to the clock."""
        with self._lock:
            return ThrottleMetrics(self.by.probability(self.runtime.now() if now is None else now), self._rejected)
