"""Gateway API reader: what HTTPRoutes and GRPCRoutes mean to a client.

A route whose parent is a Service holds for calls to that service (GAMMA). One whose parent is a Gateway holds for calls
to its hostnames; without hostnames it is left out, unless `load` is told that this process stands in for that gateway.

Of all rules for one host the most specific comes first, as the API says: exact path, longest prefix, method, most
headers, most query parameters, then the older route, then by name, then in their order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from .draft import Draft, short
from .node import Node

WORD = "[^/]+"  # of a gRPC method that is not told
PORTS = "calls are told by their host; the listener's port is its gateway's business"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One alternative of one rule, with its place in the order of precedence."""

    order: tuple[Any, ...]
    host: str
    rule: dict[str, Any]
    node: Node


Listeners: TypeAlias = dict[tuple[str, str], dict[str, tuple[str, str]]]
"""Of each gateway, by namespace and name: the protocol and the hostname of its listeners, by their names."""


def listeners(found: Listeners, item: Node, spec: Node, namespace: str) -> None:
    """Remember what a Gateway listens for. All else of it is its own business."""
    metadata = item.node("metadata")
    name = metadata.text("name", "") or "" if metadata is not None else ""
    of_gateway = found.setdefault((namespace, name), {})
    for one in spec.nodes("listeners"):
        of_gateway[one.text("name", "") or ""] = (
            (one.text("protocol", "") or "").lower(),
            one.text("hostname", "") or "",
        )
        one.ignore(one.keys())
    spec.ignore(spec.keys())


def route(
    draft: Draft, item: Node, spec: Node, namespace: str, gateways: Iterable[str], known: Listeners
) -> list[Candidate]:
    """The candidates of one HTTPRoute or GRPCRoute."""
    grpc = item.text("kind") == "GRPCRoute"
    hosts, schemes = _hosts(draft, spec, namespace, set(gateways), known)
    metadata = item.node("metadata")
    name = metadata.text("name", "") if metadata is not None else ""
    age = str(metadata.value("creationTimestamp", "9")) if metadata is not None else "9"
    found: list[Candidate] = []
    if not hosts:
        spec.ignore(spec.keys())
        return found
    for number, rule in enumerate(spec.nodes("rules")):
        rule_name = rule.text("name")
        what = _what(draft, rule, namespace, grpc=grpc)
        if what is None:
            continue
        matches = rule.nodes("matches")
        conditions = [one for node in matches if (one := _grpc(node) if grpc else _match(node)) is not None]
        if matches and not conditions:
            continue
        for condition in conditions or [{}]:
            full = {"name": rule_name or f"{namespace}/{name}[{number}]", **what}
            if schemes:
                condition = {**condition, "scheme": schemes}
            if condition:
                full["match"] = [condition]
            order = (*_precedence(condition), age, f"{namespace}/{name}", number)
            found += [Candidate(order, host, full, rule) for host in hosts]
    return found


def settle_gateway(draft: Draft, candidates: Iterable[Candidate]) -> None:
    """Write all candidates into the draft, the most specific first."""
    for one in sorted(candidates, key=lambda one: one.order):
        service = draft.service(one.host, one.node)
        rules = service.setdefault("routes", [])
        draft.comes_from(("services", one.host, "routes", len(rules)), one.node)
        rules.append(one.rule)


def _hosts(
    draft: Draft, spec: Node, namespace: str, gateways: set[str], known: Listeners
) -> tuple[list[str], list[str]]:
    """The hosts whose calls the route takes, and the schemes, if its listeners tell them apart."""
    spec.without_meaning("a client uses every route that it has read", "useDefaultGateways")
    hostnames = [short(host, namespace, draft.namespace) for host in spec.texts("hostnames")]
    found: list[str] = []
    others: list[str] = []
    schemes: set[str] = set()
    for parent in spec.nodes("parentRefs"):
        parent.ignore(["group"])
        parent.without_meaning(PORTS, "port")
        name, space = parent.named("name"), parent.text("namespace") or namespace
        of_gateway, section = known.get((space, name), {}), parent.text("sectionName")
        if section is not None and section not in of_gateway:
            parent.say("sectionName", PORTS)
        for listener, (protocol, hostname) in of_gateway.items():
            if section in (None, listener):
                schemes.add(protocol)
                if hostname and not spec.texts("hostnames"):
                    hostnames.append(short(hostname, space, draft.namespace))
        if parent.text("kind") in ("Service", "ServiceImport"):
            found.append(short(name, space, draft.namespace))
        else:
            others.append(name)
    told = sorted(schemes) if schemes in ({"http"}, {"https"}) and not found else []
    if not others and found:
        return found, []
    if hostnames:
        return [*found, *dict.fromkeys(hostnames)], told
    if gateways & set(others):
        return [*found, "*"], told
    if not found:
        spec.say("hostnames", f"has none: its rules are for whoever stands in for {' or '.join(others) or 'a gateway'}")
    return found, []


