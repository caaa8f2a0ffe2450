"""Endpoint: one address of a cluster, its calls in flight, its statistics and its ejection.

An `Endpoint` outlives balancers and snapshots: it is carried over by address, so that calls in flight, latency and an
ejection are kept. Every balancer reads the same object. endpoint_stats.py holds the arithmetic, ejection.py the
thresholds and the probe queue.

Each attempt calls `enter` before it is sent and `leave` when it is over. From these two an endpoint computes

* how many calls are in flight (`pending`),
* what a call costs (`penalized_latency`: peak-sensitive latency as in Finagle, plus a penalty for failures),
* what is usual (smoothed time and deviation, as TCP keeps them) and hence when the oldest unanswered call is overdue,
* whether it is ejected: after too many failures ("ejected") or by an overdue answer ("slow"). An ejected endpoint gets
  one probe per backoff and is readmitted by one good answer.

Hot paths read the flag `healthy`; everything else about ejection is behind it and behind the lock of `ClusterHealth`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from math import inf, log
from typing import Any

from ..call import IGNORED, SUCCESS, Verdict
from ..policies.breaker.accrual import AccrualPolicy
from ..policies.shell import checks
from .ejection import ClusterHealth
from .ejection_state import EjectionState
from .endpoint_stats import CROWD, CROWDS, MANY, NEVER, EndpointStats

NO_LABELS: Mapping[str, str] = {}
RELAPSE = 4.0  # failures that a relapse counts for
_NO_CLUSTER = ClusterHealth()  # of endpoints that belong to no cluster and got no call; never changed
_ANSWERED = inf  # in `_open`: the headers have come, so the latency is known


class Endpoint(EndpointStats):
    """One address of a cluster, and all of it that outlives a snapshot.

    `address` is its identity: "host:port", or "unix:/path" (then `port` is 0). `weight` is its share of the traffic,
    relative to the others; 0 means no traffic unless there is no other endpoint. `labels` are its metadata (version,
    env …). `carrier` is free for the code that sends: the simulator keeps its server there.
    """

    __slots__ = (
        "__weakref__",
        "_permit",
        "_run_from",
        "accrual",
        "address",
        "carrier",
        "ejection",
        "host",
        "labels",
        "port",
        "priority",
        "weight",
        "zone",
    )  # fmt: skip

    def __init__(
        self,
        host: str,
        port: int = 0,
        *,
        weight: float = 1.0,
        labels: Mapping[str, str] = NO_LABELS,
        zone: str = "",
        priority: int = 0,
        health: ClusterHealth | None = None,
    ) -> None:
        self.host: str = host
        self.port: int = checks.count("port", port, min_value=0)
        self.address: str = (
            host if host.startswith("unix:") else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        )
        self.weight: float = checks.number("weight", weight, min_value=0.0)
        self.labels: Mapping[str, str] = labels
        self.zone: str = zone
        self.priority: int = checks.count("priority", priority, min_value=0)
        self.carrier: Any = None
        super().__init__(health or _NO_CLUSTER)
        self.accrual: AccrualPolicy | None = self.health.accrual and self.health.accrual()
        self._run_from = 0  # the permit of the first failure of the run
        self.ejection: EjectionState | None = (
            None  # kept after recovery, because it remembers how long to wait next time
        )
        self._permit = count(1)

    def __repr__(self) -> str:
        return f"<Endpoint {self.address} {self.state}, {self.pending} in flight>"

    @property
    def state(self) -> str:
        """Display text: "ok", "slow" (ejected by an overdue answer), "ejected" or "probing"."""
        ejection = self.ejection
        return "ok" if self.healthy or ejection is None else ejection.state

    def enter(self, now: float) -> int:
        """A call is about to be sent. Returns the permit, with which it must `leave`."""
        permit = next(self._permit)
        waiting = self._waiting
        waiting[permit] = now
        calls = len(waiting) + len(self._open)
        if calls < MANY and self.scale == 1.0 and not self._reported:
            self.cost: float = self._base + CROWDS[calls]
        else:
            calls -= self._reported
            self.cost = self._base + CROWD * log(calls * self.scale + 1.0 if calls > 0 else 1.0)
        if self._oldest == inf:
            self._oldest = now
            if self.stamp == NEVER:
                if self.health is _NO_CLUSTER:
                    self.health: ClusterHealth = ClusterHealth()
            elif self.healthy:
                self.late_at: float = now + self.peak
        if not self.healthy:
            self._enter_ejected(permit)
        return permit

    def answered(self, permit: int, now: float) -> None:
        """Record that the headers have come and the body is on its way. Optional: `leave` alone suffices."""
        started = self._waiting.pop(permit, None)
        if started is not None:
            self._set_aside(permit, _ANSWERED if self.healthy else started)
            if self.healthy:
                self._record_answer(permit, now - started, now)

    def leave(self, permit: int, verdict: Verdict, now: float, took: float) -> None:
        """The call is over: `verdict` says how it ended, `took` is the time to its headers in seconds.

        `IGNORED` (cancelled, or refused by a policy) gives the permit back and counts neither way. A second `leave` is
        harmless.
        """
        started = self._waiting.pop(permit, None)
        if started is None:
            started = self._open.pop(permit, None)
            if started is None:
                with self._moving:  # another thread may be moving it
                    started = self._open.pop(permit, None)
                if started is None:
                    return
        if not self.healthy:
            self._leave_ejected(permit, verdict, now, took)
        elif verdict is SUCCESS:
            if self.run and permit > self._run_from:
                self.run: int = 0
            if self.accrual is not None:
                self.accrual.success(now)
            if started == _ANSWERED:
                self._update_cost()
                return
            if permit & 7 == 2 or permit < 16:  # the first and every eighth suffice for what is typical
                self.health.observe(took, permit == 1)
            self._record_answer(permit, took, now)
        else:
            if verdict is not IGNORED:
                self._count_failure(permit, took, now)
            self._watch()
            self._update_cost()

    def current_cost(self, now: float) -> float:
        """The cost as of `now`, where `cost` alone is not enough: `inf` if ejected, a guess without data.

        While an answer is late, its age is the least that a call costs; once it is overdue, the endpoint is ejected.
        """
        if not self.healthy:
            return inf
        health = self.health
        calls = len(self._waiting) + len(self._open)
        if self.stamp == -inf:
            cost = health.guess + now / health.decay
            if calls:
                return cost + (1.0 + CROWD) * log(calls * self.scale + 1.0)
            if self._considered_at == inf:
                self._considered_at = now
            return cost - (now - self._considered_at) / health.recheck  # falls, so that its first call comes soon
        age = now - self._oldest
        if age == -inf:
            if not calls:
                self._fade(now)
            return self.cost
        if age > self.patience and health.may_suspend():
            self.eject("slow", f"no answer for {age:.3f} s", now)
            return inf
        late = log(max(age, 1e-9)) + now / health.decay + CROWD * log(calls * self.scale + 1.0)
        return max(self.cost, late)

    def _count_failure(self, permit: int, took: float, now: float) -> None:
        self._record_failure(took, now)
        if not self.run:
            self._run_from = permit
        self.run = run = self.run + 1
        if self.accrual is not None:
            wait = self.accrual.failure(now)
            if wait is not None:
                self.eject("ejected", "failure accrual", now, wait)
            return
        reason = self.health.reason_to_eject(run, self._calls, self._bad)
        if reason is not None:
            self.eject("ejected", reason, now)

    # What follows concerns ejection only, under the lock of `ClusterHealth`.

    def eject(self, state: str, reason: str, now: float, wait: float | None = None) -> None:
        """Eject until a probe succeeds; the first probe goes after `wait` seconds (`None`: the cluster's backoff)."""
        health = self.health
        with health.lock:
            if self.healthy:
                if self.ejection is None:
                    self.ejection = EjectionState()
                self.healthy: bool = False
                self.late_at = -inf
                health.eject(self, self.ejection, state, reason, next(self._permit), now, wait)
        health.port.flush()

    def hold(self, by: str, now: float, reason: str, until: float = inf) -> None:
        """Eject without probes, on behalf of `by` (outlier detection, a health check, discovery).

        It is readmitted when each `by` has called `release`. `until` only goes into the event.
        """
        health = self.health = ClusterHealth() if self.health is _NO_CLUSTER else self.health
        with health.lock:
            ejection = self.ejection = self.ejection or EjectionState()
            if by in ejection.held:
                return
            ejection.held = (*ejection.held, by)
            self.healthy = False
            self.late_at = -inf
            health.hold(self, ejection, reason, until)
        health.port.flush()

    def release(self, by: str, now: float) -> None:
        """End the hold of `by`. After the last one the endpoint is readmitted, and earlier failures are forgotten."""
        health = self.health
        with health.lock:
            ejection = self.ejection
            if ejection is None or by not in ejection.held:
                return
            ejection.held = tuple(other for other in ejection.held if other != by)
            if not ejection.held:
                self.run = 0
                if self.accrual is not None:
                    self.accrual.revived(now)
                self._recover()
                health.readmit(self, ejection, now)
        health.port.flush()

    def postpone(self, seconds: float, now: float) -> None:
        """Delay the next probe by the server's `Retry-After`, `max_backoff` at most."""
        health = self.health
        with health.lock:
            if not self.healthy and self.ejection is not None and not self.ejection.held:
                health.postpone(self, self.ejection, seconds, now)

    def limited(self, now: float) -> None:
        """Record that the server refused a call because of too many (HTTP 429); call it after `leave`.

        It is no failure, but an accrual policy may count it (`UnifiedAccrual`). A probe refused so has failed.
        """
        if not self.healthy:
            health = self.health
            with health.lock:
                ejection = self.ejection
                if not self.healthy and ejection is not None and not ejection.held:
                    health.refused(self, ejection, now, self._after_bad_probe(now))
            return
        limited = getattr(self.accrual, "limited", None)
        if limited is not None:
            wait = limited(now)
            if wait is not None:
                self.eject("ejected", "too many calls answered by 429", now, wait)

    def _after_bad_probe(self, now: float) -> float | None:
        """Seconds until the next probe after a failed one, by the accrual policy; None: the cluster's backoff."""
        accrual = self.accrual
        if accrual is None:
            return None
        bad_probe: Callable[[float], float | None] = getattr(accrual, "bad_probe", accrual.failure)
        return bad_probe(now)

    def _enter_ejected(self, permit: int) -> None:
        with self.health.lock:
            ejection = self.ejection
            if not self.healthy and ejection is not None and ejection.claimed:
                ejection.claimed = False
                ejection.probe = permit

    def _leave_ejected(self, permit: int, verdict: Verdict, now: float, took: float) -> None:
        health = self.health
        with health.lock:
            ejection = self.ejection
            if self.healthy or ejection is None or ejection.held:
                return
            bound = ejection.bound(permit, self.patience, health.typical)
            if verdict is SUCCESS and took <= bound:
                if self.accrual is not None:
                    self.accrual.revived(now)
                self.run = 0
                self._recover()
                # Each relapse counts as `RELAPSE` failures, until good answers outweigh them.
                self._bad = RELAPSE * min(ejection.relapses, 4)
                self.latency = took
                self.peak: float = took
                self._record_answer(permit, took, now)
                health.readmit(self, ejection, now)
            elif permit == ejection.probe:
                if verdict is not IGNORED:
                    wait = self._after_bad_probe(now)
                    if wait is not None:
                        ejection.again = now + wait
                # A probe cancelled after its answer was overdue has failed; one cancelled earlier is lost.
                health.return_probe(self, ejection, now, lost=verdict is IGNORED and took <= self.patience)
        health.port.flush()
