"""A scripted fleet beneath a real mesh."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from meshlib import Mesh, MeshClient, SyncMeshClient
from meshlib.testing import After, ManualClock
from meshlib.testing.transport import ScriptedTransport

TEXT = "services: {users: {retry: {attempts: 3, backoff: 0s}}}\nclusters: {users: {endpoints: [a:80, b:80]}}\n"


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    (tmp_path / "mesh.yaml").write_text(TEXT)
    return Mesh.from_file(tmp_path / "mesh.yaml", watch=False)


@pytest.mark.anyio
async def test_a_retry_goes_to_the_other_endpoint(mesh: Mesh) -> None:
    fleet = ScriptedTransport({"a:80": [503], "b:80": [200]})
    async with MeshClient(mesh=mesh, transport=fleet) as client:
        for _ in range(4):
            assert (await client.get("http://users/me")).status_code == 200
    assert len(fleet.to("b:80")) == 4
    assert fleet.running == 0


def test_a_list_is_answered_in_turn_and_its_last_item_for_ever() -> None:
    fleet = ScriptedTransport({"a:80": [500, httpx.ConnectError("no"), lambda request: len(request.content) + 200]})
    with httpx.Client(transport=fleet) as client:
        assert client.get("http://a/").status_code == 500
        with pytest.raises(httpx.ConnectError, match="no"):
            client.get("http://a/")
        assert [client.post("http://a/", content=b"xy").status_code for _ in range(2)] == [202, 202]


def test_one_response_answers_many_requests() -> None:
    fleet = ScriptedTransport(default=httpx.Response(200, json={"id": 7}))
    with httpx.Client(transport=fleet) as client:
        assert [client.get("http://x/").json() for _ in range(2)] == [{"id": 7}, {"id": 7}]


def test_time_is_the_clocks(mesh: Mesh) -> None:
    clock = ManualClock()
    fleet = ScriptedTransport(default=After(5.0, 204), runtime=clock)
    with SyncMeshClient(mesh=mesh, transport=fleet) as client:
        assert client.get("http://users/").status_code == 204
    assert clock.now() == 5.0
