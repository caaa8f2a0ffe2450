"""Who of a cluster is ill, when is the next probe due, and what is usual in this cluster?

One `ClusterHealth` per cluster is shared by all its endpoints and by every balancer over them. It holds the settings of
failure accrual, the queue of probes, and the one lock under which endpoints fall ill and recover. The healthy never
come here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from math import inf, log
from threading import Lock
from typing import TYPE_CHECKING

from ..events import EndpointEjected, EndpointProbed, EndpointRestored, Port
from ..policies.breaker.accrual import AccrualPolicy
from ..policies.shell import checks

if TYPE_CHECKING:
    from .endpoint import Endpoint

_RELAPSE = 10.0  # seconds for which one must have been well, if the next illness is to be a new one
_CREDIT = 0.1  # probes per pick: with half of a cluster down, probing must not eat the traffic


class EjectionState:
    """One endpoint's state while it is ill, and its memory of that afterwards."""

    __slots__ = (
        "again",
        "claimed",
        "due",
        "held",
        "level",
        "probe",
        "reason",
        "recovered_at",
        "relapses",
        "since",
        "state",
    )

    def __init__(self) -> None:
        self.state = self.reason = ""
        self.since = 0  # permits above this one were given after it fell ill
        self.level = 0  # how many backoffs have been used
        self.due = inf  # when it may be probed
        self.again = 0.0  # while a probe is under way: when the next may go, if this one comes back bad
        self.probe = 0  # the probe's permit
        self.claimed = False  # a balancer has picked it as a probe, and the call has not entered yet
        self.recovered_at = -inf  # when it last recovered
        self.relapses = 0  # how often it fell ill again soon after that
        self.held: tuple[str, ...] = ()  # who else keeps it out of the rotation

    def bound(self, permit: int, patience: float, typical: float) -> float:
        """How long an answer may have taken in order to count as good.

        A probe may be three times slower than what is typical in the cluster: that is a matter for weighing, not for
        exclusion. An answer to an older call counts if it was only a little late.
        """
        if permit > self.since:
            return max(patience, 3.0 * typical) or inf
        return 2.0 * patience if self.state == "slow" else -1.0


