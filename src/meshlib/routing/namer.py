"""Namers: bind names to clusters. Ours are views of the discovery sources, and a few that only rewrite.

A namer answers for the part of a path behind its prefix: with a tree of bound names or of further paths, with `NEG` if
it does not know the name, with `PENDING` if it does not know yet, or by raising `NamingError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeAlias

from ..errors import MeshError
from .nametree import NEG, Leaf, NameTree
from .path import EMPTY_PATH, Path
from .path_pattern import PathPattern


class NamingError(MeshError):
    """A name could not be bound: an unknown namer, a delegation that goes round in circles, a namer that failed."""


class Bound:
    """A name that is bound: `id` is the path that led there, `residual` what remained of it.

    `cluster` is the cluster to send to. For the inet namers `address` is host and port, and the cluster is named by
    its id. `weight` is that of the innermost union around it, if any; it does not count when names are compared.
    """

    __slots__ = ("address", "cluster", "id", "residual", "weight")

    def __init__(
        self,
        id: Path,
        residual: Path = EMPTY_PATH,
        *,
        cluster: str | None = None,
        address: tuple[str, int] | None = None,
        weight: float | None = None,
    ) -> None:
        self.id: Path = id
        self.residual: Path = residual
        self.cluster: str = str(id) if cluster is None else cluster
        self.address: tuple[str, int] | None = address
        self.weight: float | None = weight

    def weighing(self, weight: float | None) -> Bound:
        """The same name under a union that gives it this weight."""
        if weight is None:
            return self
        return Bound(self.id, self.residual, cluster=self.cluster, address=self.address, weight=weight)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bound) and (self.id, self.residual) == (other.id, other.residual)

    def __hash__(self) -> int:
        return hash((self.id, self.residual))

    def __str__(self) -> str:
        return str(self.id + self.residual)

    def __repr__(self) -> str:
        return f"Bound({str(self.id)!r}, residual={str(self.residual)!r}, cluster={self.cluster!r})"


class Pending:
    """The type of `PENDING`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "PENDING"


PENDING: Final = Pending()
Name: TypeAlias = Path | Bound
Lookup: TypeAlias = "Callable[[Path], NameTree[Name] | Pending]"


class Namer(Protocol):
    """What binds names below some prefix."""

    def lookup(self, path: Path) -> NameTree[Name] | Pending: ...


class SourceNamer:
    """A discovery source as a namer: `/#/io.l5d.fs/users` is the cluster that the source calls `users`.

    `clusters` maps a name in the source to a cluster of the mesh; names are made of the first `segments` elements,
    joined by `/`. None instead of the mapping: the source has not answered yet.
    """

    __slots__ = ("clusters", "prefix", "segments")

    def __init__(self, prefix: Path, clusters: Mapping[str, str] | None, *, segments: int = 1) -> None:
        if segments < 1:
            raise ValueError(f"segments: {segments!r} found, expected at least 1")
        self.prefix: Path = prefix
        self.clusters: Mapping[str, str] | None = clusters
        self.segments: int = segments

    def lookup(self, path: Path) -> NameTree[Name] | Pending:
        if len(path) < self.segments:
            return NEG
        if self.clusters is None:
            return PENDING
        name = path.take(self.segments)
        cluster = self.clusters.get("/".join(name.elements))
        if cluster is None:
            return NEG
        return Leaf(Bound(self.prefix + name, path.drop(self.segments), cluster=cluster))


class RewritingNamer:
    """Linkerd's `io.l5d.rewrite`: a path that `pattern` matches becomes `name`, with `{captures}` filled in.

    What the pattern leaves over of the path is dropped.
    """

    __slots__ = ("name", "pattern")

    def __init__(self, pattern: PathPattern | str, name: str) -> None:
        self.pattern: PathPattern = PathPattern(pattern) if isinstance(pattern, str) else pattern
        self.name: str = name

    def lookup(self, path: Path) -> NameTree[Name]:
        found = self.pattern.substituted_path(path, self.name)
        return NEG if found is None else Leaf(found)


class FunctionNamer:
    """A namer that rewrites a path by a function, which answers None for a path that it does not know."""

    __slots__ = ("rewrite",)

    def __init__(self, rewrite: Callable[[Path], Path | None]) -> None:
        self.rewrite: Callable[[Path], Path | None] = rewrite

    def lookup(self, path: Path) -> NameTree[Name]:
        found = self.rewrite(path)
        return NEG if found is None else Leaf(found)
