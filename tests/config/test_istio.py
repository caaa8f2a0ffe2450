"""Istio's manifests as they are: each field does here what it does there, or is reported by name and place."""

from __future__ import annotations

import logging
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest
from support.waiting import wait_until

from meshlib import ConfigError, Mesh
from meshlib.config.manifests import Manifests, read_manifests
from meshlib.routing.request import RouteRequest
from meshlib.routing.route import Decision

BEHIND = {
    "reviews": [
        {"address": "10.0.0.1:9080", "labels": {"version": "v1"}},
        {"address": "10.0.0.2:9080", "labels": {"version": "v2"}},
    ]
}
SUBSETS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
"""


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, *texts: str, **how: Any) -> Manifests:
        (self.path / "istio.yaml").write_text("\n---\n".join(dedent(text) for text in texts))
        how.setdefault("endpoints", BEHIND)
        return read_manifests([self.path / "istio.yaml"], **how)  # type: ignore[no-any-return]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def rules(http: str, hosts: str = "[reviews]", more: str = "") -> str:
    head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: it}\nspec:\n"
    return f"{head}  hosts: {hosts}\n{more}  http:\n{indent(dedent(http).strip(), '  ')}\n"


def decide(read: Manifests, path: str = "/", host: str = "reviews", draw: float = 0.0, **headers: str) -> Decision:
    mesh = read.mesh()
    asked = {name.replace("_", "-"): value for name, value in headers.items()}
    decision = mesh.current.routes.resolve(
        RouteRequest(host, path=path, header=asked.get, labels={"app": "productpage"}), lambda: draw
    )
    assert decision is not None
    return decision


def addresses(read: Manifests, cluster: str) -> list[str]:
    return [one.address for one in read.mesh().current.clusters[cluster].balancer.endpoints]


def test_a_user_goes_to_his_version_and_all_others_to_theirs(folder: Folder) -> None:
    read = folder.read(
        rules("""
        - match: [{headers: {end-user: {exact: jason}}}]
          route: [{destination: {host: reviews, subset: v2}}]
        - route: [{destination: {host: reviews, subset: v1}}]
        """),
        SUBSETS,
    )
    assert not read.report.findings
    assert decide(read, end_user="jason").cluster == "reviews/v2"
    assert decide(read).cluster == "reviews/v1"
    assert addresses(read, "reviews/v1") == ["10.0.0.1:9080"] and addresses(read, "reviews/v2") == ["10.0.0.2:9080"]


@pytest.mark.parametrize("host", ["reviews", "reviews.default", "reviews.default.svc.cluster.local", "reviews:9080"])
def test_a_service_has_all_the_names_that_kubernetes_gives_it(folder: Folder, host: str) -> None:
    read = folder.read(rules("- route: [{destination: {host: reviews.default.svc.cluster.local}}]"))
    assert decide(read, host=host).cluster == "reviews"


def test_a_name_without_dots_lies_in_the_namespace_of_its_manifest(folder: Folder) -> None:
    text = rules("- route: [{destination: {host: reviews}}]").replace("{name: it}", "{name: it, namespace: prod}")
    read = folder.read(text, endpoints={})
    assert decide(read, host="reviews.prod").cluster == "reviews.prod"
    assert addresses(read, "reviews.prod") == ["reviews.prod:80"]


def test_weights_are_drawn(folder: Folder) -> None:
    read = folder.read(
        rules("""
        - route:
          - {destination: {host: reviews, subset: v1}, weight: 80}
          - {destination: {host: reviews, subset: v2}, weight: 20}
        """),
        SUBSETS,
    )
    assert [decide(read, draw=draw).cluster for draw in (0.79, 0.8)] == ["reviews/v1", "reviews/v2"]


@pytest.mark.parametrize(
    ("match", "path", "holds"),
    [
        ("{uri: {exact: /a}}", "/a", True),
        ("{uri: {exact: /a}}", "/a/", False),
        ("{uri: {prefix: /a}}", "/abc", True),  # a prefix of the text, not of segments
        ("{uri: {prefix: /A}, ignoreUriCase: true}", "/abc", True),
        ("{uri: {regex: '/[0-9]+'}}", "/12", True),
        ("{uri: {regex: '/[0-9]+'}}", "/12/x", False),
        ("{headers: {x-a: {}}}", "/", True),
        ("{withoutHeaders: {x-a: {}}}", "/", False),
        ("{withoutHeaders: {x-b: {exact: c}}}", "/", True),
        ("{headers: {x-a: {prefix: va}}, method: {exact: GET}}", "/", True),
        ("{method: {regex: POST|PUT}}", "/", False),
        ("{sourceLabels: {app: productpage}}", "/", True),
        ("{sourceLabels: {app: other}}", "/", False),
        ("{authority: {prefix: rev}, port: 80, scheme: {exact: http}}", "/", True),
        ("{port: 9080}", "/", False),
    ],
)
def test_a_match_holds_as_istio_says(folder: Folder, match: str, path: str, holds: bool) -> None:
    read = folder.read(
        rules(f"- match: [{match}]\n  directResponse: {{status: 200}}\n- directResponse: {{status: 404}}")
    )
    assert not read.report.findings
    direct = decide(read, path, x_a="value").route.direct
    assert direct is not None and (direct.status == 200) is holds


def test_everything_that_a_rule_does_is_read(folder: Folder) -> None:
    read = folder.read(
        rules("""
        - name: all
          match: [{uri: {prefix: /old}}]
          route:
          - destination: {host: reviews, subset: v1}
            headers: {response: {set: {x-version: v1}}}
          rewrite: {uri: /new, authority: inner}
          timeout: 3s
          retries: {attempts: 2, perTryTimeout: 500ms, retryOn: "gateway-error,connect-failure,429"}
          mirror: {host: reviews, subset: v2}
          mirrorPercentage: {value: 12.5}
          headers: {request: {set: {a: b}, add: {c: d}, remove: [e]}}
          fault:
            delay: {percentage: {value: 5}, fixedDelay: 7s}
            abort: {percentage: {value: 10}, grpcStatus: UNAVAILABLE}
        - match: [{uri: {exact: /r}}]
          redirect: {uri: /there, authority: other.example, redirectCode: 308}
        - directResponse: {status: 503, body: {string: closed}}
        """),
        SUBSETS,
    )
    assert not read.report.findings
    route = decide(read, "/old/x").route
    assert route.timeout == 3.0 and route.rewrite is not None and route.rewrite.host == "inner"
    assert route.rewrite.rewritten("/old/x", route.match[0]) == "/new/x"
    assert route.policies.statuses == {429, 502, 503, 504} and route.policies.per_try_timeout == 0.5
    assert [(mirror.cluster, mirror.ratio) for mirror in route.mirrors] == [("reviews/v2", 0.125)]
    assert route.headers is not None and route.headers.set == (("a", "b"),) and route.headers.remove == {"e"}
    assert route.fault is not None
    assert (route.fault.delay, route.fault.delay_ratio) == (7.0, 0.05)
    assert (route.fault.abort_grpc, route.fault.abort_ratio) == (14, 0.1)
    redirect = decide(read, "/r").route.redirect
    assert redirect is not None and (redirect.status, redirect.host) == (308, "other.example")
    direct = decide(read, "/else").route.direct
    assert direct is not None and direct.body == b"closed"


def test_what_means_nothing_in_a_client_is_reported_with_its_line(folder: Folder) -> None:
    read = folder.read(
        rules("""
        - route: [{destination: {host: reviews}}]
          corsPolicy: {allowOrigins: [{exact: x}]}
          tomorrow: 1
        """)
    )
    assert [(one.line, one.message.split(": ")[1]) for one in read.report] == [
        (8, "spec.http[0].corsPolicy"),
        (9, "spec.http[0].tomorrow"),
    ]
    with pytest.raises(ConfigError, match=r"corsPolicy") as caught:
        folder.read(rules("- {route: [{destination: {host: a}}], corsPolicy: {}}"), strict=True)
    assert caught.value.line == 7


def test_a_rule_whose_condition_cannot_be_checked_takes_nothing(folder: Folder) -> None:
    read = folder.read(
        rules("""
        - match: [{method: {prefix: P}}]
          directResponse: {status: 418}
        - route: [{destination: {host: reviews}}]
        """)
    )
    assert decide(read).cluster == "reviews"
    assert "this alternative is left out" in read.report.findings[0].message


def test_rules_of_a_gateway_are_for_whoever_stands_in_for_it(folder: Folder) -> None:
    text = rules("- route: [{destination: {host: reviews}}]", "['*']", "  gateways: [front]\n")
    read = folder.read(text)
    assert "its rules are for front" in read.report.findings[0].message and not read.model.services
    assert decide(folder.read(text, gateways=["front"]), host="anything.example").cluster == "reviews"


def test_a_subset_that_nobody_defines_has_nobody_in_it(folder: Folder) -> None:
    read = folder.read(rules("- route: [{destination: {host: reviews, subset: v9}}]"))
    assert addresses(read, "reviews/v9") == []
    assert "v9" in read.report.findings[0].message


POLICY = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN}
    connectionPool:
      tcp: {maxConnections: 10, maxConnectionDuration: 10m}
      http: {http2MaxRequests: 20, http1MaxPendingRequests: 5, maxRetries: 4}
    outlierDetection: {consecutive5xxErrors: 7, baseEjectionTime: 15s, minHealthPercent: 40}
  subsets:
  - {name: v1, labels: {version: v1}}
  - name: v2
    labels: {version: v2}
    trafficPolicy:
      loadBalancer: {consistentHash: {httpCookie: {name: user}, maglev: {}}}
      tls: {mode: SIMPLE, sni: reviews.example}
"""


