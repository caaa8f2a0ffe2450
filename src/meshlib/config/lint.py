"""Lint: finds what is valid in a mesh.yaml but has no effect: unreachable rules, short splits, empty clusters."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from pathlib import Path

from ..errors import ConfigError
from ..mesh import Mesh
from ..routing.table import RouteTable
from .build import Builder
from .build_routes import clusters_of
from .document import Document, Place, dotted
from .draft import MANIFESTS
from .load import load
from .loaded import Loaded
from .manifests import are_manifests, read_manifests
from .models import MeshModel, ServiceModel
from .node import FileFinding
from .route_models import MatchModel, PathModel, RouteModel


def lint(path: Path) -> list[FileFinding]:
    """Everything that is wrong with a mesh.yaml or senseless in it, in the order of its lines.

    Of manifests (a file, a folder or a pattern): what is wrong, and what does nothing in a client.
    """
    report: list[FileFinding] = []
    try:
        if are_manifests(path):
            manifests = read_manifests([path])
            loaded, report = manifests.loaded, manifests.report.findings
        else:
            loaded = load(path)
        table = Builder(Mesh()).snapshot(loaded).routes  # what only constructors see is wrong as well
    except ConfigError as error:
        found = [FileFinding(error.file or str(path), error.line or 1, "error", f"{error.where}: {error.expected}")]
        return found + [_from_note(note, str(path)) for note in getattr(error, "__notes__", ())]
    senseless = [] if report or loaded.document.file == MANIFESTS else list(_warnings(loaded, table))
    return sorted([*report, *senseless], key=lambda finding: (finding.file, finding.line))


def _from_note(note: str, file: str) -> FileFinding:
    """The further problems of one reading hang on the first as notes: `file:line: message`."""
    place, _, message = note.removeprefix(file).lstrip(":").partition(": ")
    return FileFinding(file, int(place) if place.isdigit() else 1, "error", message or note)


def _warnings(loaded: Loaded, table: RouteTable) -> Iterator[FileFinding]:
    document, model = loaded.document, loaded.model
    for name, service in model.services.items():
        yield from _splits(document, name, service)
        yield from _unreachable(document, name, service)
        if service.per_try_timeout is not None and service.per_try_timeout >= (service.timeout or inf):
            place: Place = ("services", name, "per_try_timeout")
            yield _warn(document, place, "not shorter than timeout, so it can never end a try")
    for name in model.clusters:
        if not loaded.endpoints[name]:
            yield _warn(document, ("clusters", name), "has no endpoints: every call to it is refused")
    yield from _unnamed(document, model)
    for index, host in enumerate(table.outside):
        taker = table.service(host)
        if taker is not None:
            message = f"{host} never goes out: service {taker.name!r} takes it"
            yield _warn(document, ("egress", "hosts", index), message)


def _splits(document: Document, name: str, service: ServiceModel) -> Iterator[FileFinding]:
    base: Place = ("services", name)
    splits: list[tuple[Place, dict[str, float]]] = [((*base, "split"), service.split)]
    splits += [((*base, "routes", n, "split"), route.split) for n, route in enumerate(service.routes)]
    for place, split in splits:
        total = sum(split.values())
        if len(split) > 1 and total != 100 and 90 <= total <= 110:
            yield _warn(
                document, place, f"the weights sum to {total:g}; weights are relative, but 100 seems to be meant"
            )


def _unreachable(document: Document, name: str, service: ServiceModel) -> Iterator[FileFinding]:
    """A rule is never reached if an earlier one takes everything that it takes."""
    for at, route in enumerate(service.routes):
        for before, earlier in enumerate(service.routes[:at]):
            if _covers(earlier, route):
                said = f"rule {before}" + (f" ({earlier.name})" if earlier.name else "")
                place: Place = ("services", name, "routes", at)
                yield _warn(document, place, f"is never reached: {said} takes every request that it matches")
                break


def _covers(wide: RouteModel, narrow: RouteModel) -> bool:
    if not wide.match:
        return True
    return bool(narrow.match) and all(any(_wider(a, b) for a in wide.match) for b in narrow.match)


def _wider(wide: MatchModel, narrow: MatchModel) -> bool:
    """Certainly at least as wide: each condition of `wide` stands in `narrow` too, or follows from its path."""
    if wide.method and not (narrow.method and set(narrow.method) <= set(wide.method)):
        return False
    for field in ("headers", "query", "cookies", "labels"):
        mine, theirs = getattr(wide, field), getattr(narrow, field)
        if not all(theirs.get(key) == text for key, text in mine.items()):
            return False
    if wide.env not in (None, narrow.env):
        return False
    if wide.port and wide.port != narrow.port:
        return False
    if (wide.host and wide.host != narrow.host) or (wide.scheme and wide.scheme != narrow.scheme):
        return False
    return _wider_path(wide.path, narrow.path)


def _wider_path(wide: str | PathModel | None, narrow: str | PathModel | None) -> bool:
    if wide is None or wide == narrow:
        return True
    prefix, literal = _prefix(wide), _literal(narrow)
    if prefix is None or literal is None:
        return False
    return prefix in ("", "/") or literal == prefix or literal.startswith(prefix.rstrip("/") + "/")


def _prefix(path: str | PathModel) -> str | None:
    if isinstance(path, PathModel):
        return None if path.prefix is None or path.ignore_case else path.prefix
    plain = path.endswith("/*") and not set(path[:-2]) & set("{*")
    return path[:-2] if plain else None


def _literal(path: str | PathModel | None) -> str | None:
    """The part of the path with which everything begins that `path` takes, if it is made of whole segments."""
    if path is None:
        return None
    if isinstance(path, PathModel):
        return (
            None if path.ignore_case or not path.segments else path.exact or (path.prefix and path.prefix.rstrip("/"))
        )
    return _prefix(path) if path.endswith("/*") else None if set(path) & set("{*") else path


def _unnamed(document: Document, model: MeshModel) -> Iterator[FileFinding]:
    named = {cluster for service in model.services.values() for cluster in clusters_of(service).values()}
    named |= {name for name, service in model.services.items() if not service.split and not service.routes}
    for name in model.clusters:
        if name not in named:
            yield _warn(document, ("clusters", name), "no service leads to it")


def _warn(document: Document, place: Place, message: str) -> FileFinding:
    nearest = place
    while nearest and nearest not in document.lines:
        nearest = nearest[:-1]
    return FileFinding(document.file, document.lines.get(nearest, 1), "warning", f"{dotted(place)}: {message}")
