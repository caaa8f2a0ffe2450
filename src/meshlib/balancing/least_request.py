"""Least request, as Envoy means it: a few draws if all weigh the same, else round robin by weight and load."""

from __future__ import annotations

from typing import Any

from ..policies import _check
from .endpoint import Endpoint
from .roster import Picture, Random, Roster


class LeastRequest(Roster):
    """Equal weights: of `choices` draws *with replacement*, whoever has the fewest calls in flight, the first on a tie.

    Unequal weights: by weight ÷ (calls in flight + 1)^`active_request_bias`, each of the `choices` drawn by weight and
    the one with the largest remaining weight taken; bias 0 leaves the weights alone. (Envoy keeps a queue of deadlines
    here, whose weights are read when an endpoint had its turn; drawing needs no queue and forgets nothing.)
    """

    name = "least_request"

    def __init__(self, *args: Any, choices: int = 2, active_request_bias: float = 1.0, **settings: Any) -> None:
        self.choices = _check.count("choices", choices)
        self.active_request_bias = _check.number("active_request_bias", active_request_bias, least=0.0)
        super().__init__(*args, **settings)

    def choose(self, picture: Picture, random: Random, now: float, key: int | None, attempt: int) -> Endpoint:
        best = picture.draw(random)
        if picture.equal or self.active_request_bias:
            for _ in range(self.choices - 1):
                other = picture.draw(random)
                if self.load(other, now) < self.load(best, now):
                    best = other
        return best

    def load(self, endpoint: Endpoint, now: float) -> float:
        """Calls in flight with the bias, in units of the endpoint's weight."""
        pending = (len(endpoint._waiting) + len(endpoint._open)) * endpoint.scale
        return pending if endpoint.scale == 1.0 else float((pending + 1.0) ** self.active_request_bias)
