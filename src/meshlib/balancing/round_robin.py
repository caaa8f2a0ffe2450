"""Round robin: all endpoints in turn, those of more weight more often, evenly spread."""

from __future__ import annotations

from itertools import count

from .base_picker import BasePicker, EndpointSet, Random
from .edf_schedule import EdfSchedule
from .endpoint import Endpoint


class RoundRobin(BasePicker):
    """Earliest deadline first, as in Envoy: each turn moves an endpoint's next deadline on by 1 ÷ weight.

    With equal weights this is the plain circle, which needs no lock. A new endpoint set begins with fresh deadlines,
    but the circle goes on counting, so that updates do not always favour the first.
    """

    name = "round_robin"

    def __init__(self, *args: object, **settings: object) -> None:
        self._turn = count().__next__
        self._turns = EdfSchedule(lambda endpoint: endpoint.weight or 1.0)
        super().__init__(*args, **settings)  # type: ignore[arg-type]

    def _after_fork(self) -> None:
        super()._after_fork()
        self._turns._after_fork()

    def choose(self, endpoint_set: EndpointSet, random: Random, now: float, key: int | None, attempt: int) -> Endpoint:
        if endpoint_set.equal:
            return endpoint_set.endpoints[self._turn() % endpoint_set.size]
        return self._turns.next(endpoint_set)
