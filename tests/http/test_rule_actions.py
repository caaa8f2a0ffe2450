"""What a rule says besides its cluster takes effect: answers, rewrites, faults, mirrors, time limits, labels."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.upstream import Upstream, upstreams
from support.client_kinds import ClientKind
from support.loopback import Trust, served
from support.scripted import answering

import meshlib
from meshlib import DeadlineExceeded, Mesh, NoEndpoint
from meshlib.events import CallFinished
from meshlib.http.engine.rule_actions import shadow_host

pytestmark = pytest.mark.anyio


@pytest.fixture
def client_kind(wired: ClientKind) -> ClientKind:
    return wired


@pytest.fixture(scope="module")
def versions() -> Iterator[list[Upstream]]:
    with upstreams("v1", "v2") as found:
        yield found


@pytest.fixture(autouse=True)
def forget(versions: list[Upstream]) -> None:
    for version in versions:
        version.seen.clear()
        version.status = 200
        version.hold = lambda: None


class Folder:
    def __init__(self, path: Path, versions: list[Upstream]) -> None:
        self._path = path / "mesh.yaml"
        self._clusters = "".join(f"\n  {one.name}: {{endpoints: [127.0.0.1:{one.port}]}}" for one in versions)

    def mesh(self, rules: str, more: str = "") -> Mesh:
        """A service `users` with these rules, and v1 for what no rule takes."""
        text = f"services: {{users: {{routes: [{rules}], split: v1}}}}\nclusters:{self._clusters}\n{more}"
        self._path.write_text(text)
        return Mesh.from_file(self._path, watch=False)


@pytest.fixture
def folder(tmp_path: Path, versions: list[Upstream]) -> Folder:
    return Folder(tmp_path, versions)


# --- answers without an endpoint --------------------------------------------------------------------------------------


async def test_a_redirect_is_answered_without_any_endpoint(
    client_kind: ClientKind, folder: Folder, versions: list[Upstream]
) -> None:
    mesh = folder.mesh("{match: {path: /old/*}, redirect: {prefix: /new, status: 308}}")
    async with client_kind.open(mesh) as client:
        response = await client.get("http://users/old/a?b=1")
    assert response.status_code == 308
    assert response.headers["location"] == "http://users/new/a?b=1"
    assert isinstance(response, client_kind.lib.Response) and str(response.request.url) == "http://users/old/a?b=1"
    assert response.next_request is not None
    assert not versions[0].seen


async def test_a_redirect_is_followed_through_the_mesh(client_kind: ClientKind, folder: Folder) -> None:
    mesh = folder.mesh("{match: {path: /old/*}, redirect: {prefix: /new}}")
    async with client_kind.open(mesh, follow_redirects=True) as client:
        response = await client.get("http://users/old/a")
    assert response.json() == {"name": "v1", "path": "/new/a", "host": "users"}
    assert [one.status_code for one in response.history] == [302]


async def test_a_direct_response_is_a_response_like_any_other(
    client_kind: ClientKind, folder: Folder, versions: list[Upstream]
) -> None:
    mesh = folder.mesh('{match: {path: /closed}, respond: {status: 410, body: "gone", headers: {x-why: policy}}}')
    finished: list[Any] = []
    mesh.subscribe(lambda event: finished.append(event) if isinstance(event, CallFinished) else None)
    async with client_kind.open(mesh) as client:
        response = await client.get("http://users/closed")
        assert (response.status_code, response.text, response.headers["x-why"]) == (410, "gone", "policy")
        assert response.elapsed.total_seconds() >= 0 and response.is_closed
        async with client.stream("GET", "http://users/closed") as streamed:
            assert await client.chunks(streamed) == [b"gone"]
        assert (await client.request("HEAD", "http://users/closed")).content == b""
    assert not versions[0].seen
    assert [(one.name, one.attempts) for one in finished] == [("users", 0)] * 3


async def test_what_no_rule_takes_is_refused_at_once(client_kind: ClientKind, tmp_path: Path) -> None:
    text = "services: {users: {routes: [{match: {path: /a}, split: v1}]}}\nclusters: {v1: {endpoints: ['127.0.0.1:1']}}"
    (tmp_path / "mesh.yaml").write_text(text)
    mesh = Mesh.from_file(tmp_path / "mesh.yaml", watch=False)
    async with client_kind.open(mesh) as client:
        with pytest.raises(NoEndpoint, match="no rule matches"):
            await client.get("http://users/b")


# --- on the wire ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rewrite", "asked", "path"),
    [
        ("{prefix: /b}", "/a/x?q=1", "/b/x?q=1"),
        ("{path: /whole}", "/a/x?q=1", "/whole?q=1"),
        ("{prefix: /}", "/a/x", "/x"),
        ("{prefix: /b}", "/a/x%2Fy%20z", "/b/x%2Fy%20z"),
        ("{prefix: /ä}", "/a/x", "/%C3%A4/x"),
        ('{regex: "[0-9]+", path: "N"}', "/a/1/22", "/a/N/N"),
    ],
)
async def test_a_rewritten_path_goes_on_the_wire_only(
    client_kind: ClientKind, folder: Folder, rewrite: str, asked: str, path: str
) -> None:
    mesh = folder.mesh(f"{{match: {{path: /a/*}}, split: v1, rewrite: {rewrite}}}")
    async with client_kind.open(mesh) as client:
        response = await client.get(f"http://users{asked}")
    assert response.json()["path"] == path
    assert str(response.url) == f"http://users{asked}"


async def test_host_and_headers_are_edited_on_the_wire_only(
    client_kind: ClientKind, folder: Folder, versions: list[Upstream]
) -> None:
    edits = "{set: {x-env: prod}, add: {x-tag: b}, remove: [x-secret]}"
    mesh = folder.mesh(f"{{split: v1, rewrite: {{host: inner.example}}, request_headers: {edits}}}")
    sent = [("x-env", "dev"), ("X-Tag", "a"), ("x-secret", "s")]
    async with client_kind.open(mesh) as client:
        response = await client.get("http://users/", headers=sent)
    headers = versions[0].seen[0]["headers"]
    assert headers["host"] == "inner.example" and headers["x-env"] == "prod" and "x-secret" not in headers
    assert headers["x-tag"] == "b"  # the last of two, as the server's dictionary keeps it
    assert response.request.headers["x-env"] == "dev" and response.request.headers["host"] == "users"


async def test_the_answers_headers_are_edited(client_kind: ClientKind, folder: Folder) -> None:
    mesh = folder.mesh("{split: v1, response_headers: {set: {x-mesh: yes-sir}, remove: [x-served-by]}}")
    async with client_kind.open(mesh) as client:
        response = await client.get("http://users/")
        assert response.headers["x-mesh"] == "yes-sir" and "x-served-by" not in response.headers
        assert response.json()["name"] == "v1"
        async with client.stream("GET", "http://users/") as streamed:
            assert streamed.headers["x-mesh"] == "yes-sir"


async def test_http_becomes_https_where_the_cluster_says_so(client_kind: ClientKind, tmp_path: Path) -> None:
    trust = Trust()
    context, asked = trust.server("users.example")
    with served(answering(), ssl=context) as server:
        cluster = f"{{endpoints: ['127.0.0.1:{server.port}'], tls: true, tls_name: users.example}}"
        (tmp_path / "mesh.yaml").write_text(f"services: {{users: {{}}}}\nclusters: {{users: {cluster}}}")
        mesh = Mesh.from_file(tmp_path / "mesh.yaml", watch=False)
        async with client_kind.open(mesh, verify=trust.client) as client:
            response = await client.get("http://users/")
    assert response.text == "ok" and str(response.url) == "http://users/"
    assert asked == ["users.example"]


# --- faults -----------------------------------------------------------------------------------------------------------


async def test_an_abort_is_answered_without_any_endpoint_or_retry(
    client_kind: ClientKind, folder: Folder, versions: list[Upstream]
) -> None:
    mesh = folder.mesh("{split: v1, fault: {abort_status: 503}}")
    async with client_kind.open(mesh) as client:
        response = await client.get("http://users/")
    assert (response.status_code, response.text) == (503, "fault filter abort")
    assert not versions[0].seen


async def test_a_share_of_the_requests_is_aborted(client_kind: ClientKind, folder: Folder) -> None:
    mesh = folder.mesh("{split: v1, fault: {abort_status: 500, abort_ratio: 50%}}")
    async with client_kind.open(mesh) as client:
        found = {(await client.get("http://users/")).status_code for _ in range(40)}
    assert found == {200, 500}


async def test_a_header_asks_for_its_own_fault(client_kind: ClientKind, folder: Folder) -> None:
    mesh = folder.mesh("{split: v1, fault: {abort_header: x-abort, delay_header: x-delay}}")
    async with client_kind.open(mesh) as client:
        assert (await client.get("http://users/")).status_code == 200
        assert (await client.get("http://users/", headers={"x-abort": "418"})).status_code == 418
        delayed = await client.get("http://users/", headers={"x-delay": "60"})
    assert delayed.status_code == 200 and delayed.elapsed.total_seconds() >= 0.06


async def test_an_injected_delay_ends_by_the_callers_deadline(
    client_kind: ClientKind, folder: Folder, versions: list[Upstream]
) -> None:
    mesh = folder.mesh("{split: v1, fault: {delay: 60s}}")
    async with client_kind.open(mesh) as client:
        with meshlib.deadline(0.05), pytest.raises(DeadlineExceeded) as caught:
            await client.get("http://users/")
    assert not caught.value.sent and isinstance(caught.value, client_kind.lib.TimeoutException)
    assert not versions[0].seen


async def test_an_abort_of_grpc_is_an_answer_with_its_status(client_kind: ClientKind, folder: Folder) -> None:
    mesh = folder.mesh("{split: v1, fault: {abort_grpc: 14}}")
    async with client_kind.open(mesh) as client:
        response = await client.post("http://users/", content=b"x")
    assert (response.status_code, response.headers["grpc-status"]) == (200, "14")


# --- mirrors ----------------------------------------------------------------------------------------------------------


async def test_a_mirror_gets_a_copy_and_nobody_waits_for_it(
    client_kind: ClientKind, folder: Folder, versions: list[Upstream]
) -> None:
    v1, v2 = versions
    answered = threading.Event()
    v2.hold = lambda: answered.wait(10)  # it answers only when the caller has his answer
    mesh = folder.mesh("{split: v1, mirror: {v2: 100%}, rewrite: {prefix: /in}, match: {path: /out/*}}")
    async with client_kind.open(mesh) as client:
        response = await client.post("http://users:80/out/x", content=b"body")
        assert response.json()["name"] == "v1"
        [copy] = await in_thread(lambda: v2.wait_for(1))
        answered.set()
    assert (copy["method"], copy["path"], copy["body"]) == ("POST", "/in/x", b"body")
    assert copy["headers"]["host"] == "users-shadow" and v1.seen[0]["headers"]["host"] == "users"


async def test_what_goes_wrong_with_a_mirror_is_nobodys_business(
    client_kind: ClientKind, folder: Folder, versions: list[Upstream]
) -> None:
    versions[1].status = 500
    text = "\n  nobody: {}\n"
    mesh = folder.mesh("{split: v1, mirror: {v2: 100%, nobody: 100%}}", text)
    async with client_kind.open(mesh) as client:
        for _ in range(3):
            assert (await client.get("http://users/")).status_code == 200
        await in_thread(lambda: versions[1].wait_for(3))


async def test_a_body_that_can_be_read_only_once_is_not_mirrored(
    client_kind: ClientKind, folder: Folder, versions: list[Upstream]
) -> None:
    mesh = folder.mesh("{split: v1, mirror: {v2: 100%}}")
    async with client_kind.open(mesh) as client:
        headers = {"host": "users", "content-length": "4"}
        request = client_kind.lib.Request(
            "POST", "http://users/", stream=client_kind.body(b"on", b"ce"), headers=headers
        )
        response = await client.send(request)
    assert response.status_code == 200
    assert versions[0].seen[0]["body"] == b"once"
    assert not versions[1].seen


def test_a_shadow_keeps_its_port() -> None:
    assert [shadow_host(host) for host in ("users", "users:8080", "[::1]")] == [
        "users-shadow",
        "users-shadow:8080",
        "[::1]-shadow",
    ]


# --- time limits and policies of a rule -------------------------------------------------------------------------------


async def test_a_rule_has_its_own_time_limit(client_kind: ClientKind, folder: Folder, versions: list[Upstream]) -> None:
    release = threading.Event()
    versions[0].hold = lambda: release.wait(10)
    mesh = folder.mesh("{match: {path: /slow}, split: v1, timeout: 100ms}")
    async with client_kind.open(mesh) as client:
        with pytest.raises(DeadlineExceeded):
            await client.get("http://users/slow")
    release.set()


async def test_a_rules_limit_may_be_longer_than_the_services(
    folder: Folder, versions: list[Upstream], client_kind: ClientKind
) -> None:
    release = threading.Event()
    mesh = folder.mesh("{match: {path: /slow}, split: v1, timeout: 30s}")
    text = folder._path.read_text().replace("split: v1}}", "split: v1, timeout: 1ms}}")
    folder._path.write_text(text)
    mesh = Mesh.from_file(folder._path, watch=False)
    async with client_kind.open(mesh) as client:
        assert (await client.get("http://users/slow")).status_code == 200
        versions[0].hold = release.wait
        with pytest.raises(DeadlineExceeded):
            await client.get("http://users/")
        release.set()


async def test_a_rule_has_its_own_retries(client_kind: ClientKind, folder: Folder, versions: list[Upstream]) -> None:
    versions[0].status = 503
    mesh = folder.mesh(
        "{match: {path: /once}, split: v1, retry: false}, "
        "{match: {path: /often}, split: v1, retry: {attempts: 5, backoff: 0s}}"
    )
    async with client_kind.open(mesh) as client:
        await client.get("http://users/once")
        assert len(versions[0].seen) == 1
        await client.get("http://users/often")
        assert len(versions[0].seen) == 6
        await client.get("http://users/")
        assert len(versions[0].seen) == 9


# --- labels, keys, and what the mesh does not know --------------------------------------------------------------------


async def test_a_rule_sees_the_callers_labels(client_kind: ClientKind, folder: Folder) -> None:
    rule = "{match: {env: staging}, split: v2}"
    for labels, name in (("{env: staging}", "v2"), ("{env: prod}", "v1")):
        async with client_kind.open(folder.mesh(rule, f"labels: {labels}")) as client:
            assert (await client.get("http://users/")).json()["name"] == name


async def test_a_user_stays_on_one_version_by_the_key_that_the_caller_gives(
    client_kind: ClientKind, folder: Folder
) -> None:
    mesh = folder.mesh("{split: {v1: 50, v2: 50}, sticky: {key: true}}")
    async with client_kind.open(mesh) as client:
        found = {}
        for user in [f"user-{number}" for number in range(12)]:
            answers = [await client.get("http://users/", extensions={"mesh_key": user}) for _ in range(3)]
            [found[user]] = {answer.json()["name"] for answer in answers}
    assert set(found.values()) == {"v1", "v2"}


async def test_hosts_beyond_the_mesh_go_by_rules(
    client_kind: ClientKind, folder: Folder, versions: list[Upstream]
) -> None:
    known = "{match: {host: [{exact: api.example}]}, split: v2}"
    mesh = folder.mesh(
        "{split: v1}", f"egress: {{routes: [{known}, {{match: {{port: {versions[0].port}}}, outside: true}}]}}"
    )
    async with client_kind.open(mesh) as client:
        assert (await client.get("http://api.example/")).json() == {"name": "v2", "path": "/", "host": "api.example"}
        assert (await client.get(f"http://127.0.0.1:{versions[0].port}/")).json()["name"] == "v1"
        with pytest.raises(NoEndpoint, match="no rule matches"):
            await client.get("http://elsewhere.example/")


async def in_thread(work: Any) -> Any:
    import anyio.to_thread

    return await anyio.to_thread.run_sync(work)
