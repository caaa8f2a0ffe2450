"""Least request, as Envoy means it: a few draws if all weigh the same, else round robin by weight and load."""

from __future__ import annotations

from typing import Any

from ..policies.shell import checks
from .base_picker import BasePicker, EndpointSet, Random
from .edf_schedule import EdfSchedule
from .endpoint import Endpoint


class LeastRequest(BasePicker):
    """Equal weights: of `choices` draws *with replacement*, the one with the fewest calls, the first on a tie.

    Unequal weights: all in turn, where each turn moves an endpoint's deadline on by 1 ÷ its present weight, and
    that is weight ÷ (calls in flight + 1)^`active_request_bias`. With a bias of 0 calls in flight do not count.
    """

    name = "least_request"

    def __init__(self, *args: Any, choices: int = 2, active_request_bias: float = 1.0, **settings: Any) -> None:
        self.choices: int = checks.count("choices", choices, max_value=1000)
        self.active_request_bias: float = checks.number("active_request_bias", active_request_bias, min_value=0.0)
        self._turns = EdfSchedule(self.weight)
        super().__init__(*args, **settings)

    def _after_fork(self) -> None:
        super()._after_fork()
        self._turns._after_fork()

    def choose(self, endpoint_set: EndpointSet, random: Random, now: float, key: int | None, attempt: int) -> Endpoint:
        if not endpoint_set.equal:
            return self._turns.next(endpoint_set)
        best = endpoint_set.draw(random)
        for _ in range(self.choices - 1):
            other = endpoint_set.draw(random)
            if other.pending < best.pending:
                best = other
        return best

    def weight(self, endpoint: Endpoint) -> float:
        """The weight of the next turn: the configured one (0 counts as 1), divided by the load."""
        return (endpoint.weight or 1.0) / float((endpoint.pending + 1.0) ** self.active_request_bias)

    def load(self, endpoint: Endpoint, now: float) -> float:
        return 1.0 / self.weight(endpoint)
