"""Whose permits are these? A bucket for everybody or for each key, with bounded memory. Whoever owns them locks."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Hashable
from itertools import islice

from .token_bucket import Rate

_GLANCES = 8  # how many of the least recently used keys are looked at to find an idle one


class Bucket:
    """The permits of one key: its rate, who waits for a reserved permit, and reservations that were given up."""

    __slots__ = ("holes", "rate", "waiting")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.waiting = 0
        self.holes: list[tuple[float, int]] = []

    def reserve(self, now: float, permits: int, max_wait: float) -> float:
        """As `Rate.reserve`. A permit that somebody gave up goes to the next who can use it."""
        for number, (at, held) in enumerate(self.holes):
            if at >= now and held == permits and at - now <= max_wait:
                del self.holes[number]
                return at - now
        return self.rate.reserve(now, permits, max_wait)

    def settle(self, now: float) -> None:
        """Nobody waits any more: what was given up and is still to come goes back, the rest is lost."""
        for at, permits in reversed(self.holes):
            if at > now:
                self.rate.refund(at, permits)
        self.holes.clear()


class Keys:
    """A bucket for each of at most `most` keys. The least recently used goes when it is idle, which changes no answer.

    While there is none such, new keys share one bucket, and who then finds a place of its own begins with what was left
    in that one: neither forgetting nor remembering gives anybody more than the rate allows.
    """

    __slots__ = ("_buckets", "_crowd", "_most", "_rate")

    def __init__(self, rate: Rate, most: int) -> None:
        self._rate = rate
        self._most = most
        self._crowd = Bucket(rate.fresh())
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()

    def bucket(self, key: Hashable, now: float) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is not None:
            self._buckets.move_to_end(key)
            return bucket
        if len(self._buckets) >= self._most:
            for old, candidate in islice(self._buckets.items(), _GLANCES):
                if not candidate.waiting and candidate.rate.idle(now):
                    del self._buckets[old]
                    break
            else:
                return self._crowd
        shared = self._crowd.rate
        bucket = self._buckets[key] = Bucket(self._rate.fresh() if shared.idle(now) else copy.copy(shared))
        return bucket

    @property
    def waiting(self) -> int:
        return self._crowd.waiting + sum(bucket.waiting for bucket in self._buckets.values())

    def __len__(self) -> int:
        return len(self._buckets)
