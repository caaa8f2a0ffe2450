"""Dtab override: a request's own delegations, from its headers, where the configuration allows them.

`l5d-ctx-dtab` travels with a call through the mesh, `l5d-dtab` is a user's wish; both come after the configured dtab,
the user's last, so it wins (after Linkerd's LinkerdHeaders). Finagle's older `dtab-local` and `x-dtab-NN-{a,b}` can be
read too. At the edge, `without_context` removes what a stranger must not say.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable

from ..errors import ConfigError
from .dtab import Dentry, Dtab
from .dtab_reader import read_dtab, read_prefix, read_tree
from .request import HeaderLookup, RouteRequest

USER_HEADER = "l5d-dtab"
CONTEXT_HEADER = "l5d-ctx-dtab"
LARGEST_OVERRIDE = 100  # entries, as Finagle limits them

_CONTEXT_PREFIXES = ("l5d-", "x-dtab-")
_CONTEXT_NAMES = frozenset(("dtab-local",))


class Override:
    """Which headers are heard: the `user`'s, the `context`'s, and Finagle's older ones (`legacy`). None by default."""

    __slots__ = ("context", "legacy", "user")

    def __init__(self, *, user: bool = False, context: bool = False, legacy: bool = False) -> None:
        self.user: bool = user
        self.context: bool = context
        self.legacy: bool = legacy

    def texts(self, request: RouteRequest) -> tuple[str, ...]:
        """What the request says, unread; empty if nothing (or nothing that is heard). Equal texts mean equal dtabs."""
        if not (self.user or self.context or self.legacy):
            return ()
        header = request.header
        found = [
            *(_legacy_texts(header) if self.legacy else ()),
            header(CONTEXT_HEADER) if self.context else None,
            header(USER_HEADER) if self.user else None,
        ]
        return tuple([text for text in found if text])

    def read(self, texts: tuple[str, ...]) -> Dtab:
        """The entries, in the order in which they are to be appended. Raises ConfigError if they cannot be read."""
        dtab = Dtab()
        for text in texts:
            for part in text.split(","):  # several header lines joined into one; a comma has no meaning in a dtab
                dtab += read_dtab(part)
                if len(dtab) > LARGEST_OVERRIDE:
                    raise ConfigError(USER_HEADER, f"at most {LARGEST_OVERRIDE} entries expected")
        return dtab


OFF = Override()


def without_context(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers of a request from outside, without anything that steers the mesh (Linkerd's `clearContext`)."""
    return [pair for pair in headers if not _steers(pair[0].lower())]


def context_header(override: Dtab) -> tuple[str, str] | None:
    """The header that carries a request's own delegations to the next hop; None if there are none."""
    return (CONTEXT_HEADER, str(override)) if len(override) else None


def _steers(name: str) -> bool:
    return name.startswith(_CONTEXT_PREFIXES) or name in _CONTEXT_NAMES


def _legacy_texts(header: HeaderLookup) -> list[str | None]:
    pairs: list[str] = []
    for number in range(LARGEST_OVERRIDE):
        prefix, tree = header(f"x-dtab-{number:02d}-a"), header(f"x-dtab-{number:02d}-b")
        if prefix is None and tree is None:
            break
        if prefix is None or tree is None:
            raise ConfigError(f"x-dtab-{number:02d}", "headers in pairs of -a and -b expected, one found")
        pairs.append(str(Dentry(read_prefix(_decoded(prefix)), read_tree(_decoded(tree)))))
    return [";".join(pairs), header("dtab-local")]


def _decoded(value: str) -> str:
    try:
        return b64decode(value, validate=True).decode()
    except ValueError:
        raise ConfigError("x-dtab", f"base64 expected but {value!r} found") from None
