"""Load report: a server's own load in ORCA's forms, as in response headers and trailers."""

from __future__ import annotations

import json
from base64 import b64decode
from binascii import Error as BadBase64
from collections.abc import Mapping
from math import isfinite
from struct import unpack_from

HEADER = "endpoint-load-metrics"  # what Envoy reads; gRPC's trailer is `endpoint-load-metrics-bin`
PROBE_PATH = "/.well-known/meshlib/load"  # where a server answers probes, with a report in that header
_DOUBLES = {
    1: "cpu_utilization",
    2: "mem_utilization",
    6: "rps_fractional",
    7: "eps",
    9: "application_utilization",
}
_MAPS = {4: "request_cost", 5: "utilization", 8: "named_metrics"}


class LoadReport:
    """A server's load as of `at` (monotonic seconds, when the client received it).

    `in_flight` counts the requests in service from all clients, `latency` is its own estimate for a new one in
    seconds (Prequal: the median at the present load). `utilization` is 0–1 and may exceed 1, `qps` and `eps` are
    requests and errors per second. `None` means: not reported.
    """

    __slots__ = ("at", "eps", "in_flight", "latency", "qps", "utilization")

    def __init__(
        self,
        at: float,
        *,
        in_flight: float | None = None,
        latency: float | None = None,
        utilization: float | None = None,
        qps: float | None = None,
        eps: float = 0.0,
    ) -> None:
        self.at: float = at
        self.in_flight: float | None = in_flight
        self.latency: float | None = latency
        self.utilization: float | None = utilization
        self.qps: float | None = qps
        self.eps: float = eps

    def __repr__(self) -> str:
        values = ((slot, getattr(self, slot)) for slot in self.__slots__)
        return f"LoadReport({', '.join(f'{name}={value!r}' for name, value in values if value is not None)})"


def parse_report(header: str, now: float) -> LoadReport | None:
    """A report from the value of the header `endpoint-load-metrics`; `None` if it cannot be understood.

    Known forms: `TEXT cpu_utilization=0.3, named_metrics.in_flight=4`, `JSON {…}`, and `BIN <base64 protobuf>`, which
    may also stand without its prefix (as in gRPC's binary trailer). Utilization is the application's own, else the
    CPU's; `in_flight` and `latency` are read from the named metrics `in_flight` (or `rif`) and `latency`.
    """
    form, _, rest = header.strip().partition(" ")
    try:
        if form == "TEXT":
            return _report(dict(_pairs(rest)), now)
        if form == "JSON":
            return _report(dict(_flat(json.loads(rest))), now)
        return _report(_protobuf(b64decode(_padded(rest if form == "BIN" else header.strip()), validate=True)), now)
    except (ValueError, OverflowError, BadBase64, TypeError, AttributeError, IndexError, LookupError, RecursionError):
        return None


def format_report(report: LoadReport) -> str:
    """The header value that says the same, in the TEXT form."""
    values = {
        "application_utilization": report.utilization,
        "rps_fractional": report.qps,
        "eps": report.eps or None,
        "named_metrics.in_flight": report.in_flight,
        "named_metrics.latency": report.latency,
    }
    return "TEXT " + ",".join(f"{name}={value:.6g}" for name, value in values.items() if value is not None)


def _report(values: Mapping[str, float], now: float) -> LoadReport:
    for value in values.values():
        if not isfinite(value) or value < 0:
            raise ValueError(value)
    get = values.get
    return LoadReport(
        now,
        in_flight=get("named_metrics.in_flight", get("named_metrics.rif")),
        latency=get("named_metrics.latency"),
        utilization=get("application_utilization") or get("cpu_utilization"),
        qps=get("rps_fractional") or get("rps"),
        eps=get("eps", 0.0),
    )


def _pairs(text: str) -> list[tuple[str, float]]:
    pairs = (pair.partition("=" if "=" in pair else ":") for pair in text.split(",") if pair.strip())
    return [(name.strip(), float(value)) for name, _, value in pairs]


def _flat(tree: Mapping[str, object], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in tree.items():
        if isinstance(value, dict):
            found += _flat(value, f"{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((prefix + name, float(value)))
    return found


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)


def _protobuf(data: bytes) -> dict[str, float]:
    """The doubles and the maps to doubles of xds.data.orca.v3.OrcaLoadReport."""
    if not data:
        raise ValueError("empty")
    values: dict[str, float] = {}
    for field, kind, value in _fields(data):
        if kind == 1 and field in _DOUBLES:
            values[_DOUBLES[field]] = unpack_from("<d", value)[0]
        elif kind == 2 and field in _MAPS:
            entry = {number: content for number, _, content in _fields(value)}
            values[f"{_MAPS[field]}.{entry[1].decode()}"] = unpack_from("<d", entry[2])[0] if 2 in entry else 0.0
    return values


def _fields(data: bytes) -> list[tuple[int, int, bytes]]:
    found, at = [], 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            start = at
            _, at = _varint(data, at)
        elif kind in (1, 5):
            start, at = at, at + (8 if kind == 1 else 4)
        elif kind == 2:
            size, start = _varint(data, at)
            at = start + size
        else:
            raise ValueError(f"wire type {kind}")
        if at > len(data):
            raise ValueError("cut short")
        found.append((tag >> 3, kind, data[start:at]))
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("more than 64 bits")
