"""Istio reader: what VirtualServices mean to a client. Each field becomes one of ours, or is reported.

The rules of a `mesh` gateway (the default) are those of clients. Those of other gateways are left out, unless
`gateways` names it: this process stands in for that gateway. A rule with a condition that cannot be checked here
is left out too: without the condition it would take more than it should.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any, TypeAlias

from .draft import Draft, short
from .istio_delegate import delegated
from .istio_retry import retry_of
from .node import Node

PROXY = "is the business of a proxy that receives the traffic"


def virtual_service(draft: Draft, item: Node, spec: Node, namespace: str, gateways: Iterable[str]) -> None:
    """Write the rules of one VirtualService into the draft."""
    spec.without_meaning("who may see it is decided where it is read", "exportTo")
    for kind in ("tcp", "tls"):
        spec.without_meaning(f"{kind} routes do not concern HTTP clients", kind)
    if "hosts" not in spec:
        return  # one that others delegate to: its rules are read there
    bound = set(spec.texts("gateways") or ["mesh"])
    ours = {"mesh", *gateways}
    if not bound & ours:
        spec.say("gateways", f"its rules are for {', '.join(sorted(bound))}, not for clients in the mesh")
        spec.ignore(["hosts", "http"])
        return
    rules = [rule for node in spec.nodes("http") for rule in _rules(draft, node, namespace, ours)]
    for host in spec.texts("hosts"):
        name = short(host, namespace, draft.namespace)
        if draft.services.get(name, {}).get("routes"):
            spec.say("hosts", f"{host!r} has rules already, from elsewhere: these are not used for it")
            continue
        service = draft.service(name, spec)
        service["routes"] = [rule for rule, _ in rules]
        for index, (_, node) in enumerate(rules):
            draft.comes_from(("services", name, "routes", index), node)


Rule: TypeAlias = tuple[dict[str, Any], Node]


def _rules(draft: Draft, node: Node, namespace: str, ours: set[str]) -> list[Rule]:
    """The rules of one entry: one, or as many as the VirtualService has that it delegates to."""
    to = node.node("delegate")
    root = _rule(draft, node, namespace, ours)
    if root is not None and to is not None:
        return delegated(draft, root, to, namespace, lambda one, space: _rule(draft, one, space, ours))
    if root is None:
        return []
    if not {"split", "redirect", "respond"} & set(root[0]):
        node.say(None, "leads nowhere: the rule is left out")
        return []
    return [root]


def _rule(draft: Draft, node: Node, namespace: str, ours: set[str]) -> Rule | None:
    rule: dict[str, Any] = {"name": node.text("name", "")}
    node.without_meaning("browsers' preflight requests are answered by proxies that receive them", "corsPolicy")
    if "match" in node:
        conditions = [_match(one, ours) for one in node.nodes("match")]
        if conditions:
            rule["match"] = [one for one in conditions if one is not None]
            if not rule["match"]:
                _skip(node)
                return None
    _target(draft, rule, node, namespace)
    _edits(rule, node)
    _fault(rule, node)
    rule["mirror"] = _mirrors(draft, node, namespace)
    timeout = node.seconds("timeout")
    if timeout:
        rule["timeout"] = timeout
    retries = node.node("retries")
    if retries is not None:
        rule |= retry_of(retries)
        if timeout and rule.get("per_try_timeout", 0) > timeout:
            del rule["per_try_timeout"]  # Envoy: it can never be reached
    return {key: value for key, value in rule.items() if value not in ({}, "", None)}, node


def _skip(node: Node) -> None:
    node.ignore(node.keys())


def _match(node: Node, ours: set[str]) -> dict[str, Any] | None:
    """One alternative; None if it cannot hold here, or cannot be checked."""
    node.ignore(["name"])
    node.without_meaning("names statistics only", "statPrefix")
    found: dict[str, Any] = {}
    gateways = node.texts("gateways")
    if gateways and not set(gateways) & ours:
        node.say("gateways", f"is for {', '.join(gateways)}: this alternative is left out")
        _skip(node)
        return None
    uri = node.node("uri")
    ignore_case = bool(node.value("ignoreUriCase", False))
    if uri is not None:
        kind, text = _string(uri)
        found["path"] = {kind: text, "ignore_case": ignore_case}
        if kind == "prefix":
            found["path"]["segments"] = False  # Istio's prefixes are prefixes of the text
    for key, ours_key in (("method", "method"), ("scheme", "scheme")):
        if key in node:
            one = node.node(key)
            kind, text = _string(one) if one is not None else ("exact", "")
            words = text.split("|")
            if kind == "prefix" or not all(word.isalpha() for word in words):
                node.say(key, "can only be told exactly or as A|B here: this alternative is left out")
                _skip(node)
                return None
            found[ours_key] = words
    authority = node.node("authority")
    if authority is not None:
        kind, text = _string(authority)
        found["host"] = [{kind: text}]
    port = node.count("port")
    if port:
        found["port"] = [port]
    for key, ours_key in (("headers", "headers"), ("queryParams", "query"), ("withoutHeaders", "headers")):
        texts = node.node(key)
        if texts is None:
            continue
        without = key == "withoutHeaders"
        for name in texts.keys():  # noqa: SIM118
            one = texts.node(name)
            assert one is not None
            condition: dict[str, Any] = {"present": not without}
            if one.keys():
                kind, text = _string(one)
                condition = {kind: text, "invert": without} if text != "*" or kind != "exact" else condition
            found.setdefault(ours_key, {})[name] = condition
    labels = node.strings("sourceLabels")
    space = node.text("sourceNamespace")
    if space:
        labels["namespace"] = space
    if labels:
        found["labels"] = labels
    return found


def _string(node: Node) -> tuple[str, str]:
    """Istio's StringMatch."""
    for kind in ("exact", "prefix", "regex"):
        if kind in node:
            return kind, node.text(kind) or ""
    raise node.error("exact", "expected one of exact, prefix and regex")


