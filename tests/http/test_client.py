"""A request to a service takes the mesh's way, and to its caller looks as if nothing had happened on the way."""

from __future__ import annotations

import io
import logging
import pickle
from typing import Any

import pytest
from support.client_kinds import ClientKind, Server, add, cluster_of, in_flight, mesh_of

from meshlib import Endpoint, Mesh

pytestmark = pytest.mark.anyio


# --- the logical URL -------------------------------------------------------------------------------------------------


async def test_only_the_wire_sees_the_endpoint(client_kind: ClientKind) -> None:
    server = Server(client_kind)
    async with client_kind.open(mesh_of("10.0.0.1"), transport=server.transport) as client:
        response = await client.get("http://users/v1/me?a=1")
    [wire] = server.seen
    assert str(wire.url) == "http://10.0.0.1:8001/v1/me?a=1"
    assert wire.headers["host"] == "users"
    assert str(response.url) == str(response.request.url) == "http://users/v1/me?a=1"
    assert response.json() == {"endpoint": "10.0.0.1"}


async def test_the_callers_request_is_not_touched(client_kind: ClientKind) -> None:
    async with client_kind.open(mesh_of(), transport=Server(client_kind).transport) as client:
        request = client.build_request("GET", "http://users:9000/", extensions={"mine": 1})
        response = await client.send(request)
    assert response.request is request
    assert str(request.url) == "http://users:9000/"
    assert request.headers["host"] == "users:9000"
    assert set(request.extensions) == {"mine", "timeout"}


async def test_extensions_reach_the_transport(client_kind: ClientKind) -> None:
    server = Server(client_kind)
    async with client_kind.open(mesh_of(), transport=server.transport) as client:
        await client.get("http://users/", extensions={"mine": 1})
    assert server.seen[0].extensions["mine"] == 1


async def test_redirects_stay_logical_and_each_hop_is_balanced(client_kind: ClientKind) -> None:
    server = Server(
        client_kind,
        lambda request: client_kind.lib.Response(302, headers={"location": "/there"}),
        lambda request: client_kind.lib.Response(302, headers={"location": "http://orders/then"}),
        200,
    )
    mesh = mesh_of("10.0.0.1")
    add(mesh, "10.0.0.2", name="orders")
    async with client_kind.open(mesh, transport=server.transport, follow_redirects=True) as client:
        response = await client.get("http://users/here", headers={"authorization": "secret"})
    assert [str(one.url) for one in response.history] == ["http://users/here", "http://users/there"]
    assert str(response.url) == "http://orders/then"
    assert server.hosts == ["10.0.0.1", "10.0.0.1", "10.0.0.2"]
    assert ["authorization" in wire.headers for wire in server.seen] == [True, True, False]


async def test_a_redirect_that_is_not_followed_names_the_next_logical_request(client_kind: ClientKind) -> None:
    server = Server(client_kind, lambda request: client_kind.lib.Response(302, headers={"location": "/there"}))
    async with client_kind.open(mesh_of(), transport=server.transport) as client:
        response = await client.get("http://users/here")
    assert str(response.next_request.url) == "http://users/there"


async def test_too_many_redirects_are_httpx_own_error(client_kind: ClientKind) -> None:
    server = Server(client_kind, lambda request: client_kind.lib.Response(302, headers={"location": "/again"}))
    async with client_kind.open(mesh_of(), transport=server.transport, max_redirects=2) as client:
        with pytest.raises(client_kind.lib.TooManyRedirects):
            await client.get("http://users/", follow_redirects=True)
    assert len(server.seen) == 3


async def test_cookies_belong_to_the_service_and_go_to_every_endpoint(client_kind: ClientKind) -> None:
    server = Server(
        client_kind,
        lambda request: client_kind.lib.Response(200, headers={"set-cookie": "session=1; Path=/"}),
        503,
        200,
    )
    async with client_kind.open(mesh_of("10.0.0.1", "10.0.0.2"), transport=server.transport) as client:
        await client.get("http://users/")
        await client.get("http://users/")
        assert [cookie.domain for cookie in client.cookies.jar] == ["users.local"]
    assert {wire.headers["cookie"] for wire in server.seen[1:]} == {"session=1"}
    assert set(server.hosts) == {"10.0.0.1", "10.0.0.2"}


