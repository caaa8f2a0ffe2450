"""Rule check: finds what is wrong in rules that can be read, as a compiler warns.

Nothing here is guessed: a rule is called unreachable only if an earlier one provably takes everything that it could.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal, TypeAlias

from .match import Match
from .route import Matcher, Route
from .split import Split
from .table import RouteTable, ServiceRoutes
from .url_path import ExactPath, PrefixPath, RegexPath, TemplatePath, UrlPath

Kind: TypeAlias = Literal["unreachable", "unknown-cluster", "split-sum", "no-match", "same-name"]


class Finding:
    """One thing that looks wrong: in which service, in which rule (from 0; None: its default), and why."""

    __slots__ = ("kind", "message", "rule", "service")

    def __init__(self, kind: Kind, service: str, rule: int | None, message: str) -> None:
        self.kind = kind
        self.service: str = service
        self.rule: int | None = rule
        self.message: str = message

    def __str__(self) -> str:
        where = "default" if self.rule is None else f"rule {self.rule + 1}"
        return f"{self.service}, {where}: {self.message}"


def findings(table: RouteTable, *, clusters: Collection[str] | None = None) -> list[Finding]:
    """Everything that looks wrong in a table. With `clusters`, also names of clusters that are not among them."""
    services = list(table.services.values())
    if isinstance(table.unknown, ServiceRoutes):
        services.append(table.unknown)
    found: list[Finding] = []
    for service in services:
        found += _unreachable(service)
        rules: list[tuple[int | None, Route]] = list(enumerate(service.routes))
        if service.default is not None:
            rules.append((None, service.default))
        names: dict[str, int] = {}
        for rule, route in rules:
            found += [Finding(kind, service.name, rule, message) for kind, message in _of_route(route, clusters)]
            if rule is not None and route.name:
                first = names.setdefault(route.name, rule)
                if first != rule:
                    message = f"has the name {route.name!r}, as rule {first + 1}"
                    found.append(Finding("same-name", service.name, rule, message))
        if service.default is None and not any(_takes_all(route) for route in service.routes):
            message = "a request that no rule takes is refused, because there is no default"
            found.append(Finding("no-match", service.name, None, message))
    return found


def covers(first: Matcher, second: Matcher) -> bool:
    """Whether `first` certainly holds wherever `second` holds."""
    if first is second:
        return True
    if not (isinstance(first, Match) and isinstance(second, Match)):
        return False
    wanted = {(what, text) for what, text, _ in second.conditions}
    lists = (
        ("method", first.methods, second.methods),
        ("scheme", first.schemes, second.schemes),
        ("port", first.ports, second.ports),
    )
    wider = {what for what, mine, yours in lists if yours and set(yours) <= set(mine)}
    return _covers_path(first.path, second.path) and all(
        what in wider or (what, text) in wanted for what, text, _ in first.conditions
    )


def _unreachable(service: ServiceRoutes) -> Iterator[Finding]:
    earlier: list[tuple[int, Matcher]] = []
    closed: int | None = None  # the rule that takes everything
    for rule, route in enumerate(service.routes):
        if closed is None:
            by = [_covering(alternative, earlier) for alternative in route.match]
        else:
            by = [closed] * max(len(route.match), 1)
        if by and all(number is not None for number in by):
            numbers = sorted({number + 1 for number in by if number is not None})
            message = f"is never reached: rule {' and '.join(map(str, numbers))} takes all of it"
            yield Finding("unreachable", service.name, rule, message)
        earlier += [(rule, alternative) for alternative in route.match]
        if closed is None and _takes_all(route):
            closed = rule


def _covering(alternative: Matcher, earlier: list[tuple[int, Matcher]]) -> int | None:
    return next((rule for rule, other in earlier if covers(other, alternative)), None)


def _takes_all(route: Route) -> bool:
    return not route.match or any(
        isinstance(alternative, Match) and alternative.path is None and not alternative.conditions
        for alternative in route.match
    )


def _covers_path(first: UrlPath | None, second: UrlPath | None) -> bool:
    if first is None:
        return True
    if second is None:
        return isinstance(first, PrefixPath) and first.certain and not first.value
    if isinstance(first, PrefixPath) and first.certain:
        # `literal` is what every path that the second takes begins with, in whole segments.
        return not first.value or PrefixPath(first.value).test(second.literal or "/")
    if isinstance(second, ExactPath) and second.exact:
        return first.test(second.value)
    same = type(first) is type(second) and isinstance(first, RegexPath | TemplatePath | PrefixPath | ExactPath)
    return same and repr(first) == repr(second) and _folds(first) == _folds(second)


def _folds(path: UrlPath) -> object:
    if isinstance(path, RegexPath):
        return path.regex.ignore_case
    return (getattr(path, "ignore_case", None), getattr(path, "segments", None))


def _of_route(route: Route, clusters: Collection[str] | None) -> Iterator[tuple[Kind, str]]:
    if route.to is not None:
        yield from _of_split(route.to)
    if clusters is not None:
        named = [] if route.to is None else [arm.cluster for arm in route.to.destinations]
        for cluster in [*named, *[mirror.cluster for mirror in route.mirrors]]:
            if cluster not in clusters:
                yield "unknown-cluster", f"names the cluster {cluster!r}, which does not exist"


def _of_split(split: Split) -> Iterator[tuple[Kind, str]]:
    weights = [arm.weight for arm in split.destinations]
    total = sum(weights)
    # Weights are relative, and 2:1 is as good as any; but 90 and 9 were meant to be percentages.
    if len(weights) > 1 and 90 <= total <= 110 and total != 100:
        yield "split-sum", f"the weights of its split sum up to {total:g}, not 100; they are taken as relative"
