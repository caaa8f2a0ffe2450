"""Dtab router: finds the cluster of a request by its name: identify, bind, draw. Bound names are cached.

Put it into `RouteTable(unknown=…)`: hosts that no service takes then go by the dtab. It is immutable like the table:
when the namers know something new, make a new one.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

from ..errors import ConfigError
from .actions import HeaderEdit, Rewrite
from .binding import Interpreter, shares
from .dtab_override import CONTEXT_HEADER, OFF, USER_HEADER, Override
from .identifiers import HeaderTokenIdentifier, Identified, Identifier
from .namer import Bound, NamingError, Pending
from .path import Path
from .path_pattern import PathPattern
from .request import Random, RouteRequest, host_and_port
from .route import Decision, Route
from .split import Chooser, Destination, Split, Sticky

NO_CLUSTER = "(no cluster)"
_LARGEST_CACHE = 1_000  # names, as Linkerd's bindingCache


class Consumed(Rewrite):
    """The rewrite of an identifier that used up the begin of the URL's path."""

    __slots__ = ("identified",)

    def __init__(self, identified: Identified) -> None:
        super().__init__(path="/")
        self.identified: Identified = identified

    def rewritten(self, path: str, matched: object) -> str:
        return self.identified.url_path(path)


class DtabRouter:
    """Names for requests, by Linkerd's rules.

    `identifiers` are asked in order. `override` says whether requests may bring their own entries. A `sticky` key
    keeps a user on one branch of the weighted unions. Requests carry `l5d-dst-service`, `l5d-dst-client` and, if
    something is left over, `l5d-dst-residual`, unless `announce` is False. `policies` are those of names that have
    their own, by pattern; the last that fits counts. An address that is none of `clusters` (None: all are there) is
    gone to without the mesh, if it is what the request asks for anyway.
    """

    __slots__ = ("_bound", "announce", "clusters", "identifiers", "interpreter", "override", "policies", "sticky")

    within = True  # see `Resolver`

    def __init__(
        self,
        interpreter: Interpreter,
        *,
        identifiers: Iterable[Identifier] = (),
        override: Override = OFF,
        sticky: Sticky | None = None,
        announce: bool = True,
        policies: Iterable[tuple[PathPattern, Any]] = (),
        clusters: Container[str] | None = None,
    ) -> None:
        self.interpreter: Interpreter = interpreter
        self.identifiers: tuple[Identifier, ...] = tuple(identifiers) or (HeaderTokenIdentifier(),)
        self.override: Override = override
        self.sticky: Sticky | None = sticky
        self.announce: bool = announce
        self.policies: tuple[tuple[PathPattern, Any], ...] = tuple(policies)[::-1]
        self.clusters: Container[str] | None = clusters
        self._bound: dict[tuple[Path, int, tuple[str, ...]], Chooser[Decision]] = {}

    def resolve(self, request: RouteRequest, random: Random) -> Decision:
        """Decide about one request. What cannot be named or bound is refused with a reason."""
        identified = self.identify(request)
        if isinstance(identified, str):
            return _refused("dtab", identified)
        try:
            texts = self.override.texts(request)
        except ConfigError as error:
            return _refused(str(identified.name), f"the request's own dtab: {error}")
        key = (identified.name, identified.consumed, texts)
        choose = self._bound.get(key)
        if choose is None:
            choose = self._bind(identified, texts)
            if choose is None:
                return _refused(str(identified.name), f"{identified.name}: not known yet, the namer has not answered")
            if len(self._bound) >= _LARGEST_CACHE:
                self._bound.clear()
            self._bound[key] = choose
        return choose(request, random)

    def identify(self, request: RouteRequest) -> Identified | str:
        """The name by the first identifier that finds one, or why none did."""
        reasons = []
        for identifier in self.identifiers:
            found = identifier.identify(request)
            if isinstance(found, Identified):
                return found
            reasons.append(found)
        return "no name for the request: " + "; ".join(reasons)

    def _bind(self, identified: Identified, texts: tuple[str, ...]) -> Chooser[Decision] | None:
        name = identified.name
        try:
            override = self.override.read(texts)
        except ConfigError as error:
            return _always(_refused(str(name), f"the request's own dtab: {error}"))
        try:
            tree = self.interpreter.with_dtab(override).bind(name)
        except (NamingError, ConfigError) as error:
            return _always(_refused(str(name), str(error)))
        if isinstance(tree, Pending):
            return None
        found = shares(tree)
        if not found:
            return _always(_refused(str(name), f"{name}: the dtab leads to no cluster"))
        weights: dict[Bound | None, float] = {}
        for bound, share in found:
            weights[bound] = weights.get(bound, 0.0) + share
        rewrite = Consumed(identified) if identified.consumed else None
        outcomes = [self._decision(name, bound, rewrite, str(override)) for bound in weights]
        split = Split(
            [Destination(_arm_name(bound), weight=weight) for bound, weight in weights.items()],
            sticky=self.sticky,
        )
        return split.chooser(outcomes)

    def _decision(self, name: Path, bound: Bound | None, rewrite: Rewrite | None, override: str) -> Decision:
        if bound is None:
            return _refused(str(name), f"{name}: this branch of the dtab is empty")
        if self.clusters is not None and bound.address is not None and bound.cluster not in self.clusters:
            return _straight(name, bound)
        headers = {CONTEXT_HEADER: override} if override else {}
        if self.announce:
            headers |= {"l5d-dst-service": str(name), "l5d-dst-client": str(bound.id)}
            if len(bound.residual):
                headers["l5d-dst-residual"] = str(bound.residual)
        heard = (USER_HEADER,) if self.override.user else ()  # it goes on as part of the context
        route = Route(
            name=str(bound.id),
            to=Split(bound.cluster),
            rewrite=rewrite,
            headers=HeaderEdit(set=headers, remove=heard) if headers or heard else None,
            policies=next((own for pattern, own in self.policies if pattern.extracted(name) is not None), None),
        )
        return Decision(str(name), bound.cluster, route=route, bound=bound)


def _arm_name(bound: Bound | None) -> str:
    return NO_CLUSTER if bound is None else f"{bound.id} {bound.residual}"


def _straight(name: Path, bound: Bound) -> Decision:
    """To an address that the name made up: only if it is the host of the URL itself, as through a forward proxy."""
    host, port = bound.address or ("", 0)
    asked, of = host_and_port(name.elements[-1].lower()) if len(name) else ("", "")
    if asked != host.lower() or of not in ("", str(port)):
        return _refused(str(name), f"{name}: leads to {host}:{port}, which is no cluster here")
    return Decision(str(name), None, route=Route(name="(beyond the mesh)", outside=True), bound=bound)


def _refused(service: str, reason: str) -> Decision:
    return Decision(service, None, route=Route(name="(refused)", to=Split(NO_CLUSTER)), refused=reason)


def _always(decision: Decision) -> Chooser[Decision]:
    return lambda request, random: decision
