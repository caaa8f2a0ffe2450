"""A name that was a service does not go out on any road: nothing is looked up, no byte leaves, and the error says why.

`localhost` stands for the name of a service that DNS knows as well, as that of a stranger.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import anyio.to_thread
import httpx2
import pytest
from support.client_kinds import WIRED, ClientKind, Handle, add, mesh_of
from support.loopback import served
from support.scripted import Server, answering

from meshlib import Mesh, NoEndpoint, Snapshot
from meshlib.routing.actions import Mirror
from meshlib.routing.route import Route
from meshlib.routing.split import Split
from meshlib.routing.table import RouteTable
from meshlib.routing.table import ServiceRoutes as Routed

pytestmark = pytest.mark.anyio
TOKEN = {"Authorization": "Bearer secret"}


@pytest.fixture
def client_kind(wired: ClientKind) -> ClientKind:
    return wired


@dataclass
class Two:
    """The service's own server, a stranger's that DNS names for it, and each look-up since the service went."""

    own: Server
    stranger: Server
    looked_up: list[Any]

    @property
    def url(self) -> str:
        return f"http://localhost:{self.stranger.port}/"

    def mesh(self) -> Mesh:
        return mesh_of(self.own.port, name="localhost")

    def lose_the_service(self, mesh: Mesh, **table: Any) -> None:
        mesh.publish(lambda now: Snapshot(routes=RouteTable(**table)))
        self.looked_up.clear()

    def assert_untouched(self) -> None:
        assert (self.stranger.peers, self.looked_up) == ([], [])


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    looked_up: list[Any] = []
    real = socket.getaddrinfo

    def recorded(host: Any, *args: Any, **how: Any) -> Any:
        if "localhost" in str(host).lower():
            looked_up.append(host)
        return real(host, *args, **how)

    monkeypatch.setattr(socket, "getaddrinfo", recorded)
    with served(answering()) as own, served(answering()) as stranger:
        yield Two(own, stranger, looked_up)


async def streamed(client: Handle, url: str) -> None:
    async with client.stream("GET", url, headers=TOKEN):
        pass


async def sent(client: Handle, url: str) -> None:
    await client.send(client.build_request("POST", url, headers=TOKEN, content=b"x"))


WAYS: dict[str, Callable[[Handle, str], Any]] = {
    "get": lambda client, url: client.get(url),
    "get with a token": lambda client, url: client.get(url, headers=TOKEN),
    "post": lambda client, url: client.post(url, json={"a": 1}),
    "delete": lambda client, url: client.delete(url),
    "request": lambda client, url: client.request("PATCH", url, content=b"x"),
    "upgrade": lambda client, url: client.get(url, headers={"upgrade": "websocket"}),
    "form": lambda client, url: client.post(url, data={"a": "1"}),
    "auth": lambda client, url: client.get(url, auth=("me", "secret")),
    "stream": streamed,
    "send": sent,
}


@pytest.mark.parametrize("way", WAYS)
async def test_no_way_leads_out_for_a_name_that_was_a_service(client_kind: ClientKind, two: Two, way: str) -> None:
    mesh, go = two.mesh(), WAYS[way]
    async with client_kind.open(mesh) as client:
        await go(client, two.url)  # so that whatever remembers a way has one
        await go(client, two.url)
        two.lose_the_service(mesh)
        with pytest.raises(NoEndpoint, match="was a name of service 'localhost'") as caught:
            await go(client, two.url)
    assert isinstance(caught.value, client_kind.lib.ConnectError) and str(caught.value.request.url) == two.url
    assert "nothing was sent" in str(caught.value)
    two.assert_untouched()
    assert len(two.own.requests) == 2


@pytest.mark.parametrize("host", ["LOCALHOST", "localhost.", "Localhost."])
async def test_another_spelling_of_the_name_leads_out_no_more(client_kind: ClientKind, two: Two, host: str) -> None:
    mesh = two.mesh()
    async with client_kind.open(mesh) as client:
        two.lose_the_service(mesh)
        for url in (f"http://{host}:{two.stranger.port}/", f"http://{host}/", f"https://{host}/"):
            with pytest.raises(NoEndpoint, match="was a name of service 'localhost'"):
                await client.get(url)
    two.assert_untouched()


async def test_a_redirect_to_the_name_is_not_followed(client_kind: ClientKind, two: Two) -> None:
    answer = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {two.url}\r\nContent-Length: 0\r\n\r\n".encode()
    with served(answering(answer)) as other:
        mesh = two.mesh()
        cluster = add(mesh, other.port, name="other")
        async with client_kind.open(mesh, follow_redirects=True, headers=TOKEN) as client:
            two.lose_the_service(mesh)
            add(mesh, cluster.balancer.endpoints[0], name="other")
            for go in (client.get, lambda url: client.post(url, json={})):
                with pytest.raises(NoEndpoint, match="was a name of service 'localhost'"):
                    await go("http://other/")
    two.assert_untouched()
    assert len(other.requests) == 2


async def test_the_rules_of_egress_lead_out_only_what_they_name(client_kind: ClientKind, two: Two) -> None:
    mesh = two.mesh()
    everything = Routed("egress", routes=[Route(outside=True)])
    async with client_kind.open(mesh) as client:
        two.lose_the_service(mesh, unknown=everything)
        with pytest.raises(NoEndpoint, match="was a name of service 'localhost'"):
            await client.get(two.url)
        two.assert_untouched()
        two.lose_the_service(mesh, outside=["localhost"])
        assert (await client.get(two.url)).text == "ok"
    assert len(two.stranger.requests) == 1


async def test_strangers_that_never_were_services_go_out_as_before(client_kind: ClientKind, two: Two) -> None:
    mesh = two.mesh()
    async with client_kind.open(mesh) as client:
        two.lose_the_service(mesh)
        assert (await client.get(f"http://127.0.0.1:{two.stranger.port}/")).text == "ok"


async def test_the_service_is_back_as_soon_as_the_mesh_has_it_again(client_kind: ClientKind, two: Two) -> None:
    mesh = two.mesh()
    before = mesh.current
    async with client_kind.open(mesh) as client:
        two.lose_the_service(mesh)
        mesh.publish(lambda now: before)
        assert (await client.get(two.url)).text == "ok"
        two.lose_the_service(mesh)
        with pytest.raises(NoEndpoint):
            await client.get(two.url)
    two.assert_untouched()


async def test_a_retry_does_not_go_out_when_the_service_goes_between_two_attempts(
    client_kind: ClientKind, two: Two
) -> None:
    """The first attempt fails after the service was lost."""
    mesh = two.mesh()

    async def lose(peer: Any) -> None:
        await peer.request()
        two.lose_the_service(mesh)
        peer.reset()

    with served(lose) as failing:
        add_again = mesh_of(failing.port, name="localhost").current
        mesh.publish(lambda now: replace(add_again))
        async with client_kind.open(mesh) as client:
            with pytest.raises(NoEndpoint, match="was a name of service 'localhost'"):
                await client.get(two.url)
    two.assert_untouched()


async def test_a_mirror_goes_to_a_cluster_or_nowhere(client_kind: ClientKind, two: Two) -> None:
    mesh = mesh_of(two.own.port, name="users")
    add(mesh, two.own.port, name="localhost")
    rule = Route(to=Split("users"), mirrors=[Mirror("localhost")])

    def without(now: Snapshot) -> Snapshot:
        clusters = {name: one for name, one in now.clusters.items() if name == "users"}
        return replace(now, routes=RouteTable([Routed("users", routes=[rule])]), clusters=clusters)

    mesh.publish(without)
    async with client_kind.open(mesh) as client:
        assert (await client.get("http://users/")).text == "ok"
    two.assert_untouched()


@pytest.mark.parametrize(
    "client_kind",
    [client_kind for client_kind in WIRED if client_kind.lib is httpx2],
    ids=lambda client_kind: client_kind.name,
)
async def test_no_websocket_is_opened_to_the_name(client_kind: ClientKind, two: Two) -> None:
    mesh = two.mesh()
    two.lose_the_service(mesh)
    async with client_kind.open(mesh) as client:
        with pytest.raises(NoEndpoint, match="was a name of service 'localhost'"):
            if client_kind.is_async:
                async with client.client.websocket(two.url.replace("http", "ws")):
                    pass
            else:

                def open_it() -> None:
                    with client.client.websocket(two.url.replace("http", "ws")):
                        pass

                await anyio.to_thread.run_sync(open_it)
    two.assert_untouched()