def test_a_traffic_policy_becomes_balancer_limits_and_outlier_detection(folder: Folder) -> None:
    read = folder.read(
        POLICY,
        rules("""
        - match: [{uri: {prefix: /1}}]
          route: [{destination: {host: reviews, subset: v1}}]
        - route: [{destination: {host: reviews, subset: v2}}]
        """),
    )
    assert not read.report.findings
    clusters = read.mesh().current.clusters
    first, second = clusters["reviews/v1"], clusters["reviews/v2"]
    assert read.model.clusters["reviews/v1"].balancer.kind == "round_robin"
    assert first.limits is not None and first.limits.name == "reviews/v1"
    assert first.limits.maxima() == {"max_connections": 10, "max_requests": 20, "max_retries": 4, "max_pending": 5}
    assert read.model.clusters["reviews/v1"].bulkhead is None
    assert (first.max_connection_duration, second.max_connection_duration) == (600.0, 600.0)
    outlier = second.outlier  # the subset inherits it
    assert outlier is not None and read.model.clusters["reviews/v2"].accrual is None
    found = read.model.clusters["reviews/v2"].outlier
    assert found is not None and (found.consecutive_5xx, found.ejection_time.base, found.max_ejected) == (7, 15.0, 0.1)
    assert read.model.clusters["reviews/v2"].panic == 0.4
    assert read.model.clusters["reviews/v2"].balancer.kind == "maglev" and second.sticky is not None
    assert (first.tls, second.tls, second.tls_name) == (False, True, "reviews.example")


