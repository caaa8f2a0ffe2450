"""The fast lane comes out the same as httpx: the same exchanges over httpx itself, and with the lane on and off."""

from __future__ import annotations

import asyncio
import gzip
import pickle
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import httpx
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.client_kinds import mesh_of
from support.scripted import Peer, Script, answering, once, serving

import meshlib
import meshlib.httpx2

FAMILIES = [(httpx, meshlib.MeshClient), (httpx2, meshlib.httpx2.MeshClient)]
EACH = pytest.mark.parametrize(("lib", "kind"), FAMILIES, ids=["httpx", "httpx2"])

TLS = httpx.create_ssl_context()  # made once: it takes longer than all the rest

METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
STATUSES = st.sampled_from([200, 201, 204, 206, 301, 302, 304, 307, 400, 404, 429, 500])
BODIES = st.binary(max_size=60)
FRAMINGS = st.sampled_from(["length", "chunked", "close", "short", "both", "none", "garbage"])
CODINGS = st.sampled_from(["", "gzip", "deflate", "broken"])
FIELDS = st.lists(
    st.tuples(
        st.sampled_from([b"X-One", b"x-two", b"Content-Type", b"Set-Cookie", b"ETag"]),
        st.sampled_from([b"1", b"a, b", b"text/plain; charset=latin-1", b"sid=7; Path=/", b'"tag"']),
    ),
    max_size=4,
)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "json": st.sampled_from([{}, {"a": [1, "ö"]}, [None]]),
        "headers": st.sampled_from(
            [
                {"x-a": "1"},
                {"Accept": "text/plain"},
                {"idempotency-key": "k"},
                {"content-type": "text/x"},
                [("x", "1"), ("x", "2")],
            ]
        ),
        "params": st.sampled_from(
            [{"q": "1"}, {"q": "a b", "n": 1}, {"q": 1}, {"q": True}, {"q": 1.0}, {}, [("q", "1")]]
        ),
        "follow_redirects": st.booleans(),
        "timeout": st.sampled_from([2.0, None]),
    },
)
PATHS = st.sampled_from(["/", "/v1/a?b=c", "/ü", "/a%20b", "/#fragment"])


