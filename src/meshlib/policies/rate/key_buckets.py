"""Key buckets: a bucket of permits for each key, with bounded memory. Not thread-safe: the rate limit locks."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Hashable
from itertools import islice

from .token_bucket import Rate

_GLANCES = 8  # how many of the least recently used keys are looked at to find an idle one


class Bucket:
    """The permits of one key: its rate, the number of calls that wait for a reserved permit, reservations given up."""

    __slots__ = ("holes", "rate", "waiting")

    def __init__(self, rate: Rate) -> None:
        self.rate: Rate = rate
        self.waiting: int = 0
        self.holes: list[tuple[float, int]] = []

    def reserve(self, now: float, permits: int, max_wait: float) -> float:
        """As `Rate.reserve`. A permit that was given up goes to the next call that can use it."""
        for number, (at, held) in enumerate(self.holes):
            if at >= now and held == permits and at - now <= max_wait:
                del self.holes[number]
                return at - now
        return self.rate.reserve(now, permits, max_wait)

    def settle(self, now: float) -> None:
        """No call waits any more: what was given up and is still to come goes back, the rest is lost."""
        for at, permits in reversed(self.holes):
            if at > now:
                self.rate.refund(at, permits)
        self.holes.clear()


class Keys:
    """A bucket for each of at most `max_keys` keys. The least recently used goes when it is idle: no answer changes.

    While there is none such, new keys share one bucket, and a key that gets its own bucket later begins with what is
    left in that one: neither forgetting nor remembering gives a key more than the rate allows.
    """

    __slots__ = ("_buckets", "_max_keys", "_rate", "_shared")

    def __init__(self, rate: Rate, max_keys: int) -> None:
        self._rate = rate
        self._max_keys = max_keys
        self._shared = Bucket(rate.fresh())
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()

    def bucket(self, key: Hashable, now: float) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is not None:
            self._buckets.move_to_end(key)
            return bucket
        if len(self._buckets) >= self._max_keys:
            for old, candidate in islice(self._buckets.items(), _GLANCES):
                if not candidate.waiting and candidate.rate.idle(now):
                    del self._buckets[old]
                    break
            else:
                return self._shared
        shared = self._shared.rate
        bucket = self._buckets[key] = Bucket(self._rate.fresh() if shared.idle(now) else copy.copy(shared))
        return bucket

    @property
    def all(self) -> list[Bucket]:
        return [self._shared, *self._buckets.values()]

    @property
    def waiting(self) -> int:
        return sum(bucket.waiting for bucket in self.all)

    def __len__(self) -> int:
        return len(self._buckets)
