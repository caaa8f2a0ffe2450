"""Host map: finds the entry for a host by name or wildcard, as Envoy does.

The exact name comes first, then the longest suffix wildcard (`*.example.com`), then the longest prefix wildcard
(`users.*`), then `*`. A name with a port is first looked up with it, then without. Letter case and a trailing dot do
not count.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy
from types import MappingProxyType
from typing import Generic, TypeVar

from .request import host_and_port

T = TypeVar("T")


def folded(host: str) -> str:
    """A host as it is compared: in lower case, its name without a dot at the end, its port kept."""
    host = host.lower()
    name, port = host_and_port(host)
    return f"{name.rstrip('.')}:{port}" if port else name.rstrip(".")


def pattern(host: str) -> str:
    """A host or a wildcard as a map keeps it. Raises ValueError for a text that is neither."""
    found = folded(host)
    if "*" in found[1:-1] or (found.startswith("*") and found.endswith("*") and found != "*") or not found:
        raise ValueError(f"hosts: {host!r} found, expected a name with at most one * at its begin or end")
    return found


class HostMap(Generic[T]):
    """Values by host. Immutable; the keys of `entries` are what `pattern` returns."""

    __slots__ = ("_by_prefix", "_by_suffix", "_entries", "entries")

    def __init__(self, entries: Mapping[str, T]) -> None:
        self._entries = dict(entries)
        self.entries: Mapping[str, T] = MappingProxyType(self._entries)
        wild = [host for host in entries if "*" in host and host != "*"]
        self._by_suffix = _by_length({host[1:]: entries[host] for host in wild if host[0] == "*"})
        self._by_prefix = _by_length({host[:-1]: entries[host] for host in wild if host[-1] == "*"})

    def changed(self, added: Mapping[str, T], removed: Collection[str] = ()) -> HostMap[T]:
        """A map with other entries. Where names alone change, it costs no more than a copy."""
        entries = self._entries.copy()
        for host in removed:
            entries.pop(host, None)
        entries.update(added)
        if any("*" in host for host in (*added, *removed)):
            return HostMap(entries)
        found = copy(self)
        found._entries, found.entries = entries, MappingProxyType(entries)
        return found

    def find(self, host: str) -> T | None:
        """The value of the entry that takes `host`, a name as callers use it; None if none does."""
        name, port = host_and_port(host.lower())
        name = name.rstrip(".")
        found = self._entries.get(f"{name}:{port}") if port else None
        if found is None:
            found = self._entries.get(name)
        if found is not None:
            return found
        for length, endings in self._by_suffix:
            # A wildcard stands for at least one character, except that `*` alone takes everything.
            found = endings.get(name[-length:]) if length < len(name) else None
            if found is not None:
                return found
        for length, beginnings in self._by_prefix:
            found = beginnings.get(name[:length]) if length < len(name) else None
            if found is not None:
                return found
        return self._entries.get("*")


def _by_length(table: dict[str, T]) -> list[tuple[int, dict[str, T]]]:
    """The tables of the texts of one length, the longest first."""
    found: dict[int, dict[str, T]] = {}
    for text, value in table.items():
        found.setdefault(len(text), {})[text] = value
    return sorted(found.items(), reverse=True)
