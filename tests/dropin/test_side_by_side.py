"""The same requests to a real server, through httpx by its address and through the mesh by its name: no difference."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import anyio.to_thread
import pytest
import uvicorn
from support.client_kinds import TLS, WIRED, ClientKind, mesh_of

pytestmark = pytest.mark.anyio


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Echoes the request, and does to the answer what the path says."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = {name.decode(): value.decode() for name, value in scope["headers"] if name != b"user-agent"}
    told: dict[str, Any] = {"method": scope["method"], "path": scope["raw_path"].decode(), "headers": headers}
    answer = json.dumps({**told, "body": body.decode("latin-1")}).encode()
    path, status, fields = scope["path"], 200, [(b"x-query", scope["query_string"])]
    if path == "/gzip":
        answer, fields = gzip.compress(answer, mtime=0), [(b"content-encoding", b"gzip")]
    elif path == "/redirect":
        status, fields = 307, [(b"location", b"/final?from=redirect")]
    elif path == "/cookies":
        fields = [(b"set-cookie", b"a=1; Path=/"), (b"set-cookie", b"b=2")]
    elif path == "/moved":
        status, fields = 302, [(b"location", b"/final")]
    elif path == "/loop":
        status, fields = 302, [(b"location", b"/loop")]
    elif path == "/nowhere":
        status, fields = 302, [(b"location", b"http://[nowhere")]
    elif path == "/ftp":
        status, fields = 302, [(b"location", b"ftp://users/")]
    elif path == "/latin":
        fields = [(b"content-type", b"text/plain; charset=latin-1")]
        answer = b"h\xe9"
    elif path == "/large":
        answer = b"z" * 2_000_000
    elif path.startswith("/status/"):
        status = int(path.rpartition("/")[2])
    if status == 204:
        answer = b""
    await send({"type": "http.response.start", "status": status, "headers": fields})
    if path == "/chunks":
        for piece in (answer[:10], answer[10:]):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        answer = b""
    await send({"type": "http.response.body", "body": answer})


class Quiet(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """A thread may not have any."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = Quiet(uvicorn.Config(app, port=0, log_level="critical", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    while not server.started:
        thread.join(0.005)
        assert thread.is_alive()
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/plain", {}),
    ("GET", "/a%20b/%2F?q=1&q=2", {"params": {"r": "ä"}}),
    ("HEAD", "/plain", {}),
    ("OPTIONS", "/plain", {}),
    ("GET", "/gzip", {}),
    ("GET", "/chunks", {}),
    ("GET", "/status/204", {}),
    ("GET", "/status/404", {}),
    ("POST", "/status/500", {"json": {"a": 1}}),
    ("GET", "/redirect", {}),
    ("POST", "/redirect", {"data": {"a": "1"}, "follow_redirects": True}),
    ("PUT", "/plain", {"content": b"x" * 200_000}),
    (
        "POST",
        "/plain",
        {"files": {"f": ("a.txt", b"text")}, "headers": {"content-type": "multipart/form-data; boundary=b"}},
    ),
    ("GET", "/cookies", {}),
    ("GET", "/after-cookies", {"cookies": None, "headers": {"x-a": "1"}, "auth": ("user", "pass")}),
    ("DELETE", "/plain", {"timeout": None}),
]


def pieces(client_kind: ClientKind) -> Any:
    async def one_by_one() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    return one_by_one() if client_kind.is_async else iter([b"one", b"two"])


