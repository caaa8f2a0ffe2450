"""The circuit breaker: after too many failures it refuses calls for a while, then a few probes decide.

                 a trip                       cooldown over, a call comes
      CLOSED ───────────────▶ OPEN ───────────────────────────────▶ HALF_OPEN
         ▲                     ▲   a probe failed, a round too long      │ │
         │                     └─────────────────────────────────────────┘ │
         └──────────────────────────── enough probes succeeded ────────────┘

Manual states: FORCED_OPEN (refuses every call), DISABLED (admits every call, counts none), METRICS_ONLY (admits every
call and counts). After Hystrix, resilience4j, Polly and failsafe; where they differ, a parameter chooses.

Two things none of them has. Every permit belongs to a *generation*: a result from before the break neither closes nor
opens. And every probe is a *lease*: one that never comes back costs one cooldown, not the service.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from math import inf
from threading import RLock

from ... import forked
from ...call import IGNORED, SUCCESS, Classifier, Verdict
from ...errors import BreakerOpen
from ...events import BreakerChanged, BreakerWouldOpen, CallRejected
from ...runtime import SYSTEM, Runtime
from ..shell import checks
from ..shell.classifiers import Errors, make_classifier
from ..shell.gate import Gate
from ..statistics.outcome_window import value
from .breaker_metrics import BreakerMetrics, trip_context
from .cooldown import FALLBACK, Cooldown, CooldownFunction, TripContext, checked_cooldown, cooldown_function
from .half_open import HalfOpenRound
from .manual_control import ManualControl, ManualOperations
from .probes import Probes, checked_probes
from .state import CLOSED, DISABLED, FORCED_OPEN, HALF_OPEN, METRICS_ONLY, OPEN, State
from .trip import Trip
from .trip_arguments import MINIMUM_CALLS, check_trip, choose_trip, trip_parts

__all__ = ["BreakerMetrics", "CircuitBreaker", "Cooldown", "ManualControl", "Probes", "State", "TripContext"]


class CircuitBreaker(ManualOperations, Gate):
    """A circuit breaker for functions, pipelines and clients; safe under threads and tasks alike.

    **When it opens:** after `consecutive_failures` in a row, and/or at `failure_rate` (0–1, inclusive) over the last
    `window` seconds (default 10) with at least `minimum_calls`; or by a `trip` of its own, such as
    `SlowCallRate(0.5, slow_call=2.0)` or `Either(…)`. With none of them: after 5 failures in a row.

    **How long:** `cooldown` seconds, a `Cooldown` that grows, or a function of a `TripContext`. The first call at or
    after its end is a probe.

    **How it closes:** `probes` calls are admitted and all must succeed; `Probes` says it in detail.

    **What counts:** `on`, `ignore` and `on_result` (exception types or predicates), or one `classify` for all.

    **Manual control:** the methods here for one breaker, `manual` for many at once and for its first state.
    Raises ValueError.
    """

    counts_outcomes = True

    def __init__(
        self,
        *,
        name: str = "breaker",
        trip: Trip | None = None,
        consecutive_failures: int | None = None,
        failure_rate: float | None = None,
        window: float | None = None,
        minimum_calls: int = MINIMUM_CALLS,
        cooldown: float | Cooldown | Callable[[TripContext], float] = 30.0,
        probes: int | Probes = 1,
        on: Errors | None = None,
        ignore: Errors | None = None,
        on_result: Callable[[object], bool] | None = None,
        classify: Classifier | None = None,
        manual: ManualControl | None = None,
        runtime: Runtime = SYSTEM,
    ) -> None:
        super().__init__(
            name,
            classify=make_classifier(on=on, ignore=ignore, on_result=on_result, classify=classify),
            runtime=runtime,
        )
        if trip is None:
            self.trip: Trip = choose_trip(
                consecutive_failures=consecutive_failures,
                failure_rate=failure_rate,
                window=window,
                minimum_calls=minimum_calls,
            )
        else:
            limits = {"consecutive_failures": consecutive_failures, "failure_rate": failure_rate}
            self.trip = check_trip(trip, window, minimum_calls, **limits)
        self._parts = trip_parts(self.trip)
        self.slow_call: float = self.trip.slow_call
        self.timed: bool = self.slow_call < inf
        self.cooldown: CooldownFunction = cooldown_function(cooldown)
        self.probes: Probes = checked_probes(probes)
        self.automatic: bool = self.probes.automatic
        self._max_round = inf if self.probes.max_duration is None else self.probes.max_duration
        self._round = HalfOpenRound(self.probes, self._parts)
        # Re-entrant: a cooldown function may look at the breaker, and garbage collection, which may come at any moment,
        # may close a generator that this breaker guards.
        self._lock = RLock()
        # Copied from the trip by `_mirror`, for the wrappers.
        self.step: Callable[[], object]
        self.plain_until: float
        self.quiet: bool
        self._numbers, self._rejections = count(1), count()
        self._rejected_before = 0  # how many rejections there had been when the window was last emptied
        self._trips = self._half_opens = 0  # since it was last closed; they drive the cooldown
        self._opened = 0  # in all
        self._until = inf  # OPEN: when the first probe may go; HALF_OPEN: when the round is over
        self._refuses_until = -inf  # until when `enter` refuses without the lock
        first = self.cooldown.seconds if isinstance(self.cooldown, Cooldown) else FALLBACK
        self._lease = self.probes.lease or first
        self._reported: list[Trip] = []  # METRICS_ONLY: the trips that have been reported
        self._state, self._reason, self._sentence = CLOSED, "", ""
        self._move(CLOSED, "created", 0.0)
        if manual is not None:
            checks.like("manual", manual, "join", "a ManualControl()").join(self)

    def __repr__(self) -> str:
        return f"CircuitBreaker({self.name!r}, {self._state})"

    def _after_fork(self) -> None:
        """The probes that are out are the parent's. All else stays as it was."""
        super()._after_fork()
        torn, self._lock = forked.held(self._lock), RLock()
        self._round.end()
        if torn:  # another thread was just moving it: once more, into the same state
            now = self.runtime.now()
            left = max(0.0, min(self._until - now, self._lease))
            seconds = {OPEN: left if left < inf else FALLBACK, HALF_OPEN: self._max_round}
            self._move(self._state, self._reason, now, seconds.get(self._state, inf))
        elif self._state is HALF_OPEN:
            self._refuses_until = -inf

    # --- decisions -------------------------------------------------------------------------------------------------

    def enter(self, now: float) -> int:
        """Admit a call, or raise `BreakerOpen` with the seconds until the next probe."""
        if self.admits:
            return self.generation
        refuses_until = self._refuses_until
        if now >= refuses_until:
            with self._lock:
                permit = self._admit(now)
                refuses_until = self._refuses_until
            self.port.flush()
            if permit is not None:
                return permit
        next(self._rejections)
        wait = refuses_until - now if now < refuses_until < inf else None
        # `__new__` alone makes a whole rejection, see `errors`.
        error = BreakerOpen.__new__(BreakerOpen, self.name, self._sentence, wait)
        if self.port.listeners:
            self.port.send(CallRejected(self.name, str(error)))
        raise error

    def leave(self, permit: int, verdict: Verdict, now: float, took: float = 0.0) -> None:
        """Count an outcome. One of an older generation counts for nothing, and IGNORED only gives the permit back."""
        if verdict is SUCCESS and permit == self.counted and now < self.plain_until and took <= self.slow_call:
            self.step()  # the common case: nothing remarkable, no lock
            return
        if verdict is IGNORED:  # without the lock, too: garbage collection may close a generator while we hold it
            if self._round.give_back(permit):
                self._refuses_until = -inf
            return
        changed = True
        try:
            with self._lock:
                if self._state is HALF_OPEN:
                    self._probed(permit, verdict, now, took)
                else:
                    changed = permit == self.counted and self._counted(verdict is not SUCCESS, took, now)
        finally:
            if changed:
                self.port.flush()

    def tick(self, now: float) -> None:
        """Make the moves that are due by time alone, as a call would; for a live view of a breaker without traffic."""
        with self._lock:
            self._pass_time(now)
        self.port.flush()

    # --- transitions, under the lock -------------------------------------------------------------------------------

    def _admit(self, now: float) -> int | None:
        self._pass_time(now)
        if self.admits:
            return self.generation
        if self._state is not HALF_OPEN:
            self._refuses_until = inf if self._state is FORCED_OPEN else self._until
            return None
        permit = next(self._numbers)
        lent = self._round.lend(permit, now, self._lease)
        self._set_refuses_until()
        return permit if lent else None

    def _set_refuses_until(self) -> None:
        self._refuses_until = min(self._round.full_until(), self._until)
        if self._round.full_until() == -inf:  # an ignored probe came back meanwhile: `leave` takes no lock for it
            self._refuses_until = -inf

    def _counted(self, failed: bool, took: float, now: float) -> bool:
        """Whether there may be events to send."""
        trip = self.trip
        reason = trip.record(failed, took, now)
        if self._state is CLOSED:
            if reason:
                self._open(reason, now)
                return True
            self.step, self.plain_until, self.quiet = trip.step, trip.plain_until, trip.quiet  # as `_mirror` does
            return False
        self._mirror()
        for part in self._parts if reason else ():  # METRICS_ONLY
            if part.reason and part not in self._reported:
                self._reported.append(part)
                self.port.post(BreakerWouldOpen(self.name, part.reason, now))
        return True

    def _probed(self, permit: int, verdict: Verdict, now: float, took: float) -> None:
        if now >= self._until:
            self._end_round()
        if not self._round.give_back(permit):
            return
        decision = self._round.record(verdict is not SUCCESS, took, self.slow_call)
        if decision is None:
            self._set_refuses_until()
        elif decision[0]:
            self._move(CLOSED, decision[1], now)
        else:
            self._open(decision[1], now)

    def _pass_time(self, now: float) -> None:
        if self._state is HALF_OPEN and now >= self._until:
            self._end_round()
        if self._state is OPEN and now >= self._until:
            self._move(HALF_OPEN, "the cooldown", now, self._max_round)

    def _end_round(self) -> None:
        # At the moment when it was over, not when a call noticed: the cooldown has been running since.
        reason, now = f"{self._max_round:g} s half-open without a verdict", self._until
        if self.probes.then is OPEN:
            self._open(reason, now)
        else:
            self._move(CLOSED, reason, now)

    def _open(self, reason: str, now: float, seconds: float | None = None, manual: bool = False) -> None:
        self._opened += 1
        self._trips += seconds is None
        try:
            if seconds is None:
                random = self.runtime.random()
                seconds = checked_cooldown(
                    self.cooldown, trip_context(*self._parts_at(now), self._trips, self._half_opens, random)
                )
        except BaseException:  # the caller's function: raise its error, and open all the same
            seconds = FALLBACK
            raise
        finally:
            self._lease = self.probes.lease or (seconds if seconds and seconds < inf else FALLBACK)
            self._move(OPEN, reason, now, seconds or 0.0, manual)

    def _move(self, state: State, reason: str, now: float, seconds: float = inf, manual: bool = False) -> None:
        before, self._state, self._reason = self._state, state, reason
        self._sentence = f"breaker {reason}" if manual else f"breaker {state} after {reason}"
        self._round.end()
        if state is not OPEN:
            self._round.clear()
            self.trip.clear()
            self._reported.clear()
            self._rejected_before = value(self._rejections)
        if state is HALF_OPEN:
            self._half_opens += 1
            self._sentence = "breaker half-open, all probes in flight"
        elif state is not OPEN and state is not FORCED_OPEN:
            self._trips = self._half_opens = 0
        self._until = now + seconds
        self._refuses_until = self._until if state is OPEN else inf if state is FORCED_OPEN else -inf
        # `admits` falls first and rises last, so that no call slips in on an older permit.
        self.admits: bool = False
        self.generation: int = next(self._numbers)
        self.counted: int = self.generation if state is CLOSED or state is METRICS_ONLY else 0
        self._mirror()
        self.admits = state is CLOSED or state is DISABLED or state is METRICS_ONLY
        if before is not state and self.port.listeners:
            cooldown = seconds if state is OPEN else None
            self.port.post(BreakerChanged(self.name, before, state, reason, now, cooldown, manual))

    def _mirror(self) -> None:
        """Copy what the wrappers read without a call."""
        trip = self.trip
        self.step, self.plain_until = trip.step, trip.plain_until
        self.quiet = self._state is DISABLED or (self._state is CLOSED and trip.quiet)

    def _go(self, state: State, reason: str, now: float, seconds: float | None = None, manual: bool = False) -> None:
        if state is OPEN:
            self._open(reason, now, seconds, manual)
        else:
            self._trips += state is FORCED_OPEN
            self._move(state, reason, now, self._max_round if state is HALF_OPEN else inf, manual)

    def _parts_at(self, now: float) -> tuple[State, tuple[Trip, ...], HalfOpenRound, float]:
        return self._state, self._parts, self._round, now

    def _figures(self) -> tuple[float, int, int, int]:
        return self._refuses_until, value(self._rejections), self._rejected_before, self._opened
