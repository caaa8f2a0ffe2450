"""Over real sockets: certificates, Unix sockets, HTTP/2, proxies, dead endpoints, cancellation, loops, forks."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from support.client_kinds import WIRED, ClientKind, Handle, add, cluster_of, in_flight, mesh_of
from support.loopback import Trust, http2, served
from support.scripted import OK, Peer, answering, once

from meshlib import Bulkhead, CircuitBreaker, DeadlineExceeded, Endpoint, MeshClient, NoEndpoint, State, SyncMeshClient
from meshlib.policies.deadline.deadline import deadline

pytestmark = pytest.mark.anyio


@pytest.fixture
def client_kind(wired: ClientKind) -> ClientKind:
    return wired


@pytest.fixture(scope="module")
def trust() -> Trust:
    return Trust()


def nobody() -> int:
    """A port of loopback at which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def test_a_service_is_reached_by_its_name(client_kind: ClientKind) -> None:
    with served(answering()) as server:
        async with client_kind.open(mesh_of(server.port)) as client:
            responses = [await client.get("http://users/v1/me") for _ in range(3)]
    assert [response.text for response in responses] == ["ok"] * 3
    assert server.requests == [(0, b"GET /v1/me HTTP/1.1")] * 3  # over one connection
    assert responses[0].extensions["http_version"] == b"HTTP/1.1"


async def test_a_dead_endpoint_is_left_for_another(client_kind: ClientKind) -> None:
    with served(answering()) as server:
        mesh = mesh_of(nobody(), nobody(), server.port)
        async with client_kind.open(mesh) as client:
            for _ in range(10):
                assert (await client.post("http://users/", content=b"x")).status_code == 200
    assert len(server.requests) == 10
    assert in_flight(mesh) == 0


async def test_when_all_are_dead_the_error_is_httpx_and_says_which(client_kind: ClientKind) -> None:
    port = nobody()
    async with client_kind.open(mesh_of(port)) as client:
        with pytest.raises(client_kind.lib.ConnectError) as caught:
            await client.get("http://users/")
    error: Any = caught.value
    assert (error.endpoint, error.attempt, error.sent) == (f"127.0.0.1:{port}", 3, False)


async def test_a_server_that_hangs_up_on_idle_connections_costs_nobody_an_error(client_kind: ClientKind) -> None:
    with served(once(OK)) as server:
        async with client_kind.open(mesh_of(server.port)) as client:
            for _ in range(5):
                assert (await client.get("http://users/")).text == "ok"
    assert len(server.requests) == 5


async def test_a_body_that_breaks_off_is_fetched_again(client_kind: ClientKind) -> None:
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
    with served(once(half), once(OK)) as server:
        async with client_kind.open(mesh_of(server.port)) as client:
            assert (await client.get("http://users/")).text == "ok"
    assert len(server.requests) == 2


# --- TLS -----------------------------------------------------------------------------------------------------------


async def test_certificates_are_checked_against_the_services_name(client_kind: ClientKind, trust: Trust) -> None:
    context, asked = trust.server("users")
    with served(answering(), ssl=context) as server:
        async with client_kind.open(mesh_of(server.port), verify=trust.client) as client:
            assert (await client.get("https://users/")).text == "ok"
    assert asked == ["users"]


async def test_a_certificate_for_somebody_else_is_refused_and_nothing_is_sent(
    client_kind: ClientKind, trust: Trust
) -> None:
    context, _ = trust.server("orders")
    with served(answering(), ssl=context) as server:
        async with client_kind.open(mesh_of(server.port), verify=trust.client) as client:
            with pytest.raises(client_kind.lib.ConnectError):
                await client.get("https://users/")
    assert server.requests == []


