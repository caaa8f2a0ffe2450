"""The circuit breaker: after too many failures it refuses for a while, then lets a few probes decide.

                 too much                     cooldown over, a call comes
      CLOSED ───────────────▶ OPEN ───────────────────────────────▶ HALF_OPEN
         ▲                     ▲   a probe failed, a round too long      │ │
         │                     └─────────────────────────────────────────┘ │
         └──────────────────────────── enough probes succeeded ────────────┘

By hand: FORCED_OPEN (refuses everything), DISABLED (admits everything, hears nothing), METRICS_ONLY (admits
everything and counts). After Hystrix, resilience4j, Polly and failsafe; where they differ, a parameter chooses.

Two things none of them has. Every permit belongs to a *generation*: an answer from before the break neither heals nor
wounds. And every probe is a *lease*: one that never comes back costs one cooldown, not the service.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from math import inf
from threading import Lock

from ..call import IGNORED, SUCCESS, Classifier, Verdict
from ..errors import BreakerOpen
from ..events import BreakerChanged, CallRejected
from ..runtime import SYSTEM, Runtime
from . import _check
from ._gate import Gate
from ._judge import Errors, judge
from ._window import Totals
from .trip import Consecutive, Either, FailureRate, SlowCallRate, Trip


class State(StrEnum):
    """Where a breaker is."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"


CLOSED, OPEN, HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN
FORCED_OPEN, DISABLED, METRICS_ONLY = State.FORCED_OPEN, State.DISABLED, State.METRICS_ONLY


@dataclass(frozen=True, slots=True)
class BreakerMetrics:
    """A breaker at one moment. A rate is −1.0 while its window holds fewer than the minimum of calls."""

    state: State
    calls: int
    failures: int
    failure_rate: float
    slow_call_rate: float
    consecutive_failures: int
    rejected: int
    trips: int
    retry_after: float


