"""What ails one endpoint is its own affair; what ails all is the cluster's."""

from __future__ import annotations

from pathlib import Path

import anyio
import httpx
import pytest

from meshlib import BreakerOpen, Mesh, MeshClient
from meshlib.testing.steps import After
from meshlib.testing.transport import ScriptedTransport

TEXT = """
services: {users: {retry: {attempts: 3, backoff: 0s}}}
clusters:
  users:
    endpoints: [a:80, b:80, c:80]
    breaker: {failure_rate: 50%, minimum_calls: 4, cooldown: 60s}
    accrual: {consecutive_failures: 2, backoff: [30s, 30s]}
"""
BURSTS = """
services: {users: {timeout: 20s}}
clusters: {users: {endpoints: [a:80, b:80, c:80], breaker: {consecutive_failures: 5, cooldown: 60s}}}
"""
DEAD = [httpx.ConnectError("refused")]


def mesh(folder: Path, text: str = TEXT) -> Mesh:
    (folder / "mesh.yaml").write_text(text)
    return Mesh.from_file(folder / "mesh.yaml", watch=False)


@pytest.mark.anyio
async def test_one_dead_endpoint_does_not_open_the_clusters_breaker(tmp_path: Path) -> None:
    shared = mesh(tmp_path)
    async with MeshClient(mesh=shared, transport=ScriptedTransport({"a:80": DEAD, "b:80": DEAD})) as client:
        for _ in range(30):
            assert (await client.get("http://users/")).status_code == 200
    breaker = shared.current.clusters["users"].breaker
    assert breaker is not None and breaker.state == "closed"


@pytest.mark.anyio
async def test_when_all_endpoints_refuse_the_breaker_opens(tmp_path: Path) -> None:
    fleet = ScriptedTransport({"a:80": DEAD, "b:80": DEAD, "c:80": DEAD})
    async with MeshClient(mesh=mesh(tmp_path), transport=fleet) as client:
        with pytest.raises(BreakerOpen):
            for _ in range(30):
                try:
                    await client.get("http://users/")
                except BreakerOpen:
                    raise
                except httpx.ConnectError:
                    pass


async def burst(client: httpx.AsyncClient, number: int) -> list[object]:
    """What came of `number` requests at once: statuses, and the classes of the errors."""
    outcomes: list[object] = []

    async def ask() -> None:
        try:
            outcomes.append((await client.get("http://users/")).status_code)
        except httpx.TransportError as error:
            outcomes.append(type(error))

    async with anyio.create_task_group() as tasks:
        for _ in range(number):
            tasks.start_soon(ask)
    return outcomes


@pytest.mark.anyio
@pytest.mark.parametrize("ill", [503, httpx.ReadError("reset")], ids=["busy", "reset"])
async def test_a_burst_of_failures_of_one_endpoint_does_not_open_the_clusters_breaker(
    tmp_path: Path, ill: object
) -> None:
    shared = mesh(tmp_path, BURSTS)
    fleet = ScriptedTransport({"a:80": [After(0.02, ill)]}, default=After(0.2, 200))
    async with MeshClient(mesh=shared, transport=fleet) as client:
        first = await burst(client, 90)
        later = await burst(client, 30)
    assert len(fleet.to("a:80")) > 10  # they came before any good answer
    assert first.count(200) >= 60 and later == [200] * 30
    breaker = shared.current.clusters["users"].breaker
    assert breaker is not None and breaker.state == "closed"


@pytest.mark.anyio
async def test_when_all_endpoints_fail_the_breaker_opens_within_a_burst(tmp_path: Path) -> None:
    shared = mesh(tmp_path, BURSTS)
    async with MeshClient(mesh=shared, transport=ScriptedTransport(default=503)) as client:
        outcomes = await burst(client, 90)
        assert await burst(client, 3) == [outcomes[-1]] * 3 and outcomes[-1] != 503
    breaker = shared.current.clusters["users"].breaker
    assert breaker is not None and breaker.state == "open"
