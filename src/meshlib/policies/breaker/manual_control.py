"""Manual control of breakers: read one, open it, close it, disable it, let it only count; or many at once."""

from __future__ import annotations

from threading import RLock
from weakref import WeakSet

from ... import forked
from ...events import Port
from ...runtime import Runtime
from ..shell import checks
from .breaker_metrics import BreakerMetrics, breaker_metrics
from .half_open import HalfOpenRound
from .state import CLOSED, DISABLED, FORCED_OPEN, HALF_OPEN, METRICS_ONLY, OPEN, State, check_move, checked_state
from .trip import Trip


class ManualOperations:
    """The methods of a breaker for people and admin pages. `now` defaults to the breaker's clock.

    Every move is allowed from every state (as in resilience4j) but two: only a breaker that was open can become
    half-open, and one that only counts must first be closed, disabled or forced open. Then RuntimeError is raised and
    nothing changes.
    """

    name: str
    runtime: Runtime
    port: Port
    automatic: bool
    _lock: RLock
    _state: State
    _reason: str

    def tick(self, now: float) -> None:
        raise NotImplementedError

    def _go(self, state: State, reason: str, now: float, seconds: float | None = None, manual: bool = False) -> None:
        raise NotImplementedError

    def _parts_at(self, now: float) -> tuple[State, tuple[Trip, ...], HalfOpenRound, float]:
        raise NotImplementedError

    def _figures(self) -> tuple[float, int, int, int]:
        """Until when it refuses, its rejections, those before the window was last emptied, and its trips in all."""
        raise NotImplementedError

    # --- looking ---------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The state. Open becomes half-open at the first call after the cooldown (see `Probes.automatic`)."""
        if self.automatic:
            self.tick(self.runtime.now())
        return self._state

    @property
    def reason(self) -> str:
        """Why it is in this state, such as "5 failures in a row"."""
        return self._reason

    def metrics(self, now: float | None = None) -> BreakerMetrics:
        """Everything at one moment, for a live view. `now` defaults to the clock."""
        now = self.runtime.now() if now is None else now
        if self.automatic:
            self.tick(now)
        with self._lock:
            return breaker_metrics(*self._parts_at(now), *self._figures())

    def failure_rate(self, now: float | None = None) -> float:
        """The share of failures (0–1) over the window as of `now`; −1.0 below the minimum, or without such a trip."""
        return self.metrics(now).failure_rate

    def slow_call_rate(self, now: float | None = None) -> float:
        """The same for slow calls."""
        return self.metrics(now).slow_call_rate

    # --- moving ----------------------------------------------------------------------------------------------------

    def _manually(self, state: State, reason: str, now: float | None, seconds: float | None = None) -> None:
        now = self.runtime.now() if now is None else now
        try:
            with self._lock:
                check_move(self.name, self._state, state)
                self._go(state, reason, now, seconds, manual=True)
        finally:
            self.port.flush()

    def force_open(self, now: float | None = None) -> None:
        """Refuse every call until `reset` or another move by hand (Hystrix forceOpen, Polly's isolated)."""
        self._manually(FORCED_OPEN, "forced open by hand", now)

    def disable(self, now: float | None = None) -> None:
        """Admit every call and count none until another move by hand (Hystrix forceClosed)."""
        self._manually(DISABLED, "disabled by hand", now)

    def metrics_only(self, now: float | None = None) -> None:
        """Admit every call and count it, so that `metrics` and `BreakerWouldOpen` show what the breaker would do."""
        self._manually(METRICS_ONLY, "set by hand to count only", now)

    def reset(self, now: float | None = None) -> None:
        """Close, with an empty window and the first cooldown again."""
        self._manually(CLOSED, "reset by hand", now)

    def open(self, seconds: float | None = None, now: float | None = None) -> None:
        """Open now, for `seconds` or for its cooldown; then it closes by probes as usual.

        With `seconds` the cooldown's growth stays where it is (resilience4j's transitionToOpenStateFor); without, this
        is one trip more. A classifier may call this, which is resilience4j's transitionOnResult.
        """
        if seconds is not None:
            checks.seconds("seconds", seconds, infinite=True)
        self._manually(OPEN, "opened by hand", now, seconds)

    def half_open(self, now: float | None = None) -> None:
        """Let the probes go now, whatever is left of the cooldown."""
        self._manually(HALF_OPEN, "half-opened by hand", now)


class ManualControl:
    """One switch for many breakers, and for those that do not exist yet (after Polly's ManualControl).

    Pass it as `manual=`. The last move holds for every breaker that joins later; `initial` is that of a new control:
    CLOSED (the breakers decide), FORCED_OPEN, DISABLED or METRICS_ONLY. It holds breakers weakly. Raises ValueError.
    """

    def __init__(self, initial: State = CLOSED) -> None:
        self._breakers: WeakSet[ManualOperations] = WeakSet()
        self._state = checked_state("initial", initial, *_MOVES)
        # Held until all have moved, so that a breaker that joins meanwhile ends in the last state too.
        # Re-entrant: a listener of one breaker may use this control.
        self._lock = RLock()
        self._torn = False
        forked.register(self)

    def _after_fork(self) -> None:
        self._torn, self._lock = forked.held(self._lock), RLock()

    def _resume(self) -> None:
        if self._torn:  # some have moved, and others not yet
            self._all(self._state)

    def join(self, breaker: ManualOperations) -> None:
        """Move `breaker` with the others from now on. Its constructor calls this."""
        with self._lock:
            self._breakers.add(breaker)
            if self._state is not CLOSED:
                _MOVES[self._state](breaker)

    def force_open(self) -> None:
        """Every breaker refuses every call until another move (Polly's IsolateAsync)."""
        self._all(FORCED_OPEN)

    def disable(self) -> None:
        """Every breaker admits every call and counts none."""
        self._all(DISABLED)

    def metrics_only(self) -> None:
        """Every breaker admits every call and counts it."""
        self._all(METRICS_ONLY)

    def reset(self) -> None:
        """Every breaker closes and decides for itself again (Polly's CloseAsync)."""
        self._all(CLOSED)

    def _all(self, state: State) -> None:
        with self._lock:
            self._state = state
            for breaker in list(self._breakers):
                if self._state is state:  # unless a listener moved them again
                    _MOVES[state](breaker)


_MOVES = {
    FORCED_OPEN: ManualOperations.force_open,
    DISABLED: ManualOperations.disable,
    METRICS_ONLY: ManualOperations.metrics_only,
    CLOSED: ManualOperations.reset,
}