def test_a_port_does_not_inherit_from_its_host(folder: Folder) -> None:
    text = POLICY.split("  subsets:", maxsplit=1)[0] + (
        "    portLevelSettings: [{port: {number: 9080}, loadBalancer: {simple: RANDOM}}]\n"
    )
    read = folder.read(text, rules("- route: [{destination: {host: reviews, port: {number: 9080}}}]"))
    cluster = read.model.clusters["reviews:9080"]
    assert (cluster.balancer.kind, cluster.limits) == ("random", None)


def test_a_service_entry_is_a_service_with_its_endpoints(folder: Folder) -> None:
    read = folder.read(
        """
        apiVersion: networking.istio.io/v1
        kind: ServiceEntry
        metadata: {name: stock}
        spec:
          hosts: [stock.example]
          location: MESH_EXTERNAL
          resolution: STATIC
          ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
          endpoints:
          - {address: 10.1.0.1, locality: eu/a/1, weight: 3}
          - {address: 10.1.0.2, ports: {http: 9090}}
        """,
        """
        apiVersion: networking.istio.io/v1
        kind: ServiceEntry
        metadata: {name: wild}
        spec: {hosts: ["*.far.example"], ports: [{number: 443, name: tls, protocol: TLS}], resolution: NONE}
        """,
    )
    assert not read.report.findings
    assert decide(read, host="stock.example").cluster == "stock.example"
    assert addresses(read, "stock.example") == ["10.1.0.1:8080", "10.1.0.2:9090"]
    first = read.mesh().current.clusters["stock.example"].balancer.endpoints[0]
    assert (first.zone, first.weight) == ("a", 3)
    assert decide(read, host="a.far.example").route.outside


