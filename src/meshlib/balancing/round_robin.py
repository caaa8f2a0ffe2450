"""Round robin: everybody in turn; the heavier ones more often, and as evenly spread as can be."""

from __future__ import annotations

from heapq import heapify, heapreplace
from itertools import count
from threading import Lock

from .endpoint import Endpoint
from .roster import Picture, Random, Roster


class RoundRobin(Roster):
    """Earliest deadline first, as in Envoy: each turn moves an endpoint's next deadline on by 1 ÷ weight.

    With equal weights this is the plain circle, which needs no lock. A new picture begins with fresh deadlines, but
    the circle goes on counting, so that updates do not always favour the first.
    """

    name = "round_robin"

    def __init__(self, *args: object, **settings: object) -> None:
        self._turn = count().__next__
        self._lock = Lock()
        self._heap: tuple[Picture | None, list[tuple[float, int, Endpoint]]] = (None, [])
        super().__init__(*args, **settings)  # type: ignore[arg-type]

    def choose(self, picture: Picture, random: Random, now: float, key: int | None, attempt: int) -> Endpoint:
        if picture.equal:
            return picture.endpoints[self._turn() % picture.size]
        with self._lock:
            known, heap = self._heap
            if known is not picture:
                heap = [(1.0 / one.weight, place, one) for place, one in enumerate(picture.endpoints)]
                heapify(heap)
                self._heap = (picture, heap)
            deadline, place, endpoint = heap[0]
            heapreplace(heap, (deadline + 1.0 / (endpoint.weight or 1.0), place, endpoint))
            return endpoint