def _precedence(condition: dict[str, Any]) -> tuple[Any, ...]:
    path = condition.get("path", {})
    prefix = path.get("prefix", "/")
    kind = 0 if "exact" in path else 2 if "regex" in path else 1
    return (
        kind if kind < 2 else 0.5,  # a regular expression comes between: the API leaves that open
        -len(prefix) if kind == 1 else 0,
        0 if condition.get("method") else 1,
        -len(condition.get("headers", {})),
        -len(condition.get("query", {})),
    )


def _match(node: Node) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    path = node.node("path")
    if path is not None:
        kind, value = path.text("type", "PathPrefix"), path.text("value", "/") or "/"
        keys = {"Exact": "exact", "PathPrefix": "prefix", "RegularExpression": "regex"}
        if kind not in keys:
            path.say("type", f"{kind!r} is not known here: this alternative is left out")
            node.ignore(node.keys())
            return None
        if (kind, value) != ("PathPrefix", "/"):
            found["path"] = {keys[kind]: value}
    method = node.text("method")
    if method:
        found["method"] = [method]
    for key, ours in (("headers", "headers"), ("queryParams", "query")):
        for one in node.nodes(key):
            text = _text(one)
            if text is None:
                node.ignore(node.keys())
                return None
            found.setdefault(ours, {}).setdefault(one.named("name"), text)  # the first of a name counts
    return found


def _text(node: Node) -> dict[str, str] | None:
    kind = node.text("type", "Exact")
    if kind not in ("Exact", "RegularExpression"):
        node.say("type", f"{kind!r} is not known here: this alternative is left out")
        return None
    return {"exact" if kind == "Exact" else "regex": node.text("value", "") or ""}


def _grpc(node: Node) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    method = node.node("method")
    if method is not None:
        kind = method.text("type", "Exact")
        service, name = method.text("service"), method.text("method")
        if kind == "Exact" and service:
            found["path"] = {"exact": f"/{service}/{name}"} if name else {"prefix": f"/{service}"}
        elif service or name:
            found["path"] = {"regex": f"/{service or WORD}/{name or WORD}"}
    for one in node.nodes("headers"):
        value = _text(one)
        if value is None:
            node.ignore(node.keys())
            return None
        found.setdefault("headers", {}).setdefault(one.named("name"), value)
    return found


def _what(draft: Draft, node: Node, namespace: str, *, grpc: bool) -> dict[str, Any] | None:
    """What a rule does; None if it cannot be done here."""
    found: dict[str, Any] = {}
    if not _filters(draft, node, namespace, found):
        node.ignore(node.keys())
        return None
    node.without_meaning("sessions are kept by sticky splits and hashing balancers", "sessionPersistence")
    timeouts = node.node("timeouts")
    if timeouts is not None:
        found |= {
            ours: limit
            for key, ours in (("request", "timeout"), ("backendRequest", "per_try_timeout"))
            if (limit := timeouts.seconds(key))
        }
    retry = node.node("retry")
    if retry is not None:
        codes = [int(code) for code in retry.texts("codes") if code.isascii() and code.isdigit() and len(code) < 10]
        backoff = retry.seconds("backoff", 0.025) or 0.0
        attempts = retry.count("attempts", 1) or 0
        found["retry"] = {"attempts": attempts + 1, "statuses": codes, "backoff": backoff, "max_backoff": 10 * backoff}
    if "redirect" in found:
        node.ignore(["backendRefs"])
        return found
    split: dict[str, float] = {}
    for one in node.nodes("backendRefs"):
        cluster = _backend(draft, one, namespace)
        weight = one.number("weight", 1.0) or 0.0
        if cluster is None:
            continue
        split[cluster] = split.get(cluster, 0.0) + weight
        arm: dict[str, Any] = {}
        if not _filters(draft, one, namespace, arm):
            del split[cluster]
        elif arm:
            for key in set(arm) - {"request_headers", "response_headers"}:
                one.say("filters", f"{key} of a single backend is not known here, and does nothing")
            arms = {key: arm[key] for key in ("request_headers", "response_headers") if key in arm}
            found.setdefault("arms", {})[cluster] = arms
    if sum(split.values()) > 0:
        return {**found, "split": split}
    status = 500  # what the API answers when a rule has no valid backend
    node.say("backendRefs", f"nobody is there: such requests are answered with {status}")
    return {"respond": {"status": status}} | {key: found[key] for key in ("response_headers",) if key in found}


