"""What people do to a breaker: look at it, open it, close it, take it out of service, let it only watch."""

from __future__ import annotations

from threading import RLock
from weakref import WeakSet

from ...events import Port
from ...runtime import Runtime
from ..shell import checks
from .breaker_metrics import BreakerMetrics, look
from .half_open import Probes
from .state import CLOSED, DISABLED, FORCED_OPEN, HALF_OPEN, METRICS_ONLY, OPEN, State, check_move
from .trip import Trip


class ManualOperations:
    """The methods of a breaker that a person calls. Everything is allowed from everywhere (as in resilience4j), except
    that only a breaker that was open can become half-open, and one that only counts must first be closed, disabled or
    forced open: then RuntimeError is raised and nothing changes. `now` defaults to the breaker's clock.
    """

    name: str
    runtime: Runtime
    port: Port
    automatic: bool
    _lock: RLock
    _state: State
    _why: str

    def tick(self, now: float) -> None:
        raise NotImplementedError

    def _go(self, state: State, why: str, now: float, seconds: float | None = None, by_hand: bool = False) -> None:
        raise NotImplementedError

    def _picture(self, now: float) -> tuple[State, tuple[Trip, ...], Probes, float]:
        raise NotImplementedError

    def _figures(self) -> tuple[float, int, int, int]:
        """Until when it is shut, its refusals, those before the window was last emptied, and its trips in all."""
        raise NotImplementedError

    # --- looking ---------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where it is. An open breaker becomes half-open when a call comes after the cooldown (but see `automatic`)."""
        if self.automatic:
            self.tick(self.runtime.now())
        return self._state

    @property
    def why(self) -> str:
        """What brought it there, in words."""
        return self._why

    def metrics(self, now: float | None = None) -> BreakerMetrics:
        """Everything at one moment, for a live view. `now` defaults to the clock."""
        now = self.runtime.now() if now is None else now
        if self.automatic:
            self.tick(now)
        with self._lock:
            return look(*self._picture(now), *self._figures())

    def failure_rate(self, now: float | None = None) -> float:
        """The share of failures (0–1) over the window as of `now`; −1.0 below the minimum, or if no rate is judged."""
        return self.metrics(now).failure_rate

    def slow_call_rate(self, now: float | None = None) -> float:
        """The same for slow calls."""
        return self.metrics(now).slow_call_rate

    # --- moving ----------------------------------------------------------------------------------------------------

    def _by_hand(self, state: State, why: str, now: float | None, seconds: float | None = None) -> None:
        now = self.runtime.now() if now is None else now
        try:
            with self._lock:
                check_move(self.name, self._state, state)
                self._go(state, why, now, seconds, by_hand=True)
        finally:
            self.port.flush()

    def force_open(self, now: float | None = None) -> None:
        """Refuse everything until `reset` or another move by hand (Hystrix forceOpen, Polly's isolated)."""
        self._by_hand(FORCED_OPEN, "forced open by hand", now)

    def disable(self, now: float | None = None) -> None:
        """Admit everything and hear nothing until another move by hand (Hystrix forceClosed)."""
        self._by_hand(DISABLED, "disabled by hand", now)

    def metrics_only(self, now: float | None = None) -> None:
        """Admit everything, and count, so that `metrics` and `BreakerWouldOpen` show what it would do."""
        self._by_hand(METRICS_ONLY, "told by hand to count only", now)

    def reset(self, now: float | None = None) -> None:
        """Close, with an empty window and the first cooldown again."""
        self._by_hand(CLOSED, "reset by hand", now)

    def open(self, seconds: float | None = None, now: float | None = None) -> None:
        """Open now, for `seconds` or as long as the cooldown says; then it heals by probes as usual.

        With `seconds` the cooldown's growth stays where it is (resilience4j's transitionToOpenStateFor); without, this
        is one trip more. A classifier may call this, which is resilience4j's transitionOnResult.
        """
        if seconds is not None:
            checks.seconds("seconds", seconds, infinite=True)
        self._by_hand(OPEN, "opened by hand", now, seconds)

    def half_open(self, now: float | None = None) -> None:
        """Let the probes go now, whatever is left of the cooldown."""
        self._by_hand(HALF_OPEN, "half-opened by hand", now)


class ManualControl:
    """One switch for many breakers, and for those that do not exist yet (after Polly's ManualControl).

    Pass it as `control=`. What was asked for last holds for every breaker that joins later. Breakers are held weakly.
    """

    def __init__(self) -> None:
        self._breakers: WeakSet[ManualOperations] = WeakSet()
        self._state = CLOSED
        # Held until all have moved, so that whoever joins or is moved meanwhile ends in what was asked for last.
        # Re-entrant: a listener of one breaker may use the switch.
        self._lock = RLock()

    def join(self, breaker: ManualOperations) -> None:
        with self._lock:
            self._breakers.add(breaker)
            if self._state is not CLOSED:
                _MOVES[self._state](breaker)

    def force_open(self) -> None:
        """Polly's IsolateAsync."""
        self._all(FORCED_OPEN)

    def disable(self) -> None:
        self._all(DISABLED)

    def metrics_only(self) -> None:
        self._all(METRICS_ONLY)

    def reset(self) -> None:
        """Polly's CloseAsync."""
        self._all(CLOSED)

    def _all(self, state: State) -> None:
        with self._lock:
            self._state = state
            for breaker in list(self._breakers):
                if self._state is state:  # unless a listener has changed its mind
                    _MOVES[state](breaker)


_MOVES = {
    FORCED_OPEN: ManualOperations.force_open,
    DISABLED: ManualOperations.disable,
    METRICS_ONLY: ManualOperations.metrics_only,
    CLOSED: ManualOperations.reset,
}