# What is made afresh for each request, and what ends in an error.
MORE: list[tuple[str, str, Callable[[ClientKind], dict[str, Any]]]] = [
    ("POST", "/plain", lambda client_kind: {"content": pieces(client_kind)}),
    ("POST", "/redirect", lambda client_kind: {"content": pieces(client_kind), "follow_redirects": True}),
    ("POST", "/plain", lambda client_kind: {"content": b"abc", "headers": {"Content-Length": "3"}}),
    ("POST", "/plain", lambda client_kind: {"content": "h\u00e9"}),
    ("POST", "/plain", lambda client_kind: {"content": b""}),
    (
        "POST",
        "/plain",
        lambda client_kind: {"json": {"n": [1, None, "\u00e9"]}, "timeout": client_kind.lib.USE_CLIENT_DEFAULT},
    ),
    ("POST", "/plain", lambda client_kind: {"json": float("nan")}),
    ("POST", "/plain", lambda client_kind: {"json": object()}),
    ("PATCH", "/plain", lambda client_kind: {"data": {"a": "1", "b": ["2", "3"]}}),
    ("purge", "/plain", lambda client_kind: {}),
    ("GE T", "/plain", lambda client_kind: {}),
    ("GET", "/plain", lambda client_kind: {"headers": {"x": "a\nb"}}),
    ("GET", "/plain", lambda client_kind: {"headers": {"x": "a\0b"}}),
    ("GET", "/plain", lambda client_kind: {"headers": {"a b": "1"}}),
    ("GET", "/plain", lambda client_kind: {"headers": {"x": "\u20ac"}}),
    ("GET", "/plain", lambda client_kind: {"headers": [("x", "1"), ("X", "2")]}),
    ("GET", "/plain", lambda client_kind: {"headers": {"accept-encoding": "identity", "connection": "close"}}),
    ("GET", "/plain", lambda client_kind: {"cookies": {"a": "1"}}),  # httpx warns, and warnings are errors here
    ("GET", "/plain", lambda client_kind: {"timeout": client_kind.lib.Timeout(None), "extensions": {"mine": 1}}),
    ("GET", "/plain", lambda client_kind: {"timeout": (1, 2, 3, 4)}),
    ("GET", "/plain", lambda client_kind: {"auth": 3}),
    ("GET", "/plain", lambda client_kind: {"nothing": 3}),
    ("GET", "/a b/\u00fc/../%7E%2f?q=\u00fc x#part", lambda client_kind: {}),
    ("GET", "/" + "a" * 70_000, lambda client_kind: {}),
    ("GET", "ftp://users/", lambda client_kind: {}),
    ("GET", "http://[users", lambda client_kind: {}),
    ("GET", "/loop", lambda client_kind: {"follow_redirects": True}),
    ("GET", "/nowhere", lambda client_kind: {"follow_redirects": True}),
    ("GET", "/nowhere", lambda client_kind: {}),
    ("GET", "/ftp", lambda client_kind: {"follow_redirects": True}),
    ("POST", "/moved", lambda client_kind: {"json": {}, "follow_redirects": True}),
    ("QUERY", "/moved", lambda client_kind: {"content": b"q", "follow_redirects": True}),
    ("GET", "/latin", lambda client_kind: {}),
    ("GET", "/large", lambda client_kind: {}),
    ("GET", "/status/304", lambda client_kind: {}),
]


def seen(response: Any) -> dict[str, Any]:
    """All of a response that does not depend on the moment."""
    return {
        "status": response.status_code,
        "reason": response.reason_phrase,
        "version": response.http_version,
        "headers": [field for field in response.headers.multi_items() if field[0] != "date"],
        "text": response.text,
        "encoding": response.encoding,
        "cookies": dict(response.cookies),
        "history": [seen(one) for one in response.history],
        "path": response.url.raw_path,
        "next": response.next_request and response.next_request.url.raw_path,
        "method": response.request.method,
        "extensions": sorted(name for name in response.extensions if name != "network_stream"),
        "closed": (response.is_closed, response.is_stream_consumed),
    }


@pytest.mark.parametrize("client_kind", WIRED, ids=lambda client_kind: client_kind.name)
async def test_no_answer_differs(client_kind: ClientKind, port: int) -> None:
    base: Any = client_kind.lib.AsyncClient if client_kind.is_async else client_kind.lib.Client
    plain = base(base_url=f"http://127.0.0.1:{port}", headers={"host": "users"})
    async with client_kind.open(
        mesh_of(port, attempts=1), base_url="http://users", headers={"host": "users"}
    ) as client:
        for method, path, how in REQUESTS:
            through_mesh = await client.request(method, path, **how)
            if client_kind.is_async:
                direct = await plain.request(method, path, **how)
            else:
                direct = await anyio.to_thread.run_sync(partial(plain.request, method, path, **how))
            assert seen(through_mesh) == seen(direct), (method, path)
        assert dict(client.client.cookies) == dict(plain.cookies) == {"a": "1", "b": "2"}
    await (plain.aclose() if client_kind.is_async else anyio.to_thread.run_sync(plain.close))


@pytest.mark.parametrize("client_kind", WIRED, ids=lambda client_kind: client_kind.name)
async def test_nothing_unusual_differs_either(client_kind: ClientKind, port: int) -> None:
    base: Any = client_kind.lib.AsyncClient if client_kind.is_async else client_kind.lib.Client
    same: Any = {"headers": {"host": "users"}, "max_redirects": 3, "verify": TLS}
    plain = base(base_url=f"http://127.0.0.1:{port}", **same)
    async with client_kind.open(mesh_of(port, attempts=1), base_url="http://users", **same) as client:
        for method, path, how in MORE:
            ours = await outcome(client.request, method, path, **how(client_kind))
            theirs = await outcome(
                plain.request if client_kind.is_async else threaded(plain.request), method, path, **how(client_kind)
            )
            assert ours == theirs, (method, path)
    await (plain.aclose() if client_kind.is_async else anyio.to_thread.run_sync(plain.close))


def threaded(function: Any) -> Any:
    return lambda *args, **how: anyio.to_thread.run_sync(partial(function, *args, **how))


async def outcome(ask: Any, *args: Any, **how: Any) -> Any:
    try:
        return seen(await ask(*args, **how))
    except Exception as error:
        request = getattr(error, "_request", None)
        return type(error).__name__, str(error), request and request.method
