"""Routes of the Gateway API: their precedence, filters and backends, as the API says."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest

from meshlib.config import gateway_api
from meshlib.config.manifests import Manifests, read_manifests
from meshlib.routing.request import RouteRequest
from meshlib.routing.route import Decision

HEAD = """
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: {name}}}
spec:
  {more}
  rules:
"""


def route(rules: str, kind: str = "HTTPRoute", name: str = "one", more: str = "hostnames: [shop.example]") -> str:
    return HEAD.format(kind=kind, name=name, more=more) + indent(dedent(rules).strip(), "  ") + "\n"


def read(folder: Path, *texts: str, **how: Any) -> Manifests:
    (folder / "routes.yaml").write_text("---".join(texts))
    return read_manifests([folder / "routes.yaml"], **how)


def decide(
    found: Manifests, path: str = "/", method: str = "GET", host: str = "shop.example", **headers: str
) -> Decision:
    asked = RouteRequest(host, method, path, "a=b", headers.get)
    decision = found.mesh().current.routes.resolve(asked, lambda: 0.0)
    assert decision is not None
    return decision


def to(name: str) -> str:
    return f"backendRefs: [{{name: {name}, port: 80}}]"


def test_the_most_specific_rule_wins_whatever_the_order(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        route(f"""
        - {{{to("any")}}}
        - {{matches: [{{path: {{value: /a}}}}], {to("short")}}}
        - {{matches: [{{path: {{value: /a/b}}}}], {to("long")}}}
        - {{matches: [{{path: {{value: /a/b}}, method: POST}}], {to("method")}}}
        - {{matches: [{{path: {{value: /a/b}}, headers: [{{name: x, value: y}}]}}], {to("header")}}}
        - {{matches: [{{path: {{value: /a/b}}, queryParams: [{{name: a, value: b}}]}}], {to("query")}}}
        - {{matches: [{{path: {{type: Exact, value: /a/b}}}}], {to("exact")}}}
        """),
    )
    assert not found.report.findings
    assert decide(found, "/else").cluster == "any:80"
    assert decide(found, "/a/bc").cluster == "short:80"  # whole segments
    assert decide(found, "/a/b/c", "POST").cluster == "method:80"
    assert decide(found, "/a/b/c", x="y").cluster == "header:80"
    assert decide(found, "/a/b/c").cluster == "query:80"
    assert decide(found, "/a/b", "POST").cluster == "exact:80"


def test_routes_of_one_host_are_merged_by_name_where_nothing_else_tells(tmp_path: Path) -> None:
    first, second = route(f"- {{{to('b')}}}", name="b"), route(f"- {{{to('a')}}}", name="a")
    assert decide(read(tmp_path, first, second)).cluster == "a:80"


def test_filters_edit_rewrite_mirror_and_redirect(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        route("""
        - matches: [{path: {value: /old}}]
          filters:
          - {type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: a, value: b}], remove: [c]}}
          - {type: URLRewrite, urlRewrite: {hostname: in, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}
          - {type: RequestMirror, requestMirror: {backendRef: {name: shadow, port: 80}, percent: 20}}
          backendRefs: [{name: one, port: 80, weight: 1}, {name: two, port: 80, weight: 3}]
          timeouts: {request: 10s, backendRequest: 2s}
        - matches: [{path: {value: /secure}}]
          filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]
        """),
    )
    assert not found.report.findings
    was = decide(found, "/old/x").route
    assert was.to is not None and [arm.weight for arm in was.to.destinations] == [1, 3]
    assert was.rewrite is not None and was.rewrite.rewritten("/old/x", was.match[0]) == "/new/x"
    assert was.timeout == 10.0 and was.policies.per_try_timeout == 2.0
    assert [(mirror.cluster, mirror.ratio) for mirror in was.mirrors] == [("shadow:80", 0.2)]
    redirect = decide(found, "/secure/x").route.redirect
    assert redirect is not None
    request = RouteRequest("shop.example", path="/secure/x")
    assert redirect.location(request, None) == "https://shop.example/secure/x"


def test_a_rule_without_a_backend_is_answered_with_500(tmp_path: Path) -> None:
    direct = decide(read(tmp_path, route("- backendRefs: [{name: a, port: 80, weight: 0}]"))).route.direct
    assert direct is not None and direct.status == 500


def test_a_filter_that_is_not_known_leaves_its_rule_out(tmp_path: Path) -> None:
    found = read(tmp_path, route(f"- {{filters: [{{type: ExtensionRef, extensionRef: {{name: x}}}}], {to('a')}}}"))
    assert not found.model.services and "ExtensionRef" in str(found.report)


def test_a_route_of_a_service_is_for_calls_to_it(tmp_path: Path) -> None:
    text = route(f"- {{{to('reviews-v2')}}}", more="parentRefs: [{kind: Service, group: '', name: reviews}]")
    assert decide(read(tmp_path, text), host="reviews.default.svc.cluster.local").cluster == "reviews-v2:80"


def test_a_route_of_a_gateway_without_hostnames_is_for_whoever_stands_in_for_it(tmp_path: Path) -> None:
    text = route(f"- {{{to('a')}}}", more="parentRefs: [{name: front}]")
    assert "stands in for front" in str(read(tmp_path, text).report)
    assert decide(read(tmp_path, text, gateways=["front"]), host="anything").cluster == "a:80"


@pytest.mark.parametrize(
    ("method", "path", "holds"),
    [
        ("{service: a.B, method: C}", "/a.B/C", True),
        ("{service: a.B}", "/a.B/D", True),
        ("{service: a.B}", "/a.Bc/D", False),
        ("{method: C}", "/x.Y/C", True),
        ("{type: RegularExpression, service: 'a[.].*', method: C}", "/a.B/C", True),
    ],
)
def test_grpc_methods_are_paths(tmp_path: Path, method: str, path: str, holds: bool) -> None:
    text = route(f"- {{matches: [{{method: {method}}}], {to('b')}}}", "GRPCRoute")
    assert (decide(read(tmp_path, text), path, "POST").cluster == "b:80") is holds


def test_the_order_of_precedence_is_told_by_the_match_alone() -> None:
    assert gateway_api._precedence({"path": {"exact": "/"}}) < gateway_api._precedence({"path": {"prefix": "/long"}})


def test_the_listener_that_a_route_names_tells_the_scheme_and_the_host(tmp_path: Path) -> None:
    gateway = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: any
  listeners:
  - {name: plain, port: 80, protocol: HTTP, hostname: shop.example}
  - {name: secure, port: 443, protocol: HTTPS, hostname: shop.example, tls: {certificateRefs: [{name: x}]}}
"""
    redirect = route(
        "- filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]",
        name="a",
        more="parentRefs: [{name: front, sectionName: plain}]",
    )
    backend = route(f"- {{{to('shop')}}}", name="b", more="parentRefs: [{name: front, sectionName: secure}]")
    found = read(tmp_path, redirect, backend, gateway)
    assert not found.report.findings
    assert decide(found).route.redirect is not None
    asked = RouteRequest("shop.example", scheme="https")
    decision = found.mesh().current.routes.resolve(asked, lambda: 0.0)
    assert decision is not None and decision.cluster == "shop:80"
