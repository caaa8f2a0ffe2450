"""EDF schedule: weighted turns, earliest deadline first, as in Envoy."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heapreplace
from itertools import count
from threading import Lock

from .base_picker import EndpointSet
from .endpoint import Endpoint


class EdfSchedule:
    """A queue of deadlines: after its turn an endpoint moves on by 1 ÷ its weight of that moment.

    A new set of endpoints begins with fresh deadlines.
    """

    __slots__ = ("_endpoint_set", "_heap", "_lock", "_tie", "_weight")

    def __init__(self, weight: Callable[[Endpoint], float]) -> None:
        self._weight = weight
        self._lock = Lock()
        self._tie = count().__next__
        self._endpoint_set: EndpointSet | None = None
        self._heap: list[tuple[float, int, Endpoint]] = []

    def _after_fork(self) -> None:
        self._lock = Lock()

    def next(self, endpoint_set: EndpointSet) -> Endpoint:
        """The endpoint of the earliest deadline, which moves on."""
        weight, tie = self._weight, self._tie
        with self._lock:
            if self._endpoint_set is not endpoint_set:
                self._heap = [(1.0 / weight(one), tie(), one) for one in endpoint_set.endpoints]
                heapify(self._heap)
                self._endpoint_set = endpoint_set
            deadline, _, endpoint = self._heap[0]
            heapreplace(self._heap, (deadline + 1.0 / weight(endpoint), tie(), endpoint))
            return endpoint
