"""Random choice: each call goes to a random endpoint, by weight."""

from __future__ import annotations

from .base_picker import BasePicker, EndpointSet, Random
from .endpoint import Endpoint


class RandomChoice(BasePicker):
    """At random, by weight. Needs no state at all, and is the yardstick for everything else."""

    name = "random"

    def choose(self, endpoint_set: EndpointSet, random: Random, now: float, key: int | None, attempt: int) -> Endpoint:
        return endpoint_set.draw(random)
