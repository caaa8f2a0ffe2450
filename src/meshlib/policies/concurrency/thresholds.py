"""The limits of one cluster's pool: connections, pending requests, requests and retries under way, as Envoy counts.

Envoy calls these thresholds a circuit breaker; nothing opens or heals here, each number is simply never exceeded.
Here they are exact, where Envoy's threads may briefly overshoot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import RLock

from ...call import Verdict
from ...errors import BulkheadFull
from ...events import CallRejected, Listener, Port
from ...runtime import SYSTEM, Runtime
from ..shell import checks
from ..shell.gate import Gate


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudgetLimit:
    """Retries under way: at most max(`minimum`, `ratio` of the requests that are active or pending)."""

    ratio: float = 0.2
    minimum: int = 3

    def __post_init__(self) -> None:
        checks.ratio("ratio", self.ratio, zero=True)
        checks.count("minimum", self.minimum, min_value=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What one cluster's pool may hold at once. The defaults are Envoy's; a retry budget replaces `retries`.

    Raises ValueError for values without sense.
    """

    connections: int = 1024
    pending: int = 1024
    requests: int = 1024
    retries: int = 3
    retry_budget: RetryBudgetLimit | None = None

    def __post_init__(self) -> None:
        for field in ("connections", "pending", "requests", "retries"):
            checks.count(field, getattr(self, field), min_value=0)


class Pool:
    """Counts what is under way against `thresholds`; each of the four is a gate that refuses with `BulkheadFull`.

    `pool.requests` guards calls, `pool.pending` those that wait for a connection, `pool.connections` connects and
    `pool.retries` attempts after the first. Each may be used by hand, in a pipeline, as a decorator, in a `with` block.
    `overflows` counts refusals by kind (Envoy's `upstream_rq_pending_overflow` and its sisters).
    """

    def __init__(self, thresholds: Thresholds | None = None, *, name: str = "pool", runtime: Runtime = SYSTEM) -> None:
        self.name = checks.name(name)
        wanted = "Thresholds(requests=1024)"
        self.thresholds = (
            Thresholds() if thresholds is None else checks.like("thresholds", thresholds, "requests", wanted)
        )
        self.port = Port()
        limits = self.thresholds
        self.connections = Counted(self, "connections", lambda: limits.connections, runtime)
        self.pending = Counted(self, "pending", lambda: limits.pending, runtime)
        self.requests = Counted(self, "requests", lambda: limits.requests, runtime)
        self.retries = Counted(self, "retries", self._retries, runtime)

    def _retries(self) -> int:
        budget = self.thresholds.retry_budget
        if budget is None:
            return self.thresholds.retries
        return max(budget.minimum, int(budget.ratio * (self.requests.active + self.pending.active)))

    @property
    def overflows(self) -> dict[str, int]:
        """How often each kind was refused."""
        return {gate.kind: gate.overflows for gate in self._gates()}

    @property
    def remaining(self) -> dict[str, int]:
        """How many more of each kind there may be now (Envoy's `remaining_…` gauges; 0: open in its words)."""
        return {gate.kind: max(0, gate.limit - gate.active) for gate in self._gates()}

    def _gates(self) -> tuple[Counted, ...]:
        return self.connections, self.pending, self.requests, self.retries

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each refusal from now on; the function returned ends that."""
        return self.port.subscribe(listener)


class Counted(Gate):
    """One of the four counts of a `Pool`."""

    def __init__(self, pool: Pool, kind: str, limit: Callable[[], int], runtime: Runtime) -> None:
        super().__init__(f"{pool.name}/{kind}", runtime=runtime)
        self.kind = kind
        self.port = pool.port
        self.active = 0
        self.overflows = 0
        self._limit = limit
        self._lock = RLock()

    @property
    def limit(self) -> int:
        """How many there may be at once."""
        return self._limit()

    def try_enter(self) -> bool:
        """Count one more, if there may be one more."""
        with self._lock:
            if self.active < self._limit():
                self.active += 1
                return True
            self.overflows += 1
            return False

    def enter(self, now: float = 0.0) -> int:
        """Count one more, or raise `BulkheadFull`."""
        if self.try_enter():
            return 0
        error = BulkheadFull(self.name, f"overflow: all {self.limit} {self.kind} are in use")
        if self.port.listeners:
            self.port.send(CallRejected(self.name, str(error)))
        raise error

    def leave(self, permit: int = 0, verdict: Verdict = Verdict.IGNORED, now: float = 0.0, took: float = 0.0) -> None:
        """Count one less."""
        with self._lock:
            self.active -= 1
