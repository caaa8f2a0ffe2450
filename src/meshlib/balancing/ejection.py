"""Ejection: decides when failures eject an endpoint, when it is probed, and when it is readmitted.

One `ClusterHealth` per cluster is shared by all its endpoints and by every balancer over them. It holds the thresholds,
the probe queue, what is typical in the cluster, and the lock under which endpoints are ejected and readmitted. Calls to
healthy endpoints do not take that lock. The other way to be ejected, by comparison with the rest of the cluster, is
outlier_detection.py; failure accrual for functions is policies/breaker/accrual.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from math import inf, log
from threading import Lock
from typing import TYPE_CHECKING

from .. import forked
from ..events import EndpointEjected, EndpointProbed, EndpointRestored, Port
from ..policies.breaker.accrual import AccrualPolicy
from ..policies.shell import checks
from .ejection_state import EjectionState

if TYPE_CHECKING:
    from .endpoint import Endpoint

_RELAPSE = 10.0  # seconds after a readmission within which the next ejection counts as a relapse
_CREDIT = 0.1  # probes per pick: with half of a cluster down, most calls must still go to healthy endpoints


class ClusterHealth:
    """What the endpoints of one cluster share.

    `decay` is the time constant in seconds with which latency and failures fade. An answer is overdue after the
    smoothed latency plus `deviations` deviations, and at least `slack` seconds. An endpoint is ejected after
    `consecutive_failures` failures in a row (0: never), or when more than `failure_share` (0–1) of its recent calls
    failed and there were at least `minimum_calls` of them. `backoff` is the first and the longest wait for a probe, in
    seconds, doubling in between; a server's `Retry-After` lengthens it to `max_backoff` at most (None: ten times the
    longest wait). `accrual` makes a policy of `meshlib.policies.breaker.accrual` for each endpoint, which replaces
    these four. `penalty` is the cost of a failure in seconds, for balancers that compare latencies. `recheck` is the
    silence in seconds after which the default balancer forgives an endpoint one unusual answer or failure (five times
    as long if the answer was not that unusual).
    """

    __slots__ = (
        "_backoff",
        "_credit",
        "_own",
        "_queue",
        "_swing",
        "_tie",
        "accrual",
        "consecutive_failures",
        "decay",
        "deviations",
        "due",
        "ejected",
        "failure_share",
        "guess",
        "lock",
        "max_backoff",
        "minimum_calls",
        "name",
        "patience",
        "penalty",
        "port",
        "recheck",
        "size",
        "slack",
        "typical",
        "version",
    )

    def __init__(
        self,
        name: str = "cluster",
        *,
        port: Port | None = None,
        decay: float = 10.0,
        deviations: float = 6.0,
        slack: float = 0.02,
        consecutive_failures: int = 5,
        failure_share: float = 0.5,
        minimum_calls: float = 10.0,
        penalty: float = 5.0,
        recheck: float = 2.0,
        backoff: tuple[float, float] = (0.25, 4.0),
        max_backoff: float | None = None,
        accrual: Callable[[], AccrualPolicy] | None = None,
    ) -> None:
        self.name: str = name
        self.port: Port = port or Port()
        self.decay: float = checks.seconds("decay", decay)
        self.deviations: float = checks.number("deviations", deviations, min_value=0.0)
        self.slack: float = checks.seconds("slack", slack)
        self.consecutive_failures: int = checks.count("consecutive_failures", consecutive_failures, min_value=0)
        self.failure_share: float = checks.ratio("failure_share", failure_share)
        self.minimum_calls: float = checks.number("minimum_calls", minimum_calls, min_value=1.0)
        self.penalty: float = checks.seconds("penalty", penalty, zero=True)
        self.recheck: float = checks.seconds("recheck", recheck)
        first, longest = checks.seconds("backoff[0]", backoff[0]), checks.seconds("backoff[1]", backoff[1])
        if longest < first:
            raise ValueError(f"backoff={backoff!r}: expected the longest wait to be no shorter than the first")
        self._own = (self.decay, self.deviations, self.slack, self.penalty, self.recheck)
        self._backoff = (first, longest)
        self.max_backoff: float = 10.0 * longest if max_backoff is None else checks.seconds("max_backoff", max_backoff)
        self.accrual: Callable[[], AccrualPolicy] | None = accrual
        self.lock: Lock = Lock()
        self.size: int = 0  # the number of endpoints
        self.ejected: dict[Endpoint, None] = {}
        self.version: int = 0  # grows with each ejection and readmission
        self.due: float = inf  # when the next probe is due
        self.typical: float = 0.0  # smoothed latency of all endpoints, and its deviation
        self._swing = 0.0
        self.guess: float = 0.0  # log(typical), or log(1 s) before the first answer
        self.patience: float = inf  # seconds until an answer is overdue, for endpoints without data
        self._queue: list[tuple[float, int, Endpoint]] = []
        self._tie = count().__next__
        self._credit = 1.0

    def tune(
        self,
        *,
        decay: float | None = None,
        deviations: float | None = None,
        slack: float | None = None,
        penalty: float | None = None,
        recheck: float | None = None,
    ) -> None:
        """Override the constructor's settings for a balancer; None keeps them."""
        own = self._own
        self.decay = own[0] if decay is None else checks.seconds("decay", decay)
        self.deviations = own[1] if deviations is None else checks.number("deviations", deviations, min_value=0.0)
        self.slack = own[2] if slack is None else checks.seconds("slack", slack)
        self.penalty = own[3] if penalty is None else checks.seconds("penalty", penalty, zero=True)
        self.recheck = own[4] if recheck is None else checks.seconds("recheck", recheck)

    def keep(self, members: Sequence[Endpoint]) -> None:
        """Replace the membership: endpoints that left are no longer probed, ejected ones that came back are."""
        self.size = len(members)
        with self.lock:
            if self.ejected:
                present = set(members)
                for endpoint in [one for one in self.ejected if one not in present]:
                    del self.ejected[endpoint]
                    if endpoint.ejection is not None:
                        endpoint.ejection.due = inf
                    self.version += 1
            for endpoint in members:
                if not endpoint.healthy and endpoint not in self.ejected and endpoint.ejection is not None:
                    self.ejected[endpoint] = None
                    self.version += 1
                    if not endpoint.ejection.held:
                        self._schedule(endpoint, endpoint.ejection, endpoint.ejection.again)

    def _after_fork(self, members: Sequence[Endpoint]) -> None:
        """The probes under way are the parent's: here the next ones go when their backoff is over."""
        if forked.first(self):
            self.lock = Lock()
            self.port._after_fork()
            self.due = self._queue[0][0] if self._queue else inf
        for endpoint in members:
            ejection = endpoint.ejection
            if endpoint.healthy or ejection is None:
                self.ejected.pop(endpoint, None)
            else:
                self.ejected[endpoint] = None
                if not ejection.held and (ejection.probe or ejection.claimed or ejection.due == inf):
                    ejection.state, ejection.claimed, ejection.probe = "ejected", False, 0
                    self._schedule(endpoint, ejection, min(ejection.due, ejection.again))
        self.version += 1  # a thread of the parent may have been stopped just before this

    def observe(self, took: float, first: bool = False) -> None:
        """Record an answer of any endpoint after `took` seconds. The `first` of an endpoint may include the time to
        connect: such times count only while there are no others, and then only the smallest of them."""
        typical, swing = self.typical, self._swing
        if swing:
            if first:
                return
            off = took - typical
            if off > 0.0:
                typical += (off if off < typical else typical) * 0.0625
                swing += (off - swing) * 0.125
            else:
                typical += off * 0.125
                swing -= (off + swing) * 0.125
        elif first:
            typical = min(took, typical or took)
        else:
            typical, swing = took, took / 2
        self.typical, self._swing = typical, swing
        self.guess = log(typical or 1.0)
        if swing:
            spread = self.deviations * swing * (1.0 + 10.0 * swing / (typical or 1.0))
            self.patience = typical + (spread if spread > self.slack else self.slack)

    def reason_to_eject(self, run: int, calls: float, bad: float) -> str | None:
        """Why an endpoint is ejected after `run` failures in a row and `bad` of `calls` recent calls; None: it is not.

        Decides only where no `accrual` policy replaces the thresholds.
        """
        if not self.consecutive_failures:
            return None
        if run >= self.consecutive_failures:
            return f"{run} failures in a row"
        if calls >= self.minimum_calls and bad > calls * self.failure_share:
            return f"{bad / calls:.0%} of the recent calls failed"
        return None

    def may_suspend(self) -> bool:
        """Whether one more slow endpoint may be ejected: at most a fifth of the cluster, but always one."""
        return len(self.ejected) < max(1.0, self.size * 0.2)

    def wait(self, level: int) -> float:
        """Seconds until the probe after `level` earlier ones, before jitter."""
        first, longest = self._backoff
        return float(min(longest, first * 2.0 ** min(level, 64)))

    def probe(self, random: Callable[[], float], now: float) -> Endpoint | None:
        """The ejected endpoint to probe with the next call; `None` if no probe is due.

        The endpoint counts as being probed, and its next backoff starts now. An endpoint has one probe at a time. A
        probe whose answer would be too late to count no longer blocks the next, which goes when its backoff is over.
        Waits are shortened at random by up to a tenth, so that many clients do not probe in step.
        """
        self._credit = credit = min(1.0, self._credit + _CREDIT)
        if now < self.due or credit < 1.0:
            return None
        chosen = None
        with self.lock:
            while chosen is None and self._queue and self._queue[0][0] <= now:
                due, _, endpoint = heappop(self._queue)
                ejection = endpoint.ejection
                if endpoint.healthy or ejection is None or ejection.due != due:
                    continue  # an entry of an earlier ejection
                chosen = endpoint
                self._credit -= 1.0
                ejection.state, ejection.claimed, ejection.probe = "probing", True, 0
                ejection.again = now + self.wait(ejection.level) * (1.0 - 0.1 * random())
                ejection.level += 1
                patience = min(ejection.bound(ejection.since + 1, endpoint.patience, self.typical), self._backoff[1])
                self._schedule(endpoint, ejection, max(ejection.again, now + patience))
                self.port.post(EndpointProbed(self.name, endpoint.address))
            self.due = self._queue[0][0] if self._queue else inf
        self.port.flush()
        return chosen

    # Endpoints call the rest, with the lock held.

    def eject(
        self,
        endpoint: Endpoint,
        ejection: EjectionState,
        state: str,
        reason: str,
        since: int,
        now: float,
        wait: float | None,
    ) -> None:
        ejection.state, ejection.reason, ejection.since = state, reason, since
        ejection.claimed, ejection.probe = False, 0
        if now - ejection.recovered_at > _RELAPSE:
            ejection.level = ejection.relapses = 0
        else:
            ejection.relapses += 1
        self._schedule(endpoint, ejection, now + (self.wait(ejection.level) if wait is None else wait))
        ejection.level += 1
        self.ejected[endpoint] = None
        self.version += 1
        self.port.post(EndpointEjected(self.name, endpoint.address, reason, ejection.due))

    def hold(self, endpoint: Endpoint, ejection: EjectionState, reason: str, until: float) -> None:
        ejection.state, ejection.reason, ejection.due = "ejected", reason, inf
        ejection.claimed, ejection.probe = False, 0
        self.ejected[endpoint] = None
        self.version += 1
        self.port.post(EndpointEjected(self.name, endpoint.address, reason, until))

    def refused(self, endpoint: Endpoint, ejection: EjectionState, now: float, wait: float | None) -> None:
        """A probe was refused because of too many calls: the next goes after one more backoff."""
        if not ejection.claimed and ejection.due <= now:
            ejection.level += 1
            ejection.again = max(ejection.again, now + (self.wait(ejection.level - 1) if wait is None else wait))
            self._schedule(endpoint, ejection, ejection.again)

    def postpone(self, endpoint: Endpoint, ejection: EjectionState, seconds: float, now: float) -> None:
        later = now + min(seconds, self.max_backoff)
        ejection.again = max(ejection.again, later)
        if not ejection.probe and not ejection.claimed and later > ejection.due:
            self._schedule(endpoint, ejection, later)

    def readmit(self, endpoint: Endpoint, ejection: EjectionState, now: float) -> None:
        ejection.recovered_at, ejection.due = now, inf
        self.ejected.pop(endpoint, None)
        self.version += 1
        self.port.post(EndpointRestored(self.name, endpoint.address))

    def return_probe(self, endpoint: Endpoint, ejection: EjectionState, now: float, *, lost: bool) -> None:
        """The probe failed. If it was cancelled (`lost`), the next may go at once."""
        ejection.probe, ejection.state = 0, "ejected"
        if lost:
            ejection.level -= 1
        self._schedule(endpoint, ejection, now if lost else max(now, ejection.again))

    def _schedule(self, endpoint: Endpoint, ejection: EjectionState, due: float) -> None:
        ejection.due = due
        heappush(self._queue, (due, self._tie(), endpoint))
        self.due = self._queue[0][0]
