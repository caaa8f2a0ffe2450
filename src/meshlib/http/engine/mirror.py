"""Who sends the copies of requests that a rule mirrors to another cluster?

A copy is on its own from the start: the caller does not wait for it, hears nothing of its errors, and its answer is
read and dropped. It passes the other cluster's gates and balancer like any attempt, and its host is `users-shadow`, as
Envoy marks it. Only what is in memory is copied, and only so many copies at a time: the rest are left out.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import _get_running_loop as _asyncio_loop
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

from ... import forked
from ...call import Call
from ...loop_state import loop_state
from ...mesh import Cluster
from ...parking import start_thread
from .exchange import Attempt, Exchange

if TYPE_CHECKING:
    from .async_engine import AsyncEngine, Engine
    from .sync_engine import SyncEngine

MOST = 100  # copies in flight, of one mesh and one kind of client
PATIENCE = 15.0  # seconds for a copy, Envoy's default for any request


class Shadow(Exchange):
    """The exchange of a copy."""

    __slots__ = ()
    shadow = True


class Mirrors:
    """The copies in flight."""

    def __init__(self) -> None:
        self._numbers = count()
        self._running: set[int] = set()
        forked.register(self)

    def _after_fork(self) -> None:
        self._running = set()

    def start_async(self, engine: AsyncEngine, exchange: Exchange) -> None:
        """Begin the copies of this exchange, and return at once."""
        for shadow, cluster in self._copies(engine, exchange):
            number = next(self._numbers)
            self._running.add(number)
            loop = _asyncio_loop()
            if loop is not None:
                task = loop.create_task(self._send_async(engine, shadow, cluster, number))
                tasks: set[Any] = loop_state(loop).setdefault("tasks", set())  # so that nobody collects it
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            else:
                trio = sys.modules["trio"]
                trio.lowlevel.spawn_system_task(self._send_async, engine, shadow, cluster, number)

    def start(self, engine: SyncEngine, exchange: Exchange) -> None:
        """The same for a thread: each copy has a thread of its own."""
        for shadow, cluster in self._copies(engine, exchange):
            number = next(self._numbers)
            self._running.add(number)
            self._in_thread(engine, shadow, cluster, number)

    def _in_thread(self, engine: SyncEngine, shadow: Exchange, cluster: Cluster, number: int) -> None:
        start_thread(lambda: self._send(engine, shadow, cluster, number), "meshlib mirror")

    def _copies(self, engine: Engine, exchange: Exchange) -> Iterator[tuple[Exchange, Cluster]]:
        clusters = exchange.snapshot.clusters
        request = exchange.request
        for mirror in exchange.decision.route.mirrors:
            if mirror.wanted(engine.run.random) and mirror.cluster in clusters and len(self._running) < MOST:
                if not (hasattr(request, "_content") or isinstance(request.stream, exchange.family.lib.ByteStream)):
                    return  # it can be read only once, and that is for the one who is waited for
                labels = exchange.route.labels
                shadow = Shadow(
                    request,
                    exchange.family,
                    exchange.road,
                    stream=False,
                    plain=True,
                    labels=labels,
                    start=engine.now(),
                )
                shadow.service, shadow.decision, shadow.attempts = exchange.service, exchange.decision, 1
                yield shadow, clusters[mirror.cluster]

    async def _send_async(self, engine: AsyncEngine, shadow: Exchange, cluster: Cluster, number: int) -> None:
        due = engine.now() + PATIENCE
        try:
            step = engine.step(cluster)
            await engine.run.until(due, step(Attempt(Call(shadow, due), shadow.decision, cluster)))
        except (Exception, asyncio.CancelledError):
            pass  # whatever it was, nobody asked
        finally:
            self._running.discard(number)

    def _send(self, engine: SyncEngine, shadow: Exchange, cluster: Cluster, number: int) -> None:
        try:
            due = engine.now() + PATIENCE
            engine.step(cluster)(Attempt(Call(shadow, due), shadow.decision, cluster))
        except Exception:
            pass
        finally:
            self._running.discard(number)
