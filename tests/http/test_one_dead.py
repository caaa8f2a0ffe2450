"""One endpoint that refuses connections is one endpoint's affair; when all refuse, it is the cluster's."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from meshlib import BreakerOpen, Mesh, MeshClient
from meshlib.testing.transport import ScriptedTransport

TEXT = """
services: {users: {retry: {attempts: 3, backoff: 0s}}}
clusters:
  users:
    endpoints: [a:80, b:80, c:80]
    breaker: {failure_rate: 50%, minimum_calls: 4, cooldown: 60s}
    accrual: {failures: 2, backoff: [30s, 30s]}
"""
DEAD = [httpx.ConnectError("refused")]


def mesh(folder: Path) -> Mesh:
    (folder / "mesh.yaml").write_text(TEXT)
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