async def test_base_url_params_headers_and_encoding_are_the_clients(client_kind: ClientKind) -> None:
    server = Server(client_kind, lambda request: client_kind.lib.Response(200, content="ä".encode("latin-1")))
    how: dict[str, Any] = {"base_url": "http://users/v1", "params": {"a": "1"}, "headers": {"x-app": "shop"}}
    async with client_kind.open(mesh_of(), transport=server.transport, default_encoding="latin-1", **how) as client:
        response = await client.get("/me")
    assert server.seen[0].url.raw_path == b"/v1/me?a=1"
    assert server.seen[0].headers["x-app"] == "shop"
    assert response.text == "ä"


async def test_a_response_can_be_pickled(client_kind: ClientKind) -> None:
    async with client_kind.open(mesh_of(), transport=Server(client_kind).transport) as client:
        response = pickle.loads(pickle.dumps(await client.get("http://users/")))
    assert response.json()["endpoint"].startswith("10.")
    assert str(response.request.url) == "http://users/"


async def test_elapsed_is_known_once_the_body_is_read(client_kind: ClientKind) -> None:
    server = Server(client_kind, lambda request: client_kind.lib.Response(200, stream=client_kind.body(b"x")))
    async with client_kind.open(mesh_of(), transport=server.transport) as client:
        assert (await client.get("http://users/")).elapsed.total_seconds() >= 0
        async with client.stream("GET", "http://users/") as response:
            with pytest.raises(RuntimeError, match="elapsed"):
                response.elapsed
        assert response.elapsed.total_seconds() >= 0


async def test_each_attempt_writes_httpx_own_log_line(
    client_kind: ClientKind, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=client_kind.lib.__name__)
    async with client_kind.open(mesh_of(), transport=Server(client_kind, 503, 200).transport) as client:
        await client.get("http://users/")
    lines = [record.message for record in caplog.records if record.name == client_kind.lib.__name__]
    assert lines == [
        'HTTP Request: GET http://users/ "HTTP/1.1 503 Service Unavailable"',
        'HTTP Request: GET http://users/ "HTTP/1.1 200 OK"',
    ]


# --- what httpx does around it ---------------------------------------------------------------------------------------


