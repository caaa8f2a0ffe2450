"""Default balancer: latency, load and failures together, over five endpoints drawn by weight.

The endpoint of the least cost gets the call: latency × (calls in flight + 1)^1.5, where latency rises at once and falls
slowly. On top of that,

* failures raise the cost, so an endpoint that fails fast is not the cheapest;
* a late answer counts by its age; once it is overdue, the endpoint is ejected without waiting for the answer;
* an ejected endpoint is probed by one call per backoff and is readmitted, with fresh statistics, by one good answer;
* an endpoint without data costs what is typical in the cluster, and much more with every unanswered call;
* after a silence, an unusual latency or failure is forgiven;
* if a server reports its load, its requests in flight from all clients replace the client's own count;
* when too few endpoints are healthy, all are used (panic), but each draw includes a healthy one.

A pick looks at five endpoints, however many there are. docs/balancing.md says why each part is there.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Collection, Sequence
from math import exp, inf
from typing import Any

from ..policies.shell import checks
from .base_picker import BasePicker, EndpointSet, Random
from .endpoint import Endpoint
from .load_report import LoadReport

ALIKE = 0.1  # costs are logarithms: within about 10 % chance decides, so that a tiny advantage does not win every call


class Default(BasePicker):
    """Power of `choices` over latency, load and failures, with ejection of overdue endpoints.

    `reports`: servers send load reports with their responses. `rate`: the number of probes per pick (3 is Prequal's),
    for servers that answer probes with a report. `decay`, `deviations`, `slack`, `penalty` and `recheck`
    override `ClusterHealth`; None keeps its values.
    """

    name = "default"

    def __init__(
        self,
        *args: Any,
        choices: int = 5,
        reports: bool = False,
        rate: float = 0.0,
        decay: float | None = None,
        deviations: float | None = None,
        slack: float | None = None,
        penalty: float | None = None,
        recheck: float | None = None,
        **settings: Any,
    ) -> None:
        self.choices: int = checks.count("choices", choices, max_value=1000)
        self._fresh = tuple(draw % 3 == 0 for draw in range(choices))  # a random number has 53 bits: enough for three
        self.rate: float = checks.number("rate", rate, min_value=0.0)
        self.wants_reports: bool = reports or self.rate > 0.0
        super().__init__(*args, **settings)
        self.health.tune(decay=decay, deviations=deviations, slack=slack, penalty=penalty, recheck=recheck)

    def pick(self, random: Random, now: float, *, key: int | None = None, avoid: Collection[Endpoint] = ()) -> Endpoint:
        """The endpoint for the next call; raises `NoEndpoint` if there is none."""
        health = self.health
        if health.ejected and self.probing:
            probe = self._probe(random, now, avoid)
            if probe is not None:
                return probe
        endpoint_set = self._endpoint_set
        n, rotations = endpoint_set.size, endpoint_set.rotations
        if rotations and not avoid:  # so few that all are compared, from a random one on
            chosen, limit = None, inf
            for one in rotations[int(random() * n)]:
                cost = one.cost if now <= one.late_at else one.current_cost(now)
                if cost < limit and one.healthy:
                    chosen, limit = one, cost - ALIKE
            return chosen or self._pick_any(random, now, avoid)
        if n < 4 or avoid:
            return self._pick_few(endpoint_set, random, now, avoid)
        endpoints, x, i = endpoint_set.endpoints, 0.0, 0
        for _ in (1, 2, 3, 4):  # a constant, because `range` costs half a draw
            best, limit = endpoints[0], inf
            if endpoint_set.equal:
                for fresh in self._fresh:
                    x = (random() if fresh else x - i) * n
                    i = int(x)
                    one = endpoints[i]
                    cost = one.cost if now <= one.late_at else one.current_cost(now)
                    if cost < limit:
                        best, limit = one, cost - ALIKE
            else:
                ends, total = endpoint_set.ends, endpoint_set.total
                for _ in self._fresh:
                    one = endpoints[bisect(ends, random() * total)]
                    cost = one.cost if now <= one.late_at else one.current_cost(now)
                    if cost < limit:
                        best, limit = one, cost - ALIKE
            if self._warming and best in self._warming and not self._may_warm(best, random, now):
                continue
            if best.healthy and limit < inf:  # another thread may have ejected it meanwhile
                return best
        return self._pick_any(random, now, avoid)

    def reported(self, endpoint: Endpoint, report: LoadReport, now: float) -> None:
        endpoint.record_report(report, now)

    def _pick_few(self, endpoint_set: EndpointSet, random: Random, now: float, avoid: Collection[Endpoint]) -> Endpoint:
        """Compare all of up to three endpoints; of more, a few that are not in `avoid`."""
        n, rotations = endpoint_set.size, endpoint_set.rotations
        some: Sequence[Endpoint]
        if rotations:
            some = rotations[int(random() * n)]
        else:
            some = [endpoint_set.draw(random) for _ in range(min(n, 4 * self.choices))]
        best, limit = None, inf
        for one in some:
            if one not in avoid:
                cost = one.cost if now <= one.late_at else one.current_cost(now)
                if cost < limit and one.healthy:
                    best, limit = one, cost - ALIKE
        return best or self._pick_any(random, now, avoid)

    def load(self, endpoint: Endpoint, now: float) -> float:
        """The cost of one more call, in seconds: penalized latency × (pending × mean weight ÷ weight + 1)^1.5."""
        cost = endpoint.cost if now <= endpoint.late_at else endpoint.current_cost(now)
        return exp(cost - now / self.health.decay)
