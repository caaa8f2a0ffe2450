"""Reported weights: weighted round robin by the servers' load reports (gRPC A58, Envoy's CSWRR)."""

from __future__ import annotations

from itertools import count
from math import inf
from typing import Any

from ..policies.shell import checks
from .base_picker import BasePicker, EndpointSet, Random
from .endpoint import Endpoint
from .load_report import LoadReport

MOST = 65535  # weights are scaled so that the largest is this
STEP = 32767  # half of it: spreads the turns of one generation


def report_weight(report: LoadReport, penalty: float = 1.0) -> float:
    """qps ÷ (utilization + eps ÷ qps × penalty); 0.0 if the report does not say enough."""
    if not report.qps or not report.utilization or report.qps < 0 or report.utilization < 0:
        return 0.0
    return report.qps / (report.utilization + report.eps / report.qps * penalty)


def strides(weights: list[float]) -> list[int] | None:
    """The scaled weights of gRPC's static stride scheduler, or None for plain round robin.

    Unknown weights (0) become the mean of the known ones; with fewer than two known ones there is nothing to weigh.
    """
    known = [weight for weight in weights if weight > 0.0]
    if len(known) < 2:
        return None
    mean, most = sum(known) / len(known), max(known)
    scaled = [max(1, round((weight or mean) * MOST / most)) for weight in weights]
    return None if min(scaled) == max(scaled) else scaled


def takes_turn(weight: int, generation: int, index: int) -> bool:
    """Whether the server at `index` has a turn in this generation: it has `weight` turns out of `MOST`."""
    return (weight * generation + index * STEP) % MOST >= MOST - weight


class ReportedWeights(BasePicker):
    """Weighted round robin by load reports.

    A server's weight counts only after `blackout` seconds of reports, and no longer than `expiration` seconds after
    the last one; weights are computed again every `update_period` seconds. `error_penalty` is the factor of
    the error rate.
    """

    name = "reported_weights"
    wants_reports = True

    def __init__(
        self,
        *args: Any,
        blackout: float = 10.0,
        expiration: float = 180.0,
        update_period: float = 1.0,
        error_penalty: float = 1.0,
        **settings: Any,
    ) -> None:
        self.blackout: float = checks.seconds("blackout", blackout, zero=True)
        self.expiration: float = checks.seconds("expiration", expiration)
        self.update_period: float = max(0.1, checks.seconds("update_period", update_period))
        self.error_penalty: float = checks.number("error_penalty", error_penalty, min_value=0.0)
        self._turn = count().__next__  # goes on counting through updates, which therefore do not restart the cycle
        self._first: dict[Endpoint, float] = {}  # since when there are reports
        self._plan: tuple[EndpointSet | None, float, list[int] | None] = (None, -inf, None)
        super().__init__(*args, **settings)

    def reported(self, endpoint: Endpoint, report: LoadReport, now: float) -> None:
        if report_weight(report, self.error_penalty):
            last = endpoint.report
            if endpoint not in self._first or last is None or now - last.at >= self.expiration:
                self._first[endpoint] = now
            super().reported(endpoint, report, now)

    def weight(self, endpoint: Endpoint, now: float) -> float:
        """The weight as of `now`; 0.0 if it is not known, too young, or expired."""
        report, first = endpoint.report, self._first.get(endpoint, inf)
        if report is None or now - report.at >= self.expiration or now - first < self.blackout:
            return 0.0
        return report_weight(report, self.error_penalty)

    def choose(self, endpoint_set: EndpointSet, random: Random, now: float, key: int | None, attempt: int) -> Endpoint:
        known, since, plan = self._plan
        if known is not endpoint_set or now - since >= self.update_period:
            plan = strides([self.weight(one, now) for one in endpoint_set.endpoints])
            self._plan = (endpoint_set, now, plan)
            if known is not endpoint_set:
                members = set(endpoint_set.endpoints)
                self._first = {one: first for one, first in self._first.items() if one in members}
        while True:
            turn = self._turn()
            generation, index = divmod(turn, endpoint_set.size)
            if plan is None or takes_turn(plan[index], generation, index):
                return endpoint_set.endpoints[index]
