"""Istio retries: `retries` of a rule, and Istio's default where there are none."""

from __future__ import annotations

from typing import Any

from .node import Node

# What the transport tells apart by itself: nothing was sent, or the request may be sent twice.
BY_ITSELF = {"connect-failure", "refused-stream", "reset", "reset-before-request", "retriable-status-codes"}
STATUSES = {"5xx": range(500, 600), "gateway-error": (502, 503, 504), "retriable-4xx": (409,)}
OF_GRPC = {"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}

# Istio's own default: two more attempts when a connection failed.
DEFAULT: dict[str, Any] = {"attempts": 3, "statuses": [], "backoff": 0.025}


def retry_of(node: Node) -> dict[str, Any]:
    """Our `retry` and `per_try_timeout`."""
    node.without_meaning("where to try again is the balancer's choice", "retryRemoteLocalities")
    node.without_meaning("an endpoint that has failed is always avoided", "retryIgnorePreviousHosts")
    attempts = node.count("attempts", 2) or 0
    per_try = node.seconds("perTryTimeout")
    words = [word.strip() for word in (node.text("retryOn") or "").split(",") if word.strip()]
    statuses: set[int] = set()
    for word in words:
        if word in STATUSES:
            statuses |= set(STATUSES[word])
        elif word.isascii() and word.isdigit() and len(word) < 10 and 100 <= int(word) <= 599:
            statuses.add(int(word))
        elif word in OF_GRPC:
            node.say("retryOn", f"{word!r} is a status of gRPC, which HTTP calls do not have")
        elif word not in BY_ITSELF:
            node.say("retryOn", f"{word!r} is not known here, and does nothing")
    retry: dict[str, Any] = {"attempts": attempts + 1, "statuses": sorted(statuses), "backoff": 0.025}
    backoff = node.seconds("backoff")
    if backoff is not None:
        retry |= {"backoff": backoff, "max_backoff": 10 * backoff}
    return {"retry": retry} | ({"per_try_timeout": per_try} if per_try else {})
