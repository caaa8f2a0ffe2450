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
from itertools import count
from math import inf
from threading import RLock

from ...call import IGNORED, SUCCESS, Classifier, Verdict
from ...errors import BreakerOpen
from ...events import BreakerChanged, BreakerWouldOpen, CallRejected
from ...runtime import SYSTEM, Runtime
from ..shell import checks
from ..shell.classifiers import Errors, make_classifier
from ..shell.gate import Gate
from ..statistics.outcome_window import value
from .breaker_metrics import BreakerMetrics, opening
from .cooldown import FALLBACK, LONGEST, Cooldown, TripContext, checked_cooldown, pause
from .half_open import Probes
from .manual_control import ManualControl, ManualOperations
from .state import CLOSED, DISABLED, FORCED_OPEN, HALF_OPEN, METRICS_ONLY, OPEN, State, checked_state
from .trip import Trip
from .trip_arguments import choose_trip, trip_parts

__all__ = ["BreakerMetrics", "CircuitBreaker", "ManualControl", "State", "TripContext"]


class CircuitBreaker(ManualOperations, Gate):
    """A circuit breaker for functions, pipelines and clients; safe under threads and tasks alike.

    **When it opens:** `consecutive_failures` in a row, and/or `failure_rate` (0–1, inclusive), and/or `slow_call_rate`
    of calls longer than `slow_call` seconds, over `window` seconds (default 10) in `buckets` slices or the last
    `window_calls` calls, with at least `minimum_calls`; or any `trip` of your own. With none of them: 5 in a row.

    **How long:** `cooldown` seconds, times `cooldown_factor` for each further trip without a close in between, up to
    `cooldown_max` (its default gives way to a longer `cooldown`); the last `cooldown_jitter` share of it drawn at
    random, once per trip (0.5 is Finagle's equal jitter). Or any function of the number of trips (see
    `cooldown.TripContext`). The first call at or after its end probes.

    **How it heals:** `probes` calls are admitted, at most `probe_concurrency` at once. `probe_successes` of them close
    it (default: all), and it opens again as soon as that cannot be reached (failsafe; one probe is Hystrix and Polly).
    With `probe_by_rate` its own rates judge them, as in resilience4j. A probe not back within `probe_lease` seconds
    (default: the cooldown; inf, as in resilience4j and failsafe: never) gives its place to another, and is heard all
    the same while the round lasts. `half_open_max` seconds end a round that is still undecided, with `half_open_then`:
    OPEN or CLOSED. `automatic` makes a look at `state` or `metrics` move on what only time moves; without it a call
    does (resilience4j's automaticTransitionFromOpenToHalfOpenEnabled; see `tick`).

    **What counts:** `on`, `ignore` and `on_result` (exception types or predicates), or one `classify` for
    all. `initial` is the state it begins in; `control` a switch that it shares with others.
    Raises ValueError for values without sense.
    """

    judges = True

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
        buckets: int | None = None,
        cooldown: float | Cooldown = 30.0,
        cooldown_factor: float = 1.0,
        cooldown_max: float = LONGEST,
        cooldown_jitter: float = 0.0,
        probes: int = 1,
        probe_successes: int | None = None,
        probe_concurrency: int | None = None,
        probe_by_rate: bool = False,
        probe_lease: float | None = None,
        half_open_max: float | None = None,
        half_open_then: State = OPEN,
        automatic: bool = False,
        on: Errors | None = None,
        ignore: Errors | None = None,
        on_result: Callable[[object], bool] | None = None,
        classify: Classifier | None = None,
        initial: State = CLOSED,
        control: ManualControl | None = None,
        runtime: Runtime = SYSTEM,
    ) -> None:
        super().__init__(
            name,
            classify=make_classifier(on=on, ignore=ignore, on_result=on_result, classify=classify),
            runtime=runtime,
        )
        limits = consecutive_failures, failure_rate, slow_call_rate
        plain = choose_trip(limits, slow_call, window, window_calls, minimum_calls, buckets)
        if trip is not None and (*limits, window, window_calls, buckets) != (None,) * 6:
            raise ValueError(f"trip={trip!r}: expected alone; it says itself what is too much, and over which window")
        self.trip = plain if trip is None else checks.like("trip", trip, "record", "a trip, such as Consecutive(5)")
        self._parts = trip_parts(self.trip)
        self.slow_call = self.trip.slow_call
        self.timed = self.slow_call < inf
        self.cooldown = cooldown
        self._pause = pause(cooldown, cooldown_factor, cooldown_max, cooldown_jitter)
        self._probes = Probes(probes, probe_successes, probe_concurrency, self._parts if probe_by_rate else None)
        self.probe_lease = None if probe_lease is None else checks.seconds("probe_lease", probe_lease, infinite=True)
        self.half_open_max = inf if half_open_max is None else checks.seconds("half_open_max", half_open_max)
        self.half_open_then = checked_state("half_open_then", half_open_then, OPEN, CLOSED)
        self.automatic = automatic
        # Re-entrant: a cooldown function may look at the breaker, and garbage collection, which may come at any moment,
        # may close a generator that this breaker guards.
        self._lock = RLock()
        self._numbers, self._refusals = count(1), count()
        self._refused_before = 0  # how many refusals there had been when the window was last emptied
        self._trips = self._half_opens = 0  # since it was last closed; they drive the cooldown
        self._opened = 0  # in all
        self._until = inf  # OPEN: when the first probe may go; HALF_OPEN: when the round is over
        self._shut = -inf  # until when it refuses without a second look
        self._lease = probe_lease or (cooldown if isinstance(cooldown, int | float) else FALLBACK)
        self._told: list[Trip] = []  # METRICS_ONLY: those that have been too much
        self._state, self._why, self._sentence = CLOSED, "", ""
        self._go(checked_state("initial", initial, *State), "its initial state", runtime.now())
        if control is not None:
            checks.like("control", control, "join", "a ManualControl()").join(self)

    # --- decisions -------------------------------------------------------------------------------------------------

    def enter(self, now: float) -> int:
        """Admit a call, or raise `BreakerOpen` with the seconds until the next probe."""
        if self.admits:
            return self.generation
        shut = self._shut
        if now >= shut:
            with self._lock:
                permit = self._admit(now)
                shut = self._shut
            self.port.flush()
            if permit is not None:
                return permit
        next(self._refusals)
        # `__new__` alone makes a whole refusal, see `errors`.
        error = BreakerOpen.__new__(BreakerOpen, self.name, self._sentence, shut - now if now < shut < inf else None)
        if self.port.listeners:
            self.port.send(CallRejected(self.name, str(error)))
        raise error

    def leave(self, permit: int, verdict: Verdict, now: float, took: float = 0.0) -> None:
        """Hear an outcome. What belongs to an older generation is not heard, and IGNORED only gives the permit back."""
        if verdict is SUCCESS and permit == self.heard and now < self.plain_until and took <= self.slow_call:
            self.step()  # the common case: nothing remarkable, no lock
            return
        if verdict is IGNORED:  # without the lock, too: garbage collection may close a generator while we hold it
            if self._probes.give_back(permit):
                self._shut = -inf
            return
        told = True
        try:
            with self._lock:
                if self._state is HALF_OPEN:
                    self._probed(permit, verdict, now, took)
                else:
                    told = permit == self.heard and self._counted(verdict is not SUCCESS, took, now)
        finally:
            if told:
                self.port.flush()

    def tick(self, now: float) -> None:
        """Make the moves that only time makes, as a call would; for those who watch a breaker that has no traffic."""
        with self._lock:
            self._pass_time(now)
        self.port.flush()

    # --- transitions, under the lock -------------------------------------------------------------------------------

    def _admit(self, now: float) -> int | None:
        self._pass_time(now)
        if self.admits:
            return self.generation
        if self._state is not HALF_OPEN:
            self._shut = inf if self._state is FORCED_OPEN else self._until
            return None
        permit = next(self._numbers)
        lent = self._probes.lend(permit, now, self._lease)
        self._close_door()
        return permit if lent else None

    def _close_door(self) -> None:
        self._shut = min(self._probes.shut(), self._until)
        if self._probes.shut() == -inf:  # a probe that said nothing came back meanwhile: `leave` takes no lock for it
            self._shut = -inf

    def _counted(self, failed: bool, took: float, now: float) -> bool:
        """Whether there may be something to tell."""
        trip = self.trip
        why = trip.record(failed, took, now)
        if self._state is CLOSED:
            if why:
                self._open(why, now)
                return True
            self.step, self.plain_until, self.quiet = trip.step, trip.plain_until, trip.quiet  # as `_mirror` does
            return False
        self._mirror()
        for part in self._parts if why else ():  # METRICS_ONLY
            if part.why and part not in self._told:
                self._told.append(part)
                self.port.post(BreakerWouldOpen(self.name, part.why, now))
        return True

    def _probed(self, permit: int, verdict: Verdict, now: float, took: float) -> None:
        if now >= self._until:
            self._end_round()
        if not self._probes.give_back(permit):
            return
        said = self._probes.hear(verdict is not SUCCESS, took, self.slow_call)
        if said is None:
            self._close_door()
        elif said[0]:
            self._move(CLOSED, said[1], now)
        else:
            self._open(said[1], now)

    def _pass_time(self, now: float) -> None:
        if self._state is HALF_OPEN and now >= self._until:
            self._end_round()
        if self._state is OPEN and now >= self._until:
            self._move(HALF_OPEN, "the cooldown", now, self.half_open_max)

    def _end_round(self) -> None:
        # At the moment when it was over, not when somebody noticed: the cooldown has been running since.
        why, now = f"{self.half_open_max:g} s half-open without a verdict", self._until
        if self.half_open_then is OPEN:
            self._open(why, now)
        else:
            self._move(CLOSED, why, now)

    def _open(self, why: str, now: float, seconds: float | None = None, by_hand: bool = False) -> None:
        self._opened += 1
        self._trips += seconds is None
        try:
            if seconds is None:
                draw = self.runtime.random()
                seconds = checked_cooldown(
                    self._pause, opening(*self._picture(now), self._trips, self._half_opens, draw)
                )
        except BaseException:  # the user's own function: they shall hear of it, and the breaker be open all the same
            seconds = FALLBACK
            raise
        finally:
            self._lease = self.probe_lease or (seconds if seconds and seconds < inf else FALLBACK)
            self._move(OPEN, why, now, seconds or 0.0, by_hand)

    def _move(self, state: State, why: str, now: float, seconds: float = inf, by_hand: bool = False) -> None:
        before, self._state, self._why = self._state, state, why
        self._sentence = f"breaker {why}" if by_hand else f"breaker {state} after {why}"
        self._probes.end()
        if state is not OPEN:
            self._probes.clear()
            self.trip.clear()
            self._told.clear()
            self._refused_before = value(self._refusals)
        if state is HALF_OPEN:
            self._half_opens += 1
            self._sentence = "breaker half-open, and all its probes are out"
        elif state is not OPEN and state is not FORCED_OPEN:
            self._trips = self._half_opens = 0
        self._until = now + seconds
        self._shut = self._until if state is OPEN else inf if state is FORCED_OPEN else -inf
        # `admits` falls first and rises last, so that no call slips in on an older permit.
        self.admits = False
        self.generation = next(self._numbers)
        self.heard = self.generation if state is CLOSED or state is METRICS_ONLY else 0
        self._mirror()
        self.admits = state is CLOSED or state is DISABLED or state is METRICS_ONLY
        if before is not state and self.port.listeners:
            cooldown = seconds if state is OPEN else None
            self.port.post(BreakerChanged(self.name, before, state, why, now, cooldown, by_hand))

    def _mirror(self) -> None:
        """What the shells may know without asking."""
        trip = self.trip
        self.step, self.plain_until = trip.step, trip.plain_until
        self.quiet = self._state is DISABLED or (self._state is CLOSED and trip.quiet)

    def _go(self, state: State, why: str, now: float, seconds: float | None = None, by_hand: bool = False) -> None:
        if state is OPEN:
            self._open(why, now, seconds, by_hand)
        else:
            self._trips += state is FORCED_OPEN
            self._move(state, why, now, self.half_open_max if state is HALF_OPEN else inf, by_hand)

    def _picture(self, now: float) -> tuple[State, tuple[Trip, ...], Probes, float]:
        return self._state, self._parts, self._probes, now

    def _figures(self) -> tuple[float, int, int, int]:
        return self._shut, value(self._refusals), self._refused_before, self._opened
