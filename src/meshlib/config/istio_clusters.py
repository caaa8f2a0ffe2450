"""Istio clusters: DestinationRules, ServiceEntries and WorkloadEntries as clusters and their endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..balancing import Endpoint
from .draft import Draft, names_of, short
from .node import Node

BALANCERS = {
    "LEAST_REQUEST": "least_request",
    "LEAST_CONN": "least_request",
    "ROUND_ROBIN": "round_robin",
    "RANDOM": "random",
}
SECTIONS = ("loadBalancer", "connectionPool", "outlierDetection", "tls", "proxyProtocol", "tunnel", "retryBudget")
CONTEXT = "certificates and their checks come with the client's own TLS context (verify=)"
TRANSPORT = "the connections of the client's own transport are set up in its constructor"


@dataclass(slots=True)
class Rule:
    """The DestinationRules of one host."""

    policy: Node | None = None
    subsets: dict[str, tuple[dict[str, str], Node | None]] = field(default_factory=dict)


@dataclass(slots=True)
class HostEntry:
    """What a ServiceEntry says about one host: its ports, and who is behind it."""

    ports: dict[int, tuple[str, int]]  # number → protocol, the port there
    endpoints: list[tuple[str, dict[str, int], dict[str, Any]]]  # address, ports by name, what an endpoint may have
    names: dict[int, str]
    selector: dict[str, str] = field(default_factory=dict)
    listed: bool = False  # who is behind it stands here, and nowhere in DNS


@dataclass(slots=True)
class Known:
    """Everything that says something about clusters, by host."""

    rules: dict[str, Rule] = field(default_factory=dict)
    entries: dict[str, HostEntry] = field(default_factory=dict)
    workloads: list[tuple[str, dict[str, int], dict[str, Any]]] = field(default_factory=list)


def destination_rule(known: Known, draft: Draft, spec: Node, namespace: str) -> None:
    """Remember one DestinationRule."""
    spec.without_meaning("who may see it is decided where it is read", "exportTo")
    spec.without_meaning("it holds for all clients that read it", "workloadSelector")
    host = short(spec.named("host"), namespace, draft.namespace)
    rule = known.rules.setdefault(host, Rule())
    policy = spec.node("trafficPolicy")
    if policy is not None and rule.policy is not None:
        policy.say(None, f"{host} has a policy already, from elsewhere: this one is not used")
        policy.ignore(policy.keys())
    elif policy is not None:
        rule.policy = policy
    for subset in spec.nodes("subsets"):
        name = subset.named("name")
        own = subset.node("trafficPolicy")
        if name in rule.subsets:
            if rule.subsets[name][0] != subset.strings("labels"):
                subset.say("name", f"{name!r} is there already, with other labels: this one is not used")
            continue
        rule.subsets[name] = subset.strings("labels"), own


def service_entry(known: Known, draft: Draft, spec: Node, namespace: str) -> None:
    """Remember one ServiceEntry, and make its hosts services."""
    spec.without_meaning("who may see it is decided where it is read", "exportTo")
    spec.without_meaning("calls are told by their host, not by an address", "addresses")
    spec.without_meaning("certificates are checked for the host, or a DestinationRule's sni", "subjectAltNames")
    spec.ignore(["location"])  # an entry without it differs in nothing for a client
    resolution = (spec.text("resolution") or "NONE").upper()
    ports: dict[int, tuple[str, int]] = {}
    names: dict[int, str] = {}
    for port in spec.nodes("ports"):
        number = port.count("number") or 0
        ports[number] = (port.text("protocol") or "HTTP").upper(), port.count("targetPort") or number
        names[number] = port.text("name") or ""
    endpoints = [_workload(one) for one in spec.nodes("endpoints")]
    selector = spec.node("workloadSelector")
    labels = selector.strings("labels") if selector is not None else {}
    for host in spec.texts("hosts"):
        name = short(host, namespace, draft.namespace)
        if "*" in name or (resolution == "NONE" and not endpoints and not labels):
            draft.service(name, spec).setdefault("routes", [{"name": "straight out", "outside": True}])
            if name not in known.entries and "*" not in name:
                known.entries[name] = HostEntry(ports, [], names)
            continue
        if name in known.entries:
            spec.say("hosts", f"{host!r} has an entry already, from elsewhere: this one is not used")
            continue
        known.entries[name] = HostEntry(ports, endpoints, names, labels, resolution == "STATIC" or bool(labels))
        draft.service(name, spec)


def workload_entry(known: Known, spec: Node) -> None:
    known.workloads.append(_workload(spec))


def _workload(node: Node) -> tuple[str, dict[str, int], dict[str, Any]]:
    node.without_meaning("networks of a client are its own business", "network")
    node.without_meaning("identities are checked by mutual TLS alone", "serviceAccount")
    ports = node.node("ports")
    numbers = {name: ports.count(name) or 0 for name in ports.keys()} if ports is not None else {}  # noqa: SIM118
    locality = node.text("locality") or ""
    weight = node.number("weight")
    more = {
        "labels": node.strings("labels"),
        "zone": "/".join(locality.split("/")[1:2]),
        "weight": 1.0 if weight is None else weight,
    }
    return node.named("address"), numbers, more


def settle(known: Known, draft: Draft, given: Mapping[str, Iterable[Endpoint]]) -> dict[str, list[Endpoint]]:
    """Give every cluster of the draft its settings, and find its endpoints."""
    for host in [*known.rules, *known.entries]:
        if host not in draft.services and "*" not in host:
            draft.services[host] = {"hosts": names_of(host, draft.namespace)}
    for host in known.entries:
        _ports_as_rules(known, draft, host)
    for host, service in draft.services.items():
        if not service.get("routes") and not service.get("split"):
            service["split"] = draft.destination(host, None, None)
    found: dict[str, list[Endpoint]] = {}
    for name, (host, subset, port) in draft.wanted.items():
        rule = known.rules.get(host) or _wildcard(known, host)
        labels, own = rule.subsets.get(subset or "", ({}, None)) if rule is not None else ({}, None)
        draft.clusters[name] |= _settings(draft, name, rule, own, port)
        if subset is not None and (rule is None or subset not in rule.subsets):
            draft.missing_subset(name, host, subset)
            found[name] = []
        else:
            found[name] = _endpoints(known, host, port, labels, given.get(host))
    return found


def _wildcard(known: Known, host: str) -> Rule | None:
    ends = [pattern for pattern in known.rules if pattern.startswith("*") and host.endswith(pattern[1:])]
    return known.rules[max(ends, key=len)] if ends else None


def _ports_as_rules(known: Known, draft: Draft, host: str) -> None:
    """A host of several ports is several clusters; the request's own port tells which."""
    entry, service = known.entries[host], draft.services.get(host)
    if service is None or service.get("routes") or len(entry.ports) < 2:
        return
    service["routes"] = [
        {"name": f"port {number}", "match": [{"port": [number]}], "split": {draft.destination(host, None, number): 1}}
        for number in entry.ports
    ]