class ClusterHealth:
    """What the endpoints of one cluster share.

    `decay` is the time constant in seconds with which latency and failures are forgotten. An answer is overdue after
    the smoothed time plus `deviations` deviations, but at least `slack` seconds more than usual. An endpoint is
    ejected after `failures` failures in a row (0: never), or when more than `failure_share` of its recent calls failed
    and there were at least `volume` of them. `backoff` is the first and the longest wait for a probe, in seconds; it
    doubles in between, and a server's `Retry-After` lengthens it to `longest` at most (None: ten times the longest
    wait). `accrual` makes a policy of `meshlib.policies.breaker.accrual` for each endpoint, which then judges
    failures and says how long to wait, instead of these four. `penalty` is the price of a failure in seconds, for
    balancers that weigh latency, and `recheck` the silence in seconds after which the default balancer looks again at
    an endpoint that one odd answer or failure has made dear (five times as long if the answer was not that odd).
    """

    __slots__ = (
        "_backoff",
        "_credit",
        "_own",
        "_queue",
        "_swing",
        "_tie",
        "accrual",
        "decay",
        "deviations",
        "due",
        "ejected",
        "failure_share",
        "failures",
        "guess",
        "lock",
        "longest",
        "name",
        "patience",
        "penalty",
        "port",
        "recheck",
        "size",
        "slack",
        "typical",
        "version",
        "volume",
    )

    def __init__(
        self,
        name: str = "cluster",
        *,
        port: Port | None = None,
        decay: float = 10.0,
        deviations: float = 6.0,
        slack: float = 0.02,
        failures: int = 5,
        failure_share: float = 0.5,
        volume: float = 10.0,
        penalty: float = 5.0,
        recheck: float = 2.0,
        backoff: tuple[float, float] = (0.25, 4.0),
        longest: float | None = None,
        accrual: Callable[[], AccrualPolicy] | None = None,
    ) -> None:
        self.name = name
        self.port = port or Port()
        self.decay = checks.seconds("decay", decay)
        self.deviations = checks.number("deviations", deviations, min_value=0.0)
        self.slack = checks.seconds("slack", slack)
        self.failures = checks.count("failures", failures, min_value=0)
        self.failure_share = checks.ratio("failure_share", failure_share)
        self.volume = checks.number("volume", volume, min_value=1.0)
        self.penalty = checks.seconds("penalty", penalty, zero=True)
        self.recheck = checks.seconds("recheck", recheck)
        first, most = checks.seconds("backoff[0]", backoff[0]), checks.seconds("backoff[1]", backoff[1])
        if most < first:
            raise ValueError(f"backoff={backoff!r}: expected the longest wait to be no shorter than the first")
        self._own = (self.decay, self.deviations, self.slack, self.penalty, self.recheck)
        self._backoff = (first, most)
        self.longest = 10.0 * most if longest is None else checks.seconds("longest", longest)
        self.accrual = accrual
        self.lock = Lock()
        self.size = 0  # how many endpoints there are
        self.ejected: dict[Endpoint, None] = {}
        self.version = 0  # grows whenever somebody falls ill or recovers
        self.due = inf  # when the next probe is due
        self.typical = self._swing = 0.0  # smoothed time of an answer from any endpoint, and its deviation
        self.guess = 0.0  # the logarithm of it, or of one second
        self.patience = inf  # for endpoints about which nothing is known yet
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
        """What a balancer wants otherwise than the constructor said; None: as that said."""
        own = self._own
        self.decay = own[0] if decay is None else checks.seconds("decay", decay)
        self.deviations = own[1] if deviations is None else checks.number("deviations", deviations, min_value=0.0)
        self.slack = own[2] if slack is None else checks.seconds("slack", slack)
        self.penalty = own[3] if penalty is None else checks.seconds("penalty", penalty, zero=True)
        self.recheck = own[4] if recheck is None else checks.seconds("recheck", recheck)

    def keep(self, members: Sequence[Endpoint]) -> None:
        """These are the cluster now: whoever left is not probed any more, whoever came back ill is."""
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

    def observe(self, took: float, first: bool = False) -> None:
        """An answer took `took` seconds, whoever gave it. The `first` of an endpoint may have opened a connection:
        such times count only as long as there are no others, and then the least of them."""
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

    def may_suspend(self) -> bool:
        """Suspending the slow is for a few that stand out: at most a fifth of the cluster, but always one."""
        return len(self.ejected) < max(1.0, self.size * 0.2)

    def wait(self, level: int) -> float:
        """Seconds until the probe after `level` earlier ones, before jitter."""
        first, longest = self._backoff
        return float(min(longest, first * 2.0 ** min(level, 64)))

    def probe(self, random: Callable[[], float], now: float) -> Endpoint | None:
        """Whom a balancer shall ask next in order to see whether it is well; `None` if nobody is due.

        Whoever is returned counts as being probed, and the next backoff runs from now on. There is one probe at a
        time, but one that has not come back when its answer would be too late to be a good one does not bar the way any
        longer: the next goes when its backoff is over. The waits are shortened at random by up to a tenth, so that many
        clients do not probe in step.
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
                    continue  # an entry of an earlier illness
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

    # The rest is called by endpoints, with the lock held.

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
        """The call that has just been given back was refused because of too many calls: not before the backoff is over
        again, if it was the probe."""
        if not ejection.claimed and ejection.due <= now:
            ejection.level += 1
            ejection.again = max(ejection.again, now + (self.wait(ejection.level - 1) if wait is None else wait))
            self._schedule(endpoint, ejection, ejection.again)

    def postpone(self, endpoint: Endpoint, ejection: EjectionState, seconds: float, now: float) -> None:
        later = now + min(seconds, self.longest)
        ejection.again = max(ejection.again, later)
        if not ejection.probe and not ejection.claimed and later > ejection.due:
            self._schedule(endpoint, ejection, later)

    def readmit(self, endpoint: Endpoint, ejection: EjectionState, now: float) -> None:
        ejection.recovered_at, ejection.due = now, inf
        self.ejected.pop(endpoint, None)
        self.version += 1
        self.port.post(EndpointRestored(self.name, endpoint.address))

    def return_probe(self, endpoint: Endpoint, ejection: EjectionState, now: float, *, lost: bool) -> None:
        """The probe told nothing good. A cancelled one told nothing at all: the next may go at once."""
        ejection.probe, ejection.state = 0, "ejected"
        if lost:
            ejection.level -= 1
        self._schedule(endpoint, ejection, now if lost else max(now, ejection.again))

    def _schedule(self, endpoint: Endpoint, ejection: EjectionState, due: float) -> None:
        ejection.due = due
        heappush(self._queue, (due, self._tie(), endpoint))
        self.due = self._queue[0][0]
