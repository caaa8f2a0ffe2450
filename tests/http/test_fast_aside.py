"""The fast lane steps aside wherever the outcome could differ from httpx's own road."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import httpx2
import pytest
from support.client_kinds import mesh_of
from support.loopback import Trust
from support.scripted import OK, Peer, Script, Server, answering, serving

import meshlib
import meshlib.httpx2
from meshlib.http.engine.fast_exchange import FastExchange
from meshlib.http.transports.own_transport import AttemptSender
from meshlib.routing.actions import HeaderEdit
from meshlib.routing.split import Destination, Split
from meshlib.routing.table import RouteTable
from meshlib.routing.table import ServiceRoutes as Routed

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]
FAMILIES = [(httpx, meshlib.MeshClient), (httpx2, meshlib.httpx2.MeshClient)]
EACH = pytest.mark.parametrize(("lib", "kind"), FAMILIES, ids=["httpx", "httpx2"])


class Taken:
    """Which way the requests went: "lean" past httpx's models, "fast" over our own connections, or neither."""

    def __init__(self) -> None:
        self.lean = self.fast = 0

    def __iter__(self) -> Any:
        return iter((self.lean, self.fast))


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    counts = Taken()
    ask, carried = FastExchange.ask, AttemptSender.handle_async_request

    def with_fast_entry(self: Any, *args: Any) -> Any:
        counts.lean += 1
        return ask(self, *args)

    async def fast(self: Any, wire: Any) -> Any:
        counts.fast += 1
        return await carried(self, wire)

    monkeypatch.setattr(FastExchange, "ask", with_fast_entry)
    monkeypatch.setattr(AttemptSender, "handle_async_request", fast)
    return counts


@asynccontextmanager
async def opened(kind: Any, script: Script | None = None, **arguments: Any) -> AsyncIterator[tuple[Any, Server]]:
    async with serving(script or answering()) as server, kind(mesh=mesh_of(server.port), **arguments) as client:
        yield client, server


URL = "http://users/v1"


@EACH
async def test_a_plain_request_takes_the_lean_path(lib: Any, kind: Any, taken: Taken) -> None:
    async with opened(kind) as (client, _):
        for verb in ("get", "options", "head", "post", "put", "patch", "delete"):
            if verb != "head":
                assert (await getattr(client, verb)(URL)).text == "ok"
        assert (await client.request("GET", URL)).text == "ok"
        assert (await client.post(URL, json={"a": 1})).text == "ok"
        assert (await client.post(URL, content="text")).text == "ok"
        assert (await client.get(URL, timeout=3.0)).text == "ok"
        assert (await client.get(URL, follow_redirects=True)).text == "ok"
        assert (await client.get(URL, headers={"x-a": "1"})).request.headers["x-a"] == "1"
        assert str((await client.get(URL, params={"a": "ü", "b": 2})).request.url) == f"{URL}?a=%C3%BC&b=2"
    assert tuple(taken) == (13, 0)


@EACH
async def test_the_same_headers_go_with_any_body(lib: Any, kind: Any, taken: Taken) -> None:
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            heads.append(await peer.request())
            await peer.send(OK)

    async with opened(kind, script) as (client, _):
        for body in ("a", "a longer one", {"json": "now"}):
            kind_of_body = {"content": body} if isinstance(body, str) else {"json": body}
            response = await client.post(URL, headers={"x-a": "1"}, **kind_of_body)
            assert response.request.headers["content-length"] == str(len(response.request.content))
            plain = lib.Request("POST", URL, headers={"x-a": "1"}, **kind_of_body)
            assert response.request.content == plain.content
        client.headers["x-b"] = "2"
        await client.post(URL, headers={"x-a": "1"}, content="a")
    assert [head.lower().count(b"x-a: 1") for head in heads] == [1, 1, 1, 1]
    assert [b"x-b: 2" in head.lower() for head in heads] == [False, False, False, True]
    assert tuple(taken) == (4, 0)


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "a built request": lambda client, lib: client.send(client.build_request("GET", URL)),
    "a URL object": lambda client, lib: client.get(lib.URL(URL)),
    "params that are no plain mapping": lambda client, lib: client.get(URL, params=[("a", "1")]),
    "params that are equal, and sent otherwise": lambda client, lib: client.get(URL, params={"a": True}),
    "a Host of one's own": lambda client, lib: client.get(URL, headers={"host": "other"}),
    "form data": lambda client, lib: client.post(URL, data={"a": "1"}),
    "credentials in the URL": lambda client, lib: client.get("http://ada:secret@users/v1"),
    "an auth flow": lambda client, lib: client.get(URL, auth=("ada", "secret")),
    "no auth": lambda client, lib: client.get(URL, auth=None),
    "an empty body": lambda client, lib: client.post(URL, content=b""),
}


