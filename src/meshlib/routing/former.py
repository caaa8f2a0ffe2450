"""Former hosts: the names that were services of this mesh and must not go out as unknown hosts.

A name that was a service is called with tokens that are meant for it. Once the service is gone, DNS may name a stranger
for it. So each route table remembers the names of all that were published before it, until the process restarts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from .hosts import HostMap

LARGEST = 4 << 20  # bytes of memory for names; beyond that each unknown host counts as one of them
OVERHEAD = 100  # bytes that Python needs for a name besides its letters


class FormerHosts:
    """What is remembered, as of one route table. Immutable.

    `hosts` is the service of each host that was one. With `by_dtab`, a dtab took every host that no service took. With
    `full`, there were more names than `LARGEST` bytes hold.
    """

    __slots__ = ("by_dtab", "full", "hosts", "size")

    def __init__(self, hosts: HostMap[str], size: int = 0, *, by_dtab: bool = False, full: bool = False) -> None:
        self.full: bool = full or size > LARGEST
        self.hosts: HostMap[str] = HostMap[str]({}) if self.full else hosts
        self.size: int = 0 if self.full else size  # bytes
        self.by_dtab: bool = by_dtab

    def after(self, before: Mapping[str, str], now: Mapping[str, str], *, by_dtab: bool) -> FormerHosts:
        """The memory of a table whose services take the hosts `now`, after one whose services took those `before`."""
        gone = {host: service for host, service in before.items() if host not in now}
        back = self.hosts.entries.keys() & now.keys()
        if not gone and not back and by_dtab is self.by_dtab:
            return self
        size = self.size + _size(gone) - _size(back)
        found = FormerHosts(self.hosts.changed(gone, back), size, by_dtab=by_dtab, full=self.full)
        return found if found.size or found.full or by_dtab else NONE

    def reason(self, host: str) -> str | None:
        """Why `host` is not let out, and what to do about it; None if it never was a name of this mesh."""
        service = self.hosts.find(host)
        if service is not None:
            was = f"was a name of service {service!r} until a change of the configuration removed it"
        elif self.by_dtab:
            was = "may have been a name of the dtab, until a change of the configuration removed that"
        elif self.full:
            was = f"may have been a service: more names were removed than {LARGEST >> 20} MB can hold"
        else:
            return None
        advice = "bring it back, list the host under `egress: hosts`, or restart the process"
        return f"{was}; nothing was sent, because DNS may name a stranger for it; {advice}"


def _size(hosts: Collection[str]) -> int:
    return sum(map(len, hosts)) + OVERHEAD * len(hosts)


NONE = FormerHosts(HostMap({}))
