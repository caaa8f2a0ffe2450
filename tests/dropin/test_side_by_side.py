"""The same requests to a real server, through httpx by its address and through the mesh by its name: no difference."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import anyio.to_thread
import pytest
import uvicorn
from doors import WIRED, Door, mesh_of

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
        "extensions": sorted(name for name in response.extensions if name != "network_stream"),
        "closed": (response.is_closed, response.is_stream_consumed),
    }


@pytest.mark.parametrize("door", WIRED, ids=lambda door: door.name)
async def test_no_answer_differs(door: Door, port: int) -> None:
    base: Any = door.lib.AsyncClient if door.is_async else door.lib.Client
    plain = base(base_url=f"http://127.0.0.1:{port}", headers={"host": "users"})
    async with door.open(mesh_of(port, attempts=1), base_url="http://users", headers={"host": "users"}) as client:
        for method, path, how in REQUESTS:
            through_mesh = await client.request(method, path, **how)
            if door.is_async:
                direct = await plain.request(method, path, **how)
            else:
                direct = await anyio.to_thread.run_sync(partial(plain.request, method, path, **how))
            assert seen(through_mesh) == seen(direct), (method, path)
        assert dict(client.client.cookies) == dict(plain.cookies) == {"a": "1", "b": "2"}
    await (plain.aclose() if door.is_async else anyio.to_thread.run_sync(plain.close))