class CircuitBreaker(Gate):
    """A circuit breaker for functions, pipelines and clients; safe under threads and tasks alike.

    When it opens: `consecutive_failures` in a row, and/or `failure_rate` (0–1), and/or `slow_call_rate` of calls longer
    than `slow_call` seconds, over `window` seconds (default 10) or the last `window_calls` calls, with at least
    `minimum_calls`; or any `trip` of your own. With none of them: 5 failures in a row.

    How it heals: after `cooldown` seconds (times `cooldown_factor` for each further trip without a close in between, up
    to `cooldown_max`; the last `cooldown_jitter` share of it drawn at random, once per trip, so 0.5 is the equal jitter
    of Finagle; or any function of the number of trips) `probes` calls are admitted, at most `probe_concurrency` at
    once. `probe_successes` of them close it (default: all; it opens again as soon as that cannot be reached, as in
    failsafe; one probe is Hystrix and Polly). With `probe_by_rate=True` they are judged by the breaker's own rates when
    all are in, as in resilience4j. A probe not back within `probe_lease` seconds (default: the cooldown) gives its
    place to another; `half_open_max` ends a round that takes longer and opens again.

    What counts: `failures`, `ignore` and `failure_result` (exception types or predicates), or one `classify` for all.
    Raises ValueError for values without sense.
    """

    def __init__(
        self,
        name: str = "breaker",
        *,
        trip: Trip | None = None,
        consecutive_failures: int | None = None,
        failure_rate: float | None = None,
        slow_call_rate: float | None = None,
        slow_call: float = 60.0,
        window: float | None = None,
        window_calls: int | None = None,
        minimum_calls: int = 20,
        cooldown: float | Callable[[int], float] = 30.0,
        cooldown_factor: float = 1.0,
        cooldown_max: float = 300.0,
        cooldown_jitter: float = 0.0,
        probes: int = 1,
        probe_successes: int | None = None,
        probe_concurrency: int | None = None,
        probe_by_rate: bool = False,
        probe_lease: float | None = None,
        half_open_max: float | None = None,
        failures: Errors | None = None,
        ignore: Errors | None = None,
        failure_result: Callable[[object], bool] | None = None,
        classify: Classifier | None = None,
        initial: State = CLOSED,
        runtime: Runtime = SYSTEM,
    ) -> None:
        super().__init__(
            name,
            classify=classify or judge(failures=failures, ignore=ignore, failure_result=failure_result),
            runtime=runtime,
        )
        if window is not None and window_calls is not None:
            raise ValueError(f"window={window!r}, window_calls={window_calls!r}: expected one of the two")
        self.trip = trip or _trip(
            consecutive_failures, failure_rate, slow_call_rate, slow_call, window, window_calls, minimum_calls
        )
        self.timed = self.trip.slow_call < inf
        self.cooldown = cooldown if callable(cooldown) else _check.seconds("cooldown", cooldown)
        self.cooldown_factor = _check.number("cooldown_factor", cooldown_factor, least=1.0)
        self.cooldown_max = _check.seconds("cooldown_max", cooldown_max)
        self.cooldown_jitter = _check.ratio("cooldown_jitter", cooldown_jitter, zero=True)
        self.probes = _check.count("probes", probes)
        self.probe_successes = probes if probe_successes is None else _check.count("probe_successes", probe_successes)
        if self.probe_successes > probes:
            raise ValueError(f"probe_successes={probe_successes!r}: expected at most probes={probes!r}")
        self.probe_concurrency = (
            probes if probe_concurrency is None else _check.count("probe_concurrency", probe_concurrency)
        )
        self.probe_by_rate = probe_by_rate
        self.probe_lease = None if probe_lease is None else _check.seconds("probe_lease", probe_lease)
        self.half_open_max = inf if half_open_max is None else _check.seconds("half_open_max", half_open_max)
        self._lock = Lock()
        self._numbers = count(1)
        self._rejected = 0
        self._trips = 0  # since it was last closed; drives the cooldown
        self._opened = 0  # in all
        self._until = 0.0  # OPEN: when the first probe may go; HALF_OPEN: when the round is over
        self._shut = -inf  # until when it refuses without a second look
        self._lease = 0.0
        self._leases: dict[int, float] = {}
        self._outcomes: list[tuple[bool, float]] = []
        self._why = ""
        self._state = CLOSED
        self._sentence = ""
        self._go(State(initial), "its initial state", 0.0)

    # --- decisions -------------------------------------------------------------------------------------------------

    def enter(self, now: float) -> int:
        """Admit a call, or raise `BreakerOpen` with the seconds until the next probe."""
        if self.admits:
            return self.generation
        if now < self._shut:
            raise self._refusal(self._shut - now)
        with self._lock:
            permit = self._admit(now)
        self.port.flush()
        if permit is None:
            raise self._refusal(self._wait(now))
        return permit

    def leave(self, permit: int, verdict: Verdict, now: float, took: float = 0.0) -> None:
        """Hear an outcome. What belongs to an older generation is not heard, and IGNORED only gives the permit back."""
        trip = self.trip
        if now < trip.plain_until and verdict is SUCCESS and permit == self.generation and took <= trip.slow_call:
            trip.step()  # the common case: closed, nothing remarkable, no lock
            return
        with self._lock:
            if self._leases.pop(permit, None) is not None:
                if verdict is not IGNORED:
                    self._probed(verdict is not SUCCESS, took, now)
            elif permit == self.generation and verdict is not IGNORED:
                if self._state is CLOSED:
                    why = self.trip.record(verdict is not SUCCESS, took, now)
                    if why:
                        self._open(why, now)
                    else:
                        self.quiet = self.trip.quiet
                elif self._state is METRICS_ONLY:
                    self.trip.record(verdict is not SUCCESS, took, now)
        self.port.flush()

    def _admit(self, now: float) -> int | None:
        if self._state is HALF_OPEN and now >= self._until:
            self._open("the half-open round took too long", now)
        if self._state is OPEN and now >= self._until:
            self._round(now)
        if self.admits:
            return self.generation
        if self._state is not HALF_OPEN:
            return None
        for permit in [permit for permit, lost_at in self._leases.items() if now >= lost_at]:
            del self._leases[permit]
        out = len(self._leases)
        if out >= self.probe_concurrency or out + len(self._outcomes) >= self.probes:
            return None
        permit = next(self._numbers)
        self._leases[permit] = now + self._lease
        return permit

    def _probed(self, failed: bool, took: float, now: float) -> None:
        self._outcomes.append((failed, took))
        bad = sum(failed for failed, _ in self._outcomes)
        done = len(self._outcomes)
        if self.probe_by_rate:
            if done < self.probes:
                return
            why = self._judge_probes(bad, done)
            if why:
                self._open(why, now)
            else:
                self._close(f"{done - bad} of {done} probes succeeded", now)
        elif bad > self.probes - self.probe_successes:
            self._open(f"{bad} of {done} probes failed", now)
        elif done - bad >= self.probe_successes:
            self._close(f"{done - bad} of {done} probes succeeded", now)

    def _judge_probes(self, bad: int, done: int) -> str | None:
        failed, slow = self._trip_of(FailureRate), self._trip_of(SlowCallRate)
        if bad and bad >= (failed.rate if failed else 1.0) * done:
            return f"{bad} of {done} probes failed"
        if isinstance(slow, SlowCallRate):
            late = sum(took > slow.slow_call for _, took in self._outcomes)
            if late and late >= slow.rate * done:
                return f"{late} of {done} probes were slow"
        return None

    # --- transitions, under the lock -------------------------------------------------------------------------------

    def _open(self, why: str, now: float) -> None:
        self._trips += 1
        self._opened += 1
        self._lease = self._cooldown()
        self._until = now + self._lease
        self._lease = self.probe_lease or self._lease
        self._go(OPEN, why, now)

    def _round(self, now: float) -> None:
        self._until = now + self.half_open_max
        self._go(HALF_OPEN, "the cooldown is over", now)

    def _close(self, why: str, now: float) -> None:
        self._trips = 0
        self._go(CLOSED, why, now)

    def _go(self, state: State, why: str, now: float) -> None:
        before, self._state, self._why = self._state, state, why
        self._sentence = f"breaker {state.replace('_', ' ')} after {why}"
        self._leases.clear()
        self._outcomes.clear()
        if state is not OPEN and state is not HALF_OPEN:
            self.trip.clear()
        self._glance()
        self._shut = self._until if state is OPEN else inf if state is FORCED_OPEN else -inf
        if before is not state and self.port.listeners:
            self.port.post(BreakerChanged(self.name, before, state, why, now))

    def _glance(self) -> None:
        """What the shells may know without asking: `admits` first, so that no call slips in on an old permit."""
        self.admits = self._state in (CLOSED, DISABLED, METRICS_ONLY)
        self.generation = next(self._numbers)
        self.quiet = self._state is DISABLED or (self._state is CLOSED and self.trip.quiet)

    def _cooldown(self) -> float:
        if callable(self.cooldown):
            return self.cooldown(self._trips)
        longest = min(self.cooldown * self.cooldown_factor ** (self._trips - 1), max(self.cooldown_max, self.cooldown))
        return longest * (1 - self.cooldown_jitter * self.runtime.random())

    # --- by hand ---------------------------------------------------------------------------------------------------

    def force_open(self) -> None:
        """Refuse everything until `reset`, `disable` or `metrics_only`."""
        self._by_hand(FORCED_OPEN, "forced open")

    def disable(self) -> None:
        """Admit everything and hear nothing until `reset`."""
        self._by_hand(DISABLED, "disabled")

    def metrics_only(self) -> None:
        """Admit everything, and count, so that `metrics` shows what it would have done: for a safe roll-out."""
        self._by_hand(METRICS_ONLY, "metrics only")

    def reset(self) -> None:
        """Close, with an empty window and the first cooldown again."""
        self._trips = 0
        self._by_hand(CLOSED, "reset")

    def open(self, seconds: float | None = None) -> None:
        """Open now, for `seconds` or as long as the cooldown says; then it heals by probes as usual."""
        with self._lock:
            now = self.runtime.now()
            self._open("opened by hand", now)
            if seconds is not None:
                self._until = self._shut = now + _check.seconds("seconds", seconds)
        self.port.flush()

    def _by_hand(self, state: State, why: str) -> None:
        with self._lock:
            self._go(state, why, self.runtime.now())
        self.port.flush()

    # --- looking ---------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where it is. An open breaker becomes half-open only when a call comes after the cooldown."""
        return self._state

    @property
    def why(self) -> str:
        """What brought it there, in words."""
        return self._why

    def metrics(self, now: float | None = None) -> BreakerMetrics:
        """Everything at one moment, for a live view. `now` defaults to the clock."""
        now = self.runtime.now() if now is None else now
        with self._lock:
            failed, slow = self._totals(FailureRate, now), self._totals(SlowCallRate, now)
            held = failed or slow or Totals(0, 0)
            run = next((trip.run for trip in self._all_trips() if isinstance(trip, Consecutive)), 0)
            return BreakerMetrics(
                state=self._state,
                calls=held.calls,
                failures=failed.bad if failed else run,
                failure_rate=_rate(failed, self._trip_of(FailureRate)),
                slow_call_rate=_rate(slow, self._trip_of(SlowCallRate)),
                consecutive_failures=run,
                rejected=self._rejected,
                trips=self._opened,
                retry_after=max(0.0, self._until - now) if self._state is OPEN else 0.0,
            )

    def _all_trips(self) -> tuple[Trip, ...]:
        return self.trip.trips if isinstance(self.trip, Either) else (self.trip,)

    def _trip_of(self, kind: type[FailureRate]) -> FailureRate | None:
        return next((trip for trip in self._all_trips() if isinstance(trip, FailureRate) and type(trip) is kind), None)

    def _totals(self, kind: type[FailureRate], now: float) -> Totals | None:
        trip = self._trip_of(kind)
        return None if trip is None else trip.totals(now)

    # --- refusing --------------------------------------------------------------------------------------------------

    def _wait(self, now: float) -> float | None:
        if self._state is OPEN:
            return max(0.0, self._until - now)
        return None if not self._leases else max(0.0, min(self._leases.values()) - now)

    def _refusal(self, retry_after: float | None) -> BreakerOpen:
        self._rejected += 1
        error = BreakerOpen(self.name, self._sentence, retry_after=None if retry_after == inf else retry_after)
        if self.port.listeners:
            self.port.send(CallRejected(self.name, str(error)))
        return error


def _trip(
    consecutive: int | None,
    failure_rate: float | None,
    slow_call_rate: float | None,
    slow_call: float,
    window: float | None,
    window_calls: int | None,
    minimum_calls: int,
) -> Trip:
    trips: list[Trip] = []
    if consecutive is not None:
        trips.append(Consecutive(_check.count("consecutive_failures", consecutive)))
    if failure_rate is not None:
        _check.ratio("failure_rate", failure_rate)
        trips.append(FailureRate(failure_rate, window=window, calls=window_calls, minimum_calls=minimum_calls))
    if slow_call_rate is not None:
        _check.ratio("slow_call_rate", slow_call_rate)
        trips.append(
            SlowCallRate(
                slow_call_rate, slow_call=slow_call, window=window, calls=window_calls, minimum_calls=minimum_calls
            )
        )
    if not trips:
        return Consecutive(5)
    return trips[0] if len(trips) == 1 else Either(*trips)


def _rate(totals: Totals | None, trip: FailureRate | None) -> float:
    return -1.0 if totals is None or trip is None else totals.bad / totals.calls