def test_a_pattern_is_read_watched_and_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "rules.yaml").write_text(rules("- {route: [{destination: {host: a}}], corsPolicy: {}}", "[a]"))
    (tmp_path / "more.yaml").write_text(rules("- route: [{destination: {host: b}}]", "[b]"))
    with caplog.at_level(logging.WARNING), Mesh.from_file(tmp_path / "*.yaml", endpoints={"a": ["h:1"]}) as mesh:
        assert set(mesh.current.services) == {"a", "b"}
        assert mesh.current.clusters["a"].balancer.endpoints[0].address == "h:1"
        (tmp_path / "new.yaml").write_text(rules("- route: [{destination: {host: c}}]", "[c]"))
        wait_until(lambda: "c" in mesh.current.services)
        assert set(mesh.current.services) == {"a", "b", "c"}
    assert [record.getMessage().count("corsPolicy") for record in caplog.records] == [1]
    with pytest.raises(ConfigError, match="corsPolicy"):
        Mesh.from_file(tmp_path / "*.yaml", strict=True, watch=False)


def test_what_stands_wrong_in_a_manifest_is_told_with_its_line(folder: Folder) -> None:
    for http, line in (
        ("- route: {}", 7),
        ("- timeout: soon\n  route: [{destination: {host: a}}]", 7),
        ("- route: [{destination: {host: a}, weight: many}]", 7),
        ("- route: [{destination: {}}]", 7),
        ("- match: [{uri: {regex: '('}}]\n  route: [{destination: {host: a}}]", 7),
    ):
        with pytest.raises(ConfigError) as caught:
            folder.read(rules(http))
        assert caught.value.line == line and caught.value.file is not None


DELEGATES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop]
  http:
  - {name: pay, match: [{uri: {prefix: /pay}}], delegate: {name: pay, namespace: money}, timeout: 3s}
  - {name: lost, match: [{uri: {prefix: /lost}}], delegate: {name: nobody}}
  - route: [{destination: {host: shop}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: pay, namespace: money}
spec:
  http:
  - name: card
    match: [{uri: {prefix: /pay/card}, headers: {x: {exact: y}}}]
    route: [{destination: {host: card}}]
    timeout: 1s
  - {name: cash, match: [{method: {exact: POST}}], route: [{destination: {host: cash}}]}
  - {name: other, match: [{uri: {prefix: /other}}], route: [{destination: {host: other}}]}
  - {name: rest, route: [{destination: {host: rest}}]}
"""


def test_a_rule_that_delegates_is_replaced_by_the_rules_of_the_other(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(DELEGATES)
    found = read_manifests([tmp_path / "a.yaml"])
    routes = found.model.services["shop"].routes
    assert [(route.name, list(route.split), route.timeout) for route in routes] == [
        ("pay-card", ["card.money"], 1.0),
        ("pay-cash", ["cash.money"], 3.0),
        ("pay-rest", ["rest.money"], 3.0),
        ("", ["shop"], None),
    ]
    table = found.mesh().current.routes

    def goes(path: str, method: str = "GET", **headers: str) -> str | None:
        decision = table.resolve(RouteRequest("shop", method, path, header=headers.get), lambda: 0.0)
        return decision.cluster if decision is not None else None

    assert goes("/pay/card", x="y") == "card.money" and goes("/pay/card") == "rest.money"
    assert goes("/pay", "POST") == "cash.money" and goes("/", "POST") == "shop"
    told = [one.message for one in found.report]
    assert any("no VirtualService nobody without hosts" in one for one in told)
    assert any("does not fit into that of the rule" in one for one in told)
