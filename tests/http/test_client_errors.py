"""What the mesh raises through a client is also the fitting exception of httpx, and says where it happened."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from support.client_kinds import ClientKind, HandClock, Server, cluster_of, in_flight, mesh_of

import meshlib
from meshlib import BreakerOpen, Bulkhead, BulkheadFull, CircuitBreaker, DeadlineExceeded, MeshError, NoEndpoint
from meshlib.errors import RateLimited, Rejected, Throttled
from meshlib.policies.deadline.deadline import deadline
from meshlib.policies.shell.gate import Gate

pytestmark = pytest.mark.anyio


class Refusing(Gate):
    """A gate that raises what it is told."""

    def __init__(self, error: MeshError) -> None:
        super().__init__("users")
        self.error = error

    def enter(self, now: float) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "twin", "policy"),
    [
        (BreakerOpen("users", "open", retry_after=2.0), "ConnectError", "breaker"),
        (BulkheadFull("users"), "PoolTimeout", "bulkhead"),
        (RateLimited("users"), "PoolTimeout", "rate limit"),
        (Throttled("users"), "PoolTimeout", "throttle"),
        (NoEndpoint("users"), "ConnectError", "balancer"),
        (Rejected("mine"), "ConnectError", "gate"),
        (type("MyRefusal", (Rejected,), {})("mine"), "ConnectError", "gate"),
        (DeadlineExceeded("users", limit=0.5), "ReadTimeout", "deadline"),
        (DeadlineExceeded("users", sent=False), "ConnectTimeout", "deadline"),
        (MeshError("users"), "TransportError", "mesh"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, MeshError) else None,
)
async def test_refusals_are_httpx_exceptions_too(wired: ClientKind, error: MeshError, twin: str, policy: str) -> None:
    mesh = mesh_of(gates=[Refusing(error)], attempts=1)
    async with wired.open(mesh) as client:
        for _ in range(2):  # from the second on, the fast lane goes round httpx's own steps
            with pytest.raises(type(error)) as caught:
                await client.get("http://users/v1")
            raised: Any = caught.value
            assert isinstance(raised, getattr(wired.lib, twin))
            assert str(raised) == str(error)
            assert str(raised.request.url) == "http://users/v1"
            assert (raised.service, raised.cluster, raised.attempt, raised.policy) == ("users", None, 1, policy)
    assert in_flight(mesh) == 0


async def test_the_other_familys_handlers_do_not_catch_it(client_kind: ClientKind) -> None:
    from support.client_kinds import CLIENT_KINDS

    others = {other.lib for other in CLIENT_KINDS} - {client_kind.lib}
    async with client_kind.open(
        mesh_of(gates=[Refusing(BulkheadFull("users"))]), transport=Server(client_kind).transport
    ) as client:
        with pytest.raises(client_kind.lib.PoolTimeout) as caught:
            await client.get("http://users/")
    assert not any(isinstance(caught.value, other.HTTPError) for other in others)


async def test_transport_errors_say_where_they_happened(client_kind: ClientKind) -> None:
    server = Server(client_kind, client_kind.lib.ReadError("reset by peer"))
    async with client_kind.open(mesh_of("10.0.0.1", attempts=2), transport=server.transport) as client:
        with pytest.raises(client_kind.lib.ReadError, match="reset by peer") as caught:
            await client.get("http://users/v1")
    error: Any = caught.value
    assert str(error.request.url) == "http://users/v1"
    assert (error.service, error.cluster, error.endpoint, error.attempt) == ("users", "users", "10.0.0.1:8001", 2)
    assert error.policy is None
    assert error.__notes__ == [
        "gave up after 2 attempts: no attempts left",
        "service users, cluster users, endpoint 10.0.0.1:8001, attempt 2",
    ]


async def test_what_the_callers_own_code_raises_comes_out_as_it_is(client_kind: ClientKind) -> None:
    mine = RuntimeError("my transport is broken")
    server = Server(client_kind, mine)
    mesh = mesh_of()
    async with client_kind.open(mesh, transport=server.transport) as client:
        with pytest.raises(RuntimeError) as caught:
            await client.get("http://users/")
    assert (caught.value, len(server.seen), in_flight(mesh)) == (mine, 1, 0)


async def test_an_open_breaker_says_until_when_and_names_its_policy(client_kind: ClientKind) -> None:
    breaker = CircuitBreaker(name="users", trip=meshlib.Consecutive(2), cooldown=60.0)
    server = Server(client_kind, 500)
    async with client_kind.open(mesh_of(gates=[breaker]), transport=server.transport) as client:
        for _ in range(2):
            assert (await client.get("http://users/")).status_code == 500
        with pytest.raises(client_kind.lib.ConnectError) as caught:
            await client.get("http://users/")
    error: Any = caught.value
    assert isinstance(error, BreakerOpen)
    assert 0 < error.retry_after <= 60
    assert len(server.seen) == 2


async def test_our_own_refusals_do_not_open_the_breaker(client_kind: ClientKind) -> None:
    breaker = CircuitBreaker(name="users", trip=meshlib.Consecutive(2), cooldown=60.0)
    full = Bulkhead(1, name="users")
    full.enter()
    mesh = mesh_of(gates=[breaker, full])
    async with client_kind.open(mesh, transport=Server(client_kind).transport) as client:
        for _ in range(5):
            with pytest.raises(BulkheadFull):
                await client.get("http://users/")
        full.leave()
        assert (await client.get("http://users/")).status_code == 200


async def test_the_pool_timeout_of_a_transport_is_no_evidence_about_the_server(client_kind: ClientKind) -> None:
    breaker = CircuitBreaker(name="users", trip=meshlib.Consecutive(2), cooldown=60.0)
    server = Server(client_kind, *[client_kind.lib.PoolTimeout("full") for _ in range(5)], 200)
    async with client_kind.open(mesh_of(gates=[breaker]), transport=server.transport) as client:
        for _ in range(5):
            with pytest.raises(client_kind.lib.PoolTimeout):
                await client.get("http://users/")
        assert (await client.get("http://users/")).status_code == 200
    assert cluster_of(mesh_of()).breaker is None


@pytest.mark.parametrize("copied", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize(
    ("error", "twin"),
    [
        (BulkheadFull("users", "all 3 slots are taken"), "PoolTimeout"),
        (DeadlineExceeded("users", limit=0.5, sent=False), "ConnectTimeout"),
    ],
)
async def test_a_dressed_error_is_the_same_after_pickling_and_copying(
    client_kind: ClientKind, error: MeshError, twin: str, copied: Any
) -> None:
    mesh = mesh_of(gates=[Refusing(error)], attempts=1)
    async with client_kind.open(mesh, transport=Server(client_kind).transport) as client:
        with pytest.raises(type(error)) as caught:
            await client.get("http://users/")
    again = copied(caught.value)
    assert isinstance(again, type(error))
    assert isinstance(again, getattr(client_kind.lib, twin))
    assert str(again) == str(error)
    assert (again.service, again.attempt, again.policy) == ("users", 1, caught.value.policy)
    assert str(again.request.url) == "http://users/"


async def test_the_cause_of_a_late_answer_stays_visible(client_kind: ClientKind) -> None:
    def late(request: Any) -> Any:
        clock[0] += 1.0
        raise client_kind.lib.ReadTimeout("slow")

    clock = [100.0]
    mesh = mesh_of(runtime=HandClock(clock), attempts=1)
    async with client_kind.open(mesh, transport=Server(client_kind, late).transport) as client:
        with deadline(0.5, runtime=HandClock(clock)), pytest.raises(DeadlineExceeded) as caught:
            await client.get("http://users/")
    error: Any = caught.value
    assert isinstance(error, client_kind.lib.ReadTimeout)
    assert isinstance(error.__cause__, client_kind.lib.ReadTimeout | meshlib.runtime.Expired)


# --- time ----------------------------------------------------------------------------------------------------------


async def test_a_deadline_shortens_httpx_timeouts_and_never_lengthens_them(client_kind: ClientKind) -> None:
    server = Server(client_kind)
    async with client_kind.open(
        mesh_of(), transport=server.transport, timeout=client_kind.lib.Timeout(3.0, read=0.5)
    ) as client:
        with deadline(1.0):
            await client.get("http://users/")
        await client.get("http://users/")
    shortened, own = server.timeouts
    assert shortened["read"] == 0.5
    assert 0.5 < shortened["connect"] <= 1.0
    assert 0.5 < shortened["pool"] <= 1.0
    assert own == {"connect": 3.0, "read": 0.5, "write": 3.0, "pool": 3.0}


async def test_a_deadline_binds_those_who_asked_for_no_timeout(client_kind: ClientKind) -> None:
    server = Server(client_kind)
    async with client_kind.open(mesh_of(timeout=1.0), transport=server.transport) as client:
        await client.get("http://users/", timeout=None)
    assert all(0 < limit <= 1.0 for limit in server.timeouts[0].values() if limit is not None)
    assert None not in server.timeouts[0].values()


async def test_nothing_is_sent_when_the_time_is_over(client_kind: ClientKind) -> None:
    server = Server(client_kind)
    mesh = mesh_of()
    async with client_kind.open(mesh, transport=server.transport) as client:
        with deadline(0.0), pytest.raises(DeadlineExceeded) as caught:
            await client.get("http://users/")
    assert isinstance(caught.value, client_kind.lib.ConnectTimeout)
    assert (caught.value.sent, server.seen, in_flight(mesh)) == (False, [], 0)


async def test_the_limit_per_try_is_kept_apart_from_the_total(client_kind: ClientKind) -> None:
    clock = [100.0]

    def slow(request: Any) -> Any:
        clock[0] += request.extensions["timeout"]["read"]
        raise client_kind.lib.ReadTimeout("slow")

    server = Server(client_kind, slow, slow, 200)
    mesh = mesh_of(runtime=HandClock(clock), timeout=10.0, per_try_timeout=2.0)
    async with client_kind.open(mesh, transport=server.transport, timeout=30.0) as client:
        assert (await client.get("http://users/")).status_code == 200
    assert [timeout["read"] for timeout in server.timeouts] == [2.0, 2.0, 2.0]
    assert clock[0] == pytest.approx(104.0)


async def test_a_post_is_not_repeated_after_its_try_timed_out(client_kind: ClientKind) -> None:
    clock = [100.0]

    def slow(request: Any) -> Any:
        clock[0] += 2.0
        raise client_kind.lib.ReadTimeout("slow")

    server = Server(client_kind, slow, 200)
    mesh = mesh_of(runtime=HandClock(clock), timeout=10.0, per_try_timeout=2.0)
    async with client_kind.open(mesh, transport=server.transport, timeout=30.0) as client:
        with pytest.raises(DeadlineExceeded, match=r"no answer within 2\.0 s") as caught:
            await client.post("http://users/")
    assert isinstance(caught.value, client_kind.lib.ReadTimeout)
    assert len(server.seen) == 1


async def test_a_connection_that_does_not_open_within_a_try_is_tried_elsewhere_also_for_a_post(
    client_kind: ClientKind,
) -> None:
    clock = [100.0]

    def slow(request: Any) -> Any:
        clock[0] += 2.0
        raise client_kind.lib.ConnectTimeout("no answer to the knock")

    breaker = CircuitBreaker(name="users", trip=meshlib.Consecutive(1), cooldown=60.0, runtime=HandClock(clock))
    server = Server(client_kind, slow, 200)
    mesh = mesh_of(runtime=HandClock(clock), timeout=10.0, per_try_timeout=2.0)
    async with client_kind.open(mesh, transport=server.transport) as client:
        assert (await client.post("http://users/")).status_code == 200
    assert len(set(server.hosts)) == 2
    guarded = mesh_of(runtime=HandClock(clock), attempts=1, gates=[breaker], per_try_timeout=2.0)
    async with client_kind.open(guarded, transport=Server(client_kind, slow).transport) as client:
        with pytest.raises(client_kind.lib.ConnectTimeout):
            await client.post("http://users/")
    assert breaker.state is not meshlib.State.CLOSED