def _endpoints(
    known: Known, host: str, port: int | None, labels: dict[str, str], given: Iterable[Endpoint] | None
) -> list[Endpoint]:
    if given is not None:
        return [one for one in given if labels.items() <= one.labels.items()]
    entry = known.entries.get(host)
    number = port or (next(iter(entry.ports), 80) if entry is not None else 80)
    places = list(entry.endpoints) if entry is not None else []
    if entry is not None and entry.selector:
        places += [one for one in known.workloads if entry.selector.items() <= one[2]["labels"].items()]
    target = entry.ports.get(number, ("", number))[1] if entry is not None else number
    found = []
    for address, ports, more in places:
        if labels.items() <= more["labels"].items():
            there = ports.get(entry.names.get(number, ""), target) if entry is not None else target
            at = (address, 0) if address.startswith("unix:") else (address, there)
            found.append(Endpoint(*at, **more))
    if not places and not labels and not (entry is not None and entry.listed):
        found.append(Endpoint(host, target))  # its name, as DNS knows it
    return found


def _settings(draft: Draft, name: str, rule: Rule | None, own: Node | None, port: int | None) -> dict[str, Any]:
    """The traffic policy: of the port, else of the subset, else of the host, section by section."""
    if rule is None:
        return {}
    layers = [policy for policy in (own, rule.policy) if policy is not None]
    for policy in layers:
        draft.comes_from(("clusters", name), policy)
        for one in policy.nodes("portLevelSettings"):
            at = one.node("port")
            if at is not None and port is not None and at.count("number") == port:
                layers = [one]  # what a port says is not mixed with what its host says
            else:
                one.ignore(one.keys())
            break
    found: dict[str, Any] = {}
    for section, read in (
        ("loadBalancer", _balancer),
        ("connectionPool", _pool),
        ("outlierDetection", _outliers),
        ("tls", _tls),
    ):
        node = next((policy.node(section) for policy in layers if section in policy), None)
        if node is not None:
            found |= read(node)
    for policy in {id(policy): policy for policy in (*layers, own, rule.policy) if policy is not None}.values():
        policy.without_meaning("is spoken between proxies", "proxyProtocol", "tunnel")
        policy.without_meaning("retries of a service have a budget of their own here", "retryBudget")
        policy.ignore(SECTIONS)  # where a subset has one, that of the host is not used
    return found


