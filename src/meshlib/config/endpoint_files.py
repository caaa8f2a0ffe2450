"""Endpoint files: endpoints from a file, as our own list or as Prometheus' `file_sd` (JSON or YAML)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..balancing import Endpoint
from ..balancing.endpoint import NO_LABELS
from .document import Document, Place
from .errors import first_error, shown_value
from .models import EndpointModel

_ONE = TypeAdapter(EndpointModel)
NO_ENDPOINTS: Mapping[str, Endpoint] = {}


def endpoints_of(document: Document, known: Mapping[str, Endpoint] = NO_ENDPOINTS) -> list[Endpoint]:
    """All endpoints of a file. Raises `ConfigError`.

    Either a list of "host:port" and {address, weight, labels, zone, priority}, or Prometheus' list of
    {targets: [...], labels: {...}}; both kinds may stand in one list. Those of `known` (by address) that are still
    what they were are the same objects.
    """
    data = document.data
    if data is None:  # a file of zero bytes was truncated; it does not say that there are none
        raise document.error((), "says nothing: expected a list of endpoints; write `[]` if there are none")
    if not isinstance(data, list):
        raise document.error((), f"expected a list of endpoints, found {type(data).__name__}")
    found: list[Endpoint] = []
    for index, item in enumerate(data):
        if isinstance(item, Mapping) and "targets" in item:
            found += _group(document, index, item, known)
        elif isinstance(item, str):
            found.append(_at(document, (index,), item, known))
        else:
            found.append(_one(document, (index,), item, known))
    return found


def endpoint(one: EndpointModel | str, known: Mapping[str, Endpoint] = NO_ENDPOINTS) -> Endpoint:
    """The endpoint that a model or an address describes. Raises ValueError for an address that is none.

    That of `known` if nothing about it has changed: of ten thousand most stay as they were, and each new object costs.
    """
    if isinstance(one, str):
        return _made(one, 1.0, NO_LABELS, "", 0, known)
    labels = dict(one.labels)
    return _made(one.address, one.weight, labels, one.zone or labels.get("zone", ""), one.priority, known)


def copy_of(one: Endpoint, known: Mapping[str, Endpoint] = NO_ENDPOINTS) -> Endpoint:
    """The same endpoint for another cluster, which will know it by its own calls. That of `known`, as above."""
    return _made(one.address, one.weight, one.labels, one.zone, one.priority, known)


def _made(
    address: str, weight: float, labels: Mapping[str, str], zone: str, priority: int, known: Mapping[str, Endpoint]
) -> Endpoint:
    kept = known.get(address)
    now = weight, zone, priority, labels
    if kept is not None and (kept.weight, kept.zone, kept.priority, kept.labels) == now:
        return kept
    host, port = split_address(address)
    return Endpoint(host, port, weight=weight, labels=labels, zone=zone, priority=priority)


def split_address(address: str) -> tuple[str, int]:
    """("host", port) of "host:port" or "[v6]:port"; ("unix:/path", 0) of a Unix socket."""
    if address.startswith("unix:") and len(address) > 5:
        return address, 0
    host, _, port = address.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not host or not (port.isascii() and port.isdigit() and len(port) < 10 and 0 < int(port) < 65536):
        raise ValueError(f"expected host:port or unix:/path, found {shown_value(address)}")
    return host, int(port)


def _group(document: Document, index: int, item: Mapping[str, Any], known: Mapping[str, Endpoint]) -> list[Endpoint]:
    targets, labels = item["targets"], item.get("labels") or {}
    if not isinstance(targets, list):
        raise document.error((index, "targets"), f"expected a list of host:port, found {shown_value(targets)}")
    unknown = set(item) - {"targets", "labels"}
    if unknown:
        raise document.error((index, sorted(unknown)[0]), "unknown key; expected targets and labels")
    if not isinstance(labels, Mapping):
        raise document.error((index, "labels"), f"expected names and values, found {shown_value(labels)}")
    texts = {str(name): str(value) for name, value in labels.items()}
    return [_at(document, (index, "targets", at), target, known, texts) for at, target in enumerate(targets)]


def _at(
    document: Document, place: Place, address: Any, known: Mapping[str, Endpoint], labels: Mapping[str, str] = NO_LABELS
) -> Endpoint:
    """Without a model: there is but one text to be checked."""
    if not isinstance(address, str):
        raise document.error(place, f"expected host:port, found {shown_value(address)}")
    try:
        return _made(address, 1.0, labels, labels.get("zone", ""), 0, known)
    except ValueError as error:
        raise document.error(place, str(error)) from None


def _one(document: Document, place: Place, item: Any, known: Mapping[str, Endpoint]) -> Endpoint:
    try:
        return endpoint(_ONE.validate_python(item), known)
    except ValidationError as error:
        raise first_error(document, error, place) from None
    except ValueError as error:
        raise document.error(place, str(error)) from None
