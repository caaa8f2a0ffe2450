"""Whose turn is it, if the heavier have more of them? Earliest deadline first, as Envoy keeps its queues."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heapreplace
from itertools import count
from threading import Lock

from .base_picker import EndpointSet
from .endpoint import Endpoint


class EdfSchedule:
    """A queue of deadlines: who has had a turn moves on by 1 ÷ weight, as the weight is at that moment.

    A new picture begins with fresh deadlines.
    """

    __slots__ = ("_heap", "_lock", "_picture", "_tie", "_weight")

    def __init__(self, weight: Callable[[Endpoint], float]) -> None:
        self._weight = weight
        self._lock = Lock()
        self._tie = count().__next__
        self._picture: EndpointSet | None = None
        self._heap: list[tuple[float, int, Endpoint]] = []

    def next(self, endpoint_set: EndpointSet) -> Endpoint:
        """The endpoint whose turn it is, and the next time it is somebody else's."""
        weight, tie = self._weight, self._tie
        with self._lock:
            if self._picture is not endpoint_set:
                self._heap = [(1.0 / weight(one), tie(), one) for one in endpoint_set.endpoints]
                heapify(self._heap)
                self._picture = endpoint_set
            deadline, _, endpoint = self._heap[0]
            heapreplace(self._heap, (deadline + 1.0 / weight(endpoint), tie(), endpoint))
            return endpoint
