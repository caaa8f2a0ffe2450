"""Does the next hop hear by when the caller wants its answer?"""

from __future__ import annotations

import pytest
from support.client_kinds import CLIENT_KINDS, ClientKind, Server, mesh_of
from support.loopback import served
from support.scripted import OK, Peer

import meshlib
from meshlib.routing.context import DEADLINE_HEADER, ContextDeadline

pytestmark = pytest.mark.anyio


@pytest.fixture(params=CLIENT_KINDS, ids=lambda client_kind: client_kind.name)
def client_kind(request: pytest.FixtureRequest) -> ClientKind:
    found: ClientKind = request.param
    return found


def told(text: str) -> float:
    found = ContextDeadline.read(text)
    assert found is not None
    return found.deadline - found.timestamp


async def test_a_deadline_is_told_with_each_attempt_and_the_callers_request_stays_as_it_was(
    client_kind: ClientKind,
) -> None:
    server = Server(client_kind, 503, 200)
    async with client_kind.open(mesh_of(attempts=2, per_try_timeout=1.5), transport=server.transport) as client:
        request = client.build_request("GET", "http://users/")
        with meshlib.deadline(60.0):
            assert (await client.send(request)).status_code == 200
    assert DEADLINE_HEADER not in request.headers
    assert [0.0 < told(one.headers[DEADLINE_HEADER]) <= 1.501 for one in server.seen] == [True, True]


async def test_without_a_deadline_nothing_is_told_and_what_the_caller_says_stays(client_kind: ClientKind) -> None:
    server = Server(client_kind)
    async with client_kind.open(mesh_of(), transport=server.transport) as client:
        await client.get("http://users/")
        with meshlib.deadline(60.0):
            await client.get("http://users/", headers={DEADLINE_HEADER: "1 2"})
    assert [one.headers.get_list(DEADLINE_HEADER) for one in server.seen] == [[], ["1 2"]]


async def test_it_is_told_on_a_real_connection_new_or_kept(client_kind: ClientKind) -> None:
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        for _ in range(3):
            heads.append(await peer.request())
            await peer.send(OK)

    with served(script) as upstream:
        async with client_kind.open(mesh_of(upstream.port)) as client:
            with meshlib.deadline(60.0):
                await client.get("http://users/")
                await client.get("http://users/")
                await client.get("http://users/", headers={DEADLINE_HEADER: "1 2"})
    lines = [[line for line in head.split(b"\r\n") if line.startswith(b"l5d")] for head in heads]
    assert [len(found) for found in lines] == [1, 1, 1]
    assert [0.0 < told(line[0].partition(b": ")[2].decode()) <= 60.001 for line in lines[:2]] == [True, True]
    assert lines[2] == [b"l5d-ctx-deadline: 1 2"]
    assert all(head.endswith(b"\r\n\r\n") and head.count(b"\r\n\r\n") == 1 for head in heads)
