"""Random: each call goes to anybody, by weight."""

from __future__ import annotations

from .endpoint import Endpoint
from .roster import Picture, Random, Roster


class RandomChoice(Roster):
    """At random, by weight. Needs no state at all, and is the yardstick for everything else."""

    name = "random"

    def choose(self, picture: Picture, random: Random, now: float, key: int | None, attempt: int) -> Endpoint:
        return picture.draw(random)
