"""Who gets the next call, if nobody said how to choose: the rule that is hard to fool.

Five endpoints are drawn by weight, and the cheapest is taken: latency × (calls in flight + 1)^1.5, where latency rises
at once and falls slowly. On top of that,

* failures are part of the price, so an endpoint that fails fast looks dear and not cheap;
* a late answer counts by its age; once it is overdue, the endpoint is left alone without waiting for the answer;
* an ill endpoint is probed by one call per backoff and is back, with a clean sheet, after one good answer;
* an endpoint without data costs what is typical here, and with every unanswered call much more;
* an endpoint of which nothing was heard for a while is looked at again, and what was extraordinary is forgotten;
* if a server reports its load, its own requests in flight, from all clients, count instead of ours;
* when too few are well, all are used (panic), but never without looking at somebody well.

A pick looks at five endpoints, however many there are. docs/balancing.md tells what each part is good for.
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

ALIKE = 0.1  # prices are logarithms: within about 10 % chance decides, so that nobody gets all by a hair's breadth


class Default(BasePicker):
    """Power of `choices` over latency, load and failures, with suspension of the overdue.

    `reports` says that servers write load reports into their answers. `rate` is for clusters whose servers answer
    probes for them: how many to send per pick (3 is Prequal's). `decay`, `deviations`, `slack`, `penalty` and `recheck`
    are the ward's, see there; None leaves them as they are.
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
        self.choices = checks.count("choices", choices, max_value=1000)
        self._fresh = tuple(draw % 3 == 0 for draw in range(choices))  # a random number has 53 bits: enough for three
        self.rate = checks.number("rate", rate, min_value=0.0)
        self.wants_reports = reports or self.rate > 0.0
        super().__init__(*args, **settings)
        self.health.tune(decay=decay, deviations=deviations, slack=slack, penalty=penalty, recheck=recheck)

    def pick(self, random: Random, now: float, *, key: int | None = None, avoid: Collection[Endpoint] = ()) -> Endpoint:
        """The endpoint for the next call; raises `NoEndpoint` if there is none."""
        health = self.health
        if health.ejected and self.probing:
            probe = self._probe(random, now, avoid)
            if probe is not None:
                return probe
        endpoint_set = self._picture
        n, turns = endpoint_set.size, endpoint_set.turns
        if turns and not avoid:  # so few that all are looked at, from a random one on
            chosen, limit = None, inf
            for one in turns[int(random() * n)]:
                price = one.price if now <= one.late_at else one.reckon(now)
                if price < limit and one.healthy:
                    chosen, limit = one, price - ALIKE
            return chosen or self._rescue(random, now, avoid)
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
                    price = one.price if now <= one.late_at else one.reckon(now)
                    if price < limit:
                        best, limit = one, price - ALIKE
            else:
                ends, total = endpoint_set.ends, endpoint_set.total
                for _ in self._fresh:
                    one = endpoints[bisect(ends, random() * total)]
                    price = one.price if now <= one.late_at else one.reckon(now)
                    if price < limit:
                        best, limit = one, price - ALIKE
            if self._warming and best in self._warming and not self._warm(best, random, now):
                continue
            if (
                best.healthy and limit < inf
            ):  # another thread may have found out meanwhile, and late_at been set after it
                return best
        return self._rescue(random, now, avoid)

    def reported(self, endpoint: Endpoint, report: LoadReport, now: float) -> None:
        endpoint.hear(report, now)

    def _pick_few(self, endpoint_set: EndpointSet, random: Random, now: float, avoid: Collection[Endpoint]) -> Endpoint:
        """Up to three endpoints are all looked at; of more, a few that are not to be avoided."""
        n, turns = endpoint_set.size, endpoint_set.turns
        some: Sequence[Endpoint]
        some = (
            turns[int(random() * n)] if turns else [endpoint_set.draw(random) for _ in range(min(n, 4 * self.choices))]
        )
        best, limit = None, inf
        for one in some:
            if one not in avoid:
                price = one.price if now <= one.late_at else one.reckon(now)
                if price < limit and one.healthy:
                    best, limit = one, price - ALIKE
        return best or self._rescue(random, now, avoid)

    def load(self, endpoint: Endpoint, now: float) -> float:
        """The price of one more call there, in seconds: burden × (pending × mean weight ÷ weight + 1)^1.5."""
        price = endpoint.price if now <= endpoint.late_at else endpoint.reckon(now)
        return exp(price - now / self.health.decay)
