"""What do we know about one address: who it is, what it is doing for us, how quick it is, and is it well?

An `Endpoint` outlives balancers and pictures of the world: it is carried over by address, so that a call in flight,
a latency average or an ejection is never forgotten. Every balancer reads the same object.

Each attempt says `enter` before it sends and `leave` when it is over. From these two an endpoint learns

* how many calls are in flight (`pending`),
* what a call costs (`burden`: peak-sensitive latency, after Finagle's PeakEwma, plus a price for failures),
* what is usual (smoothed time and deviation, as TCP keeps them) and hence when the oldest unanswered call is overdue,
* whether it is ill: too many failures (ejected) or an overdue answer (slow). An ill endpoint gets one probe per backoff
  and is back after one good answer.

`healthy` is the flag that hot paths glance at; everything else about illness is behind it and behind the ward's lock.
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
_NO_WARD = ClusterHealth()  # of endpoints that belong to no cluster and were never asked; never changed
_HEARD = inf  # in `_open`: the headers have come and the latency is known already


class Endpoint(EndpointStats):
    """One address of a cluster, and everything that outlives a picture of the world.

    `address` is its identity: "host:port", or "unix:/path" (then `port` is 0). `weight` is its share of the traffic,
    relative to the others; 0 means no traffic unless nobody else is left. `labels` say what it is (version, env …).
    `carrier` belongs to whoever sends: the HTTP room keeps the connection pool there.
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
        self.host = host
        self.port = checks.count("port", port, min_value=0)
        self.address = host if host.startswith("unix:") else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.weight = checks.number("weight", weight, min_value=0.0)
        self.labels = labels
        self.zone = zone
        self.priority = checks.count("priority", priority, min_value=0)
        self.carrier: Any = None
        super().__init__(health or _NO_WARD)
        self.accrual: AccrualPolicy | None = self.health.accrual and self.health.accrual()
        self._run_from = 0  # the permit of that first one
        self.ejection: EjectionState | None = (
            None  # kept after recovery, because it remembers how long to wait next time
        )
        self._permit = count(1)

    def __repr__(self) -> str:
        return f"<Endpoint {self.address} {self.state}, {self.pending} in flight>"

    @property
    def state(self) -> str:
        """For people: "ok", "slow" (an answer is overdue), "ejected", or "probing"."""
        ejection = self.ejection
        return "ok" if self.healthy or ejection is None else ejection.state

    def enter(self, now: float) -> int:
        """A call is about to be sent. Returns the permit, with which it must `leave`."""
        permit = next(self._permit)
        waiting = self._waiting
        waiting[permit] = now
        calls = len(waiting) + len(self._open)
        if calls < MANY and self.scale == 1.0 and not self._told:
            self.price = self._base + CROWDS[calls]
        else:
            calls -= self._told
            self.price = self._base + CROWD * log(calls * self.scale + 1.0 if calls > 0 else 1.0)
        if self._oldest == inf:
            self._oldest = now
            if self.stamp == NEVER:
                if self.health is _NO_WARD:
                    self.health = ClusterHealth()
            elif self.healthy:
                self.late_at = now + self.peak
        if not self.healthy:
            self._enter_ill(permit)
        return permit

    def heard(self, permit: int, now: float) -> None:
        """The headers have come; the body may take its time. Optional: `leave` alone is enough for short answers."""
        started = self._waiting.pop(permit, None)
        if started is not None:
            self._set_aside(permit, _HEARD if self.healthy else started)
            if self.healthy:
                self._answered(permit, now - started, now)

    def leave(self, permit: int, verdict: Verdict, now: float, took: float) -> None:
        """The call is over: `verdict` says how it ended, `took` is the time to its headers in seconds.

        `IGNORED` (cancelled, refused by ourselves) gives the permit back and is evidence of nothing. Leaving twice
        is harmless.
        """
        started = self._waiting.pop(permit, None)
        if started is None:
            started = self._open.pop(permit, None)
            if started is None:
                with self._moving:  # another thread may have had it in its hands
                    started = self._open.pop(permit, None)
                if started is None:
                    return
        if not self.healthy:
            self._leave_ill(permit, verdict, now, took)
        elif verdict is SUCCESS:
            if self.run and permit > self._run_from:
                self.run = 0
            if self.accrual is not None:
                self.accrual.success(now)
            if started == _HEARD:
                self._reprice()
                return
            if permit & 7 == 2 or permit < 16:  # some first and every eighth: plenty to know what is usual here
                self.health.observe(took, permit == 1)
            self._answered(permit, took, now)
        else:
            if verdict is not IGNORED:
                self._blame(permit, took, now)
            self._watch()
            self._reprice()

    def reckon(self, now: float) -> float:
        """The price, where it needs a second look: `inf` for the ill, and a guess for those without data.

        While an answer is late, its age is the least that a call costs; once it is overdue, the endpoint is taken out.
        """
        if not self.healthy:
            return inf
        health = self.health
        calls = len(self._waiting) + len(self._open)
        if self.stamp == -inf:
            price = health.guess + now / health.decay
            if calls:
                return price + (1.0 + CROWD) * log(calls * self.scale + 1.0)
            if self._met == inf:
                self._met = now
            return price - (now - self._met) / health.recheck  # it shall not wait for long until somebody tries it
        age = now - self._oldest
        if age == -inf:
            if not calls:
                self._rest(now)
            return self.price
        if age > self.patience and health.may_suspend():
            self.eject("slow", f"no answer for {age:.3f} s", now)
            return inf
        late = log(max(age, 1e-9)) + now / health.decay + CROWD * log(calls * self.scale + 1.0)
        return max(self.price, late)

    def _blame(self, permit: int, took: float, now: float) -> None:
        self._failed(took, now)
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

    # What follows happens only to the ill, under the ward's lock.

    def eject(self, state: str, reason: str, now: float, wait: float | None = None) -> None:
        """Take it out of the rotation until a probe comes back well; the first goes after `wait` seconds (`None`: the
        ward's backoff)."""
        health = self.health
        with health.lock:
            if self.healthy:
                if self.ejection is None:
                    self.ejection = EjectionState()
                self.healthy = False
                self.late_at = -inf
                health.eject(self, self.ejection, state, reason, next(self._permit), now, wait)
        health.port.flush()

    def hold(self, by: str, now: float, reason: str, until: float = inf) -> None:
        """Somebody else takes it out of the rotation (outlier detection, a health check, discovery): no probes.

        It is back when everybody who held it has called `release`. `until` is only told.
        """
        health = self.health = ClusterHealth() if self.health is _NO_WARD else self.health
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
        """The one who held it has no objection any more. Whatever failed before is forgotten."""
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
        """The server said `Retry-After`: no probe before that, as far as `max_backoff` allows."""
        health = self.health
        with health.lock:
            if not self.healthy and self.ejection is not None and not self.ejection.held:
                health.postpone(self, self.ejection, seconds, now)

    def limited(self, now: float) -> None:
        """The server refused a call because there are too many (HTTP 429): no failure, but an accrual policy may have
        an opinion (`UnifiedAccrual`). To be told after `leave`; a probe that was refused so was a bad one."""
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
        """What the accrual policy has to say to a bad probe: seconds until the next, or None for the ward's backoff."""
        accrual = self.accrual
        if accrual is None:
            return None
        bad_probe: Callable[[float], float | None] = getattr(accrual, "bad_probe", accrual.failure)
        return bad_probe(now)

    def _enter_ill(self, permit: int) -> None:
        with self.health.lock:
            ejection = self.ejection
            if not self.healthy and ejection is not None and ejection.claimed:
                ejection.claimed = False
                ejection.probe = permit

    def _leave_ill(self, permit: int, verdict: Verdict, now: float, took: float) -> None:
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
                # Each relapse weighs like so many failures, until good answers outweigh it.
                self._bad = RELAPSE * min(ejection.relapses, 4)
                self.cost = self.peak = took
                self._answered(permit, took, now)
                health.readmit(self, ejection, now)
            elif permit == ejection.probe:
                if verdict is not IGNORED:
                    wait = self._after_bad_probe(now)
                    if wait is not None:
                        ejection.again = now + wait
                # A probe that was given up after it should have come back has told enough.
                health.return_probe(self, ejection, now, lost=verdict is IGNORED and took <= self.patience)
        health.port.flush()
