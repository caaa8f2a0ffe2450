"""Linkerd policies: the `service` and `client` sections of a linkerd.yaml, for all names or by prefix.

With `kind: io.l5d.static` every entry whose prefix matches counts, and the later ones more; `{names}` that a prefix
captures may stand in `commonName`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..routing.dtab_reader import read_path
from ..routing.path_pattern import PathPattern
from .node import Node

BALANCERS = {
    "p2c": "least_request",
    "p2cLeastLoaded": "least_request",
    "ewma": "peak_ewma",
    "p2cPeakEwma": "peak_ewma",
    "aperture": "aperture",
    "heap": "least_loaded_scan",
    "roundRobin": "round_robin",
}
CLASSIFIERS = {
    "nonRetryable5XX": [],
    "retryableRead5XX": list(range(500, 600)),
    "retryableIdempotent5XX": list(range(500, 600)),
    "retryableAll5XX": list(range(500, 600)),
}
CONTEXT = "certificates and their checks come with the client's own TLS context (verify=)"
KEPT = "connections are kept by the client's own transport"
MANY = 25  # attempts: the budget is what bounds them
EVERYTHING = "/"
ACCRUAL = {"consecutive_failures": 5, "failure_share": 1.0, "backoff": [5.0, 300.0]}

Settings = dict[str, Any]


def service_policies(router: Node) -> tuple[Settings, list[Settings]]:
    """The policies of all names, and of those that have their own: `{prefix, policies}`, the last that fits counts."""
    client = [node for prefix, node in _by_prefix(router.node("client")) if _wide(prefix)]
    limits = [node.number("requestAttemptTimeoutMs") for node in client]
    attempt = next((limit for limit in reversed(limits) if limit), None)
    read = [(prefix, _service(node)) for prefix, node in _by_prefix(router.node("service"))]

    def policies(prefix: str) -> Settings:
        merged: Settings = {"retry": {"attempts": MANY, "statuses": [], "backoff": 0.0}}
        for other, settings in read:
            if _covers(other, prefix):
                merged |= settings | {"retry": merged["retry"] | settings["retry"]}
        if attempt:
            merged["per_try_timeout"] = min(attempt / 1000, merged.get("timeout", attempt / 1000))
        return merged

    own = dict.fromkeys(prefix for prefix, _ in read if not _wide(prefix))
    return policies(EVERYTHING), [{"prefix": prefix, "policies": policies(prefix)} for prefix in own]


def client_settings(node: Node | None, names: Iterable[str]) -> dict[str, Settings]:
    """The settings of the cluster of each bound name."""
    read = [(prefix, PathPattern(prefix), _client(one, prefix)) for prefix, one in _by_prefix(node)]
    found: dict[str, Settings] = {}
    for name in names:
        settings: Settings = {"breaker": False, "accrual": ACCRUAL} if node is not None else {"accrual": ACCRUAL}
        for _, pattern, own in read:
            path = read_path(name)
            if pattern.extracted(path) is not None:
                filled = {"tls_name": pattern.substituted(path, own["tls_name"])} if own.get("tls_name") else {}
                settings = settings | own | filled
        if not settings.get("tls"):
            settings.pop("tls_name", None)
        found[name] = settings
    return found


def _by_prefix(node: Node | None) -> list[tuple[str, Node]]:
    """The settings by the prefixes that they are for."""
    if node is None:
        return []
    kind = node.text("kind", "io.l5d.global")
    if kind == "io.l5d.static":
        return [(one.text("prefix") or EVERYTHING, one) for one in node.nodes("configs")]
    if kind != "io.l5d.global":
        raise node.error("kind", f"expected io.l5d.global or io.l5d.static, found {kind!r}")
    return [(EVERYTHING, node)]


def _elements(prefix: str) -> list[str]:
    return [element for element in prefix.split("/") if element]


def _wide(prefix: str) -> bool:
    """Does it take every name? `/svc` does, as names begin with it."""
    return _elements(prefix) in ([], ["*"], ["svc"])


def _covers(wide: str, narrow: str) -> bool:
    """Does every name that `narrow` takes belong to `wide` too?"""
    if _wide(wide):
        return True
    mine, theirs = _elements(wide), _elements(narrow)
    return len(mine) <= len(theirs) and all(
        one == other or one == "*" or (one[:1] == "{" and one[-1:] == "}")
        for one, other in zip(mine, theirs, strict=False)
    )


def _service(node: Node) -> Settings:
    """What one entry says, and nothing of what it does not say."""
    found: Settings = {}
    retry: Settings = {}
    total = node.number("totalTimeoutMs")
    if total:
        found["timeout"] = total / 1000
    statuses = _statuses(node)
    if statuses is not None:
        retry["statuses"] = statuses
    retries = node.node("retries")
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
            retry |= {"backoff": least, "max_backoff": most}
    return {**found, "retry": retry}


def _statuses(node: Node) -> list[int] | None:
    classifier = node.node("responseClassifier")
    if classifier is None:
        return None
    kind = classifier.text("kind") or ""
    for family in ("io.l5d.http.", "io.l5d.h2.", "io.l5d."):
        kind = kind.removeprefix(family)
    if kind not in CLASSIFIERS:
        classifier.say("kind", f"{kind} is not known here: answers of 500 and above are failures, and not repeated")
        classifier.ignore(classifier.keys())
    if kind == "retryableAll5XX":
        classifier.say("kind", "what is not idempotent is not repeated here, whatever the answer")
    return CLASSIFIERS.get(kind, [])


def _client(node: Node, prefix: str) -> Settings:
    """What one entry says, and nothing of what it does not say."""
    node.without_meaning(KEPT, "hostConnectionPool", "connectTimeoutMs", "clientSession", "failFast", "socketOptions")
    node.without_meaning("requests to an endpoint are not queued", "requeueBudget", "forwardClientCert")
    if not _wide(prefix):
        node.without_meaning(
            "an attempt has one time limit for all names, that of a prefix /", "requestAttemptTimeoutMs"
        )
    found: Settings = {}
    balancer = node.node("loadBalancer")
    if balancer is not None:
        kind = balancer.named("kind")
        if kind in BALANCERS:
            found["balancer"] = BALANCERS[kind]
        else:
            balancer.say("kind", f"{kind} is not known here: the default is used")
        balancer.without_meaning("is chosen by the balancer itself", "maxEffort", "decayTimeMs", "smoothWin", "lowLoad")
        balancer.without_meaning("is chosen by the balancer itself", "highLoad", "minAperture", "enableProbation")
    accrual = node.node("failureAccrual")
    if accrual is not None:
        found["accrual"] = _accrual(accrual)
    tls = node.node("tls")
    if tls is not None:
        tls.without_meaning(CONTEXT, "trustCerts", "clientAuth", "trustCertsBundle", "protocols", "disableValidation")
        found["tls"] = tls.value("enabled", True) is not False
        if "commonName" in tls:
            found["tls_name"] = tls.text("commonName")
    return found


def _accrual(node: Node) -> Any:
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
        return {"consecutive_failures": node.count("failures", 5), "failure_share": 1.0, "backoff": waits}
    if kind in ("successRate", "successRateWindowed"):
        node.without_meaning("the share of failures is smoothed over recent calls", "window")
        rate = node.number("successRate", 0.8) or 0.0
        volume = node.count("requests", 30) or 1
        share = min(max(1.0 - rate, 0.001), 1.0)
        return {"consecutive_failures": 0, "failure_share": share, "minimum_calls": volume, "backoff": waits}
    node.say("kind", f"{kind} is not known here: five failures in a row are too many")
    return {"consecutive_failures": 5, "failure_share": 1.0, "backoff": waits}


def _waits(node: Node, least: float, most: float) -> tuple[float, float]:
    constant = node.number("ms")
    if constant is not None:
        return constant / 1000, constant / 1000
    shortest, longest = node.number("minMs"), node.number("maxMs")
    low = least if shortest is None else shortest / 1000
    return low, max(low, most if longest is None else longest / 1000)
