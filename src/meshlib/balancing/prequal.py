"""Prequal: probes servers for their load in advance, and picks the best of the recent answers.

After "Load is not what you should balance: Introducing Prequal" (NSDI 2024) as described by public replications. A
probe's answer holds the server's requests in flight (RIF) and its latency estimate. Answers with more in flight than
most are hot: a cold one with the least latency wins, or else the hot one with the least in flight.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from math import inf
from threading import Lock
from typing import Any, Self

from ..policies.shell import checks
from .base_picker import BasePicker, EndpointSet, Random
from .endpoint import Endpoint
from .load_report import LoadReport


def reuse(pool: int, servers: int, rate: float, removals: float = 1.0, delta: float = 1.0) -> float:
    """How often an answer may be used: max(1, (1 + δ) ÷ ((1 - pool ÷ servers) · rate - removals))."""
    spare = (1.0 - pool / servers) * rate - removals
    return max(1.0, (1.0 + delta) / spare) if spare > 0.0 else inf


class ProbeAnswer:
    """One probe's answer in the pool."""

    __slots__ = ("at", "endpoint", "in_flight", "latency", "uses")

    def __init__(self, endpoint: Endpoint, in_flight: float, latency: float, at: float) -> None:
        self.endpoint: Endpoint = endpoint
        self.in_flight: float = in_flight
        self.latency: float = latency
        self.at: float = at
        self.uses: int = 0


class ProbePool:
    """The recent answers: at most `size`, none older than `max_age` seconds, each used at most `uses` times."""

    def __init__(self, *, size: int = 16, max_age: float = 1.0, hot_quantile: float = 2**-0.25) -> None:
        self.size: int = checks.count("size", size, min_value=2)
        self.max_age: float = checks.seconds("max_age", max_age)
        self.hot_quantile: float = checks.ratio("hot_quantile", hot_quantile)
        self.answers: list[ProbeAnswer] = []
        self._worst_next = False

    def add(self, answer: ProbeAnswer) -> None:
        """Take in an answer; a full pool drops its oldest, and an older one of the same endpoint goes as well."""
        self.answers = [one for one in self.answers if one.endpoint is not answer.endpoint] + [answer]
        if len(self.answers) > self.size:
            self.answers.remove(min(self.answers, key=lambda one: one.at))

    def best(self, now: float, uses: float) -> ProbeAnswer | None:
        """The answer to follow, or None if fewer than two are usable. Following it adds one to its requests."""
        self.answers = usable = [
            one for one in self.answers if now - one.at <= self.max_age and one.uses < uses and one.endpoint.healthy
        ]
        if len(usable) < 2:
            return None
        best = min(usable, key=self._rank())
        best.uses += 1
        best.in_flight += 1
        return best

    def remove_one(self) -> None:
        """Age the pool: take out the oldest and the worst answer alternately."""
        if self.answers:
            if self._worst_next:
                self.answers.remove(max(self.answers, key=self._rank()))
            else:
                self.answers.remove(min(self.answers, key=lambda one: one.at))
            self._worst_next = not self._worst_next

    def threshold(self) -> float:
        """The requests in flight above which an answer is hot."""
        counts = sorted(one.in_flight for one in self.answers)
        return counts[min(len(counts) - 1, int(self.hot_quantile * len(counts)))] if counts else inf

    def _rank(self) -> Any:
        threshold = self.threshold()

        def rank(one: ProbeAnswer) -> tuple[int, float]:
            return (0, one.latency) if one.in_flight <= threshold else (1, one.in_flight)

        return rank


class Prequal(BasePicker):
    """Picks from a pool of probe answers; `probes` names the endpoints to probe after each pick.

    `rate` is how many probes go out per pick (fractions by chance), `removals` how many answers leave the pool per
    pick. Reports that come with responses go into the pool as well. With fewer than two usable answers it draws by
    weight. A server that fails fast answers probes with a low load: failure accrual guards against it.
    """

    name = "prequal"
    wants_reports = True

    def __init__(
        self,
        *args: Any,
        rate: float = 3.0,
        removals: int = 1,
        delta: float = 1.0,
        pool_size: int = 16,
        max_age: float = 1.0,
        hot_quantile: float = 2**-0.25,
        **settings: Any,
    ) -> None:
        self.rate: float = checks.number("rate", rate, min_value=0.0)
        self.removals: int = checks.count("removals", removals, min_value=0)
        self.delta: float = checks.number("delta", delta, min_value=0.0)
        self.pool: ProbePool = ProbePool(size=pool_size, max_age=max_age, hot_quantile=hot_quantile)
        self._lock = Lock()
        super().__init__(*args, **settings)

    def _after_fork(self) -> None:
        super()._after_fork()
        self._lock = Lock()

    def choose(self, endpoint_set: EndpointSet, random: Random, now: float, key: int | None, attempt: int) -> Endpoint:
        with self._lock:
            answer = self.pool.best(now, reuse(self.pool.size, endpoint_set.size, self.rate, self.removals, self.delta))
            for _ in range(min(self.removals, len(self.pool.answers) - 2)):
                self.pool.remove_one()
        return endpoint_set.draw(random) if answer is None else answer.endpoint

    def reported(self, endpoint: Endpoint, report: LoadReport, now: float) -> None:
        """A probe was answered, or a response carried a report."""
        super().reported(endpoint, report, now)
        if report.in_flight is not None:
            with self._lock:
                self.pool.add(ProbeAnswer(endpoint, report.in_flight, report.latency or 0.0, now))

    def __copy__(self) -> Self:
        """A copy that can be updated while this one stays unchanged: each has answers of its own members alone."""
        other = super().__copy__()
        with self._lock:
            other.pool = copy(self.pool)
        return other

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        super().update(endpoints)
        members = set(self._endpoint_set.endpoints)
        with self._lock:
            self.pool.answers = [one for one in self.pool.answers if one.endpoint in members]
