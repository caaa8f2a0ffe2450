"""A connection is used again only if nothing waits in it: what came before a request is not its answer.

On every way: our own connections (asyncio, uvloop), httpx's transports (asyncio, trio, threads), both families, TCP
and TLS. The limit of what can be known: what comes after a request has been sent cannot be told from its answer.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import cycle
from random import Random
from typing import Any

import anyio
import httpx
import pytest
from support.client_kinds import TLS, WIRED, ClientKind, mesh_of
from support.echo_server import Echo
from support.loopback import Trust

from meshlib import Cluster, Mesh, Snapshot
from meshlib.wire.connection_pool import Pool
from meshlib.wire.write_batch import CROWD

LOOPS = ("asyncio", "uvloop") if find_spec("uvloop") else ("asyncio",)


class Way:
    """A client class on an event loop."""

    def __init__(self, kind: ClientKind, backend: str) -> None:
        self.kind = kind
        self.name = f"{kind.name}-{backend}" if kind.is_async else kind.name
        self.own = kind.is_async and kind.fast and backend != "trio"  # over connections of our own
        self._backend = backend

    def run(self, work: Callable[[Any], Awaitable[None]], echo: Echo, verify: ssl.SSLContext, **arguments: Any) -> None:
        """`work` with an open client, whose service "users" is `echo`."""

        async def main() -> None:
            mesh = secured(mesh_of(echo.port), echo)
            async with self.kind.open(mesh, verify=verify, timeout=10.0, **arguments) as client:
                await work(client)

        run_on(self._backend, main)


def run_on(backend: str, main: Callable[[], Awaitable[None]]) -> None:
    uv = backend == "uvloop"
    anyio.run(main, backend="asyncio" if uv else backend, backend_options={"use_uvloop": True} if uv else None)


def secured(mesh: Mesh, echo: Echo) -> Mesh:
    """The same mesh; over TLS, if that is what `echo` speaks."""
    if echo.context is not None:
        old = mesh.current.clusters["users"]
        cluster = Cluster("users", old.balancer, old.gates, tls=True)
        mesh.publish(
            lambda now: Snapshot(routes=now.routes, services=now.services, clusters={**now.clusters, "users": cluster})
        )
    return mesh


WAYS = [
    Way(kind, backend)
    for kind in WIRED
    for backend in ((*LOOPS, "trio") if kind.is_async and kind.fast else ("asyncio",))
]
OWN = [way for way in WAYS if way.own]
all_ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
own_ways = pytest.mark.parametrize("way", OWN, ids=lambda way: way.name)


@pytest.fixture(scope="module")
def trust() -> Trust:
    return Trust()


@pytest.fixture(params=["tcp", "tls"])
def server(request: pytest.FixtureRequest, trust: Trust) -> Iterator[tuple[Echo, ssl.SSLContext]]:
    """A server, and the context with which a client believes it."""
    with echoing(trust if request.param == "tls" else None) as found:
        yield found


@contextmanager
def echoing(trust: Trust | None) -> Iterator[tuple[Echo, ssl.SSLContext]]:
    if trust is None:
        with Echo() as echo:
            yield echo, TLS
        return
    context, _ = trust.server("users")
    context.post_handshake_auth = True
    context.verify_mode = ssl.CERT_OPTIONAL
    trust.client.post_handshake_auth = True
    with Echo(context) as echo:
        yield echo, trust.client


async def ask(client: Any, method: str, name: str, **options: Any) -> str:
    """The id in the answer to the request `name`, which should be the same. STREAM is a GET whose body is streamed."""
    url = httpx.URL(f"http://users/{name}", params=options)
    if method in ("STREAM", "STREAM-POST"):
        content = b"stream" if "POST" in method else None
        async with client.stream("POST" if content else "GET", str(url), content=content) as response:
            body = await client.read(response)
    else:
        response = await client.request(method, str(url), **({"content": b"data"} if method == "POST" else {}))
        body = response.content
    if response.status_code != 200:
        return str(response.status_code)
    found = response.headers["x-id"]
    assert method == "HEAD" or body.split(b"|")[0].decode() == found
    return str(found)


SAID = ("answer", "408", "part", "end", "reset")
METHODS = ("GET", "POST", "HEAD", "STREAM", "STREAM-POST")


# What waits in an idle connection.


@all_ways
def test_what_came_before_a_request_is_not_its_answer(way: Way, server: tuple[Echo, ssl.SSLContext]) -> None:
    echo, verify = server

    async def work(client: Any) -> None:
        for what in (*SAID, "notify") if echo.context is not None else SAID:
            for method in METHODS:
                assert await ask(client, method, f"first-{what}-{method}") == f"first-{what}-{method}"
                assert echo.say(what) == 1
                assert await ask(client, method, f"second-{what}-{method}") == f"second-{what}-{method}"
                echo.say("end")

    way.run(work, echo, verify)
    assert set(echo.seen.values()) == {1}


@all_ways
def test_what_came_with_the_last_answer_is_not_the_next_one(way: Way, server: tuple[Echo, ssl.SSLContext]) -> None:
    """Also where the answer ends just where one read of the socket does, or one TLS record."""
    echo, verify = server

    async def work(client: Any) -> None:
        methods = cycle(METHODS)
        for then in ("two", "408", "two-apart", "408-apart", "408-end"):
            for total in (0, 1 << 14, 1 << 16, 1 << 18):
                first, second, name = next(methods), next(methods), f"{then}-{total}"
                assert await ask(client, first, f"first-{name}", then=then, total=total) == f"first-{name}"
                echo.settle()
                assert await ask(client, second, f"second-{name}") == f"second-{name}"

    way.run(work, echo, verify)
    assert set(echo.seen.values()) == {1}


@all_ways
def test_a_transport_of_the_caller_s_takes_no_second_answer_either(
    way: Way, server: tuple[Echo, ssl.SSLContext]
) -> None:
    echo, verify = server
    lib = way.kind.lib
    transport = (lib.AsyncHTTPTransport if way.kind.is_async else lib.HTTPTransport)(verify=verify)

    async def work(client: Any) -> None:
        for n, then in enumerate(("two", "408", "two-apart", "408-apart")):
            for method, total in (("GET", 0), ("POST", 1 << 16)):
                first, second = f"first-{method}-{n}", f"second-{method}-{n}"
                assert await ask(client, method, first, then=then, total=total) == first
                echo.settle()
                assert await ask(client, method, second) == second

    way.run(work, echo, verify, transport=transport)
    assert set(echo.seen.values()) == {1}


@all_ways
def test_a_body_that_comes_with_the_answer_to_head_is_not_the_next_answer(
    way: Way, server: tuple[Echo, ssl.SSLContext]
) -> None:
    echo, verify = server

    async def work(client: Any) -> None:
        for n in range(3):
            assert await ask(client, "HEAD", f"head-{n}", then="body", total=100 + n * 70_000) == f"head-{n}"
            echo.settle()
            assert await ask(client, "GET", f"get-{n}") == f"get-{n}"

    way.run(work, echo, verify)


@all_ways
def test_a_sound_connection_is_kept_whatever_its_answers_look_like(
    way: Way, server: tuple[Echo, ssl.SSLContext]
) -> None:
    echo, verify = server

    async def work(client: Any) -> None:
        for method in METHODS:
            for then in ("", "hints", "chunked"):
                assert await ask(client, method, f"{method}-{then}", then=then) == f"{method}-{then}"

    way.run(work, echo, verify)
    assert echo.accepted == 1


@own_ways
@pytest.mark.parametrize("many", [1, 2 * CROWD])
def test_a_tls_record_that_is_no_data_costs_no_connection(way: Way, many: int, trust: Trust) -> None:
    """A request for a certificate, and the session tickets that follow, wait unread in the idle connections."""
    with echoing(trust) as (echo, verify):

        async def work(client: Any) -> None:
            for method in METHODS:
                names = [f"{method}-{n}" for n in range(many)]
                assert await together(client, method, names) == names
                opened.add(echo.accepted)
                assert echo.say("ticket") == many

        opened: set[int] = set()
        way.run(work, echo, verify)
        assert opened == {many}
        assert set(echo.seen.values()) == {1}


async def together(client: Any, method: str, names: list[str], **options: Any) -> list[str]:
    found: dict[str, str] = {}

    async def one(name: str) -> None:
        found[name] = await ask(client, method, name, **options)

    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(one, name)
    return [found[name] for name in names]


@own_ways
def test_in_a_crowd_each_request_gets_its_own_answer(way: Way, server: tuple[Echo, ssl.SSLContext]) -> None:
    """Those requests that wait in an outbox go out over no connection that has something to say, either."""
    echo, verify = server

    async def work(client: Any) -> None:
        for what in ("answer", "408", "end"):
            for method in ("GET", "POST", "STREAM"):
                names = [f"{method}-{what}-{n:02}" for n in range(5 * CROWD)]
                assert await together(client, method, names) == names
                echo.say(what, every=3)  # so that some go out as one batch, and some of those cannot

    way.run(work, echo, verify)
    assert set(echo.seen.values()) == {1}


@pytest.mark.parametrize("what", ["answer", "408", "end", "reset"])
@pytest.mark.parametrize("backend", LOOPS)
def test_a_connection_that_goes_from_one_exchange_to_the_next_is_looked_at_too(
    backend: str, what: str, server: tuple[Echo, ssl.SSLContext]
) -> None:
    """It never lies idle. The exchange that waited for it opens another in its place, and keeps its turn."""
    echo, verify = server

    async def main() -> None:
        tls: dict[str, Any] = {"ssl": verify, "server_hostname": "users"} if echo.context is not None else {}
        pool = Pool("127.0.0.1", echo.port, max_connections=1, **tls)

        async def post(name: str) -> bytes:
            head = b"POST /%b HTTP/1.1\r\nHost: users\r\nContent-Length: 1\r\n\r\n" % name.encode()
            return (await pool.exchange(head, b"x", method=b"POST", read=10.0)).body

        tasks = [asyncio.create_task(post(name)) for name in ("first", "second", "third")]
        while pool.pending != 2:
            await asyncio.sleep(0)
        while pool.pending == 2:
            await asyncio.sleep(0)
        # The first has been answered, and its connection was given to the second, which has not had its turn yet.
        echo.say(what)
        assert [await task for task in tasks] == [b"first|", b"second|", b"third|"]
        assert (pool.opened, pool.active) == (2, 0)
        await pool.aclose()

    run_on(backend, main)
    assert list(echo.seen.items()) == [("first", 1), ("second", 1), ("third", 1)]


# A 408 after the request: was it there, or not?


@all_ways
def test_a_408_that_closes_a_used_connection_is_a_dead_connection(
    way: Way, server: tuple[Echo, ssl.SSLContext]
) -> None:
    """It crossed the request. What may be sent twice is, over a new connection; what may not gets the 408."""
    echo, verify = server

    async def work(client: Any) -> None:
        for method in METHODS:
            await ask(client, method, f"first-{method}")
            expected = "408" if "POST" in method else f"second-{method}"
            assert await ask(client, method, f"second-{method}", then="give-up") == expected
            echo.say("end")

    way.run(work, echo, verify)
    assert {name: echo.seen[f"second-{name}"] for name in METHODS} == {
        "GET": 2, "HEAD": 2, "STREAM": 2, "POST": 1, "STREAM-POST": 1
    }  # fmt: skip


@own_ways
def test_in_a_crowd_a_408_is_a_dead_connection_too(way: Way, server: tuple[Echo, ssl.SSLContext]) -> None:
    echo, verify = server

    async def work(client: Any) -> None:
        for method in ("GET", "POST"):
            names = [f"{method}-{n:02}" for n in range(2 * CROWD)]
            await together(client, method, [f"first-{name}" for name in names])
            expected = ["408"] * len(names) if method == "POST" else names
            assert await together(client, method, names, then="give-up") == expected

    way.run(work, echo, verify)
    assert {count for name, count in echo.seen.items() if "POST" in name} == {1}


@all_ways
def test_a_post_with_an_idempotency_key_may_be_sent_twice(way: Way, server: tuple[Echo, ssl.SSLContext]) -> None:
    echo, verify = server

    async def work(client: Any) -> None:
        await ask(client, "GET", "first")
        response = await client.post("http://users/second?then=give-up", headers={"Idempotency-Key": "1"})
        assert response.headers["x-id"] == "second"

    way.run(work, echo, verify)
    assert echo.seen["second"] == 2


@all_ways
@pytest.mark.parametrize("then", ["408-open", "408-always"])
def test_any_other_408_is_the_answer(way: Way, then: str, server: tuple[Echo, ssl.SSLContext]) -> None:
    """One that does not say that the connection closes, and one on a new connection: that speaks of the request."""
    echo, verify = server

    async def work(client: Any) -> None:
        if then == "408-open":
            await ask(client, "GET", "first")
        assert await ask(client, "GET", "second", then=then) == "408"

    way.run(work, echo, verify)
    assert echo.seen["second"] == 1


@all_ways
def test_a_408_over_the_new_connection_as_well_is_the_answer(way: Way, server: tuple[Echo, ssl.SSLContext]) -> None:
    echo, verify = server

    async def work(client: Any) -> None:
        await ask(client, "GET", "first")
        assert await ask(client, "GET", "second", then="408-always") == "408"

    way.run(work, echo, verify)
    assert echo.seen["second"] == 2


# All of it at random.


THEN = ("", "", "", "two", "408", "two-apart", "408-end", "end", "hints", "chunked", "give-up")
TOTALS = (0, 0, 0, 1 << 14, 1 << 16)


@all_ways
@pytest.mark.parametrize("seed", range(2))
def test_every_id_comes_back_to_its_request_and_no_post_is_seen_twice(
    way: Way, seed: int, server: tuple[Echo, ssl.SSLContext]
) -> None:
    """The server speaks out of turn while the event loop is blocked; crowds and single requests of every kind."""
    echo, verify = server
    rng = Random(seed)
    # Over httpx's transports a repeated request may take a connection over which the server is about to say more.
    then_of = THEN if way.own else THEN[:-1]
    said = (*SAID, "notify", "ticket") if echo.context is not None and way.own else SAID

    async def one(client: Any, number: int) -> None:
        method, then = rng.choice(METHODS), rng.choice(then_of)
        name = f"{method}-{number}"
        got = await ask(client, method, name, then=then, total=rng.choice(TOTALS))
        assert got == name or (got == "408" and then == "give-up" and "POST" in method)

    async def work(client: Any) -> None:
        number = 0
        for _ in range(40 if way.own else 15):
            many = rng.choice((1, 1, 1, 2, CROWD + 3)) if way.kind.is_async else 1
            async with anyio.create_task_group() as tasks:
                for _ in range(many):
                    tasks.start_soon(one, client, number)
                    number += 1
                if way.own and rng.random() < 0.5:
                    await anyio.lowlevel.checkpoint()
                    echo.settle()  # the loop stands still while the server answers
            echo.settle()
            if rng.random() < 0.6:
                echo.say(rng.choice(said), every=rng.choice((1, 1, 2, 3)))
            for _ in range(rng.choice((0, 0, 1, 2))):
                await anyio.lowlevel.checkpoint()

    way.run(work, echo, verify)
    again = Counter(name.rpartition("-")[0] for name, times in echo.seen.items() if times > 1)
    assert not {name for name in again if "POST" in name}
    assert max(echo.seen.values()) <= 2