@EACH
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_what_is_not_plain_is_built_by_httpx_and_sent_by_us(
    lib: Any, kind: Any, call: Callable[[Any, Any], Any], taken: Taken
) -> None:
    async with opened(kind) as (client, _):
        assert (await call(client, lib)).text == "ok"
    assert tuple(taken) == (0, 1)


async def _noted(*_: Any) -> None:
    pass


CLIENTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "auth": lambda lib: {"auth": ("ada", "secret")},
    "cookies": lambda lib: {"cookies": {"c": "1"}},
    "params": lambda lib: {"params": {"p": "1"}},
    "request hooks": lambda lib: {"event_hooks": {"request": [_noted]}},
    "response hooks": lambda lib: {"event_hooks": {"response": [_noted]}},
    "limits": lambda lib: {"limits": lib.Limits(max_connections=3)},
    "mounts that do not match": lambda lib: {"mounts": {"all://elsewhere": lib.AsyncHTTPTransport()}},
}


@EACH
@pytest.mark.parametrize("make", CLIENTS.values(), ids=CLIENTS)
async def test_a_client_with_settings_of_its_own_is_served_by_httpx_and_our_connections(
    lib: Any, kind: Any, make: Callable[[Any], dict[str, Any]], taken: Taken
) -> None:
    async with opened(kind, **make(lib)) as (client, _):
        assert (await client.get(URL)).text == "ok"
    assert tuple(taken) == (0, 1)


def _mock(lib: Any) -> Any:
    return lib.MockTransport(lambda request: lib.Response(200, text="ok"))


TRANSPORTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "fast=False": lambda lib: {"fast": False},
    "a transport": lambda lib: {"transport": _mock(lib)},
    "the default kind of transport": lambda lib: {"transport": lib.AsyncHTTPTransport()},
    "a mount that matches": lambda lib: {"mounts": {"all://users": _mock(lib)}},
    "HTTP/2": lambda lib: {"http2": True},
}


@EACH
@pytest.mark.parametrize("make", TRANSPORTS.values(), ids=TRANSPORTS)
async def test_another_transport_carries_everything(
    lib: Any, kind: Any, make: Callable[[Any], dict[str, Any]], taken: Taken
) -> None:
    async with opened(kind, **make(lib)) as (client, _):
        assert (await client.get(URL)).text == "ok"
    assert tuple(taken) == (0, 0)


@EACH
async def test_a_body_that_is_not_in_memory_goes_by_httpx(lib: Any, kind: Any, taken: Taken) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"piece"

    async def script(peer: Peer) -> None:
        await peer.request()
        assert (await peer.reader.readuntil(b"0\r\n\r\n")).startswith(b"5\r\npiece\r\n")
        await peer.send(OK)

    async with opened(kind, script) as (client, _):
        assert (await client.post(URL, content=body())).text == "ok"
    assert tuple(taken) == (0, 0)


@EACH
@pytest.mark.parametrize("extension", ["trace", "target"])
async def test_extensions_that_only_httpcore_understands_go_by_httpx(
    lib: Any, kind: Any, extension: str, taken: Taken
) -> None:
    async with opened(kind) as (client, _):
        value = _noted if extension == "trace" else b"/other"
        assert (await client.get(URL, extensions={extension: value})).text == "ok"
    assert tuple(taken) == (0, 0)


@EACH
async def test_upgrades_go_by_httpx(lib: Any, kind: Any, taken: Taken) -> None:
    async with opened(kind) as (client, _):
        assert (await client.get(URL, headers={"upgrade": "websocket"})).text == "ok"
    assert tuple(taken) == (0, 0)