def _balancer(node: Node) -> dict[str, Any]:
    node.without_meaning("endpoints of other zones are weighed by their latency", "localityLbSetting")
    node.without_meaning("newcomers are warmed up by the balancer's own rule", "warmupDurationSecs", "warmup")
    simple = node.text("simple")
    if simple is not None:
        if simple.upper() in BALANCERS:
            return {"balancer": BALANCERS[simple.upper()]}
        if simple.upper() != "UNSPECIFIED":
            node.say("simple", f"{simple} is not known here: the default is used")
        return {}
    hashing = node.node("consistentHash")
    if hashing is None:
        return {}
    hashing.without_meaning("a client's own address says nothing about its users", "useSourceIp")
    hashing.without_meaning("the size of the ring is chosen by the balancer", "minimumRingSize")
    maglev = hashing.node("maglev")
    ring = hashing.node("ringHash")
    for table in (maglev, ring):
        if table is not None:
            table.without_meaning("the size of the table is chosen by the balancer", *table.keys())
    found: dict[str, Any] = {"balancer": "maglev" if maglev is not None else "ring_hash"}
    cookie = hashing.node("httpCookie")
    header, query = hashing.text("httpHeaderName"), hashing.text("httpQueryParameterName")
    if cookie is not None:
        cookie.without_meaning("a client keeps its cookies to itself", "attributes")
        lasting = {name: text for name in ("ttl", "path") if (text := cookie.text(name))}
        found["sticky"] = {"cookie": cookie.named("name"), **lasting}
    elif header or query:
        found["sticky"] = {"header": header} if header else {"query": query}
    return found


def _pool(node: Node) -> dict[str, Any]:
    tcp, http = node.node("tcp"), node.node("http")
    limits: dict[str, int] = {}
    found: dict[str, Any] = {}
    if tcp is not None:
        tcp.without_meaning(TRANSPORT, "connectTimeout", "tcpKeepalive", "idleTimeout")
        longest = tcp.seconds("maxConnectionDuration")
        if longest:  # 0 sets no limit
            found["max_connection_duration"] = longest
        if connections := tcp.count("maxConnections"):
            limits["max_connections"] = connections
    if http is not None:
        http.without_meaning(TRANSPORT, "idleTimeout", "h2UpgradePolicy", "useClientProtocol", "http2KeepAlive")
        http.without_meaning(TRANSPORT, "maxRequestsPerConnection")
        requests = [limit for key in ("http2MaxRequests", "maxConcurrentStreams") if (limit := http.count(key))]
        if requests:
            limits["max_requests"] = min(requests)
        if retries := http.count("maxRetries"):  # 0 is Istio's "not set"
            limits["max_retries"] = retries
        if pending := http.count("http1MaxPendingRequests"):
            if "max_connections" in limits:
                limits["max_pending"] = pending
            else:
                http.say("http1MaxPendingRequests", "no request waits for a connection without maxConnections")
    return found | ({"limits": limits} if limits else {})


def _outliers(node: Node) -> dict[str, Any]:
    node.without_meaning("answers of 500 and above are failures", "outlierDetectionHttpErrorCodes")
    answers = node.count("consecutive5xxErrors", node.count("consecutiveErrors", 5))
    gateway, local = node.count("consecutiveGatewayErrors", 0), node.count("consecutiveLocalOriginFailures", 5)
    split = bool(node.value("splitExternalLocalOriginErrors", False))
    first = node.seconds("baseEjectionTime", 30.0)
    most = node.number("maxEjectionPercent", 10.0)
    enforced = [name for name, count in (("5xx", answers), ("gateway", gateway), ("local", split and local)) if count]
    outlier = {
        "consecutive_5xx": answers,
        "consecutive_gateway": gateway,
        "consecutive_local": local,
        "split": split,
        "interval": node.seconds("interval", 10.0),
        "ejection_time": first,
        "max_ejected": min((10.0 if most is None else most) / 100, 1.0),
        "enforce": enforced,
    }
    panic = node.number("minHealthPercent", 0.0) or 0.0
    return {"outlier": outlier, "accrual": False, "panic": min(panic / 100, 1.0)}


def _tls(node: Node) -> dict[str, Any]:
    mode = (node.text("mode") or "DISABLE").upper()
    node.without_meaning(CONTEXT, "clientCertificate", "privateKey", "caCertificates", "caCrl", "credentialName")
    node.without_meaning(CONTEXT, "insecureSkipVerify")
    names = node.texts("subjectAltNames")
    name = node.text("sni") or (names[0] if names else None)
    if len(names) > 1:
        node.say("subjectAltNames", f"one name is checked: {name}")
    if mode == "ISTIO_MUTUAL":
        node.say("mode", "identities of Istio's proxies are not for clients without one: plain HTTP is spoken")
        return {}
    if mode not in ("SIMPLE", "MUTUAL"):
        return {}
    return {"tls": True} | ({"tls_name": name} if name else {})
