"""What does a linkerd.yaml (Linkerd 1.x) mean to a client? Its dtab, namers, and how it treats services and clients.

The first HTTP router is the one that counts. Its names are for all hosts that no service takes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..balancing import Endpoint
from ..discovery.file import Stamp, stamp
from ..discovery.fs import read_folder
from ..errors import ConfigError
from .draft import Draft
from .node import Node

SERVERS = "belongs to a proxy that receives traffic"
BALANCERS = {
    "p2c": "least_request",
    "p2cLeastLoaded": "least_request",
    "ewma": "peak_ewma",
    "p2cPeakEwma": "peak_ewma",
    "aperture": "aperture",
    "heap": "least_loaded_scan",
    "roundRobin": "round_robin",
}
IDENTIFIERS = {
    "io.l5d.header.token": "header",
    "io.l5d.header": "name_header",
    "io.l5d.path": "path",
    "io.l5d.methodAndHost": "method_and_host",
    "io.l5d.static": "static",
}
CLASSIFIERS = {
    "nonRetryable5XX": [],
    "retryableRead5XX": list(range(500, 600)),
    "retryableIdempotent5XX": list(range(500, 600)),
}
_NOT_OURS = {
    SERVERS: (
        "servers", "httpAccessLog", "httpAccessLogRollPolicy", "httpAccessLogAppend", "httpAccessLogRotateCount",
        "addForwardedHeader", "tracePropagator", "loggers",
    ),
    "names are bound here, by this file's own dtab": ("bindingTimeoutMs", "bindingCache", "interpreter"),
    "limits of messages are those of the transport": (
        "maxChunkKB", "maxHeadersKB", "maxInitialLineKB", "maxRequestKB", "maxResponseKB", "streamAfterContentLengthKB",
        "streamingEnabled", "compressionLevel",
    ),
}  # fmt: skip
CONTEXT = "certificates and their checks come with the client's own TLS context (verify=)"
MANY = 25  # attempts: the budget is what bounds them
_INET = re.compile(r"/\$/inet/([^/\s;|&()]+)/(\d{1,5})")


def read(draft: Draft, item: Node, folder: Path, seen: dict[Path, Stamp]) -> dict[str, list[Endpoint]]:
    """Write a linkerd.yaml into the draft. Returns the endpoints of its names. Raises `ConfigError`."""
    item.without_meaning(SERVERS, "admin", "telemetry", "usage")
    found: dict[str, list[Endpoint]] = {}
    namers = []
    for node in item.nodes("namers"):
        kind = node.named("kind")
        prefix = "/#" + (node.text("prefix") or f"/{kind}")
        if kind == "io.l5d.fs":
            names = _folder(node, folder, seen)
            clusters = {name: f"{prefix}/{name}" for name in names}
            found |= {clusters[name]: endpoints for name, endpoints in names.items()}
            namers.append({"prefix": prefix, "clusters": clusters})
        elif kind == "io.l5d.rewrite":
            rewrite = {"pattern": node.named("pattern"), "name": node.named("name")}
            namers.append({"prefix": prefix, "rewrite": rewrite})
        else:
            node.say("kind", f"{kind} is not known here: its names lead nowhere")
            node.ignore(node.keys())
    router = _router(item)
    if router is None:
        raise item.error("routers", "expected a router with protocol http")
    dtab = router.text("dtab") or ""
    for host, port in _INET.findall(dtab):
        found[f"/$/inet/{host}/{port}"] = [Endpoint(host, max(1, min(int(port), 65535)))]
    settings = _client(router.node("client"))
    for name in found:
        draft.clusters[name] = settings
        draft.comes_from(("clusters", name), router)
    draft.comes_from(("dtab",), router)
    draft.extra["dtab"] = {
        "entries": dtab,
        "namers": namers,
        "policies": _service(router),
        "override": True,  # Linkerd heeds l5d-dtab, wherever it comes from
        "trust_context": True,
        "identifiers": _identifiers(router),
    }
    return found


def _folder(node: Node, folder: Path, seen: dict[Path, Stamp]) -> dict[str, list[Endpoint]]:
    """The names in `rootDir`: beside the file, or else, as Linkerd looks for it, in the folder of the process."""
    given = node.named("rootDir")
    try:
        path = next((path for path in (folder / given, Path(given)) if path.is_dir()), None)
        if path is None:
            seen[folder / given] = stamp(folder / given)
            raise node.error("rootDir", f"no such folder: {folder / given}")
        return read_folder(path, seen.__setitem__)
    except (OSError, ValueError) as error:  # a name that no file can have
        raise error if isinstance(error, ConfigError) else node.error("rootDir", f"{error}") from None


def _router(item: Node) -> Node | None:
    chosen = None
    for router in item.nodes("routers"):
        if router.text("protocol") == "http" and chosen is None:
            chosen = router
            continue
        router.say(None, "is left out: the first router with protocol http is the one that counts")
        router.ignore(router.keys())
    if chosen is not None:
        chosen.ignore(["label", "originator"])
        for why, keys in _NOT_OURS.items():
            chosen.without_meaning(why, *keys)
    return chosen


def _identifiers(router: Node) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    prefix = router.text("dstPrefix") or "/svc"
    raw = router.value("identifier")
    one = router.node("identifier") if isinstance(raw, dict) else None
    for node in router.nodes("identifier") if isinstance(raw, list) else [one] if one is not None else []:
        kind = node.named("kind")
        if kind not in IDENTIFIERS:
            node.say("kind", f"{kind} is not known here")
            node.ignore(node.keys())
            continue
        fields: dict[str, Any] = {"by": IDENTIFIERS[kind], "prefix": prefix, "header": node.text("header")}
        fields |= {"segments": node.count("segments", 1), "consume": bool(node.value("consume", False))}
        path = node.text("path")
        if path is not None:
            fields["name"] = path
        fields["uris"] = bool(node.value("httpUriInDst", False))
        found.append({key: value for key, value in fields.items() if value is not None})
    return found or [{"prefix": prefix}]


def _global(node: Node | None) -> Node | None:
    """Settings for all, or of `io.l5d.static` those whose prefix takes everything."""
    if node is None or node.text("kind", "io.l5d.global") == "io.l5d.global":
        return node
    for one in node.nodes("configs"):
        if one.text("prefix") in ("/", "/*"):
            return one
        one.say("prefix", "settings for some names only are not known here")
        one.ignore(one.keys())
    return None


def _service(router: Node) -> dict[str, Any]:
    found: dict[str, Any] = {}
    statuses: list[int] = []
    node = _global(router.node("service"))
    if node is not None:
        total = node.number("totalTimeoutMs")
        if total:
            found["timeout"] = total / 1000
        statuses = _statuses(node)
    retry: dict[str, Any] = {"attempts": MANY, "statuses": statuses, "backoff": 0.0}
    retries = node.node("retries") if node is not None else None
    if retries is not None:
        budget = retries.node("budget")
        if budget is not None:
            given = {
                "ratio": budget.number("percentCanRetry"),
                "min_per_second": budget.number("minRetriesPerSec"),
                "ttl": budget.number("ttlSecs"),
            }
            found["budget"] = {key: value for key, value in given.items() if value is not None}
        backoff = retries.node("backoff")
        if backoff is not None:
            backoff.ignore(["kind"])
            least, most = _waits(backoff, 0.0, 0.0)
            retry |= {"backoff": least, "backoff_max": most}
    client = router.node("client")
    limit = client.number("requestAttemptTimeoutMs") if client is not None else None
    if limit:
        found["per_try_timeout"] = limit / 1000
    return {**found, "retry": retry}


def _statuses(node: Node) -> list[int]:
    classifier = node.node("responseClassifier")
    if classifier is None:
        return []
    kind = (classifier.text("kind") or "").removeprefix("io.l5d.http.").removeprefix("io.l5d.")
    if kind not in CLASSIFIERS:
        classifier.say("kind", f"{kind} is not known here: answers of 500 and above are failures, and not repeated")
    return CLASSIFIERS.get(kind, [])


def _client(node: Node | None) -> dict[str, Any]:
    node = _global(node)
    if node is None:
        return {"accrual": {"failures": 5, "failure_share": 1.0, "backoff": [5.0, 300.0]}}
    node.without_meaning("connections are kept by the client's own transport", "hostConnectionPool", "connectTimeoutMs")
    node.without_meaning("connections are kept by the client's own transport", "clientSession", "failFast")
    node.without_meaning("requests to an endpoint are not queued", "requeueBudget", "forwardClientCert")
    found: dict[str, Any] = {"breaker": False}
    balancer = node.node("loadBalancer")
    if balancer is not None:
        kind = balancer.named("kind")
        if kind in BALANCERS:
            found["balancer"] = BALANCERS[kind]
        else:
            balancer.say("kind", f"{kind} is not known here: the default is used")
        balancer.without_meaning("is chosen by the balancer itself", "maxEffort", "decayTimeMs", "smoothWin", "lowLoad")
        balancer.without_meaning("is chosen by the balancer itself", "highLoad", "minAperture", "enableProbation")
    found["accrual"] = _accrual(node.node("failureAccrual"))
    tls = node.node("tls")
    if tls is not None:
        tls.without_meaning(CONTEXT, "trustCerts", "clientAuth", "trustCertsBundle", "protocols", "disableValidation")
        found["tls"] = True
        if "commonName" in tls:
            found["tls_name"] = tls.text("commonName")
    return found


def _accrual(node: Node | None) -> Any:
    if node is None:
        return {"failures": 5, "failure_share": 1.0, "backoff": [5.0, 300.0]}
    kind = node.named("kind").removeprefix("io.l5d.")
    backoff = node.node("backoff")
    least, most = (5.0, 300.0)
    if backoff is not None:
        backoff.ignore(["kind"])
        least, most = _waits(backoff, 5.0, 300.0)
    waits = [least, most]
    if kind == "none":
        return False
    if kind == "consecutiveFailures":
        return {"failures": node.count("failures", 5), "failure_share": 1.0, "backoff": waits}
    if kind in ("successRate", "successRateWindowed"):
        node.without_meaning("the share of failures is smoothed over recent calls", "window")
        rate = node.number("successRate", 0.8) or 0.0
        volume = node.count("requests", 30) or 1
        return {"failures": 0, "failure_share": min(max(1.0 - rate, 0.001), 1.0), "volume": volume, "backoff": waits}
    node.say("kind", f"{kind} is not known here: five failures in a row are too many")
    return {"failures": 5, "failure_share": 1.0, "backoff": waits}


def _waits(node: Node, least: float, most: float) -> tuple[float, float]:
    constant = node.number("ms")
    if constant is not None:
        return constant / 1000, constant / 1000
    shortest, longest = node.number("minMs"), node.number("maxMs")
    low = least if shortest is None else shortest / 1000
    return low, max(low, most if longest is None else longest / 1000)
