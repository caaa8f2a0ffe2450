"""What do the calls to one endpoint tell: how many are under way, how long they take, how many fail, what is missing?

Only numbers and their arithmetic. `Endpoint` says when, and draws the conclusions.
"""

from __future__ import annotations

from math import exp, inf, log
from threading import RLock

from .ejection import ClusterHealth
from .load_report import LoadReport

CROWD = 1.5  # the power with which calls in flight count; 1 would be Finagle's rule. See docs/balancing.md
SHARED = 0.6  # the power with which the requests in flight that a server reports count: it has changed meanwhile
REST = 0.05  # time constants of silence after which a price is looked at again: it has faded by so much, no more
FRESH = 1.0  # seconds for which a report is believed
NEVER = -inf  # the stamp of an endpoint that has not answered yet
MANY = 128  # calls in flight, for fewer of which a price is looked up instead of reckoned, see `_reprice`
CROWDS = tuple(CROWD * log(calls + 1.0) for calls in range(MANY))  # where all weights are equal

_NONE: dict[int, float] = {}  # stands for a dict of one's own until there is something to put in; never changed


class EndpointStats:
    """The numbers of one endpoint. Every update is safe under threads: at worst one sample is lost to another."""

    __slots__ = (
        "_bad",
        "_base",
        "_calls",
        "_met",
        "_moving",
        "_oldest",
        "_open",
        "_srtt",
        "_swing",
        "_told",
        "_unit",
        "_waiting",
        "cost",
        "health",
        "healthy",
        "late_at",
        "peak",
        "price",
        "report",
        "run",
        "scale",
        "stamp",
    )

    def __init__(self, health: ClusterHealth) -> None:
        self.health = health
        self._waiting: dict[int, float] = {}  # permit: when it started. In the order of the permits.
        self._open = _NONE  # the same for those that are not watched: body underway, or overtaken
        self._moving = RLock()  # held while others move a call from the first to the second; may be taken under the
        # ward's lock, never the other way round. Reentrant, for garbage may be collected, and calls end, at any time.
        self._oldest = inf  # when the oldest watched call was sent
        self.healthy = True
        self.late_at = -inf  # from then on `price` is not the whole truth, and `reckon` must be asked
        self.price = 0.0  # what one more call would cost; only comparisons have a meaning, see `_reprice`
        self._base = 0.0  # the part of the price that does not depend on the calls in flight
        self.scale = 1.0  # the mean weight of the cluster ÷ ours
        self.cost = 0.0  # peak-sensitive latency in seconds, as of `stamp`
        self.peak = 0.0  # the same, but forgiving: what was bad once is forgotten after `recheck` seconds of silence
        self.stamp = NEVER  # of the last observation
        self._met = inf  # without data: when it was first considered; with: the last news that `_forgive` knew
        self.run = 0  # failures in a row, that is without a success among the calls sent after the first of them
        self._calls = self._bad = 0.0  # outcomes and failures, both forgotten with time constant `decay`
        self._srtt = self._swing = 0.0  # smoothed latency and its mean deviation, in seconds
        self.report: LoadReport | None = None  # the server's newest word about its own load
        self._unit = 0.0  # latency ÷ (reported requests in flight + 1)^SHARED, smoothed
        self._told = 0  # calls of ours that the report includes

    @property
    def pending(self) -> int:
        """Calls in flight: entered, and not left."""
        return len(self._waiting) + len(self._open)

    @property
    def burden(self) -> float:
        """What a call costs, in seconds: `peak`, and the price of the recent failures."""
        return self.peak + self.health.penalty * self._bad / (self._calls + 1.0)

    @property
    def patience(self) -> float:
        """Seconds after which an answer is overdue, and the endpoint taken out (`inf`: nothing is known yet).

        What is usual for this endpoint and what is usual in its cluster both count: where answers vary much anyway, a
        long wait is no proof of anything.
        """
        health = self.health
        if not self._srtt:
            return health.patience
        return max(
            self._srtt + max(health.deviations * self._swing, health.slack), health.patience if health.typical else 0.0
        )

    def ewma(self, now: float) -> float:
        """Peak-sensitive latency in seconds, as of `now`; 0.0 if there was no answer yet. Reading never writes."""
        return self.cost * exp(min(0.0, self.stamp - now) / self.health.decay)

    def hear(self, report: LoadReport, now: float) -> None:
        """The server told its load, in a response or in the answer to a probe.

        It sees the calls of all its clients, so from now on its requests in flight stand for ours in the price.
        """
        self.report = report
        if report.in_flight is not None and self._unit:
            # The call whose answer carries the report is still counted here, and not any more there.
            self._told = max(0, len(self._waiting) + len(self._open) - 1)
            self._base = log(self._expected(report.in_flight) or 1e-9) + now / self.health.decay
            self._reprice()

    def _answered(self, permit: int, took: float, now: float) -> None:
        """A good answer came after `took` seconds.

        It proves the endpoint alive for everything that was sent before it, if it came in time: those calls are merely
        long, and are not watched any more. In one piece, with the everyday case of `_reprice`, because it happens with
        every call.
        """
        health = self.health
        decay = health.decay
        ago = self.stamp - now
        kept = exp(ago / decay) if ago < 0.0 else 1.0
        cost, peak, usual = self.cost, self.peak, self._srtt
        self.cost = took if took > cost else took + (cost - took) * kept
        if usual:
            off, swing = took - usual, self._swing
            if off > 0.0:  # one answer that is far off makes what is usual half as long again, and no longer
                self._srtt = usual + (off * 0.125 if off < 4.0 * usual else usual * 0.5)
                self._swing = swing + (off - swing) * 0.25
            else:
                self._srtt = usual + off * 0.125
                self._swing = swing - (off + swing) * 0.25
        elif kept:  # the first call may have opened the connection: what is usual, the second tells
            self._srtt = peak = took
            self._swing = took * 0.5
        self.peak = peak = cost = took if took > peak else took + (peak - took) * kept
        self._calls = calls = self._calls * kept + 1.0
        if self._bad:
            self._bad = bad = self._bad * kept
            cost += health.penalty * bad / (calls + 1.0)
        self.stamp = now
        if self.report is not None:
            cost = self._compare(self.report, took, now) or cost
        self._base = price = log(cost or 1e-9) + now / decay
        waiting, oldest = self._waiting, inf
        if waiting:
            try:
                for first, oldest in waiting.items():  # only the first, and at half the cost of next(iter())
                    if first < permit and took <= 2.0 * self._srtt:
                        oldest = self._overtake(permit)
                    break
                self._oldest = oldest
            except (KeyError, RuntimeError):
                oldest = self._oldest  # another thread was faster, and does this work after us
        else:
            self._oldest = inf
            if not self._open:  # nothing else is under way
                self._told = 0
                self.price = price
                if self.healthy:
                    self.late_at = now + REST * decay
                return
        calls = len(waiting) + len(self._open)
        if calls < MANY and self.scale == 1.0 and not self._told:
            self.price = price + CROWDS[calls]
            if self.healthy:
                self.late_at = now + REST * decay if oldest == inf else oldest + peak
        else:
            self._reprice()

    def _expected(self, in_flight: float) -> float:
        """The latency to expect at so many requests in service, and the price of the recent failures."""
        return self._unit * float((in_flight + 1.0) ** SHARED) + self.health.penalty * self._bad / (self._calls + 1.0)

    def _compare(self, report: LoadReport, took: float, now: float) -> float:
        """Learn what a latency is worth at the load that the server reported with it; 0.0 if the report is too old."""
        if report.in_flight is None or now - report.at > FRESH:
            self._told = 0
            return 0.0
        unit = took / (report.in_flight + 1.0) ** SHARED
        self._unit = self._unit + (unit - self._unit) * 0.125 if self._unit else unit
        return self._expected(report.in_flight)

    def _failed(self, took: float, now: float) -> None:
        """A failure costs more than its time: else the endpoint that fails fastest looks best."""
        health = self.health
        elapsed = now - self.stamp
        kept = exp(-elapsed / health.decay) if elapsed > 0.0 else 1.0
        self.cost = max(took, self.cost * kept)
        self.peak = cost = max(took, self.peak * kept)
        self._calls = calls = self._calls * kept + 1.0
        self._bad = bad = self._bad * kept + 1.0
        self.stamp = now
        self._base = log(cost + health.penalty * bad / (calls + 1.0) or 1e-9) + now / health.decay

    def _recover(self) -> None:
        """A clean sheet. Whatever is still missing belongs to the illness, and is not watched any more."""
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

    def _rest(self, now: float) -> None:
        """Nothing is under way, and nothing was heard for a while. Prices fade with silence, but not below what is
        typical in the cluster: else whoever is seldom asked, because it has little weight, would look cheap.
        """
        health = self.health
        told = self.stamp if self.report is None else max(self.stamp, self.report.at)
        if self._met != told:
            quiet = (now - told) / health.recheck
            odd = self._bad or self.peak > health.patience or not self._srtt
            if quiet > (5.0 if not odd else 2.0 if self.run else 1.0):
                self._met = told  # once
                self._forgive()
        floor = log(min(self.peak, health.typical or self.peak) or 1e-9) + now / health.decay
        if self._base < floor:
            self._base = self.price = floor
        self.late_at = now + REST * health.decay

    def _forgive(self) -> None:
        """Look again at an endpoint after a long silence, and hold nothing extraordinary against it.

        After `recheck` seconds that is for failures, for the first answer, and for what is far from anything usual in
        the cluster. Where answers vary much, a slow one is news rather than odd: then it takes five times as long.

        Without this, one slow answer (a new connection), or one failure, would keep it from calls until its price has
        faded, which at a low rate is half of a minute. What is usual for it still counts.
        """
        health = self.health
        self.peak = min(self.peak, self._srtt or health.typical or self.peak)
        self._bad = self._bad * 0.25 if self._bad > 1.0 else 0.0
        self._base = self.price = min(self._base, log(self.burden or 1e-9) + self.stamp / health.decay)

    def _reprice(self) -> None:
        """price = log(burden) + stamp ÷ decay + CROWD × log(calls in flight, in units of the weight, + 1).

        A logarithm, because burdens fade alike: with stamp ÷ decay added, prices of different age can be compared as
        they are, and a pick needs no arithmetic.
        """
        pending = len(self._waiting) + len(self._open) - self._told
        if pending > 0:
            self.price = self._base + CROWD * log(pending * self.scale + 1.0)
        else:
            self.price = self._base
            if pending < 0:
                self._told += pending
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
        """After a call that proves nothing: which answer is missing longest now?"""
        try:
            self._oldest = next(iter(self._waiting.values()), inf)
        except RuntimeError:
            pass  # another thread was faster, and does this work after us

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
