"""A server cannot hold up its clients with a head, whatever it sends: over each way, on each loop, and in threads.

What it may cost is counted in the steps of h11's expressions, which are what took seconds. That our own expressions are
linear is in `test_patterns`.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Iterator
from typing import Any

import h11
import h11._readers
import pytest
from support.client_kinds import WIRED, ClientKind, mesh_of
from support.loopback import Trust, served
from support.regex_steps import TooMany, steps
from support.scripted import OK, Peer, answering, once

pytestmark = pytest.mark.anyio

N = 60_000
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
FRAMED = b"\r\nContent-Length: 2\r\n\r\nok"

HOSTILE = {
    "blanks": HEAD + b"X:" + b" " * N + b"\0" + FRAMED,
    "tabs": HEAD + b"X:" + b"\t" * N + b"\0" + FRAMED,
    "blanks and tabs": HEAD + b"X:" + b" \t\t" * (N // 3) + b"\x0b" + FRAMED,
    "blanks before a value": HEAD + b"X:" + b" " * N + b"x\0" + FRAMED,
    "a bare carriage return": HEAD + b"X:" + b" " * N + b"\rx" + FRAMED,
    "many lines of blanks": HEAD + (b"X:" + b" " * 1000 + b"x\r\n") * 59 + b"X:" + b" " * 1000 + b"\0" + FRAMED,
    "blanks in the second head": b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"X:" + b" " * N + b"\0" + FRAMED,
    "blanks in an informational head": b"HTTP/1.1 103 Early\r\nX:" + b" " * N + b"\0\r\n\r\n" + OK,
    "folded lines": HEAD + b"X:" + b"\r\n " * (N // 3) + b"\0" + FRAMED,
    "folded lines with bare line feeds": b"HTTP/1.1 200 OK\nX:" + b"\n\t" * (N // 2) + b"\0\n\n",
    "a long name": HEAD + b"x" * N + FRAMED,
    "a long name and a blank": HEAD + b"x" * N + b" : y" + FRAMED,
    "many words": HEAD + b"X:" + b" x" * (N // 2) + b"\0" + FRAMED,
    "blanks behind a value": HEAD + b"X: x" + b" " * N + b"\0" + FRAMED,
    "a long reason": b"HTTP/1.1 200 " + b"x " * (N // 2) + b"\0" + FRAMED,
    "a reason of blanks": b"HTTP/1.1 200 " + b" " * N + b"\0" + FRAMED,
    "a long status": b"HTTP/1.1 " + b"2" * N + b" OK" + FRAMED,
    "a long length": HEAD + b"Content-Length: " + b"1" * N + b"\r\n\r\n",
    "blanks in trailers": CHUNKED + b"2\r\nok\r\n0\r\nX:" + b" " * N + b"\0\r\n\r\n",
    "folded trailers": CHUNKED + b"2\r\nok\r\n0\r\nX:" + b"\r\n " * (N // 3) + b"\0\r\n\r\n",
    "blanks in a size": CHUNKED + b"2" + b" " * N + b"\0\r\nok\r\n0\r\n\r\n",
    "blanks in an extension": CHUNKED + b"2;" + b" " * N + b"\n\r\nok\r\n0\r\n\r\n",
    "some blanks in an extension": CHUNKED + b"2;" + (b" " * 999 + b"x") * (N // 1000) + b"\n\r\nok\r\n0\r\n\r\n",
    "blanks in a later extension": CHUNKED + b"1\r\no\r\n1;a" + b" " * N + b"\n\r\nk\r\n0\r\n\r\n",
    "digits in a size": CHUNKED + b"2" * N + b"\r\nok\r\n0\r\n\r\n",
}
# What httpx takes, and so do we.
ODD = {
    "many lines of blanks": HEAD + (b"X:" + b" " * 1000 + b"x\r\n") * 59 + b"Content-Length: 2\r\n\r\nok",
    "blanks behind a value": HEAD + b"X: x" + b" " * N + FRAMED,
    "a long name": HEAD + b"x" * N + b": y" + FRAMED,
    "a long reason": b"HTTP/1.1 200 " + b"x " * (N // 2) + FRAMED,
    "a folded line": HEAD + b"X: a\r\n " + b" " * 1000 + b"b" + FRAMED,
    "a long extension": CHUNKED + b"2;a=" + b" b" * (N // 2) + b"\r\nok\r\n0\r\n\r\n",
    "blanks in a chunk": CHUNKED + b"%x\r\nok\r\n\r\nX:" % (N + 9) + b" " * N + b"\0\r\n0\r\nA: b\r\n\r\n",
    "blanks in a body": HEAD + b"Content-Length: %d\r\n\r\nok\r\n\r\nX:" % (N + 9) + b" " * N + b"\0",
}


LOOPS: dict[str, Any] = {"asyncio": "asyncio", "uvloop": ("asyncio", {"use_uvloop": True}), "trio": "trio"}
WAYS = [(client_kind, loop) for client_kind in WIRED for loop in (LOOPS if client_kind.is_async else ["asyncio"])]


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0].name}-{way[1]}")
def way(request: pytest.FixtureRequest) -> tuple[ClientKind, str]:
    found: tuple[ClientKind, str] = request.param
    return found


@pytest.fixture
def wired(way: tuple[ClientKind, str]) -> ClientKind:
    return way[0]


@pytest.fixture
def anyio_backend(way: tuple[ClientKind, str]) -> Any:
    return LOOPS[way[1]]


@pytest.fixture(scope="module")
def trust() -> Trust:
    return Trust()


@functools.cache
def too_slow(pattern: bytes, data: bytes) -> str:
    """What is said of a line for which an expression takes more steps than a line of that length may."""
    try:
        steps(pattern, data, limit=3_000_000 + 20 * len(data))  # a thousand blanks before a value may be squared
    except TooMany as error:
        return f"{data[:40]!r}: {error}"
    return ""


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The lines that h11 was slow at: counted before it reads them, and then not read."""
    found: list[str] = []
    theirs = h11._readers.validate

    def validate(regex: re.Pattern[bytes], data: bytes, *message: object) -> dict[str, bytes]:
        complaint = too_slow(regex.pattern, bytes(data))
        if complaint:
            found.append(complaint)
            raise h11.LocalProtocolError(complaint)
        return theirs(regex, data, *message)  # type: ignore[arg-type]

    monkeypatch.setattr(h11._readers, "validate", validate)
    yield found
    assert found == []


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_head_is_refused_at_once(wired: ClientKind, answer: bytes, slow: list[str]) -> None:
    with served(once(answer)) as server:
        async with wired.open(mesh_of(server.port)) as client:
            with pytest.raises(wired.lib.RemoteProtocolError):
                await client.get("http://users/")


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD)
async def test_an_odd_answer_is_taken(wired: ClientKind, answer: bytes, slow: list[str]) -> None:
    with served(answering(answer)) as server:
        async with wired.open(mesh_of(server.port)) as client:
            responses = [await client.get("http://users/") for _ in range(2)]
    assert [(response.status_code, response.content[:2]) for response in responses] == [(200, b"ok")] * 2
    assert len(server.peers) == 1  # over the same connection


