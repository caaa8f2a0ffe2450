"""Endpoint statistics: calls in flight, latency, failures and cost of one endpoint, as numbers and arithmetic.

`Endpoint` (endpoint.py) calls these methods and decides on ejection.
"""

from __future__ import annotations

from math import exp, inf, log
from threading import RLock

from .. import forked
from .ejection import ClusterHealth
from .load_report import LoadReport

CROWD = 1.5  # the power with which calls in flight count; 1 would be Finagle's rule. See docs/balancing.md
SHARED = 0.6  # the same for requests in flight that a server reports, which are older
REST = 0.05  # time constants of silence after which a cost is computed again: it has faded by 5 %
FRESH = 1.0  # seconds for which a report is believed
NEVER = -inf  # the stamp before the first answer
MANY = 128  # below so many calls in flight, CROWD × log is looked up, see `_update_cost`
CROWDS = tuple(CROWD * log(calls + 1.0) for calls in range(MANY))  # where all weights are equal

_NONE: dict[int, float] = {}  # placeholder until an endpoint needs a dict of its own; never changed


class EndpointStats:
    """The numbers of one endpoint. Every update is safe under threads: at worst one sample is lost to another."""

    __slots__ = (
        "_bad",
        "_base",
        "_calls",
        "_considered_at",
        "_moving",
        "_oldest",
        "_open",
        "_reported",
        "_srtt",
        "_swing",
        "_unit",
        "_waiting",
        "cost",
        "health",
        "healthy",
        "late_at",
        "latency",
        "peak",
        "report",
        "run",
        "scale",
        "stamp",
    )

    def __init__(self, health: ClusterHealth) -> None:
        self.health: ClusterHealth = health
        self._waiting: dict[int, float] = {}  # permit: when it started. In the order of the permits.
        self._open = _NONE  # the same for calls that are not watched: body on its way, or overtaken
        self._moving = RLock()  # held while another call moves a call from the first to the second; may be taken under
        # `health.lock`, never the reverse. Reentrant: garbage collection may end calls at any time.
        self._oldest = inf  # when the oldest watched call was sent
        self.healthy: bool = True
        self.late_at: float = -inf  # from then on `current_cost` replaces `cost`
        self.cost: float = 0.0  # of one more call, a logarithm; only comparisons have a meaning, see `_update_cost`
        self._base = 0.0  # the part of the cost that does not depend on calls in flight
        self.scale: float = 1.0  # the mean weight of the cluster ÷ ours
        self.latency: float = 0.0  # peak-sensitive latency in seconds, as of `stamp`
        self.peak: float = 0.0  # the same, but `_forgive` lowers it after `recheck` seconds of silence
        self.stamp: float = NEVER  # of the last observation
        self._considered_at = inf  # without data: first comparison; with: last update that `_forgive` saw
        self.run: int = 0  # failures in a row, that is without a success among the calls sent after the first of them
        self._calls = self._bad = 0.0  # outcomes and failures, both forgotten with time constant `decay`
        self._srtt = self._swing = 0.0  # smoothed latency and its mean deviation, in seconds
        self.report: LoadReport | None = None  # the server's newest load report
        self._unit = 0.0  # latency ÷ (reported requests in flight + 1)^SHARED, smoothed
        self._reported = 0  # own calls that the report includes

    @property
    def pending(self) -> int:
        """Calls in flight: entered, and not left."""
        return len(self._waiting) + len(self._open)

    def _after_fork(self) -> None:
        """The calls in flight are the parent's: they leave there. What they have taught stays."""
        if forked.first(self):
            self._moving = RLock()
            self._waiting, self._open, self._oldest, self._reported = {}, _NONE, inf, 0
            self._update_cost()

    @property
    def penalized_latency(self) -> float:
        """Latency plus the penalty of recent failures, in seconds."""
        return self.peak + self.health.penalty * self._bad / (self._calls + 1.0)

    @property
    def patience(self) -> float:
        """Seconds after which an answer is overdue and the endpoint is ejected (`inf`: no data yet).

        The larger of the endpoint's and the cluster's usual: where latency varies much, a long wait proves nothing.
        """
        health = self.health
        if not self._srtt:
            return health.patience
        return max(
            self._srtt + max(health.deviations * self._swing, health.slack), health.patience if health.typical else 0.0
        )

    def ewma(self, now: float) -> float:
        """Peak-sensitive latency in seconds, as of `now`; 0.0 if there was no answer yet. Reading never writes."""
        return self.latency * exp(min(0.0, self.stamp - now) / self.health.decay)

    def record_report(self, report: LoadReport, now: float) -> None:
        """Record a load report from a response or a probe.

        The server sees the calls of all its clients, so its requests in flight replace the own count in the cost.
        """
        self.report = report
        if report.in_flight is not None and self._unit:
            # The call whose answer carries the report is still counted here, but no longer by the server.
            self._reported = max(0, len(self._waiting) + len(self._open) - 1)
            self._base = log(self._expected(report.in_flight) or 1e-9) + now / self.health.decay
            self._update_cost()

    def _record_answer(self, permit: int, took: float, now: float) -> None:
        """Record a good answer after `took` seconds.

        If it came in time, it proves the endpoint alive for the calls that were sent before it: they are long, not
        overdue, and no longer watched. Inlines the usual case of `_update_cost`, because it runs with every call.
        """
        health = self.health
        decay = health.decay
        ago = self.stamp - now
        kept = exp(ago / decay) if ago < 0.0 else 1.0
        latency, peak, usual = self.latency, self.peak, self._srtt
        self.latency = took if took > latency else took + (latency - took) * kept
        if usual:
            off, swing = took - usual, self._swing
            if off > 0.0:  # one far outlier raises the usual by half at most
                self._srtt = usual + (off * 0.125 if off < 4.0 * usual else usual * 0.5)
                self._swing = swing + (off - swing) * 0.25
            else:
                self._srtt = usual + off * 0.125
                self._swing = swing - (off + swing) * 0.25
        elif kept:  # the second call: the first may include the time to connect
            self._srtt = peak = took
            self._swing = took * 0.5
        self.peak = peak = latency = took if took > peak else took + (peak - took) * kept
        self._calls = calls = self._calls * kept + 1.0
        if self._bad:
            self._bad = bad = self._bad * kept
            latency += health.penalty * bad / (calls + 1.0)
        self.stamp = now
        if self.report is not None:
            latency = self._compare(self.report, took, now) or latency
        self._base = cost = log(latency or 1e-9) + now / decay
        waiting, oldest = self._waiting, inf
        if waiting:
            try:
                for first, oldest in waiting.items():  # only the first: half the cost of next(iter())
                    if first < permit and took <= 2.0 * self._srtt:
                        oldest = self._overtake(permit)
                    break
                self._oldest = oldest
            except (KeyError, RuntimeError):
                oldest = self._oldest  # another thread changed it, and updates `_oldest` itself
        else:
            self._oldest = inf
            if not self._open:  # no other call is in flight
                self._reported = 0
                self.cost = cost
                if self.healthy:
                    self.late_at = now + REST * decay
                return
        calls = len(waiting) + len(self._open)
        if calls < MANY and self.scale == 1.0 and not self._reported:
            self.cost = cost + CROWDS[calls]
            if self.healthy:
                self.late_at = now + REST * decay if oldest == inf else oldest + peak
        else:
            self._update_cost()

    def _expected(self, in_flight: float) -> float:
        """The latency to expect at so many requests in service, plus the penalty of recent failures."""
        return self._unit * float((in_flight + 1.0) ** SHARED) + self.health.penalty * self._bad / (self._calls + 1.0)

    def _compare(self, report: LoadReport, took: float, now: float) -> float:
        """The cost in seconds by the reported load, which this answer calibrates; 0.0 if the report is too old."""
        if report.in_flight is None or now - report.at > FRESH:
            self._reported = 0
            return 0.0
        unit = took / (report.in_flight + 1.0) ** SHARED
        self._unit = self._unit + (unit - self._unit) * 0.125 if self._unit else unit
        return self._expected(report.in_flight)

    def _record_failure(self, took: float, now: float) -> None:
        """Record a failure. It costs more than its time, or the endpoint that fails fastest would look best."""
        health = self.health
        elapsed = now - self.stamp
        kept = exp(-elapsed / health.decay) if elapsed > 0.0 else 1.0
        self.latency = max(took, self.latency * kept)
        self.peak = latency = max(took, self.peak * kept)
        self._calls = calls = self._calls * kept + 1.0
        self._bad = bad = self._bad * kept + 1.0
        self.stamp = now
        self._base = log(latency + health.penalty * bad / (calls + 1.0) or 1e-9) + now / health.decay

    def _recover(self) -> None:
        """Start afresh after an ejection: calls from before it are no longer watched."""
        with self._moving:
            if self._open is _NONE:
                self._open = {}
            for permit in list(self._waiting):
                started = self._waiting.pop(permit, None)
                if started is not None:
                    self._open[permit] = started
        self._oldest = inf
        self._calls = self._bad = 0.0
        self.healthy = True

    def _fade(self, now: float) -> None:
        """Lower the cost of an idle endpoint, but not below what is typical in the cluster.

        An endpoint with a small weight gets few calls: without the floor its cost would decay below what it is.
        """
        health = self.health
        told = self.stamp if self.report is None else max(self.stamp, self.report.at)
        if self._considered_at != told:
            quiet = (now - told) / health.recheck
            odd = self._bad or self.peak > health.patience or not self._srtt
            if quiet > (5.0 if not odd else 2.0 if self.run else 1.0):
                self._considered_at = told  # once
                self._forgive()
        floor = log(min(self.peak, health.typical or self.peak) or 1e-9) + now / health.decay
        if self._base < floor:
            self._base = self.cost = floor
        self.late_at = now + REST * health.decay

    def _forgive(self) -> None:
        """Forgive what was unusual after a long silence.

        After `recheck` seconds: failures, the first answer, and a latency far above the cluster's usual. Where latency
        varies much, a slow answer is not unusual, and it takes five times as long. Without this, one slow answer (a
        new connection) or one failure would keep an endpoint from calls until its cost has faded, half a minute at a
        low rate. The endpoint's usual latency still counts.
        """
        health = self.health
        self.peak = min(self.peak, self._srtt or health.typical or self.peak)
        self._bad = self._bad * 0.25 if self._bad > 1.0 else 0.0
        self._base = self.cost = min(self._base, log(self.penalized_latency or 1e-9) + self.stamp / health.decay)

    def _update_cost(self) -> None:
        """cost = log(penalized latency) + stamp ÷ decay + CROWD × log(calls in flight, in units of the weight, + 1).

        A logarithm, because latencies fade alike: with stamp ÷ decay added, costs of different age can be compared as
        they are, and a pick needs no arithmetic.
        """
        pending = len(self._waiting) + len(self._open) - self._reported
        if pending > 0:
            self.cost = self._base + CROWD * log(pending * self.scale + 1.0)
        else:
            self.cost = self._base
            if pending < 0:
                self._reported += pending
        if self.healthy and self.stamp != -inf:
            oldest = self._oldest
            self.late_at = self.stamp + REST * self.health.decay if oldest == inf else oldest + self.peak

    def _set_aside(self, permit: int, started: float) -> None:
        if self._open is _NONE:
            with self._moving:
                if self._open is _NONE:
                    self._open = {}
        self._open[permit] = started

    def _watch(self) -> None:
        """Find the oldest watched call after a call that proves nothing."""
        try:
            self._oldest = next(iter(self._waiting.values()), inf)
        except RuntimeError:
            pass  # another thread changed it, and updates `_oldest` itself

    def _overtake(self, permit: int) -> float:
        """Watch only what was sent after that call. Returns when the oldest of it was sent, `inf` if there is none."""
        waiting = self._waiting
        with self._moving:
            if self._open is _NONE:
                self._open = {}
            first = next(iter(waiting), permit)
            while first < permit:
                started = waiting.pop(first, None)
                if started is not None:
                    self._open[first] = started
                first = next(iter(waiting), permit)
        return inf if first == permit else waiting[first]
