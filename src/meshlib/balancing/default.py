"""Who gets the next call, if nobody said how to choose: the rule that is hard to fool.

Two endpoints are drawn by weight, and the cheaper one is taken: `burden × (pending + 1)`. On top of that,

* failures are part of the burden, so an endpoint that fails fast looks dear and not cheap;
* an endpoint whose oldest unanswered call is overdue is left alone at once, without waiting for the slow answer;
* an ill endpoint is probed by one call per backoff and is back, with a clean sheet, after one good answer;
* an endpoint without data costs what is typical here, and with every unanswered call much more;
* when too few are well, all are used (panic), still the cheaper of two.

A pick looks at a handful of endpoints, however many there are.
"""

from __future__ import annotations

from collections.abc import Collection
from math import exp

from .endpoint import Endpoint
from .roster import Random, Roster


class Default(Roster):
    """Power of two choices over latency, load and failures, with suspension of the overdue."""

    name = "default"

    def pick(self, random: Random, now: float, *, key: int | None = None, avoid: Collection[Endpoint] = ()) -> Endpoint:
        """The endpoint for the next call; raises `NoEndpoint` if there is none."""
        ward = self.ward
        if ward.sick:
            probe = self._probe(random, now, avoid)
            if probe is not None:
                return probe
        picture = self._picture
        endpoints, n = picture.endpoints, picture.size
        if n > 1:
            for _ in range(4):
                if picture.equal:
                    i, j = int(random() * n), int(random() * (n - 1))
                    a, b = endpoints[i], endpoints[j + 1 if j >= i else j]
                else:
                    a, b = picture.draw(random), picture.draw(random)
                if now > a.overdue_at:
                    a.overdue(now)
                if now > b.overdue_at:
                    b.overdue(now)
                if avoid and (a in avoid or b in avoid):
                    if a.well and a not in avoid:
                        return a
                    if b.well and b not in avoid:
                        return b
                elif a.well:
                    # Within a fifth they are equal, and chance decides: else the one that was a little quicker once
                    # gets everything while there is little traffic.
                    return b if b.well and self.load(b, now) * 1.2 < self.load(a, now) else a
                elif b.well:
                    return b
        elif n and self.panic:
            return endpoints[0]
        return self._rescue(random, now, avoid)

    def load(self, endpoint: Endpoint, now: float) -> float:
        """What one more call costs there: seconds, times one more than the calls in flight.

        The calls in flight are counted in units of the endpoint's weight; the draw by weight does the rest.
        """
        pending: float = len(endpoint._waiting) + len(endpoint._open)
        picture = self._picture
        if not picture.equal:
            pending *= picture.mean / (endpoint.weight or picture.mean)
        stamp = endpoint.stamp
        if stamp:
            return endpoint.burden * exp((stamp - now) / self.ward.decay) * (pending + 1.0)
        return (self.ward.typical or 1.0) * (pending + 1.0) * (pending + 1.0)