@pytest.mark.parametrize("name", ["blanks", "folded lines", "blanks in trailers", "blanks in an extension"])
@pytest.mark.parametrize("size", [1, 1000])
async def test_a_hostile_head_in_pieces_is_refused_as_well(
    wired: ClientKind, name: str, size: int, slow: list[str]
) -> None:
    answer = HOSTILE[name].replace(b" " * N, b" " * 2000).replace(b"\r\n " * (N // 3), b"\r\n " * 2000)
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    with served(once(*pieces)) as server:
        async with wired.open(mesh_of(server.port)) as client:
            with pytest.raises(wired.lib.RemoteProtocolError):
                await client.get("http://users/")


@pytest.mark.parametrize("name", ["blanks", "blanks in trailers", "blanks in an extension"])
async def test_a_stream_is_guarded_too(wired: ClientKind, name: str, slow: list[str]) -> None:
    with served(once(HOSTILE[name])) as server:
        async with wired.open(mesh_of(server.port)) as client:
            with pytest.raises(wired.lib.RemoteProtocolError):
                async with client.stream("GET", "http://users/") as response:
                    await client.chunks(response)


async def test_a_host_outside_the_mesh_is_guarded_too(wired: ClientKind, slow: list[str]) -> None:
    with served(once(HOSTILE["blanks"])) as server:
        async with wired.open(mesh_of()) as client:
            with pytest.raises(wired.lib.RemoteProtocolError):
                await client.get(f"http://127.0.0.1:{server.port}/")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_hostile_proxy_is_refused(wired: ClientKind, scheme: str, slow: list[str]) -> None:
    with served(once(HOSTILE["blanks"])) as proxy:
        async with wired.open(mesh_of("10.0.0.1"), proxy=f"http://127.0.0.1:{proxy.port}") as client:
            with pytest.raises(wired.lib.RemoteProtocolError):
                await client.get(f"{scheme}://users/")


async def test_a_server_behind_tls_is_guarded_too(wired: ClientKind, trust: Trust, slow: list[str]) -> None:
    context, _ = trust.server("users")
    with served(once(HOSTILE["blanks"]), ssl=context) as server:
        async with wired.open(mesh_of(server.port), verify=trust.client) as client:
            with pytest.raises(wired.lib.RemoteProtocolError):
                await client.get("https://users/")


async def test_a_server_behind_a_proxys_tunnel_is_guarded_too(wired: ClientKind, trust: Trust, slow: list[str]) -> None:
    import test_tunnels

    context, _ = trust.server("users")
    with served(once(HOSTILE["blanks"]), ssl=context) as server, served(test_tunnels.Proxy(server.port)) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        async with wired.open(mesh_of("10.0.0.1"), verify=trust.client, proxy=url) as client:
            with pytest.raises(wired.lib.RemoteProtocolError):
                await client.get("https://users/")


async def test_another_protocol_is_not_looked_into(wired: ClientKind) -> None:
    hello = b"\r\n\r\nX:" + b" " * 2000 + b"\0\r\n\r\n"

    async def upgrade(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        await peer.send(await peer.reader.readexactly(len(hello)))

    headers = {"Connection": "upgrade", "Upgrade": "echo"}
    with served(upgrade) as server:
        async with wired.open(mesh_of(server.port)) as client:
            async with client.stream("GET", "http://users/", headers=headers) as response:
                stream = response.extensions["network_stream"]
                heard = b""
                if wired.is_async:
                    await stream.write(hello)
                    while len(heard) < len(hello):
                        heard += await stream.read(65536)
                else:
                    stream.write(hello)
                    while len(heard) < len(hello):
                        heard += stream.read(65536)
    assert heard == hello


async def test_a_transport_of_the_callers_stays_as_it_is(wired: ClientKind) -> None:
    transport = (wired.lib.AsyncHTTPTransport if wired.is_async else wired.lib.HTTPTransport)(verify=False)
    before = transport._pool._network_backend
    with served(answering()) as server:
        async with wired.open(mesh_of(server.port), transport=transport) as client:
            assert (await client.get("http://users/")).status_code == 200
    assert transport._pool._network_backend is before


@pytest.mark.parametrize("kind", ['text/plain; a="' + ";" * N, "text/plain" + "; a=b" * (N // 5)])
async def test_no_long_content_type_is_searched_for_a_charset(
    wired: ClientKind, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The standard library takes six seconds over 60,000 semicolons, when the caller asks for the text."""
    read: list[int] = []
    models = importlib.import_module(f"{wired.lib.__name__}._models")
    theirs = models._parse_content_type_charset
    monkeypatch.setattr(models, "_parse_content_type_charset", lambda text: read.append(len(text)) or theirs(text))
    short = "text/plain; charset=latin-1; a=" + "b" * 900
    answers = [
        answering(b"%sContent-Type: %s\r\nContent-Length: 2\r\n\r\n\xc3\xa9" % (HEAD, one.encode()))
        for one in (kind, short)
    ]
    with served(answers[0]) as server, served(answers[1]) as other:
        async with wired.open(mesh_of(server.port)) as client:
            response = await client.get("http://users/")
            assert (response.text, response.encoding) == ("é", "utf-8")
            async with client.stream("GET", "http://users/") as streamed:
                await client.read(streamed)
                assert streamed.text == "é"
        async with wired.open(mesh_of(other.port)) as client:
            assert (await client.get("http://users/")).text == "Ã©"
    assert read == [len(short)]
