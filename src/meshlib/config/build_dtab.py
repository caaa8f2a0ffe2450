"""Dtab builder: from the `dtab` section of a mesh file to the router for hosts that no service takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from ..routing.binding import Interpreter
from ..routing.dtab_override import Override
from ..routing.dtab_reader import read_dtab, read_path
from ..routing.dtab_router import DtabRouter
from ..routing.identifiers import (
    HeaderIdentifier,
    HeaderTokenIdentifier,
    Identifier,
    MethodAndHostIdentifier,
    PathIdentifier,
    StaticIdentifier,
)
from ..routing.namer import Namer, RewritingNamer, SourceNamer
from ..routing.path_pattern import PathPattern
from .document import Document, Place
from .models import IdentifierModel, MeshModel, NamerModel

PLACE: Place = ("dtab",)


def dtab_router(document: Document, model: MeshModel, policies: Mapping[str, Any]) -> DtabRouter | None:
    """The router that the `dtab` section describes; `policies` are those of names by prefix. Raises `ConfigError`."""
    section = model.dtab
    if section is None:
        return None
    try:
        table = read_dtab(section.entries)
        namers = [(read_path(one.prefix), _namer(one, model)) for one in section.namers]
        return DtabRouter(
            Interpreter(table, namers=namers),
            identifiers=[_identifier(one) for one in section.identifiers],
            override=Override(user=section.override, context=section.trust_context),
            policies=[(PathPattern(one.prefix), policies.get(one.prefix)) for one in section.names],
            clusters=model.clusters,
        )
    except ConfigError as error:
        raise document.error((*PLACE, "entries"), error.expected) from None
    except ValueError as error:
        raise document.error(PLACE, str(error)) from None


def _namer(model: NamerModel, mesh: MeshModel) -> Namer:
    if model.rewrite is not None:
        return RewritingNamer(model.rewrite.pattern, model.rewrite.name)
    names = model.clusters if model.clusters is not None else {name: name for name in mesh.clusters}
    return SourceNamer(read_path(model.prefix), names, segments=model.segments)


def _identifier(model: IdentifierModel) -> Identifier:
    prefix = read_path(model.prefix)
    if model.by == "path":
        return PathIdentifier(prefix=prefix, segments=model.segments, consume=model.consume)
    if model.by == "method_and_host":
        return MethodAndHostIdentifier(prefix=prefix, uris=model.uris)
    if model.by == "name_header":
        return HeaderIdentifier(prefix=prefix, header=model.header or "l5d-name")
    if model.by == "static":
        return StaticIdentifier(read_path(model.name), prefix=prefix)
    return HeaderTokenIdentifier(prefix=prefix, header=model.header or "host")
