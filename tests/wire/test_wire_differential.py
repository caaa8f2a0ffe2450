"""The fast lane and httpx's own road, side by side over real sockets: the same answer, or the same kind of error."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import fuzz_wire
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scripted import Peer, Server, serving

from meshlib.wire.connection_pool import Pool
from meshlib.wire.h1_errors import WireError

Outcome = tuple[object, ...]
METHODS = [b"GET", b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH"]
BODIES = [b"", b"", b"x", b"body " * 100, b"large" * 60_000]


class Exchange:
    """What is asked, and what the server does about it."""

    def __init__(self, rng: random.Random) -> None:
        self.method = rng.choice(METHODS)
        self.body = rng.choice(BODIES) if self.method in (b"POST", b"PUT", b"PATCH") else b""
        self.headers = [(b"Host", b"test"), (b"X-Asked", b"%d" % rng.randrange(10))]
        if rng.random() < 0.1:
            self.headers.append(rng.choice([(b"Connection", b"close"), (b"Expect", b"100-continue")]))
        if self.body:
            self.headers.append((b"Content-Length", b"%d" % len(self.body)))
        whole = fuzz_wire.response(rng)
        self.pieces = fuzz_wire.split(whole, rng)[:60]
        self.ending = rng.choice(["close", "close", "half", "reset", "stay"])
        extra = [field for field in self.headers if field[0] in (b"Connection", b"Expect")]
        waits = fuzz_wire.by_h11(self.pieces, self.method, closing=False, extra=extra)[0] == "waits"
        self.patience = 0.02 if waits and self.ending == "stay" else 10.0

    @property
    def head(self) -> bytes:
        fields = b"".join(b"%s: %s\r\n" % field for field in self.headers)
        return self.method + b" /path HTTP/1.1\r\n" + fields + b"\r\n"

    async def serve(self, peer: Peer) -> None:
        await peer.request()
        await peer.send(*self.pieces)
        if self.ending == "half":
            peer.writer.write_eof()
        if self.ending == "reset":
            await asyncio.sleep(0.003)
            peer.reset()
        elif self.ending != "close":
            await peer.reader.read()

    async def by_httpx(self, transport: httpx.AsyncHTTPTransport, port: int) -> Outcome:
        limits = {"connect": 10.0, "read": self.patience, "write": 10.0, "pool": 10.0}
        url = f"http://127.0.0.1:{port}/path"
        request = httpx.Request(
            self.method.decode(), url, headers=self.headers, content=self.body, extensions={"timeout": limits}
        )
        try:
            response = await transport.handle_async_request(request)
            try:
                assert isinstance(response.stream, httpx.AsyncByteStream)
                body = b"".join([piece async for piece in response.stream])
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            return (type(error).__name__,)
        extensions = response.extensions
        told = response.status_code, extensions["reason_phrase"], extensions["http_version"], response.headers.raw
        return (*told, body)

    async def by_pool(self, pool: Pool) -> Outcome:
        try:
            answer = await pool.exchange(
                self.head,
                self.body,
                method=self.method,
                connect=10.0,
                read=self.patience,
                write=10.0,
                replayable=True,
                keep=(b"Connection", b"close") not in self.headers,
            )
        except WireError as error:
            return (error.family,)
        head = answer.head
        return (head.status, head.reason, head.http_version, head.headers, answer.body)

    async def by_stream(self, pool: Pool) -> Outcome:
        try:
            stream = await pool.open(self.head, self.body, method=self.method, connect=10.0, read=self.patience)
            try:
                body = b"".join([piece async for piece in stream])
            finally:
                await stream.aclose()
        except WireError as error:
            return (error.family,)
        head = stream.head
        return (head.status, head.reason, head.http_version, head.headers, body)


@pytest.fixture(scope="module")
def roads() -> Iterator[tuple[asyncio.Runner, httpx.AsyncHTTPTransport]]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    with asyncio.Runner() as runner:
        transport = httpx.AsyncHTTPTransport(limits=limits, verify=False)
        yield runner, transport
        runner.run(transport.aclose())


@settings(max_examples=300)
@given(seed=st.integers(0, 2**64 - 1))
def test_the_outcome_is_that_of_httpx(roads: tuple[asyncio.Runner, httpx.AsyncHTTPTransport], seed: int) -> None:
    runner, transport = roads
    exchange = Exchange(random.Random(seed))

    async def compare(server: Server) -> None:
        theirs = await exchange.by_httpx(transport, server.port)
        for road in (exchange.by_pool, exchange.by_stream):
            pool = Pool("127.0.0.1", server.port)
            ours = await road(pool)
            assert pool.active == 0 == pool.pending
            await pool.aclose()
            assert ours == theirs, (exchange.head, exchange.pieces, exchange.ending)

    async def main() -> None:
        async with serving(exchange.serve) as server:
            await compare(server)

    runner.run(main())
