"""Whatever one can see or set on httpx's clients is there on ours, and means the same."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import anyio.to_thread
import httpx
import httpx2
import pytest
from support.client_kinds import CLIENT_KINDS, TLS, ClientKind, Server, add, mesh_of

import meshlib

pytestmark = pytest.mark.anyio
EACH = pytest.mark.parametrize("client_kind", CLIENT_KINDS, ids=lambda client_kind: client_kind.name)
ARGUMENTS = {
    "auth": ("user", "pass"),
    "params": {"a": "1"},
    "headers": {"x-app": "shop"},
    "cookies": {"c": "1"},
    "verify": False,
    "cert": None,
    "http1": True,
    "http2": True,
    "proxy": "http://127.0.0.1:3128",
    "mounts": {"all://nowhere": None},
    "timeout": 7.0,
    "follow_redirects": True,
    "limits": httpx.Limits(max_connections=3),
    "max_redirects": 5,
    "event_hooks": {"request": [print]},
    "base_url": "http://users/v1",
    "transport": None,
    "trust_env": False,
    "default_encoding": "latin-1",
}


def base_of(client_kind: ClientKind) -> Any:
    return client_kind.lib.AsyncClient if client_kind.is_async else client_kind.lib.Client


@EACH
def test_it_is_a_client_of_its_family_and_of_no_other(client_kind: ClientKind) -> None:
    assert issubclass(client_kind.kind, base_of(client_kind))
    other = httpx2 if client_kind.lib is httpx else httpx
    assert not issubclass(client_kind.kind, other.AsyncClient | other.Client)


@EACH
def test_it_takes_every_argument_of_httpx_and_mesh(client_kind: ClientKind) -> None:
    ours = inspect.signature(client_kind.kind).parameters
    theirs = inspect.signature(base_of(client_kind)).parameters
    assert set(ours) == {*theirs, "mesh"} | ({"fast"} if client_kind.is_async else set())
    assert all(ours[name] == theirs[name] for name in theirs)
    assert set(theirs) == set(ARGUMENTS)


@EACH
@pytest.mark.parametrize("argument", ARGUMENTS)
async def test_each_argument_is_taken(client_kind: ClientKind, argument: str) -> None:
    value = ARGUMENTS[argument]
    if argument == "limits":
        value = client_kind.lib.Limits(max_connections=3)
    async with client_kind.open(mesh_of(), **{argument: value}) as client:
        assert isinstance(client.client._transport, client_kind.lib.AsyncHTTPTransport | client_kind.lib.HTTPTransport)


@EACH
async def test_a_misspelt_argument_is_a_type_error(client_kind: ClientKind) -> None:
    with pytest.raises(TypeError, match="tiemout"):
        client_kind.kind(mesh=mesh_of(), tiemout=3.0)


@EACH
def test_each_method_shows_the_signature_of_httpx(client_kind: ClientKind) -> None:
    base = client_kind.lib.AsyncClient if client_kind.is_async else client_kind.lib.Client
    for name in (name for name in dir(base) if not name.startswith("_") and callable(getattr(base, name))):
        ours, theirs = getattr(client_kind.kind, name), getattr(base, name)
        assert inspect.signature(ours) == inspect.signature(theirs), name
        assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(theirs), name
        assert name in ("aclose", "close") or ours.__doc__ == theirs.__doc__, name


@EACH
async def test_the_methods_and_attributes_are_there(client_kind: ClientKind) -> None:
    methods = ["get", "options", "head", "post", "put", "patch", "delete", "request", "stream", "send", "build_request"]
    methods.append("aclose" if client_kind.is_async else "close")
    if client_kind.lib is httpx2:
        methods += ["query", "sse", "websocket"]
    async with client_kind.open(mesh_of(), transport=Server(client_kind).transport) as client:
        assert all(callable(getattr(client.client, name)) for name in methods)
        for name in methods[:7]:
            if name not in ("stream", "send", "build_request"):
                assert (await getattr(client, name)("http://users/")).status_code == 200
        client.client.headers = {"x-late": "1"}
        client.client.cookies = {"late": "1"}
        client.client.params = {"late": "1"}
        client.client.auth = ("late", "1")
        client.client.base_url = "http://users/late"
        client.client.timeout = 1.5
        client.client.event_hooks = {}
        client.client.follow_redirects = True
        response = await client.get("/")
        assert not client.client.is_closed
        assert client.client.trust_env
    sent = response.request
    assert str(sent.url) == "http://users/late/?late=1"
    assert (sent.headers["x-late"], sent.headers["cookie"], "authorization" in sent.headers) == ("1", "late=1", True)
    assert sent.extensions["timeout"]["read"] == 1.5
    assert client.client.is_closed


@EACH
async def test_the_callers_transport_is_entered_and_closed_with_the_client(client_kind: ClientKind) -> None:
    told: list[str] = []

    class Told(client_kind.lib.MockTransport):  # type: ignore[misc, name-defined]
        def __enter__(self) -> Any:
            told.append("enter")
            return self

        def __exit__(self, *_: Any) -> None:
            told.append("exit")

        async def __aenter__(self) -> Any:
            told.append("enter")
            return self

        async def __aexit__(self, *_: Any) -> None:
            told.append("exit")

    client: Any = client_kind.kind(mesh=mesh_of(), transport=Told(Server(client_kind)))
    if client_kind.is_async:
        async with client:
            await client.get("http://users/")
    else:
        with client:
            client.get("http://users/")
    assert told == ["enter", "exit"]


async def test_httpx2_has_queries_and_server_sent_events() -> None:
    for client_kind in CLIENT_KINDS:
        if client_kind.lib is httpx2:
            events = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=b"data: one\n\n")
            server = Server(client_kind, 200, events)
            async with client_kind.open(mesh_of(), transport=server.transport) as client:
                await client.query("http://users/", json={"name": "Ada"})
                if client_kind.is_async:
                    async with client.client.sse("http://users/events") as source:
                        told = [event.data async for event in source]
                else:
                    with client.client.sse("http://users/events") as source:
                        told = [event.data for event in source]
            assert (server.seen[0].method, told) == ("QUERY", ["one"])


async def test_httpx2_websockets_go_to_an_endpoint_and_hold_their_place_until_closed() -> None:
    import wsproto
    from support.client_kinds import in_flight
    from support.loopback import served
    from support.scripted import Peer
    from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage

    async def echo(peer: Peer) -> None:
        server = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        while data := await peer.reader.read(65536):
            server.receive_data(data)
            for event in server.events():
                if isinstance(event, Request):
                    peer.writer.write(server.send(AcceptConnection()))
                elif isinstance(event, TextMessage):
                    peer.writer.write(server.send(TextMessage(f"{event.data} from a server")))
                elif isinstance(event, CloseConnection):
                    peer.writer.write(server.send(event.response()))
                    return

    for client_kind in CLIENT_KINDS:
        if client_kind.lib is not httpx2:
            continue
        with served(echo) as server:
            mesh = mesh_of(server.port)
            async with client_kind.open(mesh) as client:
                if client_kind.is_async:
                    async with client.client.websocket("http://users/ws") as socket:
                        await socket.send_text("hello")
                        assert await socket.receive_text() == "hello from a server"
                        assert in_flight(mesh) == 1
                else:

                    def talk(client: Any = client, mesh: Any = mesh) -> None:
                        with client.client.websocket("http://users/ws") as socket:
                            socket.send_text("hello")
                            assert socket.receive_text() == "hello from a server"
                            assert in_flight(mesh) == 1

                    await anyio.to_thread.run_sync(talk)
            assert in_flight(mesh) == 0


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_meshlib_loads_neither_family() -> None:
    loaded = "[name for name in ('httpx', 'httpx2', 'httpcore') if name in sys.modules]"
    assert _python(f"import meshlib, sys; print({loaded})") == "[]"
    assert _python(f"import meshlib, sys; meshlib.MeshClient; print({loaded})") == "['httpx']"
    assert _python(f"import meshlib.httpx2, sys; print({loaded})") == "['httpx2']"


def test_an_application_may_alias_httpx_to_httpx2() -> None:
    code = """
