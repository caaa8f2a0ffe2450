"""The sweeper of httpx 0.28's pool closes what nobody owns, whatever happens to the request that sweeps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from meshlib.http.transports.httpx_pools import LeakSweeper

pytestmark = pytest.mark.anyio


class Stuck:
    """A connection that is neither idle nor closed, and closes when it is let."""

    def __init__(self, gate: anyio.Event) -> None:
        self.closing = self.closed = False
        self._gate = gate

    def is_idle(self) -> bool:
        return False

    def is_closed(self) -> bool:
        return self.closed

    async def aclose(self) -> None:
        self.closing = True
        await self._gate.wait()
        self.closed = True


class Torn:
    """A transport whose requests all break, over a pool with connections that nobody owns."""

    def __init__(self, *connections: Stuck) -> None:
        self._pool = SimpleNamespace(_connections=list(connections), _requests=[])

    async def handle_async_request(self, request: Any) -> Any:
        raise OSError("torn")


async def test_a_sweep_that_is_cancelled_is_finished_by_the_next_request() -> None:
    gate = anyio.Event()
    connections = [Stuck(gate) for _ in range(3)]
    swept = LeakSweeper(Torn(*connections), None)
    for _ in range(LeakSweeper.EVERY):
        with pytest.raises(OSError, match="torn"):
            await swept.handle_async_request(None)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(swept.handle_async_request, None)
            while not any(one.closing for one in connections):
                await anyio.sleep(0)
            scope.cancel()
    gate.set()
    with pytest.raises(OSError, match="torn"):
        await swept.handle_async_request(None)
    assert [one.closing for one in connections] == [True] * 3
    assert swept._transport._pool._connections == []
