"""The rules of the wire: one exchange over one connection, and which connection carries the next one."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import random
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.scripted import OK, Peer, Server, answering, get, once, post, serving
from support.waiting import wait_until_async

from meshlib.wire import h1_errors
from meshlib.wire.connection_pool import Pool
from meshlib.wire.h1_connection import HELD_BACK, Connection
from meshlib.wire.h1_errors import (
    ConnectError,
    ConnectTimeout,
    NoSocket,
    PoolClosed,
    PoolFull,
    PoolTimeout,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    WireError,
    WriteTimeout,
)
from meshlib.wire.raw_response import RawResponse

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def fetch(pool: Pool, path: bytes = b"/", /, **how: Any) -> RawResponse:
    return await pool.exchange(get(path), method=b"GET", **{"replayable": True, "read": 5.0, **how})


class Leap:
    """The clock of the event loop, which a test puts forward instead of waiting."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def by(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
async def leap(monkeypatch: pytest.MonkeyPatch) -> Leap:
    found, loop = Leap(), asyncio.get_running_loop()
    time = loop.time
    monkeypatch.setattr(loop, "time", lambda: time() + found.seconds)
    return found


# One exchange.


async def test_an_exchange_gives_the_answer_and_keeps_the_connection() -> None:
    async with serving(answering()) as server:
        pool = Pool("127.0.0.1", server.port)
        for _ in range(3):
            answer = await fetch(pool)
            assert (answer.head.status, answer.head.reason, answer.body) == (200, b"OK", b"ok")
        assert (pool.opened, pool.idle, pool.active, pool.pending) == (1, 1, 0, 0)
        await pool.aclose()


async def test_a_large_request_and_a_large_answer_arrive_whole() -> None:
    body = random.Random(1).randbytes(3_000_000)
    received: list[bytes] = []

    async def echo(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        received.append(await peer.reader.readexactly(len(body)))
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body)
        await peer.request()

    async with serving(echo) as server:
        pool = Pool("127.0.0.1", server.port)
        answer = await pool.exchange(post(len(body)), body, method=b"POST", read=5.0, write=5.0)
        assert received == [body] and answer.body == body and pool.idle == 1
        await pool.aclose()


async def test_a_head_request_gets_no_body_and_keeps_the_connection() -> None:
    async with serving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")) as server:
        pool = Pool("127.0.0.1", server.port)
        for _ in range(2):
            answer = await pool.exchange(b"HEAD / HTTP/1.1\r\nHost: test\r\n\r\n", method=b"HEAD", read=5.0)
            assert answer.body == b""
        assert pool.opened == 1
        await pool.aclose()


@pytest.mark.parametrize(
    "last",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok surplus",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
)
async def test_a_connection_is_not_used_after_such_an_answer(last: bytes) -> None:
    async with serving(answering(last)) as server:
        pool = Pool("127.0.0.1", server.port)
        for _ in range(2):
            assert (await fetch(pool)).body == b"ok"
            assert (pool.idle, pool.active) == (0, 0)
        assert pool.opened == 2
        await pool.aclose()


