"""The exported sidecar is a real Envoy's: it starts, and sends the same requests to the same versions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from servers.envoy import envoy
from servers.server import free_port
from servers.upstream import Upstream, upstreams

from meshlib import Mesh, SyncMeshClient
from meshlib.cli import main
from meshlib.config.envoy_export import Exported, export
from meshlib.config.load import load

RULES = """
labels: {env: staging}
services:
  users:
    timeout: 5s
    retry: {attempts: 3, backoff: 5ms}
    routes:
      - {match: {path: /exact}, split: v2}
      - {match: {path: /prefix/*}, split: v2, rewrite: {prefix: /moved}}
      - {match: {path: /strip/*}, split: v2, rewrite: {prefix: /}}
      - {match: {path: {prefix: /raw, segments: false}}, split: v2}
      - {match: {path: {regex: "/n/[0-9]+"}}, split: v2}
      - {match: {path: "/t/{id}.json"}, split: v2}
      - {match: {method: [PUT, DELETE], path: /m}, split: v2}
      - {match: {headers: {x-group: {prefix: test}}}, split: v2}
      - {match: {headers: {x-not: {exact: a, invert: true}}, path: /not}, split: v2}
      - {match: {query: {v: "2"}}, split: v2}
      - {match: {cookies: {version: v2}}, split: v2}
      - {match: {env: staging, path: /env}, split: v2}
      - {match: {env: prod}, split: v2}
      - {match: [{path: /one}, {path: /two}], split: v2}
      - {match: {path: /whole/*}, split: v2, rewrite: {path: /other, host: inner.example}}
      - match: {path: /edit}
        split: v2
        request_headers: {set: {x-a: "100%"}, remove: [x-b]}
        response_headers: {set: {x-c: d}}
      - {match: {path: /old/*}, redirect: {prefix: /new, status: 308}}
      - {match: {path: /gone}, respond: {status: 410, body: gone}}
      - {match: {path: /fault}, split: v1, fault: {abort_status: 418}}
      - {match: {path: /sticky/*}, split: {v1: 70, v2: 30}, sticky: {cookie: user}}
      - {match: {path: /modulo/*}, split: {v1: 7, v2: 2, v3: 1}, sticky: {by: [{header: x-user}], method: modulo}}
      - {match: {path: /two-keys/*}, split: {v1: 50, v2: 50}, sticky: {by: [{header: x-user}, {cookie: user}]}}
    split: v1
  other: {hosts: ["*.other.example"], split: v3}
clusters:
"""


@dataclass
class Both:
    """The mesh in this process, and the sidecar."""

    client: SyncMeshClient
    sidecar: httpx.Client
    port: int

    def ask(self, path: str, method: str = "GET", host: str = "users", **more: Any) -> list[httpx.Response]:
        headers = {"host": host, **more.pop("headers", {})}
        ours = self.client.request(method, f"http://{host}{path}", headers=headers, **more)
        theirs = self.sidecar.request(method, f"http://127.0.0.1:{self.port}{path}", headers=headers, **more)
        return [ours, theirs]


@pytest.fixture(scope="module")
def versions() -> Iterator[list[Upstream]]:
    with upstreams("v1", "v2", "v3") as found:
        yield found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, versions: list[Upstream]) -> Path:
    path = tmp_path_factory.mktemp("envoy") / "mesh.yaml"
    limits = "bulkhead: {max_concurrent: 50}, outlier: {consecutive_5xx: 0, consecutive_gateway: 50}"
    limits += ", max_connection_duration: 10m"
    clusters = "".join(f"  {one.name}: {{endpoints: [127.0.0.1:{one.port}], {limits}}}\n" for one in versions)
    path.write_text(RULES + clusters)
    return path


@pytest.fixture(scope="module")
def exported(file: Path) -> Exported:
    return export(load(file), port=free_port(), admin_port=free_port())


@pytest.fixture(scope="module")
def both(file: Path, exported: Exported) -> Iterator[Both]:
    listener = exported.bootstrap["static_resources"]["listeners"][0]
    port = listener["address"]["socket_address"]["port_value"]
    mesh = Mesh.from_file(file, watch=False)
    with envoy(exported.bootstrap, file.parent), SyncMeshClient(mesh=mesh) as client, httpx.Client() as sidecar:
        yield Both(client, sidecar, port)


@pytest.mark.needs("envoy")
@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/", {}),
        ("/exact", {}),
        ("/exact/", {}),
        ("/prefix", {}),
        ("/prefix/a?b=c", {}),
        ("/prefixed", {}),
        ("/strip", {}),
        ("/strip/a/b", {}),
        ("/rawest", {}),
        ("/n/12", {}),
        ("/n/12x", {}),
        ("/t/7.json", {}),
        ("/t/7.jsonx", {}),
        ("/m", {"method": "PUT"}),
        ("/m", {"method": "POST"}),
        ("/h", {"headers": {"x-group": "testers"}}),
        ("/h", {"headers": {"x-group": "untested"}}),
        ("/not", {}),
        ("/not", {"headers": {"x-not": "a"}}),
        ("/q?v=2", {}),
        ("/q?v=22", {}),
        ("/c", {"headers": {"cookie": "a=b; version=v2; c=d"}}),
        ("/c", {"headers": {"cookie": "a=b; version=v21"}}),
        ("/env", {}),
        ("/one", {}),
        ("/two", {}),
        ("/whole/a?b=c", {}),
        ("/edit", {"headers": {"x-b": "gone"}}),
        ("/old/a?b=c", {}),
        ("/gone", {}),
        ("/fault", {}),
        ("/any", {"host": "a.other.example"}),
    ],
)
def test_the_same_request_reaches_the_same_version(
    both: Both, versions: list[Upstream], path: str, more: dict[str, Any]
) -> None:
    seen = {version.name: len(version.seen) for version in versions}
    ours, theirs = both.ask(path, **more)
    assert ours.status_code == theirs.status_code
    assert ours.content == theirs.content  # which version, the path and the host that it saw
    assert ours.headers.get("location") == theirs.headers.get("location")
    assert ours.headers.get("x-c") == theirs.headers.get("x-c")
    for version in versions:
        new = version.seen[seen[version.name] :]
        assert len(new) in (0, 2)
        if new:
            first, second = [{key: one["headers"].get(key) for key in ("x-a", "x-b")} for one in new]
            assert first == second


@pytest.mark.needs("envoy")
@pytest.mark.parametrize("path", ["/sticky/", "/modulo/", "/two-keys/"])
def test_a_user_who_sticks_to_a_version_finds_it_behind_the_sidecar_too(both: Both, path: str) -> None:
    found = []
    for number in range(150):
        headers = {"cookie": f"user=u{number}", "x-user": f"user-{number}"}
        ours, theirs = both.ask(path, headers=headers)
        assert ours.json()["name"] == theirs.json()["name"]
        found.append(ours.json()["name"])
    assert len(set(found)) >= 2


@pytest.mark.needs("envoy")
def test_a_retry_cures_what_ours_cures(both: Both, versions: list[Upstream]) -> None:
    versions[0].status = 503
    try:
        before = len(versions[0].seen)
        ours, theirs = both.ask("/")
        assert (ours.status_code, theirs.status_code) == (503, 503)
        assert len(versions[0].seen) == before + 6  # three attempts each
    finally:
        versions[0].status = 200


def test_what_has_no_counterpart_is_told(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(
        "services: {a: {hedge: {delay: 10ms}, split: {b: 1, c: 1, d: 1}, sticky: {cookie: u}}}\n"
        "clusters: {b: {rate_limit: {limit: 5}}, c: {}, d: {}}"
    )
    told = "\n".join(export(load(tmp_path / "mesh.yaml")).differences)
    for word in ("hedges", "rate_limit", "more than two", "straight out", "circuit breakers"):
        assert word in told


def test_the_command_prints_a_bootstrap(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "envoy", str(file), "--port", "12345"]) == 0
    printed = capsys.readouterr()
    listener = yaml.safe_load(printed.out)["static_resources"]["listeners"][0]
    assert listener["address"]["socket_address"]["port_value"] == 12345
    assert "circuit breakers" in printed.err