async def test_each_step_of_an_auth_flow_is_a_request_of_its_own(client_kind: ClientKind) -> None:
    challenge = {"www-authenticate": 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'}
    server = Server(client_kind, lambda request: client_kind.lib.Response(401, headers=challenge), 200)
    mesh = mesh_of(attempts=1)
    async with client_kind.open(mesh, transport=server.transport) as client:
        response = await client.get("http://users/", auth=client_kind.lib.DigestAuth("user", "pass"))
    assert (response.status_code, len(server.seen), len(response.history)) == (200, 2, 1)
    assert 'username="user"' in server.seen[1].headers["authorization"]
    assert in_flight(mesh) == 0


async def test_an_auth_flow_may_ask_for_bodies(client_kind: ClientKind) -> None:
    class Echo(client_kind.lib.Auth):  # type: ignore[misc, name-defined]
        requires_request_body = True
        requires_response_body = True

        def auth_flow(self, request: Any) -> Any:
            response = yield request
            request.headers["x-token"] = response.json()["endpoint"] + request.content.decode()
            yield request

    server = Server(client_kind)
    async with client_kind.open(mesh_of("10.0.0.7"), transport=server.transport) as client:
        await client.post("http://users/", content=b"!", auth=Echo())
    assert server.seen[1].headers["x-token"] == "10.0.0.7!"


async def test_hooks_are_called_once_per_hop_not_per_attempt(client_kind: ClientKind) -> None:
    told: list[str] = []

    def asked(request: Any) -> None:
        told.append(f"> {request.url}")

    def answered(response: Any) -> None:
        told.append(f"< {response.status_code} {response.url}")

    async def asked_async(request: Any) -> None:
        asked(request)

    async def answered_async(response: Any) -> None:
        answered(response)

    hooks = {"request": [asked_async], "response": [answered_async]}
    if not client_kind.is_async:
        hooks = {"request": [asked], "response": [answered]}  # type: ignore[list-item]
    server = Server(client_kind, 503, 503, 200)
    async with client_kind.open(mesh_of(), transport=server.transport, event_hooks=hooks) as client:
        await client.get("http://users/")
    assert told == ["> http://users/", "< 200 http://users/"]
    assert len(server.seen) == 3


async def test_a_response_hook_comes_before_the_body_and_its_exception_closes_the_response(
    client_kind: ClientKind,
) -> None:
    seen: list[bool] = []

    def refuse(response: Any) -> None:
        seen.append(response.is_closed)
        response.raise_for_status()

    async def refuse_async(response: Any) -> None:
        refuse(response)

    body = client_kind.body(b"x")
    server = Server(client_kind, lambda request: client_kind.lib.Response(404, stream=body))
    mesh = mesh_of()
    hooks = {"response": [refuse_async if client_kind.is_async else refuse]}
    async with client_kind.open(mesh, transport=server.transport, event_hooks=hooks) as client:
        with pytest.raises(client_kind.lib.HTTPStatusError):
            await client.get("http://users/")
    assert (seen, body.closed, in_flight(mesh)) == ([False], 1, 0)


async def test_mounts_are_chosen_by_the_logical_url(client_kind: ClientKind) -> None:
    mounted, default = Server(client_kind), Server(client_kind)
    mesh = mesh_of("10.0.0.1")
    add(mesh, "10.0.0.2", name="orders")
    mounts = {"all://users": mounted.transport, "all://orders": None}
    async with client_kind.open(mesh, transport=default.transport, mounts=mounts) as client:
        await client.get("http://users/")
        await client.get("http://orders/")
    assert (mounted.hosts, default.hosts) == (["10.0.0.1"], ["10.0.0.2"])


async def test_hosts_that_the_mesh_does_not_know_go_as_in_httpx(client_kind: ClientKind) -> None:
    server = Server(client_kind, 503)
    async with client_kind.open(mesh_of(), transport=server.transport) as client:
        response = await client.get("http://elsewhere/")
    assert (response.status_code, server.hosts) == (503, ["elsewhere"])


async def test_egress_can_be_refused(client_kind: ClientKind) -> None:
    server = Server(client_kind)
    async with client_kind.open(mesh_of(egress="egress is refused"), transport=server.transport) as client:
        with pytest.raises(client_kind.lib.ConnectError, match="egress is refused"):
            await client.get("http://elsewhere/")
        await client.get("http://users/")
    assert len(server.seen) == 1


async def test_a_client_without_a_mesh_is_httpx(client_kind: ClientKind) -> None:
    server = Server(client_kind, 503)
    async with client_kind.open(None, transport=server.transport) as client:
        assert (await client.get("http://users/")).status_code == 503
        assert client.mesh is None
    assert server.hosts == ["users"]


async def test_a_class_that_never_calls_our_init_gets_its_mesh_later(client_kind: ClientKind) -> None:
    base = client_kind.lib.AsyncClient if client_kind.is_async else client_kind.lib.Client

    class Oauth(base):  # type: ignore[misc, valid-type]
        def __init__(self, **arguments: Any) -> None:
            base.__init__(self, **arguments)

    class Both(Oauth, client_kind.kind):  # type: ignore[misc, name-defined]
        pass

    server = Server(client_kind)
    client: Any = Both(transport=server.transport)
    assert client.mesh is None
    client.mesh = mesh_of("10.0.0.9")
    if client_kind.is_async:
        await client.get("http://users/")
        await client.aclose()
    else:
        client.get("http://users/")
        client.close()
    assert server.hosts == ["10.0.0.9"]


async def test_a_stream_of_the_wrong_kind_is_httpx_own_error(client_kind: ClientKind) -> None:
    server = Server(client_kind)
    body = (b"x" for _ in range(1)) if client_kind.is_async else _async_bytes()
    async with client_kind.open(mesh_of(), transport=server.transport) as client:
        with pytest.raises(RuntimeError, match="Attempted to send"):
            await client.post("http://users/", content=body)
    assert server.seen == []
    if not client_kind.is_async:
        await body.aclose()  # type: ignore[union-attr]


async def _async_bytes() -> Any:
    yield b"x"


# --- retries ---------------------------------------------------------------------------------------------------------


async def test_a_failure_is_tried_again_on_another_endpoint(client_kind: ClientKind) -> None:
    server = Server(client_kind, 503, 503, 200)
    async with client_kind.open(mesh_of(), transport=server.transport) as client:
        response = await client.get("http://users/")
    assert response.status_code == 200
    assert len(set(server.hosts)) == 3


async def test_when_attempts_are_used_up_the_last_answer_stands(client_kind: ClientKind) -> None:
    server = Server(client_kind, 503)
    async with client_kind.open(mesh_of(attempts=2), transport=server.transport) as client:
        assert (await client.get("http://users/")).status_code == 503
    assert len(server.seen) == 2


async def test_an_outage_costs_a_fifth_more_requests_and_not_three_times_as_many(client_kind: ClientKind) -> None:
    from meshlib import RetryBudget

    server = Server(client_kind, 503)
    budget = RetryBudget(0.2, min_per_second=0.0)
    async with client_kind.open(mesh_of(budget=budget), transport=server.transport) as client:
        for _ in range(100):
            assert (await client.get("http://users/")).status_code == 503
    assert len(server.seen) <= 120


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_call_that_is_not_replayable_is_not_retried(client_kind: ClientKind, method: str) -> None:
    for answer in (503, client_kind.lib.ReadError("reset"), client_kind.lib.WriteTimeout("slow")):
        server = Server(client_kind, answer, 200)
        async with client_kind.open(mesh_of(), transport=server.transport) as client:
            try:
                assert (await client.request(method, "http://users/", content=b"x")).status_code == 503
            except client_kind.lib.TransportError as error:
                assert error is answer
        assert len(server.seen) == 1


@pytest.mark.parametrize("error", ["ConnectError", "ConnectTimeout"])
async def test_a_post_is_repeated_if_there_was_no_connection(client_kind: ClientKind, error: str) -> None:
    server = Server(client_kind, getattr(client_kind.lib, error)("refused"), 200)
    async with client_kind.open(mesh_of(), transport=server.transport) as client:
        assert (await client.post("http://users/", content=b"x")).status_code == 200
    assert [wire.content for wire in server.seen] == [b"x", b"x"]


async def test_an_idempotency_key_makes_a_post_repeatable(client_kind: ClientKind) -> None:
    server = Server(client_kind, 503, client_kind.lib.ReadError("reset"), 200)
    async with client_kind.open(mesh_of(), transport=server.transport) as client:
        response = await client.post("http://users/", json={}, headers={"Idempotency-Key": "1"})
    assert (response.status_code, len(server.seen)) == (200, 3)


async def test_a_put_with_a_form_is_sent_whole_each_time(client_kind: ClientKind) -> None:
    server = Server(client_kind, 503, 200)
    async with client_kind.open(mesh_of(), transport=server.transport) as client:
        await client.put("http://users/", data={"a": "1"}, files={"f": io.BytesIO(b"content of the file")})
    first, second = (wire.content for wire in server.seen)
    assert first == second
    assert b"content of the file" in second


def _once(client_kind: ClientKind) -> Any:
    if client_kind.is_async:
        return _async_bytes()
    return (b"x" for _ in range(1))


async def test_a_body_that_comes_once_is_sent_once_and_the_answer_is_the_servers(client_kind: ClientKind) -> None:
    server = Server(client_kind, 503, 200)
    async with client_kind.open(mesh_of(), transport=server.transport) as client:
        assert (await client.put("http://users/", content=_once(client_kind))).status_code == 503
    assert len(server.seen) == 1


async def test_a_body_that_comes_once_is_still_whole_after_a_failed_connect(client_kind: ClientKind) -> None:
    asked: list[str] = []
    server = Server(client_kind, 200)

    class Refusing(client_kind.lib.BaseTransport, client_kind.lib.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        def handle_request(self, request: Any) -> Any:
            asked.append(request.url.host)
            if len(asked) == 1:
                raise client_kind.lib.ConnectError("refused")
            return server.transport.handle_request(request)

        async def handle_async_request(self, request: Any) -> Any:
            asked.append(request.url.host)
            if len(asked) == 1:
                raise client_kind.lib.ConnectError("refused")
            return await server.transport.handle_async_request(request)

    async with client_kind.open(mesh_of(), transport=Refusing()) as client:
        assert (await client.put("http://users/", content=_once(client_kind))).status_code == 200
    assert [wire.content for wire in server.seen] == [b"x"]
    assert len(set(asked)) == 2


async def test_a_body_that_was_begun_before_the_connect_failed_is_not_sent_again(client_kind: ClientKind) -> None:
    refused = client_kind.lib.ConnectError("refused after all")
    server = Server(client_kind, refused, 200)
    async with client_kind.open(mesh_of(), transport=server.transport) as client:
        with pytest.raises(client_kind.lib.ConnectError) as caught:
            await client.put("http://users/", content=_once(client_kind))
    assert (caught.value, len(server.seen)) == (refused, 1)


async def test_a_plain_call_whose_body_breaks_is_tried_again(client_kind: ClientKind) -> None:
    broken = [client_kind.body(b"half", error=client_kind.lib.ReadError("reset")) for _ in range(2)]
    left = list(broken)
    server = Server(
        client_kind,
        lambda request: client_kind.lib.Response(200, stream=left.pop(0) if left else client_kind.body(b"who", b"le")),
    )
    mesh = mesh_of()
    async with client_kind.open(mesh, transport=server.transport) as client:
        assert (await client.get("http://users/")).content == b"whole"
    assert len(server.seen) == 3
    assert [body.closed for body in broken] == [1, 1]
    assert in_flight(mesh) == 0


async def test_a_post_whose_answer_breaks_is_not(client_kind: ClientKind) -> None:
    broken = client_kind.body(b"half", error=client_kind.lib.RemoteProtocolError("cut"))
    server = Server(client_kind, lambda request: client_kind.lib.Response(200, stream=broken))
    async with client_kind.open(mesh_of(), transport=server.transport) as client:
        with pytest.raises(client_kind.lib.RemoteProtocolError) as caught:
            await client.post("http://users/")
    assert (len(server.seen), broken.closed) == (1, 1)
    assert str(caught.value.request.url) == "http://users/"


# httpx 0.28 itself leaves its generator to trio's collector when a decoder raises.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_garbage_in_the_encoding_is_httpx_decoding_error(client_kind: ClientKind) -> None:
    server = Server(
        client_kind,
        lambda request: client_kind.lib.Response(
            200, headers={"content-encoding": "gzip"}, stream=client_kind.body(b"garbage")
        ),
    )
    async with client_kind.open(mesh_of(), transport=server.transport) as client:
        with pytest.raises(client_kind.lib.DecodingError) as caught:
            await client.get("http://users/")
    assert str(caught.value.request.url) == "http://users/"


async def test_the_mesh_is_shared_by_all_four_client_kinds() -> None:
    from support.client_kinds import CLIENT_KINDS

    from meshlib import CircuitBreaker, Consecutive

    breaker = CircuitBreaker(name="users", trip=Consecutive(3), cooldown=60.0)
    mesh = mesh_of(gates=[breaker], attempts=1)
    for client_kind, expected in zip(CLIENT_KINDS, ["answer", "answer", "answer", "refusal"], strict=True):
        async with client_kind.open(mesh, transport=Server(client_kind, 503).transport) as client:
            try:
                await client.get("http://users/")
                outcome = "answer"
            except client_kind.lib.ConnectError:
                outcome = "refusal"
        assert outcome == expected
    assert in_flight(mesh) == 0


async def test_routing_sees_the_labels_of_the_mesh_and_the_request(client_kind: ClientKind) -> None:
    mesh = Mesh()
    mesh.labels = {"app": "shop"}
    add(mesh, Endpoint("10.0.0.1", 80))
    seen: list[Any] = []
    resolve = mesh.current.routes.resolve

    class Spy:
        def resolve(self, request: Any, random: Any) -> Any:
            seen.append(request)
            return resolve(request, random)

    mesh.publish(lambda now: type(now)(routes=Spy(), services=now.services, clusters=now.clusters))  # type: ignore[arg-type]
    async with client_kind.open(mesh, transport=Server(client_kind).transport) as client:
        await client.get("http://USERS:80/a%20b?x=1", headers={"X-User": "7"})
    [asked] = seen
    assert (asked.host, asked.method, asked.query, asked.scheme) == ("users", "GET", "x=1", "http")
    assert (asked.header("x-user"), asked.labels) == ("7", {"app": "shop"})


async def test_a_service_without_endpoints_is_a_connect_error(client_kind: ClientKind) -> None:
    mesh = mesh_of("10.0.0.1")
    cluster_of(mesh).balancer.update([])
    async with client_kind.open(mesh, transport=Server(client_kind).transport) as client:
        with pytest.raises(client_kind.lib.ConnectError, match="the cluster has no endpoints"):
            await client.get("http://users/")