def _backend(draft: Draft, node: Node, namespace: str) -> str | None:
    kind = node.text("kind", "Service")
    node.ignore(["group"])
    if kind not in ("Service", "ServiceImport"):
        node.say("kind", f"{kind!r} is not known here: this backend is left out")
        node.ignore(node.keys())
        return None
    host = short(node.named("name"), node.text("namespace") or namespace, draft.namespace)
    return draft.destination(host, None, node.count("port"))


def _filters(draft: Draft, node: Node, namespace: str, found: dict[str, Any]) -> bool:
    """Put what the filters do into `found`; False if one cannot be done, so that the rule must not be used."""
    for one in node.nodes("filters"):
        kind = one.text("type")
        if kind in ("RequestHeaderModifier", "ResponseHeaderModifier"):
            key = "request" if kind.startswith("Request") else "response"
            edit = one.node(f"{key}HeaderModifier")
            if edit is not None:
                found[f"{key}_headers"] = _edit(edit)
        elif kind == "RequestRedirect":
            to = one.node("requestRedirect")
            if to is not None:
                found["redirect"] = _redirect(to)
        elif kind == "URLRewrite":
            to = one.node("urlRewrite")
            if to is not None:
                host = to.text("hostname")
                found["rewrite"] = _path(to) | ({"host": host} if host else {})
        elif kind == "RequestMirror":
            _mirror(draft, one, namespace, found)
        elif kind == "CORS":
            one.without_meaning("browsers' preflight requests are answered by proxies that receive them", "cors")
        else:
            one.say("type", f"{kind!r} is not known here: the rule is left out, as the API wants it")
            one.ignore(one.keys())
            return False
    return True


def _edit(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = {"remove": node.texts("remove")}
    for key in ("set", "add"):
        found[key] = {one.named("name"): one.text("value", "") for one in node.nodes(key)}
    return found


def _path(node: Node) -> dict[str, Any]:
    path = node.node("path")
    if path is None:
        return {}
    path.ignore(["type"])
    full, prefix = path.text("replaceFullPath"), path.text("replacePrefixMatch")
    return {"path": full or "/"} if full is not None else {"prefix": prefix or "/"} if prefix is not None else {}


def _redirect(node: Node) -> dict[str, Any]:
    given = {
        "scheme": node.text("scheme"),
        "host": node.text("hostname"),
        "port": node.count("port"),
        "status": node.count("statusCode", 302),
    }
    return {key: value for key, value in given.items() if value is not None} | _path(node)


def _mirror(draft: Draft, node: Node, namespace: str, found: dict[str, Any]) -> None:
    mirror = node.node("requestMirror")
    to = mirror.node("backendRef") if mirror is not None else None
    if mirror is None or to is None:
        return
    fraction = mirror.node("fraction")
    percent = mirror.number("percent", 100.0) or 0.0
    share = percent / 100
    if fraction is not None:
        share = (fraction.number("numerator", 0.0) or 0.0) / (fraction.number("denominator", 100.0) or 100.0)
    cluster = _backend(draft, to, namespace)
    if cluster is not None:
        found.setdefault("mirror", {})[cluster] = min(share, 1.0)