async def test_another_clients_http2_does_not_spread_through_a_shared_context(
    client_kind: ClientKind, trust: Trust
) -> None:
    context, _ = trust.server("users", alpn=("h2", "http/1.1"))
    spoken: list[Any] = []

    async def script(peer: Peer) -> None:
        spoken.append(peer.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await once(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")(peer)

    with served(script, ssl=context) as server:
        async with client_kind.open(mesh_of(server.port), verify=trust.client) as client:
            for _ in range(3):
                assert (await client.get("https://users/")).text == "ok"
                trust.client.set_alpn_protocols(["h2", "http/1.1"])  # as httpcore does for a client with http2=True
    assert spoken == ["http/1.1"] * 3


async def test_a_cluster_may_have_a_name_of_its_own_for_certificates(client_kind: ClientKind, trust: Trust) -> None:
    context, asked = trust.server("users-v2.internal")
    with served(answering(), ssl=context) as server:
        async with client_kind.open(mesh_of(server.port, tls_name="users-v2.internal"), verify=trust.client) as client:
            assert (await client.get("https://users/")).text == "ok"
    assert asked == ["users-v2.internal"]


@pytest.mark.parametrize("given", ["verify", "transport", "mounts"])
async def test_a_connection_verified_for_one_service_never_carries_another(
    client_kind: ClientKind, trust: Trust, given: str
) -> None:
    kind = client_kind.lib.AsyncHTTPTransport if client_kind.is_async else client_kind.lib.HTTPTransport
    how: dict[str, Any] = {"verify": trust.client}
    if given == "transport":
        how = {"transport": kind(verify=trust.client)}
    elif given == "mounts":
        how = {"mounts": {"all://": kind(verify=trust.client)}}
    context, asked = trust.server("users")
    with served(answering(), ssl=context) as server:
        mesh = mesh_of(server.port, attempts=1)
        add(mesh, server.port, name="orders", attempts=1)
        async with client_kind.open(mesh, **how) as client:
            assert (await client.get("https://users/")).text == "ok"
            with pytest.raises(client_kind.lib.ConnectError):
                await client.get("https://orders/")
            assert (await client.get("https://users/")).text == "ok"
    assert asked == ["users", "orders"]
    assert len(server.requests) == 2


async def test_a_server_that_wants_a_certificate_of_ours_is_a_read_error(client_kind: ClientKind, trust: Trust) -> None:
    """In TLS 1.3 it says so after the client has shaken hands, in the place of an answer."""
    context, _ = trust.server("users")
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3

    def refuse() -> None:
        with listener.accept()[0] as accepted, accepted.dup() as raw:
            with pytest.raises(ssl.SSLError):
                context.wrap_socket(accepted, server_side=True)
            while raw.recv(65536):  # until the client has hung up: nothing shall overtake the alert
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse)
        thread.start()
        mesh = mesh_of(listener.getsockname()[1], attempts=1)
        async with client_kind.open(mesh, verify=trust.client) as client:
            with pytest.raises(client_kind.lib.ReadError) as caught:
                await client.get("https://users/")
        await anyio.to_thread.run_sync(thread.join)
    error: Any = caught.value
    assert (error.service, str(error.request.url)) == ("users", "https://users/")
    assert cluster_of(mesh).balancer.endpoints[0].run == 1  # the endpoint failed


def current_async_library() -> str:
    return "trio" if asyncio._get_running_loop() is None else "asyncio"


async def test_http2_shares_one_connection_per_endpoint(trust: Trust) -> None:
    for client_kind in WIRED:
        context, _ = trust.server("users", alpn=("h2",))
        with served(http2, ssl=context) as one, served(http2, ssl=context) as other:
            mesh = mesh_of(one.port, other.port)
            async with client_kind.open(mesh, verify=trust.client, http2=True) as client:
                # While a connection is being opened httpcore does not know yet that it can be shared: warm both first.
                for _ in range(200):
                    first = await client.get("https://users/")
                    assert (first.http_version, first.text) == ("HTTP/2", "users")
                    if one.peers and other.peers:
                        break
                # httpcore 1.0 numbers streams that begin together wrongly at times on trio (StreamIDTooLowError).
                together = 30 if current_async_library() == "asyncio" else 1
                for _ in range(30 // together):
                    async with anyio.create_task_group() as group:
                        for _ in range(together):
                            group.start_soon(client.get, "https://users/")
        assert len(one.peers) == len(other.peers) == 1


# --- other roads ---------------------------------------------------------------------------------------------------


async def test_endpoints_may_be_unix_sockets(client_kind: ClientKind, tmp_path: Path) -> None:
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            heads.append(await peer.request())
            await peer.send(OK)

    first, second = f"{tmp_path}/a.sock", f"{tmp_path}/b.sock"
    with served(script, uds=first) as one, served(script, uds=second) as two:
        mesh = mesh_of(Endpoint(f"unix:{first}"), Endpoint(f"unix:{second}"))
        async with client_kind.open(mesh) as client:
            responses = [await client.get("http://users/me") for _ in range(20)]
    assert {str(response.url) for response in responses} == {"http://users/me"}
    assert all(b"\r\nHost: users\r\n" in head for head in heads)
    assert len(one.peers) == len(two.peers) == 1


async def test_a_proxy_from_the_environment_carries_the_mesh_too(
    client_kind: ClientKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(answering()) as proxy, served(answering()) as direct:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "orders")
        mesh = mesh_of("10.0.0.1")
        add(mesh, direct.port, name="orders")
        async with client_kind.open(mesh) as client:
            await client.get("http://users/v1")
            await client.get("http://orders/v1")
        async with client_kind.open(mesh, trust_env=False) as client:
            await client.get("http://orders/v2")
    assert proxy.requests == [(0, b"GET http://10.0.0.1:8001/v1 HTTP/1.1")]
    assert [line for _, line in direct.requests] == [b"GET /v1 HTTP/1.1", b"GET /v2 HTTP/1.1"]


async def test_an_asgi_app_can_stand_beneath_the_mesh() -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"from the app"})

    for client_kind in WIRED:
        if client_kind.is_async:
            async with client_kind.open(mesh_of("10.0.0.1"), transport=client_kind.lib.ASGITransport(app)) as client:
                assert (await client.get("http://users/v1")).text == "from the app"
    assert {dict(scope["headers"])[b"host"] for scope in scopes} == {b"users"}