def answer_of(status: int, fields: list[tuple[bytes, bytes]], body: bytes, framing: str, coding: str) -> bytes:
    """The bytes of a response, which may be a wrong one."""
    if coding == "gzip":
        body = gzip.compress(body, mtime=0)
    elif coding == "deflate":
        body = zlib.compress(body)
    lines = [b"HTTP/1.1 %d Said" % status, *[name + b": " + value for name, value in fields]]
    if coding:
        lines.append(b"Content-Encoding: " + (b"gzip" if coding == "broken" else coding.encode()))
    if status in (301, 302, 307):
        lines.append(b"Location: /elsewhere")
    if framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
    elif framing == "short":
        lines.append(b"Content-Length: %d" % (len(body) + 3))
    elif framing == "both":
        lines += [b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked"]
    elif framing == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
    elif framing == "garbage":
        lines.append(b"what is this")
    if framing in ("chunked", "both"):
        body = (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def split(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


async def outcome(client: Any, method: str, url: str, options: dict[str, Any]) -> Any:
    """All of what a caller can see of one request."""
    try:
        response = await client.request(method, url, **options)
    except Exception as error:
        kinds = [kind for kind in type(error).__mro__ if kind.__module__ in ("httpx", "httpx2")]
        return kinds[0].__name__, str(error.request.method)  # type: ignore[attr-defined]
    sent = response.request
    return {
        # httpx2 loses the time in pickling; ours comes through.
        "pickled": sorted(pickle.loads(pickle.dumps(response)).__dict__.keys() - {"_elapsed"}),
        "status": response.status_code,
        "headers": response.headers.raw,
        "content": response.content,
        "text": response.text,
        "encoding": response.encoding,
        "reason": response.reason_phrase,
        "version": response.http_version,
        "cookies": [(one.name, one.value, one.path) for one in response.cookies.jar],
        "jar": [(one.name, one.value, one.path) for one in client.cookies.jar],
        "history": [(one.status_code, str(one.url)) for one in response.history],
        "next": response.next_request and (response.next_request.method, response.next_request.url.path),
        "method": sent.method,
        "path": sent.url.raw_path,
        "fragment": sent.url.fragment,
        "sent": [field for field in sent.headers.raw if field[0].lower() != b"host"],
        "body": sent.content,
        "extensions": sent.extensions,
        "closed": (response.is_closed, response.is_stream_consumed),
        "downloaded": response.num_bytes_downloaded,
        "repr": repr(response),
        "said": (response.extensions["http_version"], response.extensions["reason_phrase"]),
        "elapsed": response.elapsed.total_seconds() >= 0.0,
    }


@asynccontextmanager
async def roads(lib: Any, kind: Any, port: int) -> AsyncIterator[list[tuple[Any, str]]]:
    """httpx's own client, ours with the lane on, and with it off; and the origin that each is to be asked for."""
    mesh = mesh_of(port, attempts=1)
    same = {"verify": TLS, "max_redirects": 2}
    async with (
        lib.AsyncClient(**same) as plain,
        kind(mesh=mesh, **same) as fast,
        kind(mesh=mesh, fast=False, **same) as slow,
    ):
        yield [(plain, f"http://127.0.0.1:{port}"), (fast, "http://users"), (slow, "http://users")]


async def compare(lib: Any, kind: Any, script: Script, method: str, path: str, options: dict[str, Any]) -> None:
    async with serving(script) as server, roads(lib, kind, server.port) as clients:
        for _ in range(2):  # on a fresh connection, and then where the first one left off
            first, *others = [await outcome(client, method, origin + path, options) for client, origin in clients]
            for other in others:
                assert other == first


@EACH
@settings(max_examples=40, deadline=None)
@given(
    method=METHODS, path=PATHS, options=REQUESTS, status=STATUSES, fields=FIELDS, body=BODIES, framing=FRAMINGS,
    coding=CODINGS, places=st.lists(st.integers(0, 400), max_size=3),
)  # fmt: skip
def test_both_roads_come_out_as_httpx(
    lib: Any, kind: Any, method: str, path: str, options: dict[str, Any], status: int,
    fields: list[tuple[bytes, bytes]], body: bytes, framing: str, coding: str, places: list[int],
) -> None:  # fmt: skip
    if method == "HEAD" or status in (204, 304):
        body, coding = b"", ""
        framing = "none" if framing in ("chunked", "both", "short") else framing
    if coding == "broken" and framing == "short":
        framing = "length"  # wrong in two ways: httpx tells whichever it meets first
    pieces = split(answer_of(status, fields, body, framing, coding), places)
    # A server that closes when nobody expects it races with the next request, on every road.
    whole = framing in ("length", "chunked", "both") or method == "HEAD" or status in (204, 304)
    script = answering(*pieces) if whole else once(*pieces)
    asyncio.run(compare(lib, kind, script, method, path, options))


@EACH
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_connection_is_used_again_after_each_whole_answer(lib: Any, kind: Any) -> None:
    async with serving(answering()) as server, kind(mesh=mesh_of(server.port)) as client:
        for _ in range(5):
            assert (await client.get("http://users/")).text == "ok"
            response = await client.post("http://users/", json={"a": 1})
            told = response.extensions["network_stream"].get_extra_info
            assert (response.text, told("server_addr")) == ("ok", ("127.0.0.1", server.port))
            assert (told("ssl_object"), told("is_readable")) == (None, False)
        assert len(server.peers) == 1


def test_a_plan_never_outlives_what_it_was_made_of() -> None:
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            heads.append(await peer.request())
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def main() -> None:
        mesh = mesh_of(1)
        async with serving(script) as server:
            mesh = mesh_of(server.port)
            async with meshlib.MeshClient(mesh=mesh, base_url="http://users/v1/") as client:
                await client.get("me")
                await client.get("me")
                client.headers["x-late"] = "1"
                await client.get("me")
                client.headers.update({"x-late": "2"})
                await client.get("me")
                client.base_url = "http://users/v2/"
                await client.get("me")
                client.params = {"p": "1"}
                await client.get("me")
                client.params = {}
                client.auth = ("ada", "secret")
                await client.get("me")
                client.auth = None
                client.cookies.set("c", "1")
                await client.get("me")
                del client.headers["x-late"]
                client.cookies.clear()
                await client.get("me")

    asyncio.run(main())
    lines = [head.split(b" ")[1] for head in heads]
    assert lines == [b"/v1/me"] * 4 + [b"/v2/me", b"/v2/me?p=1"] + [b"/v2/me"] * 3
    assert [b"x-late: 1" in head for head in heads] == [False, False, True, *[False] * 6]
    assert [b"x-late: 2" in head for head in heads] == [*[False] * 3, *[True] * 5, False]
    assert [b"authorization" in head.lower() for head in heads] == [*[False] * 6, True, False, False]
    assert [b"cookie" in head.lower() for head in heads] == [*[False] * 7, True, False]


def test_a_lazy_response_becomes_a_plain_one_when_pickled() -> None:
    async def main() -> None:
        async with serving(answering()) as server, meshlib.MeshClient(mesh=mesh_of(server.port)) as client:
            response = await client.get("http://users/a")
        again = pickle.loads(pickle.dumps(response))
        assert type(again) is httpx.Response
        assert (again.text, str(again.url), again.elapsed) == ("ok", "http://users/a", response.elapsed)

    asyncio.run(main())
