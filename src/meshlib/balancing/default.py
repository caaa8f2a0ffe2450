"""Who gets the next call, if nobody said how to choose: the rule that is hard to fool.

Three endpoints are drawn by weight, and the cheapest is taken: latency × (calls in flight + 1)^1.5, where latency rises
at once and falls slowly. On top of that,

* failures are part of the price, so an endpoint that fails fast looks dear and not cheap;
* a late answer counts by its age; once it is overdue, the endpoint is left alone without waiting for the answer;
* an ill endpoint is probed by one call per backoff and is back, with a clean sheet, after one good answer;
* an endpoint without data costs what is typical here, and with every unanswered call much more;
* if a server reports its load, its own requests in flight, from all clients, count instead of ours;
* when too few are well, all are used (panic), but never without looking at somebody well.

A pick looks at three endpoints, however many there are. docs/balancing.md tells what each part is good for.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import exp, inf
from typing import Any

from ..policies import _check
from .endpoint import Endpoint
from .report import LoadReport
from .roster import Picture, Random, Roster

ALIKE = 0.1  # prices are logarithms: within about 10 % chance decides, so that nobody gets all by a hair's breadth


class Default(Roster):
    """Power of three choices over latency, load and failures, with suspension of the overdue.

    `reports` says that servers write load reports into their answers. `rate` is for clusters whose servers answer
    probes for them: how many to send per pick (3 is Prequal's).
    """

    name = "default"

    def __init__(self, *args: Any, reports: bool = False, rate: float = 0.0, **settings: Any) -> None:
        self.rate = _check.number("rate", rate, least=0.0)
        self.listens = reports or self.rate > 0.0
        super().__init__(*args, **settings)

    def pick(self, random: Random, now: float, *, key: int | None = None, avoid: Collection[Endpoint] = ()) -> Endpoint:
        """The endpoint for the next call; raises `NoEndpoint` if there is none."""
        ward = self.ward
        if ward.sick and self.probing:
            probe = self._probe(random, now, avoid)
            if probe is not None:
                return probe
        picture = self._picture
        endpoints, n = picture.endpoints, picture.size
        if avoid or n < 3 or (n == 3 and (self._warming or not picture.equal)):
            return self._pick_few(picture, random, now, avoid)
        for _ in range(4):
            if n == 3:  # all three, from a random one on
                i = int(random() * 3)
                a, b, c = endpoints[i], endpoints[i - 2], endpoints[i - 1]
            elif picture.equal:  # three draws from one random number, which has 53 bits
                x = random() * n
                i = int(x)
                x = (x - i) * n
                j = int(x)
                a, b, c = endpoints[i], endpoints[j], endpoints[int((x - j) * n)]
            else:
                a, b, c = picture.draw(random), picture.draw(random), picture.draw(random)
            least = a.price if now <= a.late_at else a.reckon(now)
            price = b.price if now <= b.late_at else b.reckon(now)
            if price < least - ALIKE:
                a, least = b, price
            price = c.price if now <= c.late_at else c.reckon(now)
            if price < least - ALIKE:
                a, least = c, price
            if self._warming and a in self._warming and not self._warm(a, random, now):
                continue
            if a.well:  # another thread may have found out meanwhile, and late_at been set after it
                return a
        return self._rescue(random, now, avoid)

    def reported(self, endpoint: Endpoint, report: LoadReport, now: float) -> None:
        endpoint.hear(report, now)

    def _pick_few(self, picture: Picture, random: Random, now: float, avoid: Collection[Endpoint]) -> Endpoint:
        """Up to three endpoints are all looked at, from a random one on; of more, three that are not to be avoided."""
        endpoints, n = picture.endpoints, picture.size
        best, least = None, inf
        if n < 4 and picture.equal:
            start = int(random() * n) if n else 0
            some: Sequence[Endpoint] = endpoints[start:] + endpoints[:start] if start else endpoints
        else:
            some = [picture.draw(random) for _ in range(min(n, 12))]
        for one in some:
            if not avoid or one not in avoid:
                price = one.price if now <= one.late_at else one.reckon(now)
                if price < least - ALIKE and one.well:
                    best, least = one, price
        return best or self._rescue(random, now, avoid)

    def load(self, endpoint: Endpoint, now: float) -> float:
        """The price of one more call there, in seconds: burden × (pending × mean weight ÷ weight + 1)^1.5."""
        price = endpoint.price if now <= endpoint.late_at else endpoint.reckon(now)
        return exp(price - now / self.ward.decay)