# --- limits and time -----------------------------------------------------------------------------------------------


async def _silent(peer: Peer) -> None:
    await peer.request()
    await peer.reader.read()


async def _dripping(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        await peer.send(b".")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("script", [_silent, _dripping])
async def test_no_server_keeps_a_call_beyond_its_deadline(client_kind: ClientKind, script: Any) -> None:
    with served(script) as server:
        mesh = mesh_of(server.port)
        async with client_kind.open(mesh, timeout=60.0) as client:
            with deadline(0.15), pytest.raises(DeadlineExceeded) as caught:
                await client.get("http://users/")
    assert isinstance(caught.value, client_kind.lib.TimeoutException)
    assert str(caught.value.request.url) == "http://users/"
    assert in_flight(mesh) == 0


@pytest.mark.parametrize("script", [_silent, _dripping])
async def test_a_try_that_takes_too_long_is_repeated_elsewhere(client_kind: ClientKind, script: Any) -> None:
    with served(script) as slow, served(answering()) as quick:
        mesh = mesh_of(slow.port, quick.port, timeout=30.0, per_try_timeout=0.25, attempts=6)
        async with client_kind.open(mesh, timeout=60.0) as client:
            for _ in range(2):
                assert (await client.get("http://users/")).text == "ok"
    assert len(quick.requests) == 2


async def test_a_limit_that_was_asked_for_is_kept_also_if_it_is_httpx_own_default(client_kind: ClientKind) -> None:
    if not client_kind.is_async:
        return  # the same code, and it would take a hundred threads
    answer = threading.Event()

    async def holding(peer: Peer) -> None:
        await peer.request()
        arrived.append(peer)
        while not answer.is_set():
            await asyncio.sleep(0.001)
        await peer.send(OK)

    arrived: list[Peer] = []
    limits = client_kind.lib.Limits(max_connections=100, max_keepalive_connections=20)
    with served(holding) as server:
        async with client_kind.open(mesh_of(server.port, attempts=1), limits=limits, timeout=60.0) as client:
            async with anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(client.get, "http://users/")
                while len(arrived) < 100:
                    await anyio.sleep(0.001)
                with pytest.raises(client_kind.lib.PoolTimeout):
                    await client.get("http://users/", timeout=client_kind.lib.Timeout(2.0, pool=0.02))
                answer.set()
    assert len(arrived) == 100


async def test_a_limit_that_was_asked_for_is_kept_with_httpx_own_error(client_kind: ClientKind) -> None:
    with served(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha", b"lf")) as server:
        limits = client_kind.lib.Limits(max_connections=1)
        mesh = mesh_of(server.port, attempts=1)
        async with client_kind.open(mesh, limits=limits, timeout=client_kind.lib.Timeout(5.0, pool=0.02)) as client:
            async with client.stream("GET", "http://users/") as response:
                with pytest.raises(client_kind.lib.PoolTimeout):
                    await client.get("http://users/")
                assert await client.read(response) == b"half"
            for _ in range(3):
                assert (await client.get("http://users/")).text == "half"
    assert len(server.peers) == 1


# --- many, cancelled, forgotten ------------------------------------------------------------------------------------


async def test_hundreds_of_tasks_share_one_client_with_every_policy() -> None:
    for client_kind in WIRED:
        if not client_kind.is_async:
            continue
        breaker, bulkhead = CircuitBreaker(name="users"), Bulkhead(50, max_wait=60.0, name="users")
        with served(answering()) as one, served(answering()) as two:
            mesh = mesh_of(
                one.port, two.port, gates=[breaker, bulkhead], timeout=60.0, per_try_timeout=30.0, attempts=3
            )
            answers: list[str] = []

            async def ask(client: Any, answers: list[str]) -> None:
                answers.append((await client.get("http://users/")).text)

            async with client_kind.open(mesh, timeout=60.0) as client, anyio.create_task_group() as group:
                for _ in range(300):
                    group.start_soon(ask, client, answers)
        assert answers == ["ok"] * 300
        assert max(len(one.peers), len(two.peers)) <= 50
        assert (in_flight(mesh), bulkhead.metrics().in_flight, breaker.state) == (0, 0, State.CLOSED)


async def test_threads_share_one_sync_client() -> None:
    for client_kind in WIRED:
        if client_kind.is_async:
            continue
        bulkhead = Bulkhead(5, max_wait=60.0, name="users")
        with served(answering()) as server:
            mesh = mesh_of(server.port, gates=[CircuitBreaker(name="users"), bulkhead])
            async with client_kind.open(mesh, timeout=60.0) as client, anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(client.get, "http://users/")
        assert len(server.requests) == 100
        assert len(server.peers) <= 5
        assert (in_flight(mesh), bulkhead.metrics().in_flight) == (0, 0)


@pytest.mark.parametrize("limit", [None, 10])
async def test_cancelling_at_random_leaves_a_client_that_works(limit: int | None) -> None:
    """httpx 0.28's own pool of 10 is dead after this: every later call ends in PoolTimeout."""

    async def slow(peer: Peer) -> None:
        while True:
            await peer.request()
            await asyncio.sleep(0.01)
            await peer.send(OK)

    for client_kind in WIRED:
        if not client_kind.is_async:
            continue
        rng = random.Random(7)
        breaker, bulkhead = CircuitBreaker(name="users"), Bulkhead(20, max_wait=1.0, name="users")
        how = {} if limit is None else {"limits": client_kind.lib.Limits(max_connections=limit)}
        with served(slow) as one, served(slow) as two:
            mesh = mesh_of(one.port, two.port, gates=[breaker, bulkhead], timeout=30.0)
            async with client_kind.open(mesh, **how) as client:

                async def storm(client: Any = client, rng: random.Random = rng) -> None:
                    for _ in range(10):
                        with anyio.move_on_after(rng.uniform(0.0002, 0.02)):
                            await client.get("http://users/")

                async with anyio.create_task_group() as group:
                    for _ in range(30):
                        group.start_soon(storm)
                assert (in_flight(mesh), bulkhead.metrics().in_flight) == (0, 0)
                assert breaker.state is State.CLOSED
                for _ in range(30):
                    assert (await client.get("http://users/")).text == "ok"


async def test_closing_closes_the_connections_and_then_says_what_is_wrong(client_kind: ClientKind) -> None:
    with served(answering()) as server:
        mesh = mesh_of(server.port)
        async with client_kind.open(mesh) as client:
            await client.get("http://users/")
        with anyio.fail_after(5):
            while not server.peers[0].reader.at_eof():
                await anyio.sleep(0.001)
        assert client.client.is_closed
        with pytest.raises(RuntimeError, match="client has been closed"):
            await client.get("http://users/")
        async with client_kind.open(mesh) as another:  # the mesh stays open
            assert (await another.get("http://users/")).text == "ok"


async def test_a_context_is_entered_once(client_kind: ClientKind) -> None:
    client: Any = client_kind.make(mesh=mesh_of("10.0.0.1"))
    if client_kind.is_async:
        async with client as inside:
            assert inside is client
        with pytest.raises(RuntimeError, match="closed"):
            async with client:
                pass
    else:
        with client as inside:
            assert inside is client
        with pytest.raises(RuntimeError, match="closed"), client:
            pass


async def test_a_forgotten_client_leaves_no_trace_in_the_mesh(client_kind: ClientKind) -> None:
    mesh = mesh_of("10.0.0.1")
    client: Any = client_kind.make(
        mesh=mesh, transport=client_kind.lib.MockTransport(lambda request: client_kind.lib.Response(200))
    )
    _ = await client.get("http://users/") if client_kind.is_async else client.get("http://users/")
    gone = weakref.ref(client)
    del client, _
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_client_works_in_one_event_loop_after_the_other(backend: str) -> None:
    for client_kind in WIRED:
        if not client_kind.is_async:
            continue
        with served(once(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")) as server:
            client: Any = client_kind.make(mesh=mesh_of(server.port, attempts=1))

            async def ask(client: Any = client) -> str:
                return (await client.get("http://users/")).text  # type: ignore[no-any-return]

            assert [anyio.run(ask, backend=backend) for _ in range(3)] == ["ok"] * 3
            pools = client.__dict__["_meshlib_door"].pools._pools
            assert len(pools) == (
                backend == "trio"
            )  # those of runs that have ended are forgotten; asyncio's keep theirs
            anyio.run(client.aclose, backend=backend)


def test_a_client_works_in_two_event_loops_at_once() -> None:
    bye = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    for client_kind in WIRED:
        if not client_kind.is_async:
            continue
        with served(once(bye)) as server:
            client: Any = client_kind.make(mesh=mesh_of(server.port, attempts=1))
            both = threading.Barrier(2, timeout=10)

            async def ask(client: Any = client, both: threading.Barrier = both) -> list[str]:
                answers = []
                for _ in range(5):
                    both.wait()
                    answers.append((await client.get("http://users/")).text)
                both.wait()
                return answers

            with ThreadPoolExecutor(2) as threads:
                answers = [one.result() for one in [threads.submit(asyncio.run, ask()) for _ in range(2)]]
            assert answers == [["ok"] * 5] * 2
            asyncio.run(client.aclose())


def test_a_client_works_in_a_forked_process_and_on_in_its_parent() -> None:
    script = """
        import os, sys
        sys.path.insert(0, sys.argv[2])
        from support.client_kinds import mesh_of
        from meshlib import SyncMeshClient
        client = SyncMeshClient(mesh=mesh_of(int(sys.argv[1]), attempts=1))
        assert client.get("http://users/before").text == "ok"
        child = os.fork()
        if not child:
            os._exit(0 if client.get("http://users/child").text == "ok" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert client.get("http://users/parent").text == "ok"
    """
    with served(answering()) as server:
        command = [sys.executable, "-c", textwrap.dedent(script), str(server.port), str(Path(__file__).parents[1])]
        subprocess.run(command, check=True, timeout=60)
    assert server.requests == [
        (0, b"GET /before HTTP/1.1"),
        (1, b"GET /child HTTP/1.1"),
        (0, b"GET /parent HTTP/1.1"),
    ]


async def test_async_and_sync_clients_see_one_picture() -> None:
    with served(answering()) as server:
        mesh = mesh_of(server.port)
        with SyncMeshClient(mesh=mesh) as plain:
            async with MeshClient(mesh=mesh) as client:
                assert (await client.get("http://users/")).text == "ok"
                cluster_of(mesh).balancer.update([])
                with pytest.raises(NoEndpoint):
                    await client.get("http://users/")
            with pytest.raises(NoEndpoint):
                await anyio.to_thread.run_sync(plain.get, "http://users/")


async def test_closing_lets_requests_under_way_finish_and_takes_no_more(client_kind: ClientKind) -> None:
    asked, answer = threading.Event(), threading.Event()

    async def slow(peer: Peer) -> None:
        await peer.request()
        asked.set()
        while not answer.is_set():
            await asyncio.sleep(0.001)
        await peer.send(OK)

    with served(slow) as server:
        mesh = mesh_of(server.port)
        client: Any = Handle(client_kind.make(mesh=mesh), client_kind.is_async)
        answers: list[str] = []

        async def ask() -> None:
            answers.append((await client.get("http://users/")).text)

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.to_thread.run_sync(asked.wait)
            if client_kind.is_async:
                group.start_soon(client.aclose)
            else:
                group.start_soon(anyio.to_thread.run_sync, client.client.close)
            with anyio.fail_after(5):
                while not _refuses(client.client):
                    await anyio.sleep(0.001)
            with pytest.raises(RuntimeError, match="client has been closed"):
                await client.get("http://users/")
            answer.set()
    assert answers == ["ok"]


async def test_all_who_close_at_once_wait_for_requests_under_way(client_kind: ClientKind) -> None:
    asked, answer, closed = threading.Event(), threading.Event(), list[bool]()

    async def slow(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await asyncio.to_thread(answer.wait)
        await peer.send(OK)

    with served(slow) as server:
        client: Any = Handle(client_kind.make(mesh=mesh_of(server.port)), client_kind.is_async)

        async def close() -> None:
            await (client.aclose() if client_kind.is_async else anyio.to_thread.run_sync(client.client.close))
            closed.append(answer.is_set())

        async with anyio.create_task_group() as group:
            group.start_soon(client.get, "http://users/")
            await anyio.to_thread.run_sync(asked.wait)
            group.start_soon(close)
            group.start_soon(close)
            with anyio.fail_after(5):
                while len(client.client.__dict__["_meshlib_door"].idle) < 2:
                    await anyio.sleep(0.001)
            answer.set()
    assert closed == [True, True]


def _refuses(client: Any) -> bool:
    return bool(client.__dict__["_meshlib_door"].closing)


def test_cancelled_requests_leave_no_sockets_behind() -> None:
    """httpx 0.28's pool forgets about one connection for ten cancelled requests; they stay open for good."""

    async def slow(peer: Peer) -> None:
        while True:
            await peer.request()
            await asyncio.sleep(0.005)
            await peer.send(OK)

    async def storm(client: MeshClient, rng: random.Random) -> None:
        for _ in range(60):
            task = asyncio.create_task(client.get("http://users/"))
            await asyncio.sleep(rng.uniform(0.0002, 0.01))
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                assert task.result().text == "ok"

    async def main(port: int) -> None:
        async with MeshClient(mesh=mesh_of(port)) as client:
            client.fast = False  # it is httpx's own pool that forgets
            await asyncio.gather(*(storm(client, random.Random(seed)) for seed in range(20)))
            gc.collect()
            for _ in range(3):
                assert (await client.get("http://users/")).text == "ok"
            [swept] = client.__dict__["_meshlib_door"].pools.of(asyncio.get_running_loop())
            assert len(swept._transport._pool._connections) <= 20 + swept.EVERY

    with served(slow) as server:
        asyncio.run(main(server.port))


@pytest.mark.parametrize(
    ("limits", "connections"),
    [({"max_keepalive_connections": 0}, 6), ({"keepalive_expiry": 0.0}, 6), ({}, 1)],
    ids=["none may rest", "none may rest for long", "usual"],
)
async def test_no_more_connections_rest_than_the_caller_allows(
    client_kind: ClientKind, limits: dict[str, Any], connections: int
) -> None:
    with served(answering()) as server:
        async with client_kind.open(mesh_of(server.port), limits=client_kind.lib.Limits(**limits)) as client:
            for _ in range(6):
                assert (await client.get("http://users/")).text == "ok"
    assert len(server.peers) == connections


def test_a_process_that_may_open_no_more_files_makes_its_calls_wait(anyio_backend: str) -> None:
    """As httpx does by its limit of 100 connections; on the fast lane there is none unless it is asked for."""
    script = """
        import resource, sys
        sys.path.insert(0, sys.argv[2])
        resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160))
        import anyio
        from support.client_kinds import mesh_of
        from meshlib import MeshClient
        answers = []
        async def ask(client):
            answers.append((await client.get("http://users/")).text)
        async def main():
            async with MeshClient(mesh=mesh_of(int(sys.argv[1])), timeout=60.0) as client:
                async with anyio.create_task_group() as group:
                    for _ in range(300):
                        group.start_soon(ask, client)
        anyio.run(main, backend=sys.argv[3])
        assert answers == ["ok"] * 300
    """

    async def slow(peer: Peer) -> None:
        while True:
            await peer.request()
            await asyncio.sleep(0.02)
            await peer.send(OK)

    with served(slow, backlog=500) as server:
        command = [sys.executable, "-c", textwrap.dedent(script), str(server.port), str(Path(__file__).parents[1])]
        subprocess.run([*command, anyio_backend], check=True, timeout=60)