@EACH
@pytest.mark.parametrize("place", ["transport", "instance", "pool", "connection"])
async def test_whoever_patches_the_network_sees_every_request(
    lib: Any, kind: Any, place: str, taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    async with opened(kind) as (client, server):
        transport = client._transport
        core = __import__(type(transport._pool).__module__.partition(".")[0])
        target = {
            "transport": lib.AsyncHTTPTransport,
            "instance": transport,
            "pool": core.AsyncConnectionPool,
            "connection": core.AsyncHTTPConnection,
        }[place]
        original = target.handle_async_request

        async def patched(*args: Any) -> Any:
            seen.append(args)
            return await original(*args)

        await client.get(URL)
        with monkeypatch.context() as patch:
            patch.setattr(target, "handle_async_request", patched)
            assert (await client.get(f"http://127.0.0.1:{server.port}/")).text == "ok"
            assert (await client.get(URL)).text == "ok"
        assert len(seen) == 2
    assert tuple(taken) == (1, 0)


@EACH
@pytest.mark.parametrize("step", ["send", "_send_single_request", "request", "get", "build_request"])
async def test_whoever_patches_a_step_of_the_client_is_called(
    lib: Any, kind: Any, step: str, taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = getattr(lib.AsyncClient, step)
    seen: list[str] = []

    def patched(self: Any, *args: Any, **options: Any) -> Any:
        seen.append(step)
        return original(self, *args, **options)

    async with opened(kind) as (client, _):
        await client.get(URL)
        assert tuple(taken) == (1, 0)
        with monkeypatch.context() as patch:
            patch.setattr(lib.AsyncClient, step, patched)
            await client.get(URL)
        assert seen or step == "_send_single_request"  # which ours stands before, for the services of the mesh
        with monkeypatch.context() as patch:
            patch.setattr(client, "send", client.send)
            await client.get(URL)
        assert taken.fast == (1 if step == "get" else 2)


@EACH
async def test_a_subclass_that_overrides_a_step_is_called(lib: Any, kind: Any, taken: Taken) -> None:
    sent: list[str] = []

    class Own(kind):  # type: ignore[misc]
        async def send(self, request: Any, **options: Any) -> Any:
            sent.append(request.method)
            return await super().send(request, **options)

    async with opened(Own) as (client, _):
        assert (await client.get(URL)).text == "ok"
    assert (sent, tuple(taken)) == (["GET"], (0, 1))


@EACH
async def test_hosts_that_the_mesh_does_not_know_go_by_httpx(lib: Any, kind: Any, taken: Taken) -> None:
    async with opened(kind) as (client, server):
        assert (await client.get(f"http://127.0.0.1:{server.port}/")).text == "ok"
    assert tuple(taken) == (0, 0)


@EACH
async def test_a_client_without_a_mesh_goes_by_httpx(lib: Any, kind: Any, taken: Taken) -> None:
    async with serving(answering()) as server, kind() as client:
        assert (await client.get(f"http://127.0.0.1:{server.port}/")).text == "ok"
    assert tuple(taken) == (0, 0)


@EACH
async def test_a_misspelt_argument_is_httpx_own_type_error(lib: Any, kind: Any) -> None:
    async with opened(kind) as (client, _):
        with pytest.raises(TypeError, match="tiemout"):
            await client.get(URL, tiemout=1.0)


@EACH
async def test_a_closed_client_says_so_in_httpx_own_words(lib: Any, kind: Any) -> None:
    async with opened(kind) as (client, _):
        await client.get(URL)
        await client.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            await client.get(URL)


@EACH
async def test_redirects_are_followed_by_httpx_own_steps(lib: Any, kind: Any, taken: Taken) -> None:
    async def script(peer: Peer) -> None:
        while True:
            head = await peer.request()
            if b"/v1" in head.split(b"\r\n")[0]:
                await peer.send(b"HTTP/1.1 302 Found\r\nLocation: /new\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\n\r\n")
            else:
                assert b"cookie: a=1" in head.lower()
                await peer.send(OK)

    async with opened(kind, script) as (client, _):
        found = await client.post(URL, json={"a": 1})
        assert (found.status_code, str(found.next_request.url), found.history) == (302, "http://users/new", [])
        client.cookies.clear()
        response = await client.post(URL, json={"a": 1}, follow_redirects=True)
    assert (response.text, str(response.url), response.request.method) == ("ok", "http://users/new", "GET")
    assert [one.status_code for one in response.history] == [302]
    assert tuple(taken) == (2, 1)


@EACH
async def test_a_redirect_that_keeps_its_body_is_sent_by_us(lib: Any, kind: Any, taken: Taken) -> None:
    bodies: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            head = await peer.reader.readuntil(b"\r\n\r\n")
            bodies.append(await peer.reader.readexactly(3 if head.startswith(b"PUT") else 0))
            moved = b"HTTP/1.1 307 Moved\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n"
            await peer.send(moved if b"/v1" in head else OK)

    async with opened(kind, script) as (client, server):
        assert (await client.get(URL, follow_redirects=True)).text == "ok"
        assert (await client.put(URL, content="abc", follow_redirects=True)).text == "ok"
    assert bodies == [b"", b"", b"abc", b"abc"]
    assert len(server.peers) == 1
    assert tuple(taken) == (2, 2)


@EACH
async def test_the_body_is_that_of_the_requests_stream(lib: Any, kind: Any, taken: Taken) -> None:
    class Loud(lib.ByteStream):  # type: ignore[misc]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"LOUD"

    sent: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            await peer.reader.readuntil(b"\r\n\r\n")
            sent.append(await peer.reader.readexactly(4))
            await peer.send(OK)

    async with opened(kind, script) as (client, _):
        for stream in (lib.ByteStream(b"late"), Loud(b"loud")):
            request = client.build_request("POST", URL, content=b"soon")
            request.stream = stream
            assert (await client.send(request)).text == "ok"
    assert sent == [b"late", b"LOUD"]
    assert tuple(taken) == (0, 1)


@EACH
async def test_a_method_in_bytes_is_sent_by_httpx(lib: Any, kind: Any, taken: Taken) -> None:
    async with opened(kind) as (client, server):
        assert (await client.request(b"get", URL)).text == "ok"
    assert server.requests == [(0, b"GET /v1 HTTP/1.1")]
    assert tuple(taken) == (0, 0)


@EACH
async def test_a_cookie_reaches_the_jar_and_the_next_request(lib: Any, kind: Any, taken: Taken) -> None:
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            heads.append(await peer.request())
            await peer.send(b"HTTP/1.1 200 OK\r\nset-cookie: sid=7; Path=/\r\nContent-Length: 2\r\n\r\nok")

    async with opened(kind, script) as (client, _):
        assert (await client.get(URL)).cookies["sid"] == "7"
        assert client.cookies["sid"] == "7"
        await client.get(URL)
    assert [b"sid=7" in head for head in heads] == [False, True]
    assert tuple(taken) == (1, 1)


@EACH
async def test_the_log_line_is_httpx_own(lib: Any, kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger=lib.__name__)
    async with opened(kind) as (client, server):
        await client.get("http://users/v1?a=b")
        await client.get(f"http://127.0.0.1:{server.port}/v1?a=b")
    ours, theirs = (record.getMessage() for record in caplog.records if record.name == lib.__name__)
    assert ours == theirs.replace(f"127.0.0.1:{server.port}", "users")


def test_trio_goes_by_httpx(taken: Taken, anyio_backend: str) -> None:
    import trio
    from support.loopback import served

    async def main(port: int) -> None:
        async with meshlib.MeshClient(mesh=mesh_of(port)) as client:
            assert (await client.get(URL)).text == "ok"

    with served(answering()) as server:
        trio.run(main, server.port)
    assert tuple(taken) == (0, 0)


def test_each_event_loop_has_connections_of_its_own(anyio_backend: str) -> None:
    client = meshlib.MeshClient(mesh=mesh_of(1))

    async def main() -> None:
        async with serving(answering()) as server:
            client.mesh = mesh_of(server.port)
            assert (await client.get(URL)).text == "ok"
            assert (await client.get(URL)).text == "ok"

    asyncio.run(main())
    asyncio.run(main())


@EACH
async def test_a_retry_that_is_routed_otherwise_is_sent_as_its_rule_says(lib: Any, kind: Any, taken: Taken) -> None:
    heads: list[bytes] = []
    arm = Destination("users", headers=HeaderEdit(set={"x-arm": "second"}))
    table = RouteTable([Routed("users", default=Split([arm]))])

    async def script(peer: Peer) -> None:
        while True:
            heads.append(await peer.request())
            if len(heads) == 1:
                client.mesh.publish(lambda now: replace(now, routes=table))
                await peer.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
            else:
                await peer.send(OK)

    async with opened(kind, script) as (client, _):
        assert (await client.get(URL)).text == "ok"
    assert [b"x-arm: second" in head for head in heads] == [False, True]
    assert tuple(taken) == (1, 1)


@EACH
async def test_a_cluster_that_originates_tls_gets_it(lib: Any, kind: Any, taken: Taken) -> None:
    trust = Trust()
    context, asked = trust.server("users.internal")
    async with serving(answering(), ssl=context) as server:
        mesh = mesh_of(server.port, tls_name="users.internal")
        mesh.current.clusters["users"].tls = True
        async with kind(mesh=mesh, verify=trust.client) as client:
            assert (await client.get(URL)).text == "ok"
            assert (await client.get("https://users/v1")).text == "ok"
    assert set(asked) == {"users.internal"}
    assert tuple(taken) == (2, 0)


@EACH
async def test_a_url_given_by_name_is_as_good_as_by_place(lib: Any, kind: Any, taken: Taken) -> None:
    async with serving(answering()) as server, kind(mesh=mesh_of(server.port)) as client:
        assert (await client.get(url="http://users/")).text == "ok"
        assert (await client.request(url="http://users/", method="GET")).text == "ok"
        assert (await client.request("GET", url="http://users/")).text == "ok"
        assert tuple(taken) == (3, 0)


@EACH
@pytest.mark.parametrize("wrong", [{}, {"url": "http://users/"}, {"method": "GET"}])
async def test_missing_arguments_are_complained_about_as_the_library_does(lib: Any, kind: Any, wrong: Any) -> None:
    async with serving(answering()) as server, kind(mesh=mesh_of(server.port)) as ours, lib.AsyncClient() as theirs:
        said = []
        for client in (ours, theirs):
            with pytest.raises(TypeError) as caught:
                await client.request(**wrong)
            said.append(str(caught.value))
            with pytest.raises(TypeError):
                await client.get("http://users/", "too many")
        assert said[0] == said[1]