def destination(draft: Draft, node: Node, namespace: str) -> str:
    """The cluster that Istio's `destination` names."""
    port = node.node("port")
    number = port.count("number") if port is not None else None
    return draft.destination(short(node.named("host"), namespace, draft.namespace), node.text("subset"), number)


def _target(draft: Draft, rule: dict[str, Any], node: Node, namespace: str) -> None:
    split: dict[str, float] = {}
    arms: dict[str, Any] = {}
    routes = node.nodes("route")
    for one in routes:
        to = one.node("destination")
        if to is None:
            raise one.error("destination", "missing")
        cluster = destination(draft, to, namespace)
        weight = one.number("weight")
        split[cluster] = split.get(cluster, 0) + (weight if weight is not None else 100 if len(routes) == 1 else 0)
        edits = _header_edits(one)
        if edits:
            arms[cluster] = edits
    if split:
        rule["split"], rule["arms"] = split, arms
    redirect = node.node("redirect")
    if redirect is not None:
        redirect.without_meaning("the port stays as it is, unless port says otherwise", "derivePort")
        rule["redirect"] = _known(
            status=redirect.count("redirectCode", 301),
            path=redirect.text("uri"),
            prefix=redirect.text("uriPrefix"),
            host=redirect.text("authority"),
            scheme=redirect.text("scheme"),
            port=redirect.count("port"),
        )
    direct = node.node("directResponse")
    if direct is not None:
        body = direct.node("body")
        text = ""
        if body is not None:
            text = body.text("string") or _decoded(body)
        rule["respond"] = {"status": direct.count("status", 200), "body": text}
    rewrite = node.node("rewrite")
    if rewrite is not None:
        regex = rewrite.node("uriRegexRewrite")
        rule["rewrite"] = _known(
            prefix=rewrite.text("uri"),
            host=rewrite.text("authority"),
            regex=regex and regex.text("match"),
            path=regex and regex.text("rewrite"),
        )


def _decoded(body: Node) -> str:
    try:
        return base64.b64decode(body.text("bytes") or "").decode()
    except ValueError:
        raise body.error("bytes", "expected UTF-8 text in base64") from None


def _known(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _edits(rule: dict[str, Any], node: Node) -> None:
    rule |= _header_edits(node)


def _header_edits(node: Node) -> dict[str, Any]:
    headers = node.node("headers")
    found: dict[str, Any] = {}
    for key, ours in (("request", "request_headers"), ("response", "response_headers")):
        edit = headers.node(key) if headers is not None else None
        if edit is not None:
            found[ours] = {"set": edit.strings("set"), "add": edit.strings("add"), "remove": edit.texts("remove")}
    return found


GRPC = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


def _fault(rule: dict[str, Any], node: Node) -> None:
    fault = node.node("fault")
    if fault is None:
        return
    found: dict[str, Any] = {}
    delay, abort = fault.node("delay"), fault.node("abort")
    if delay is not None:
        delay.without_meaning("only a fixed delay is known", "exponentialDelay")
        found |= _known(delay=delay.seconds("fixedDelay"), delay_ratio=_percentage(delay))
    if abort is not None:
        abort.without_meaning("is no status that a client would know", "http2Error")
        found |= _known(abort_status=abort.count("httpStatus"), abort_ratio=_percentage(abort))
        status = abort.text("grpcStatus")
        if status is not None:
            if status.upper() not in GRPC:
                raise abort.error("grpcStatus", f"expected a status of gRPC, such as UNAVAILABLE, found {status!r}")
            found["abort_grpc"] = GRPC.index(status.upper())
    if {"delay", "abort_status", "abort_grpc"} & set(found):
        rule["fault"] = found


def _percentage(node: Node) -> float:
    """Istio's: without one, none at all."""
    found = node.number("percentage", node.number("percent"))
    if found is None:
        node.say(None, "has no percentage, which means 0 %")
    return min((found or 0.0) / 100, 1.0)


def _mirrors(draft: Draft, node: Node, namespace: str) -> dict[str, float]:
    found: dict[str, float] = {}
    one = node.node("mirror")
    if one is not None:
        given = [node.number(key) for key in ("mirrorPercentage", "mirrorPercent", "mirror_percent")]
        share = next((number for number in given if number is not None), 100.0)
        found[destination(draft, one, namespace)] = share / 100
    for more in node.nodes("mirrors"):
        to = more.node("destination")
        if to is None:
            raise more.error("destination", "missing")
        share = more.number("percentage", 100.0) or 0.0
        found[destination(draft, to, namespace)] = share / 100
    return found
