"""Endpoints that stand in a file: our own list, or Prometheus' `file_sd` (JSON or YAML)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..balancing import Endpoint
from .document import Document, read
from .errors import first_error
from .models import EndpointModel

_ONE = TypeAdapter(EndpointModel)


def read_endpoints(path: Path) -> list[Endpoint]:
    """All endpoints of a file. Raises `ConfigError`.

    Either a list of "host:port" and {address, weight, labels, zone, priority}, or Prometheus' list of
    {targets: [...], labels: {...}}; both kinds may stand in one list.
    """
    document = read(path)
    data = document.data if document.data is not None else []
    if not isinstance(data, list):
        raise document.error((), f"expected a list of endpoints, found {type(data).__name__}")
    found: list[Endpoint] = []
    for index, item in enumerate(data):
        if isinstance(item, Mapping) and "targets" in item:
            found += _group(document, index, item)
        else:
            found.append(_one(document, (index,), {"address": item} if isinstance(item, str) else item))
    return found


def endpoint(model: EndpointModel) -> Endpoint:
    """The endpoint that a model describes. Raises ValueError for an address that is none."""
    host, port = split_address(model.address)
    labels = dict(model.labels)
    return Endpoint(
        host,
        port,
        weight=model.weight,
        labels=labels,
        zone=model.zone or labels.get("zone", ""),
        priority=model.priority,
    )


def split_address(address: str) -> tuple[str, int]:
    """("host", port) of "host:port" or "[v6]:port"; ("unix:/path", 0) of a Unix socket."""
    if address.startswith("unix:") and len(address) > 5:
        return address, 0
    host, _, port = address.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"expected host:port or unix:/path, found {address!r}")
    return host, int(port)


def _group(document: Document, index: int, item: Mapping[str, Any]) -> list[Endpoint]:
    targets, labels = item["targets"], item.get("labels") or {}
    if not isinstance(targets, list):
        raise document.error((index, "targets"), f"expected a list of host:port, found {targets!r}")
    unknown = set(item) - {"targets", "labels"}
    if unknown:
        raise document.error((index, sorted(unknown)[0]), "unknown key; expected targets and labels")
    if not isinstance(labels, Mapping):
        raise document.error((index, "labels"), f"expected names and values, found {labels!r}")
    texts = {str(name): str(value) for name, value in labels.items()}
    return [
        _one(document, (index, "targets", place), {"address": target, "labels": texts})
        for place, target in enumerate(targets)
    ]


def _one(document: Document, place: tuple[str | int, ...], item: Any) -> Endpoint:
    try:
        return endpoint(_ONE.validate_python(item))
    except ValidationError as error:
        raise first_error(document, error, place) from None
    except ValueError as error:
        raise document.error(place, str(error)) from None
