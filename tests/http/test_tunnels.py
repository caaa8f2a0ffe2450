"""HTTPS through a proxy's tunnel: the tunnel leads to the endpoint, the certificate must name the service."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from support.client_kinds import ClientKind, add, mesh_of
from support.loopback import Trust, served
from support.scripted import Peer, answering

pytestmark = pytest.mark.anyio


@pytest.fixture
def client_kind(wired: ClientKind) -> ClientKind:
    return wired


@pytest.fixture(scope="module")
def trust() -> Trust:
    return Trust()


class Proxy:
    """Connects each `CONNECT` to `port` of loopback, wherever it wanted to go."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.targets: list[bytes] = []

    async def __call__(self, peer: Peer) -> None:
        self.targets.append((await peer.request()).split(b" ")[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(_copy(peer.reader, writer), _copy(reader, peer.writer))
        finally:
            writer.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    except ConnectionError:
        pass
    target.close()


def by_environment(client_kind: ClientKind, url: str, patch: pytest.MonkeyPatch, trust: Trust) -> dict[str, Any]:
    patch.setenv("HTTPS_PROXY", url)
    return {"verify": trust.client}


def by_argument(client_kind: ClientKind, url: str, patch: pytest.MonkeyPatch, trust: Trust) -> dict[str, Any]:
    return {"verify": trust.client, "proxy": url}


def by_mount(client_kind: ClientKind, url: str, patch: pytest.MonkeyPatch, trust: Trust) -> dict[str, Any]:
    kind = client_kind.lib.AsyncHTTPTransport if client_kind.is_async else client_kind.lib.HTTPTransport
    return {"mounts": {"https://": kind(verify=trust.client, proxy=url)}}


def by_transport(client_kind: ClientKind, url: str, patch: pytest.MonkeyPatch, trust: Trust) -> dict[str, Any]:
    return {"transport": by_mount(client_kind, url, patch, trust)["mounts"]["https://"]}


@pytest.mark.parametrize("given", [by_environment, by_argument, by_mount, by_transport])
async def test_the_tunnel_leads_to_the_endpoint_and_the_certificate_names_the_service(
    client_kind: ClientKind, given: Callable[..., dict[str, Any]], trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, asked = trust.server("users")
    with served(answering(), ssl=context) as server, served(proxy := Proxy(server.port)) as between:
        how = given(client_kind, f"http://127.0.0.1:{between.port}", monkeypatch, trust)
        async with client_kind.open(mesh_of("10.0.0.1"), **how) as client:
            assert [(await client.get("https://users/")).text for _ in range(3)] == ["ok"] * 3
    assert (proxy.targets, asked) == ([b"10.0.0.1:8001"], ["users"])


async def test_a_certificate_for_the_endpoints_address_is_not_enough(client_kind: ClientKind, trust: Trust) -> None:
    context, asked = trust.server("10.0.0.1")
    with served(answering(), ssl=context) as server, served(Proxy(server.port)) as between:
        how = {"verify": trust.client, "proxy": f"http://127.0.0.1:{between.port}"}
        async with client_kind.open(mesh_of("10.0.0.1", attempts=1), **how) as client:
            with pytest.raises(client_kind.lib.ConnectError):
                await client.get("https://users/")
    assert (server.requests, asked) == ([], ["users"])


async def test_the_clusters_own_name_counts_before_that_of_the_service(client_kind: ClientKind, trust: Trust) -> None:
    context, asked = trust.server("users.internal")
    with served(answering(), ssl=context) as server, served(Proxy(server.port)) as between:
        how = {"verify": trust.client, "proxy": f"http://127.0.0.1:{between.port}"}
        async with client_kind.open(mesh_of("10.0.0.1", tls_name="users.internal"), **how) as client:
            assert (await client.get("https://users/")).text == "ok"
    assert asked == ["users.internal"]


async def test_services_behind_one_address_never_share_a_tunnel(client_kind: ClientKind, trust: Trust) -> None:
    context, asked = trust.server("users", "orders")
    with served(answering(), ssl=context) as server, served(proxy := Proxy(server.port)) as between:
        mesh = mesh_of("10.0.0.1")
        add(mesh, "10.0.0.1", name="orders")
        how = {"verify": trust.client, "proxy": f"http://127.0.0.1:{between.port}"}
        async with client_kind.open(mesh, **how) as client:
            for name in ("users", "orders", "users"):
                assert (await client.get(f"https://{name}/")).text == "ok"
    assert (len(proxy.targets), asked) == (2, ["users", "orders"])


async def test_the_proxys_own_certificate_is_checked_against_its_own_name(
    client_kind: ClientKind, trust: Trust
) -> None:
    context, asked = trust.server("users")
    front, greeted = trust.server("localhost")
    with served(answering(), ssl=context) as server, served(Proxy(server.port), ssl=front) as between:
        own = client_kind.lib.Proxy(f"https://localhost:{between.port}", ssl_context=_another(trust))
        async with client_kind.open(mesh_of("10.0.0.1"), verify=trust.client, proxy=own) as client:
            assert (await client.get("https://users/")).text == "ok"
    assert (greeted, asked) == (["localhost"], ["users"])


def _another(trust: Trust) -> ssl.SSLContext:
    context = ssl.create_default_context()
    trust._authority.configure_trust(context)
    return context