async def test_surplus_that_comes_later_closes_the_idle_connection() -> None:
    async def late(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await asyncio.sleep(0.01)
        await peer.send(OK)
        await peer.request()

    async with serving(late) as server:
        pool = Pool("127.0.0.1", server.port)
        await fetch(pool)
        await wait_until_async(lambda: pool.idle == 0)
        await fetch(pool)
        assert pool.opened == 2
        await pool.aclose()


async def test_a_connection_whose_request_said_close_is_not_used_again() -> None:
    async with serving(answering()) as server:
        pool = Pool("127.0.0.1", server.port)
        await fetch(pool, keep=False)
        assert (pool.idle, pool.active) == (0, 0)
        await pool.aclose()


async def test_a_server_that_speaks_first_is_heard_when_it_is_asked() -> None:
    async def hasty(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with serving(hasty) as server:
        pool = Pool("127.0.0.1", server.port)
        assert (await fetch(pool)).head.status == 408
        await pool.aclose()


@pytest.mark.parametrize("then", [b"", b"surplus"])
async def test_a_connection_whose_server_said_all_before_it_was_asked_is_not_kept(then: bytes) -> None:
    """The answer, and surplus or the end of the stream, lie there before the first request is sent."""
    spoken = asyncio.Event()

    async def hasty(peer: Peer) -> None:
        await peer.send(OK, then)
        if not then:
            peer.writer.write_eof()
        spoken.set()
        await peer.reader.read()

    class Slow(Pool):
        async def _connect(self, limit: float | None) -> Connection:
            connection = await super()._connect(limit)
            await spoken.wait()
            await wait_until_async(lambda: connection._early_eof or b"".join(connection._early).endswith(b"surplus"))
            return connection

    async with serving(hasty) as server:
        pool = Slow("127.0.0.1", server.port)
        assert (await fetch(pool)).body == b"ok"
        assert (pool.idle, pool.active) == (0, 0)
        await pool.aclose()


async def test_a_server_that_answers_early_and_closes_its_half_is_not_asked_again() -> None:
    body = b"x" * 20_000_000

    async def early(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        peer.writer.write_eof()
        await asyncio.sleep(0.05)
        await peer.reader.read()

    async with serving(early) as server:
        pool = Pool("127.0.0.1", server.port)
        answer = await pool.exchange(post(len(body)), body, method=b"POST", read=5.0, write=5.0)
        assert answer.head.status == 413 and (pool.idle, pool.active) == (0, 0)
        await pool.aclose()


async def test_an_answer_before_the_body_was_sent_counts_when_the_request_is_out() -> None:
    body = b"x" * 20_000_000
    order: list[str] = []

    async def early(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await asyncio.sleep(0.05)
        await peer.reader.readexactly(len(body))
        order.append("read")
        await peer.request()

    async with serving(early) as server:
        pool = Pool("127.0.0.1", server.port)
        answer = await pool.exchange(post(len(body)), body, method=b"POST", read=5.0, write=5.0)
        assert answer.head.status == 413 and pool.idle == 1
        await wait_until_async(lambda: order == ["read"])
        await pool.aclose()


async def test_a_stream_that_was_whole_before_the_request_was_out_leaves_no_deaf_connection() -> None:
    """The answer is just so long that we stop reading, and it ends there."""
    body, upload = b"x" * (HELD_BACK + 1), b"y" * 20_000_000

    async def early(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body)
        await peer.reader.readexactly(len(upload))
        await answering()(peer)

    async with serving(early, answering()) as server:
        pool = Pool("127.0.0.1", server.port)
        stream = await pool.open(post(len(upload)), upload, method=b"POST", read=5.0, write=5.0)
        assert b"".join([piece async for piece in stream]) == body
        assert (await fetch(pool)).body == b"ok"
        await pool.aclose()


async def test_an_early_answer_from_a_server_that_reads_no_further_is_not_lost() -> None:
    async def refuses(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await asyncio.sleep(0.1)
        peer.reset()

    async with serving(refuses) as server:
        pool = Pool("127.0.0.1", server.port)
        answer = await pool.exchange(post(20_000_000), b"x" * 20_000_000, method=b"POST", read=5.0, write=5.0)
        assert answer.head.status == 413 and (pool.idle, pool.active) == (0, 0)
        await pool.aclose()


async def test_a_server_that_closes_its_half_after_answering_is_understood() -> None:
    async def half(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
        peer.writer.write_eof()
        await peer.reader.read()

    async with serving(half) as server:
        pool = Pool("127.0.0.1", server.port)
        assert (await fetch(pool)).body == b"until the end"
        assert (pool.idle, pool.active) == (0, 0)
        await pool.aclose()


# What can go wrong.


async def fails(server: Server, kind: type[WireError], *, sent: bool, **how: Any) -> None:
    pool = Pool("127.0.0.1", server.port)
    with pytest.raises(kind) as caught:
        await fetch(pool, **{"replayable": False, **how})
    assert type(caught.value) is kind and caught.value.sent is sent
    assert (pool.idle, pool.active, pool.pending) == (0, 0, 0)
    await pool.aclose()


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", b"nonsense\r\n\r\n"]
)
async def test_an_answer_that_ends_early_or_makes_no_sense_is_a_protocol_error(said: bytes) -> None:
    async with serving(once(said)) as server:
        await fails(server, RemoteProtocolError, sent=True)


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", b"HTTP/1.1 200 OK\r\n\r\nx"]
)
async def test_a_reset_is_a_read_error(said: bytes) -> None:
    async def resets(peer: Peer) -> None:
        await peer.request()
        await peer.send(said)
        await asyncio.sleep(0.02)
        peer.reset()

    async with serving(resets) as server:
        await fails(server, ReadError, sent=True)


async def silent(peer: Peer) -> None:
    await peer.reader.read()


async def test_silence_is_a_read_timeout_and_closes_the_connection() -> None:
    async with serving(silent) as server:
        await fails(server, ReadTimeout, sent=True, read=0.02)
        await wait_until_async(lambda: server.peers[0].reader.at_eof())


async def test_the_read_timeout_starts_again_with_every_byte(leap: Leap) -> None:
    async def slow(peer: Peer) -> None:
        await peer.request()
        for byte in OK:
            await peer.send(bytes([byte]))
            await asyncio.sleep(0.001)  # the other side hears of it
            leap.by(10.0)

    async with serving(slow) as server:
        pool = Pool("127.0.0.1", server.port)
        assert (await fetch(pool, read=60.0)).body == b"ok"
        assert leap.seconds > 120.0
        await pool.aclose()


async def test_a_request_that_is_not_taken_is_a_write_timeout() -> None:
    async def deaf(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(60)

    async with serving(deaf) as server:
        pool = Pool("127.0.0.1", server.port)
        with pytest.raises(WriteTimeout) as caught:
            await pool.exchange(post(50_000_000), b"x" * 50_000_000, method=b"POST", read=5.0, write=0.05)
        assert caught.value.sent
        await pool.aclose()


async def test_a_later_shorter_limit_is_kept_although_the_timer_was_set_for_a_longer_one() -> None:
    async def then_silent(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.reader.read()

    async with serving(then_silent) as server:
        pool = Pool("127.0.0.1", server.port)
        await fetch(pool, read=60.0)
        started = asyncio.get_running_loop().time()
        with pytest.raises(ReadTimeout):
            await fetch(pool, read=0.02)
        assert asyncio.get_running_loop().time() - started < 30
        await pool.aclose()


async def test_nobody_listening_is_a_connect_error() -> None:
    async with serving(answering()) as server:
        pass
    await fails(server, ConnectError, sent=False, connect=5.0)


async def test_a_name_that_does_not_exist_is_a_connect_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*args: object, **how: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    with pytest.raises(ConnectError, match="no-such-host:80: Name or service not known"):
        await fetch(Pool("no-such-host", 80))


async def test_an_unanswered_attempt_to_connect_is_a_connect_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*args: object, **how: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", never)
    pool = Pool("127.0.0.1", 9)
    with pytest.raises(ConnectTimeout) as caught:
        await fetch(pool, connect=0.01)
    assert not caught.value.sent and pool.active == 0


def test_every_error_names_its_twin_in_httpx() -> None:
    import httpx
    import httpx2

    for kind in vars(h1_errors).values():
        if isinstance(kind, type) and issubclass(kind, WireError):
            assert issubclass(getattr(httpx, kind.family), httpx.TransportError)
            assert issubclass(getattr(httpx2, kind.family), httpx2.TransportError)


# Connections that died at rest.


def dies_at_rest(peer_dies: Callable[[Peer], None]) -> Callable[[Peer], Awaitable[None]]:
    """Answers one request; dies when the next one comes in, before a byte of an answer."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        peer_dies(peer)

    return script


@pytest.mark.parametrize("death", [lambda peer: peer.writer.close(), Peer.reset])
async def test_a_dead_connection_at_rest_is_replaced_for_a_request_that_may_be_replayed(death: Any) -> None:
    async with serving(dies_at_rest(death), answering()) as server:
        pool = Pool("127.0.0.1", server.port, max_connections=1)
        await fetch(pool)
        assert (await fetch(pool)).body == b"ok"
        assert (pool.opened, pool.idle, pool.active) == (2, 1, 0)
        await pool.aclose()


@pytest.mark.parametrize(
    ("death", "kind"), [(lambda peer: peer.writer.close(), RemoteProtocolError), (Peer.reset, ReadError)]
)
async def test_a_request_that_may_have_been_processed_is_not_sent_twice(death: Any, kind: type[WireError]) -> None:
    async with serving(dies_at_rest(death), answering()) as server:
        pool = Pool("127.0.0.1", server.port)
        await fetch(pool)
        with pytest.raises(kind) as caught:
            await pool.exchange(post(1), b"x", method=b"POST", read=5.0)
        assert caught.value.sent
        assert [request for _, request in server.requests] == [b"GET / HTTP/1.1", b"POST / HTTP/1.1"]
        await pool.aclose()


async def test_connections_that_were_found_dead_are_forgotten() -> None:
    async with serving(dies_at_rest(Peer.reset)) as server:
        pool = Pool("127.0.0.1", server.port, max_connections=1)
        for _ in range(4):
            await fetch(pool)
        assert (pool.opened, len(pool._all)) == (4, 1)
        await pool.aclose()


async def test_a_closed_connection_is_at_its_end_though_its_socket_s_number_is_another_s() -> None:
    async with serving(answering()) as server:
        pool = Pool("127.0.0.1", server.port)
        await fetch(pool)
        (connection,) = pool._idle
        number = connection.transport.get_extra_info("socket").fileno()
        assert not connection.readable()
        server.peers[0].writer.close()
        await wait_until_async(lambda: not connection.open)
        await asyncio.sleep(0)
        others = [socket.socketpair() for _ in range(2)]
        assert number in [one.fileno() for pair in others for one in pair]
        assert connection.readable()
        for one in (one for pair in others for one in pair):
            one.close()
        await pool.aclose()


async def test_a_post_notices_that_the_server_closed_before_it_is_sent() -> None:
    async with serving(answering()) as server:
        pool = Pool("127.0.0.1", server.port)
        await fetch(pool)
        (connection,) = pool._idle
        server.peers[0].writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        while not connection.readable():  # no await: our loop must not hear of it
            os.sched_yield()
        answer = await pool.exchange(post(1), b"x", method=b"POST", read=5.0)
        assert answer.body == b"ok" and len(server.requests) == 2
        await pool.aclose()


async def test_a_fresh_connection_that_dies_is_not_retried() -> None:
    async with serving(once(b"")) as server:
        pool = Pool("127.0.0.1", server.port)
        with pytest.raises(RemoteProtocolError):
            await fetch(pool)
        assert len(server.requests) == 1
        await pool.aclose()


async def test_half_an_answer_on_a_used_connection_is_not_retried() -> None:
    async def half(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        await peer.send(b"H")

    async with serving(half) as server:
        pool = Pool("127.0.0.1", server.port)
        await fetch(pool)
        with pytest.raises(RemoteProtocolError):
            await fetch(pool)
        assert len(server.requests) == 2
        await pool.aclose()


# Which connection.


async def test_the_connection_used_last_is_used_next() -> None:
    async with serving(answering()) as server:
        pool = Pool("127.0.0.1", server.port)
        await asyncio.gather(*(fetch(pool) for _ in range(5)))
        assert pool.idle == pool.opened == 5
        before = list(pool._idle)
        await fetch(pool)
        assert list(pool._idle) == before
        await pool.aclose()


async def test_never_more_connections_than_allowed_and_first_come_first_served() -> None:
    order: list[int] = []

    async with serving(answering()) as server:
        pool = Pool("127.0.0.1", server.port, max_connections=2)

        async def numbered(number: int) -> None:
            await fetch(pool, b"/%d" % number)
            order.append(number)

        await asyncio.gather(*(numbered(n) for n in range(20)))
        assert pool.opened == 2 == pool.idle
        assert [request for _, request in server.requests] == [b"GET /%d HTTP/1.1" % n for n in range(20)]
        await pool.aclose()


async def test_without_more_sockets_exchanges_wait_for_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def scarce(*args: Any, **how: Any) -> Any:
        if pool.opened >= sockets:
            raise OSError(errno.EMFILE, "Too many open files")
        return await connect(*args, **how)

    sockets = 2
    monkeypatch.setattr(loop, "create_connection", scarce)
    async with serving(answering()) as server:
        pool = Pool("127.0.0.1", server.port)
        await asyncio.gather(fetch(pool), fetch(pool))
        answers = await asyncio.gather(*(fetch(pool) for _ in range(20)))
        assert {answer.body for answer in answers} == {b"ok"}
        assert (pool.opened, pool.active, pool.pending) == (2, 0, 0)
        await pool.aclose()
        sockets = 0
        nobody = Pool("127.0.0.1", server.port)
        with pytest.raises(NoSocket, match="Too many open files") as caught:
            await fetch(nobody)
        assert (caught.value.family, caught.value.sent, nobody.active) == ("PoolTimeout", False, 0)


async def test_waiting_too_long_for_a_place_is_a_pool_timeout() -> None:
    async with serving(silent) as server:
        pool = Pool("127.0.0.1", server.port, max_connections=1)
        holder = asyncio.create_task(fetch(pool))
        await wait_until_async(lambda: pool.opened == 1)
        with pytest.raises(PoolTimeout) as caught:
            await fetch(pool, pool=0.01)
        assert not caught.value.sent and pool.pending == 0
        holder.cancel()
        await asyncio.wait([holder])
        assert pool.active == 0
        await pool.aclose()


async def test_too_many_waiting_are_refused_at_once() -> None:
    async with serving(silent) as server:
        pool = Pool("127.0.0.1", server.port, max_connections=1, max_pending=1)
        holders = [asyncio.create_task(fetch(pool)) for _ in range(2)]
        await wait_until_async(lambda: pool.pending == 1)
        with pytest.raises(PoolFull):
            await fetch(pool)
        for holder in holders:
            holder.cancel()
        await asyncio.wait(holders)
        assert (pool.active, pool.pending) == (0, 0)
        await pool.aclose()


async def test_an_idle_connection_is_closed_when_its_time_is_over() -> None:
    async with serving(answering()) as server:
        pool = Pool("127.0.0.1", server.port, keepalive_expiry=0.01)
        await fetch(pool)
        await wait_until_async(lambda: pool.idle == 0)
        await wait_until_async(lambda: server.peers[0].reader.at_eof())
        await pool.aclose()


async def test_no_more_connections_rest_than_allowed() -> None:
    async with serving(answering()) as server:
        pool = Pool("127.0.0.1", server.port, max_keepalive=2)
        await asyncio.gather(*(fetch(pool) for _ in range(5)))
        assert (pool.idle, pool.active) == (2, 0)
        await pool.aclose()


@pytest.mark.parametrize(
    "wrong", [{"max_connections": 0}, {"max_pending": -1}, {"max_keepalive": -1}, {"keepalive_expiry": float("nan")}]
)
def test_senseless_limits_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Pool("127.0.0.1", 1, **wrong)


# Cancellation.


async def test_a_cancelled_exchange_closes_its_connection_and_gives_back_its_place() -> None:
    async with serving(silent, answering()) as server:
        pool = Pool("127.0.0.1", server.port, max_connections=1)
        task = asyncio.create_task(fetch(pool))
        await wait_until_async(lambda: pool.opened == 1)
        waiting = asyncio.create_task(fetch(pool))
        await wait_until_async(lambda: pool.pending == 1)
        task.cancel()
        assert (await waiting).body == b"ok"
        await wait_until_async(lambda: server.peers[0].reader.at_eof())
        assert (pool.idle, pool.active, pool.pending) == (1, 0, 0)
        await pool.aclose()


async def test_an_answer_that_nobody_wants_any_more_leaves_a_sound_connection() -> None:
    """Cancelled in the very turn of the loop in which the answer came."""
    async with serving(answering()) as server:
        pool = Pool("127.0.0.1", server.port, max_connections=1)
        task = asyncio.create_task(fetch(pool))
        await wait_until_async(lambda: pool.idle == 1 or task.done())
        task.cancel()
        await asyncio.wait([task])
        assert (await fetch(pool)).body == b"ok"
        assert (pool.idle, pool.active) == (1, 0)
        await pool.aclose()


@pytest.mark.parametrize("seed", range(3))
async def test_tasks_cancelled_at_random_never_poison_the_pool(seed: int) -> None:
    """30 tasks over 10 connections, each call given up after so many turns of the loop as an answer may take."""
    rng = random.Random(seed)
    seen: set[str] = set()

    async def moody(peer: Peer) -> None:
        while True:
            await peer.request()
            for _ in range(rng.randrange(8)):
                await asyncio.sleep(0)
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"ok")

    async with serving(moody) as server:
        pool = Pool("127.0.0.1", server.port, max_connections=10)

        async def caller() -> None:
            for _ in range(30):
                task = asyncio.create_task(fetch(pool, read=None))
                patience = rng.randrange(60) if rng.random() < 0.9 else None
                if patience is None:
                    await asyncio.wait([task])
                for _ in range(patience or 0):
                    await asyncio.sleep(0)
                    if task.done():
                        break
                if task.done():
                    assert task.result().body == b"ok"
                    seen.add("answered" if patience is None else "answered in time")
                else:
                    task.cancel()
                    await asyncio.wait([task])
                    seen.add("cancelled")

        await asyncio.gather(*(caller() for _ in range(30)))
        assert seen == {"answered", "answered in time", "cancelled"}
        assert pool.active == 0 == pool.pending
        answers = await asyncio.gather(*(fetch(pool, pool=5.0) for _ in range(50)))
        assert all(answer.body == b"ok" for answer in answers)
        assert pool.active + pool.idle <= 10
        await pool.aclose()


@pytest.mark.parametrize("kind", ["exchange", "stream", "replayed"])
async def test_cancelled_in_any_turn_of_the_loop_an_exchange_gives_back_its_place(kind: str) -> None:
    """One task holds the pool's only place, one waits for it; the one or the other is cancelled after n turns."""

    async def call(pool: Pool) -> bytes:
        if kind != "stream":
            return (await fetch(pool)).body
        stream = await pool.open(get(), method=b"GET", read=5.0)
        try:
            return b"".join([piece async for piece in stream])
        finally:
            await stream.aclose()

    scripts = [dies_at_rest(Peer.reset)] * 100 if kind == "replayed" else [answering()]
    for turns in range(40):
        for victim in range(2):
            async with serving(*scripts) as server:
                pool = Pool("127.0.0.1", server.port, max_connections=1)
                if kind == "replayed":
                    await fetch(pool)
                tasks = [asyncio.create_task(call(pool)) for _ in range(2)]
                for _ in range(turns):
                    await asyncio.sleep(0)
                tasks[victim].cancel()
                await asyncio.wait(tasks)
                assert tasks[1 - victim].result() == b"ok"
                assert (await fetch(pool, pool=5.0)).body == b"ok"
                assert (pool.active, pool.pending) == (0, 0) and pool.idle <= 1
                await pool.aclose()
                assert pool._places.taken == 0


async def test_a_connection_that_dies_on_the_way_to_who_waited_for_it_is_replaced() -> None:
    class Unlucky(Pool):
        def _rest(self, connection: Connection) -> None:
            waited = self.pending
            super()._rest(connection)
            if waited:
                connection.close()

    async with serving(answering()) as server:
        pool = Unlucky("127.0.0.1", server.port, max_connections=1)
        answers = await asyncio.gather(*(fetch(pool) for _ in range(3)))
        assert [answer.body for answer in answers] == [b"ok"] * 3
        assert (pool.opened, pool.idle, pool.active) == (3, 1, 0)
        await pool.aclose()


# Streams.


async def test_a_stream_gives_the_head_first_and_the_body_as_it_comes() -> None:
    go_on = asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\nab\r\n")
        await go_on.wait()
        await peer.send(b"2\r\ncd\r\n0\r\n\r\n")
        await peer.request()

    async with serving(slow) as server:
        pool = Pool("127.0.0.1", server.port)
        stream = await pool.open(get(), method=b"GET", read=5.0)
        assert stream.head.status == 200 and pool.active == 1
        assert await anext(stream) == b"ab"
        go_on.set()
        assert b"".join([piece async for piece in stream]) == b"cd"
        assert (pool.active, pool.idle) == (0, 1)
        await stream.aclose()
        assert pool.idle == 1
        await pool.aclose()


async def test_a_stream_closed_early_closes_its_connection() -> None:
    async def endless(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n", *([b"x" * 1000] * 10))
        await peer.reader.read()

    async with serving(endless) as server:
        pool = Pool("127.0.0.1", server.port)
        stream = await pool.open(get(), method=b"GET", read=5.0)
        assert await anext(stream)
        await stream.aclose()
        await stream.aclose()
        assert (pool.active, pool.idle) == (0, 0)
        with pytest.raises(ReadError):
            await anext(stream)
        await pool.aclose()


async def test_a_forgotten_stream_gives_back_its_place() -> None:
    async with serving(once(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")) as server:
        pool = Pool("127.0.0.1", server.port, max_connections=1)
        stream = await pool.open(get(), method=b"GET", read=5.0)
        assert pool.active == 1
        del stream
        gc.collect()
        await wait_until_async(lambda: pool.active == 0)
        await pool.aclose()


async def test_what_is_left_of_a_whole_stream_is_read_by_its_own_time_limit(leap: Leap) -> None:
    """Its connection carries another exchange by then, which has a limit of its own."""
    more = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await more.wait()
        await peer.send(b"cd")
        await peer.request()

    async with serving(script) as server:
        pool = Pool("127.0.0.1", server.port)
        stream = await pool.open(get(), method=b"GET", read=5.0)
        task = asyncio.create_task(fetch(pool, read=60.0))
        await wait_until_async(lambda: len(server.requests) == 2)
        assert [await stream.next(0.001)] == [b"ok"]
        await wait_until_async(lambda: stream.connection.reader.answer is not None)
        leap.by(1.0)
        await asyncio.sleep(0.01)
        more.set()
        assert (await task).body == b"abcd" and pool.opened == 1
        await pool.aclose()


async def test_a_stream_that_is_forgotten_takes_no_connection_from_another_exchange(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its answer comes whole between the moment when it is dropped and the one when the loop hears of it."""
    rest = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await rest.wait()
        await peer.send(b"cd")
        await answering()(peer)

    async with serving(script) as server:
        pool = Pool("127.0.0.1", server.port)
        stream = await pool.open(get(), method=b"GET", read=5.0)
        heard: list[tuple[Callable[..., None], Any]] = []
        with monkeypatch.context() as patch:
            patch.setattr(stream.connection.loop, "call_soon_threadsafe", lambda *what: heard.append(what))
            del stream
        rest.set()
        await wait_until_async(lambda: pool.idle == 1)
        [(closes, *arguments)] = heard
        closes(*arguments)
        assert (await fetch(pool)).body == b"ok" and pool.opened == 1
        await pool.aclose()


async def test_a_stream_that_breaks_raises_after_what_had_come() -> None:
    async with serving(once(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")) as server:
        pool = Pool("127.0.0.1", server.port)
        stream = await pool.open(get(), method=b"GET", read=5.0)
        await wait_until_async(lambda: pool.active == 0)
        assert await anext(stream) == b"half"
        with pytest.raises(RemoteProtocolError):
            await anext(stream)
        await pool.aclose()


async def test_a_stream_times_out_only_while_somebody_waits_for_it(leap: Leap) -> None:
    async def stalls(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await peer.reader.read()

    async with serving(stalls) as server:
        pool = Pool("127.0.0.1", server.port)
        stream = await pool.open(get(), method=b"GET", read=60.0)
        leap.by(61.0)
        assert await anext(stream) == b"half"
        asyncio.get_running_loop().call_soon(leap.by, 61.0)
        with pytest.raises(ReadTimeout):
            await anext(stream)
        assert pool.active == 0
        await pool.aclose()


async def test_a_slow_reader_of_a_stream_makes_the_server_wait() -> None:
    sent = 0

    async def pours(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        peer.writer.transport.set_write_buffer_limits(0)
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 50_000_000)
        for _ in range(500):
            await peer.send(b"x" * 100_000)
            sent += 100_000
        await peer.request()

    async with serving(pours) as server:
        pool = Pool("127.0.0.1", server.port)
        stream = await pool.open(get(), method=b"GET", read=5.0)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 30_000_000
        (connection,) = pool._all
        assert connection.reader.held < 1_000_000
        received = 0
        async for piece in stream:
            received += len(piece)
        assert received == 50_000_000 and pool.idle == 1
        await pool.aclose()


async def test_a_cancelled_reader_of_a_stream_closes_its_connection() -> None:
    async with serving(silent_after_head) as server:
        pool = Pool("127.0.0.1", server.port)
        stream = await pool.open(get(), method=b"GET", read=5.0)
        task = asyncio.create_task(anext(stream))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert pool.active == 0
        await pool.aclose()


async def test_a_stream_closed_by_another_task_wakes_its_reader() -> None:
    async with serving(silent_after_head) as server:
        pool = Pool("127.0.0.1", server.port)
        stream = await pool.open(get(), method=b"GET")
        task = asyncio.create_task(anext(stream))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await stream.aclose()
        with pytest.raises(ReadError):
            await task
        await pool.aclose()


async def silent_after_head(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    await peer.reader.read()


# Leaving.


async def test_a_draining_pool_refuses_new_exchanges_and_finishes_the_old() -> None:
    go_on = asyncio.Event()

    async def waits(peer: Peer) -> None:
        await peer.request()
        await go_on.wait()
        await peer.send(OK)
        await peer.request()

    async with serving(answering(), waits) as server:
        pool = Pool("127.0.0.1", server.port, max_connections=2)
        await fetch(pool)
        (first,) = pool._idle
        pool._idle.clear()  # as if busy
        running = asyncio.create_task(fetch(pool))
        await wait_until_async(lambda: len(server.requests) == 2)
        queued = asyncio.create_task(fetch(pool))
        await wait_until_async(lambda: pool.pending == 1)
        pool._rest(first)
        pool.drain()
        with pytest.raises(PoolClosed) as caught:
            await fetch(pool)
        assert not caught.value.sent
        assert (await queued).body == b"ok"
        go_on.set()
        assert (await running).body == b"ok"
        assert (pool.idle, pool.active) == (0, 0)


async def test_closing_waits_for_the_grace_and_then_cuts() -> None:
    async def slow(peer: Peer) -> None:
        await peer.request()
        await wait_until_async(lambda: pool._leaving)
        await peer.send(OK)

    async with serving(slow, silent) as server:
        pool = Pool("127.0.0.1", server.port, max_connections=2)
        quick = asyncio.create_task(fetch(pool))
        await wait_until_async(lambda: len(server.requests) == 1)
        stuck = asyncio.create_task(fetch(pool))
        await wait_until_async(lambda: pool.opened == 2)
        await pool.aclose(grace=0.5)
        assert (await quick).body == b"ok"
        with pytest.raises(ReadError):
            await stuck
        with pytest.raises(PoolClosed):
            await fetch(pool)
        assert (pool.idle, pool.active) == (0, 0)


async def test_closing_ends_those_that_wait_or_connect() -> None:
    async with serving(silent) as server:
        pool = Pool("127.0.0.1", server.port, max_connections=1)
        connecting = asyncio.create_task(fetch(pool))
        waiting = asyncio.create_task(fetch(pool))
        await asyncio.sleep(0)
        await pool.aclose()
        ended = await asyncio.gather(connecting, waiting, return_exceptions=True)
        assert [type(error) for error in ended] == [PoolClosed, PoolClosed]
        assert (pool.active, pool.pending) == (0, 0)


# Loops.


def test_a_pool_moves_to_the_next_loop_when_its_own_is_closed() -> None:
    pool: Pool | None = None

    async def main() -> None:
        nonlocal pool
        async with serving(answering()) as server:
            if pool is None:
                pool = Pool("127.0.0.1", server.port)
            pool._dialer._port = server.port
            assert (await fetch(pool)).body == b"ok"
            assert pool.idle == 1
            for connection in list(pool._all):
                connection.open = False  # the pool does not hear that the socket is closed,
                connection.transport.abort()  # which only keeps the warning about an unclosed one away

    asyncio.run(main())
    asyncio.run(main())


async def test_a_second_loop_at_the_same_time_is_told_what_is_wrong() -> None:
    async with serving(answering()) as server:
        pool = Pool("127.0.0.1", server.port)
        await fetch(pool)
        said: list[str] = []

        def elsewhere() -> None:
            with pytest.raises(RuntimeError) as caught:
                asyncio.run(fetch(pool))
            said.append(str(caught.value))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert "another event loop" in said[0]
        await pool.aclose()


# TLS and Unix sockets.


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def contexts(authority: trustme.CA, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert(name).configure_cert(server)
    authority.configure_trust(client)
    return server, client


async def test_tls_checks_the_certificate_against_the_service_while_the_socket_goes_to_the_endpoint(
    authority: trustme.CA,
) -> None:
    named: list[str | None] = []
    on_server, on_client = contexts(authority, "users.example")
    on_server.sni_callback = lambda _, name, __: named.append(name)
    async with serving(answering(), ssl=on_server) as server:
        pool = Pool("127.0.0.1", server.port, ssl=on_client, server_hostname="users.example")
        for _ in range(3):
            assert (await fetch(pool, connect=5.0)).body == b"ok"
        assert (pool.opened, named) == (1, ["users.example"])
        await pool.aclose()


async def test_a_certificate_for_somebody_else_is_a_connect_error(authority: trustme.CA) -> None:
    on_server, on_client = contexts(authority, "users.example")
    async with serving(answering(), ssl=on_server) as server:
        pool = Pool("127.0.0.1", server.port, ssl=on_client, server_hostname="orders.example")
        with pytest.raises(ConnectError, match=r"orders\.example"):
            await fetch(pool, connect=5.0)
        assert (pool.active, pool.opened) == (0, 0)
        await pool.aclose()


async def test_a_tls_handshake_that_hangs_is_a_connect_timeout(authority: trustme.CA) -> None:
    _, on_client = contexts(authority, "users.example")
    async with serving(silent) as server:
        pool = Pool("127.0.0.1", server.port, ssl=on_client)
        with pytest.raises(ConnectTimeout):
            await fetch(pool, connect=0.05)
        await wait_until_async(lambda: server.peers[0].reader.at_eof())
        assert pool.active == 0


async def test_tls_carries_large_bodies_both_ways_and_ends_without_notice(authority: trustme.CA) -> None:
    body = random.Random(2).randbytes(2_000_000)
    on_server, on_client = contexts(authority, "users.example")

    async def echo(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        got = await peer.reader.readexactly(len(body))
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n", got)

    async with serving(echo, ssl=on_server) as server:
        pool = Pool("127.0.0.1", server.port, ssl=on_client, server_hostname="users.example")
        answer = await pool.exchange(post(len(body)), body, method=b"POST", read=5.0, write=5.0, connect=5.0)
        assert answer.body == body and pool.active == 0
        await pool.aclose()


async def test_a_unix_socket_carries_exchanges(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    async with serving(answering(), uds=path):
        pool = Pool("users", 80, uds=path)
        assert (await fetch(pool)).body == b"ok"
        await pool.aclose()


async def test_an_idle_connection_keeps_nothing_of_its_last_answer() -> None:
    async with serving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000)) as server:
        pool = Pool("127.0.0.1", server.port)
        await fetch(pool)
        (connection,) = pool._idle
        assert connection.reader.answer is None and not connection.reader.parts
        await pool.aclose()