import meshlib, httpx2
httpx2.alias_httpx()
import httpx, meshlib.httpx2
assert httpx is httpx2
assert issubclass(meshlib.MeshClient, httpx2.AsyncClient) and issubclass(meshlib.SyncMeshClient, httpx2.Client)
with meshlib.SyncMeshClient(mesh=meshlib.Mesh(), transport=httpx.MockTransport(lambda r: httpx.Response(204))) as one:
    print(one.get("http://users/").status_code, meshlib.httpx2.MeshClient.__mro__[-3].__module__)
"""
    assert _python(code).startswith("204 httpx2")


def test_public_names_are_those_in_all() -> None:
    assert all(hasattr(meshlib, name) for name in meshlib.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        meshlib.Nothing


def plain(client_kind: ClientKind, **arguments: Any) -> Any:
    return base_of(client_kind)(**arguments)


@EACH
async def test_the_longest_mount_that_matches_carries_a_service(client_kind: ClientKind) -> None:
    servers = {pattern: Server(client_kind) for pattern in ("all://", "http://", "http://users", "http://users:8080")}
    mounts = {pattern: server.transport for pattern, server in servers.items()} | {"http://orders": None}
    mesh = mesh_of()
    for name in ("users:8080", "orders", "bills"):
        add(mesh, name=name)
    default = Server(client_kind)
    async with client_kind.open(mesh, mounts=mounts, transport=default.transport) as client:
        for url in ("http://users/", "http://users:8080/", "http://bills/", "https://bills/", "http://orders/"):
            assert (await client.get(url)).status_code == 200
    assert [len(server.seen) for server in servers.values()] == [1, 1, 1, 1]
    assert [request.headers["host"] for request in default.seen] == ["orders"]


@EACH
async def test_proxies_of_the_environment_are_chosen_as_by_httpx(
    client_kind: ClientKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:3128")
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8,*.inner,users,localhost")
    ours, theirs = client_kind.make(mesh=mesh_of()), plain(client_kind, verify=TLS)
    chosen = []
    for host in ("10.1.2.3", "11.1.2.3", "a.inner", "inner", "users", "v1.users", "orders", "localhost"):
        url = client_kind.lib.URL(f"http://{host}/")
        chosen.append(ours._transport_for_url(url) is ours._transport)
        assert chosen[-1] == (theirs._transport_for_url(url) is theirs._transport), host
    assert True in chosen and False in chosen
    for client in (ours, theirs):
        await (client.aclose() if client_kind.is_async else anyio.to_thread.run_sync(client.close))


@EACH
async def test_certificates_are_trusted_as_by_httpx_and_the_callers_own_context_wins(client_kind: ClientKind) -> None:
    ours, theirs = client_kind.kind(mesh=mesh_of()), plain(client_kind)
    contexts = [one._transport._pool._ssl_context for one in (ours, theirs)]
    assert type(contexts[0]) is type(contexts[1])
    assert contexts[0].get_ca_certs() == contexts[1].get_ca_certs()
    own = client_kind.kind(mesh=mesh_of(), verify=TLS)
    assert own._transport._pool._ssl_context is TLS
    for client in (ours, theirs, own):
        await (client.aclose() if client_kind.is_async else anyio.to_thread.run_sync(client.close))
