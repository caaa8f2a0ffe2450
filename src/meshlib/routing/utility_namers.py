"""Utility namers: the built-in names below `/$/`: addresses, failures, Finagle's and Linkerd's rewriting helpers.

/$/inet/[host/]port   /$/fixedinet/[host/]port   /$/io.buoyant.rinet/port/host      an address
/$/fail   /$/nil                                                                    `!` and `$`
/$/io.buoyant.hostportPfx/pfx/host:port/etc             -> /pfx/host/port/etc       porthostPfx: /pfx/port/host/etc
/$/io.buoyant.http.domainToPathPfx/pfx/a.b.c/etc        -> /pfx/c/b/a/etc           domainToPath: without pfx
/$/io.buoyant.http.subdomainOfPfx/b.c/pfx/a.b.c/etc     -> /pfx/a/etc               subdomainOf: without pfx
/$/io.buoyant.http.anyMethodPfx/pfx/GET/etc             -> /pfx/etc                 anyMethod: without pfx
/$/io.buoyant.http.anyHostPfx/pfx/a.b.c/etc             -> /pfx/etc                 anyHost: without pfx
"""

from __future__ import annotations

from collections.abc import Mapping
from string import ascii_letters, ascii_lowercase, ascii_uppercase, digits
from types import MappingProxyType

from .namer import Bound, FunctionNamer, Name, Namer, NamingError, Pending
from .nametree import EMPTY, FAIL, NEG, Leaf, NameTree
from .path import Path

_HOST = frozenset(ascii_letters + digits + ".:_-")
_METHOD = frozenset(ascii_uppercase)
_LABEL_END = frozenset(ascii_lowercase + digits)
_LABEL = _LABEL_END | {"-"}


def builtin(path: Path, namers: Mapping[str, Namer]) -> NameTree[Name] | Pending:
    """What a path below `/$/` means; `NEG` for any other. Raises NamingError for a namer that does not exist."""
    if len(path) < 2 or path.elements[0] != "$":
        return NEG
    kind, rest = path.elements[1], path.drop(2)
    if kind in ("inet", "fixedinet"):
        bound = _inet(path)
        if bound is not None:
            return Leaf(bound)
    if kind == "fail":
        return FAIL
    if kind == "nil":
        return EMPTY
    namer = namers.get(kind) or UTILITY_NAMERS.get(kind)
    if namer is None:
        raise NamingError(f"Unknown namer: {kind} for path: {path}")
    return namer.lookup(rest)


def _inet(path: Path) -> Bound | None:
    rest = path.elements[2:]
    for length, host in ((2, rest[0] if rest else ""), (1, "localhost")):
        if len(rest) >= length and _integer(rest[length - 1]):
            return _address(path.take(2 + length), path.drop(2 + length), host, rest[length - 1])
    return None


def _address(id: Path, residual: Path, host: str, port: str) -> Bound:
    if not (_integer(port) and 0 <= int(port) <= 65535):
        raise NamingError(f"{id}: port {port!r} found, expected 0 to 65535")
    return Bound(id, residual, address=(host, int(port)))


def _integer(text: str) -> bool:
    bare = text[1:] if text[:1] in ("+", "-") else text
    return bare.isascii() and bare.isdigit() and len(bare) < 11 and -(2**31) <= int(text) < 2**31


class _Rinet:
    """The address namer with the port before the host."""

    def lookup(self, path: Path) -> NameTree[Name]:
        if len(path) < 2:
            return NEG
        port, host = path.elements[:2]
        return Leaf(_address(Path("$", "io.buoyant.rinet", port, host), path.drop(2), host, port))


def _host_port(element: str) -> tuple[str, str] | None:
    host, colon, port = element.partition(":")
    label = port and set(port) <= _LABEL and port[0] in _LABEL_END and len(port) <= 63
    return (host, port) if colon and label else None


def _hostport_pfx(path: Path) -> Path | None:
    found = _host_port(path.elements[1]) if len(path) > 1 else None
    return None if found is None else Path(path.elements[0], *filter(None, found)) + path.drop(2)


def _porthost_pfx(path: Path) -> Path | None:
    found = _host_port(path.elements[1]) if len(path) > 1 else None
    return None if found is None else Path(path.elements[0], *filter(None, reversed(found))) + path.drop(2)


def _is_host(element: str) -> bool:
    return _HOST.issuperset(element)


def _any_method(path: Path) -> Path | None:
    return path.drop(1) if len(path) and _METHOD.issuperset(path.elements[0]) else None


def _any_host(path: Path) -> Path | None:
    return path.drop(1) if len(path) and _is_host(path.elements[0]) else None


def _domain_to_path(path: Path) -> Path | None:
    if not (len(path) and _is_host(path.elements[0])):
        return None
    return Path(*filter(None, reversed(path.elements[0].split(".")))) + path.drop(1)


def _subdomain_of(path: Path) -> Path | None:
    if len(path) < 2:
        return None
    domain, host = path.elements[:2]
    name = host.partition(":")[0] or host
    sub = name.removesuffix(f".{domain}")
    fits = _is_host(domain) and _is_host(host) and sub not in ("", name)
    return Path(sub) + path.drop(2) if fits else None


def _subdomain_of_pfx(path: Path) -> Path | None:
    if len(path) < 3:
        return None
    domain, prefix, host = path.elements[:3]
    found = _subdomain_of(Path(domain, host) + path.drop(3))
    return None if found is None else Path(prefix) + found


def _behind_prefix(rewrite: FunctionNamer) -> FunctionNamer:
    def rewritten(path: Path) -> Path | None:
        found = rewrite.rewrite(path.drop(1)) if len(path) > 1 else None
        return None if found is None else path.take(1) + found

    return FunctionNamer(rewritten)


_ANY_METHOD, _ANY_HOST, _DOMAIN = FunctionNamer(_any_method), FunctionNamer(_any_host), FunctionNamer(_domain_to_path)

UTILITY_NAMERS: Mapping[str, Namer] = MappingProxyType(
    {
        "io.buoyant.rinet": _Rinet(),
        "io.buoyant.hostportPfx": FunctionNamer(_hostport_pfx),
        "io.buoyant.porthostPfx": FunctionNamer(_porthost_pfx),
        "io.buoyant.http.anyMethod": _ANY_METHOD,
        "io.buoyant.http.anyMethodPfx": _behind_prefix(_ANY_METHOD),
        "io.buoyant.http.anyHost": _ANY_HOST,
        "io.buoyant.http.anyHostPfx": _behind_prefix(_ANY_HOST),
        "io.buoyant.http.domainToPath": _DOMAIN,
        "io.buoyant.http.domainToPathPfx": _behind_prefix(_DOMAIN),
        "io.buoyant.http.subdomainOf": FunctionNamer(_subdomain_of),
        "io.buoyant.http.subdomainOfPfx": FunctionNamer(_subdomain_of_pfx),
    }
)
