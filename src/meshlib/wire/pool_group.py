"""A group of pools: keeps the connections of one cluster, in the pools of its endpoints, below a common number."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    from meshlib.wire.connection_pool import Pool

_TURNS = 2  # of the event loop, in which transports that were closed let go of their sockets


class PoolGroup:
    """Pools on one event loop that share `max_connections`; an idle connection makes room for a new one elsewhere.

    The group does not make exchanges wait: its owner lets at most `max_connections` of them begin (`ClusterLimits`).
    """

    __slots__ = ("max_connections", "pools")

    def __init__(self, max_connections: int) -> None:
        self.max_connections: int = max_connections
        self.pools: WeakSet[Pool] = WeakSet()

    async def make_room(self) -> None:
        """Close idle connections until the others, and the one that is about to open, are not too many."""
        over = sum(pool.active + pool.idle for pool in self.pools) - self.max_connections
        closed = False
        while over > 0:
            idle = max(self.pools, key=lambda pool: pool.idle)._idle
            if not idle:
                break
            next(iter(idle)).close()  # the one that has been idle longest
            over, closed = over - 1, True
        for _ in range(_TURNS if closed else 0):
            await asyncio.sleep(0)
