"""Linkerd reader: what a linkerd.yaml (Linkerd 1.x) means to a client: dtab, namers and endpoints.

One router counts, as a client goes through one: the first that speaks HTTP, or the one whose label this process stands
in for. Its names are for all hosts that no service takes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..balancing import Endpoint
from ..discovery.file_watch import Stamp, stamp
from ..discovery.linkerd_folder import read_folder
from ..errors import ConfigError
from ..routing.dtab_reader import read_dtab
from ..routing.namer import Bound, NamingError
from ..routing.nametree import Alt, Leaf, NameTree, Union
from ..routing.path import Path as Name
from ..routing.utility_namers import builtin
from .draft import Draft
from .linkerd_policies import client_settings, service_policies
from .node import Node

SERVERS = "belongs to a proxy that receives traffic"
SPOKEN = ("http", "h2")
IDENTIFIERS = {
    "header.token": "header",
    "header": "name_header",
    "path": "path",
    "header.path": "path",
    "methodAndHost": "method_and_host",
    "static": "static",
}
_NOT_OURS = {
    SERVERS: (
        "servers", "httpAccessLog", "httpAccessLogRollPolicy", "httpAccessLogAppend", "httpAccessLogRotateCount",
        "addForwardedHeader", "tracePropagator", "loggers", "announcers", "initialStreamWindowBytes",
        "maxConcurrentStreamsPerConnection", "maxFrameBytes", "headerTableBytes", "maxHeaderListBytes",
        "h2AccessLog", "h2AccessLogRollPolicy", "h2AccessLogAppend", "h2AccessLogRotateCount", "experimental",
    ),
    "names are bound when they are asked for, and kept until the dtab changes": ("bindingTimeoutMs", "bindingCache"),
    "limits of messages are those of the transport": (
        "maxChunkKB", "maxHeadersKB", "maxInitialLineKB", "maxRequestKB", "maxResponseKB", "streamAfterContentLengthKB",
        "streamingEnabled", "compressionLevel",
    ),
}  # fmt: skip

Found = dict[str, Sequence[Endpoint]]
Folders = tuple[Path, ...]  # in which relative paths are looked for, in this order


def read(
    draft: Draft,
    item: Node,
    folders: Folders,
    seen: dict[Path, Stamp],
    labels: Collection[str],
    given: Mapping[str, Sequence[Endpoint]],
) -> Found:
    """Write a linkerd.yaml into the draft. Returns the endpoints of its names. Raises `ConfigError`.

    `labels` are those of the routers that this process stands in for; `given` are the endpoints of names whose namers
    are not asked here (`/#/io.l5d.consul/dc1/users`).
    """
    item.without_meaning(SERVERS, "admin", "telemetry", "usage")
    found: Found = {}
    namers: list[dict[str, Any]] = []
    for node in item.nodes("namers"):
        found |= _namer(node, folders, seen, given, namers)
    router = _router(item, labels)
    if router is None:
        return {}
    interpreter = router.node("interpreter")
    dtab = _table(router.text("dtab") or "", interpreter, folders, seen)
    for bound in _addresses(dtab):
        host, port = bound.address or ("", 0)
        found.setdefault(bound.cluster, given.get(bound.cluster) or [Endpoint(host, max(1, port))])
    if interpreter is not None:
        found = _transformed(interpreter, found)
    for name, settings in client_settings(router.node("client"), found).items():
        draft.clusters[name] = settings
        draft.comes_from(("clusters", name), router)
    draft.comes_from(("dtab",), router)
    policies, names = service_policies(router)
    draft.extra["dtab"] = {
        "entries": dtab,
        "namers": namers,
        "policies": policies,
        "names": names,
        "override": True,  # Linkerd heeds l5d-dtab, wherever it comes from
        "trust_context": True,
        "identifiers": _identifiers(router),
    }
    return found


def _namer(
    node: Node,
    folders: Folders,
    seen: dict[Path, Stamp],
    given: Mapping[str, Sequence[Endpoint]],
    namers: list[dict[str, Any]],
) -> Found:
    kind = node.named("kind")
    prefix = "/#" + (node.text("prefix") or f"/{kind}")
    node.ignore(["experimental"])
    if kind == "io.l5d.rewrite":
        rewrite = {"pattern": node.named("pattern"), "name": node.named("name")}
        namers.append({"prefix": prefix, "rewrite": rewrite})
        return {}
    found: Found = {name: behind for name, behind in given.items() if name.startswith(f"{prefix}/")}
    if kind == "io.l5d.fs":
        found = {f"{prefix}/{name}": behind for name, behind in _folder(node, folders, seen).items()} | found
    else:
        if not found:
            node.say("kind", f"{kind} is not asked here: its names lead nowhere, unless endpoints= has them")
        node.ignore(set(node.keys()) - {"transformers"})
    # Names of different lengths are told apart by as many namers: the longest that is known counts.
    lengths = sorted({name.count("/") - prefix.count("/") for name in found} or {1}, reverse=True)
    for length in lengths:
        clusters = {
            name.removeprefix(f"{prefix}/"): name for name in found if name.count("/") - prefix.count("/") == length
        }
        namers.append({"prefix": prefix, "clusters": clusters, "segments": length})
    return _transformed(node, found)


def _folder(node: Node, folders: Folders, seen: dict[Path, Stamp]) -> dict[str, list[Endpoint]]:
    """The names in `rootDir`."""
    given = node.named("rootDir")
    try:
        places = [folder / given for folder in folders]
        path = next((path for path in places if path.is_dir()), None)
        if path is None:
            seen[places[0]] = stamp(places[0])
            raise node.error("rootDir", f"no such folder: {places[0]}")
        return read_folder(path, seen.__setitem__)
    except (OSError, ValueError) as error:  # a name that no file can have
        raise error if isinstance(error, ConfigError) else node.error("rootDir", f"{error}") from None


def _addresses(dtab: str) -> Iterator[Bound]:
    """The addresses that stand in the dtab itself (`/$/inet/127.0.0.1/80`): each is a cluster of one."""
    try:
        table = read_dtab(dtab)
    except ConfigError:
        return  # told when the table is made, with its place
    for entry in table:
        for path in _leaves(entry.tree):
            try:
                tree = builtin(path, {})
            except NamingError:
                continue  # told to whoever asks for such a name
            if isinstance(tree, Leaf) and isinstance(tree.value, Bound) and tree.value.address is not None:
                yield tree.value


def _leaves(tree: NameTree[Name]) -> Iterator[Name]:
    if isinstance(tree, Leaf):
        yield tree.value
    elif isinstance(tree, Alt):
        for branch in tree.trees:
            yield from _leaves(branch)
    elif isinstance(tree, Union):
        for arm in tree.trees:
            yield from _leaves(arm.tree)


def _table(own: str, node: Node | None, folders: Folders, seen: dict[Path, Stamp]) -> str:
    """The router's own dtab, behind that of the file which its interpreter reads."""
    kind = "default" if node is None else node.text("kind", "default")
    if node is None or kind == "default":
        return own
    if kind == "io.l5d.fs":
        given = node.named("dtabFile")
        try:
            places = [folder / given for folder in folders]
            path = next((path for path in places if path.is_file()), places[0])
            seen[path] = stamp(path)
            base = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise node.error("dtabFile", f"cannot be read: {error}") from None
        try:
            return str(read_dtab(base) + read_dtab(own))
        except ConfigError as error:
            raise node.error("dtabFile", f"with the router's own: {error}") from None
    table = "this file's own dtab" if own else "this file's own dtab, which is empty"
    node.say("kind", f"{kind} is not asked here: names are bound by {table}")
    node.ignore(set(node.keys()) - {"transformers"})
    return own


def _transformed(node: Node, found: Found) -> Found:
    """Another port or host for all, as transformers say it. Names stay what they are without `/%/…` before them."""
    for one in node.nodes("transformers"):
        kind = one.named("kind")
        port, host = one.count("port") if kind == "io.l5d.port" else None, None
        if kind == "io.l5d.specificHost":
            host = one.named("host")
        elif port is None:
            one.say("kind", f"{kind} is not known here: endpoints stay as they are")
            one.ignore(one.keys())
        if port is not None and not 0 < port < 65536:
            raise one.error("port", f"expected 1 to 65535, found {port}")
        one.ignore(["prefix"])
        found = {
            name: [Endpoint(host or at.host, port or at.port, weight=at.weight, labels=at.labels) for at in behind]
            for name, behind in found.items()
        }
    return found


def _router(item: Node, labels: Collection[str]) -> Node | None:
    """The router that counts. The others are told."""
    routers = item.nodes("routers")
    spoken = [router for router in routers if router.text("protocol") in SPOKEN]
    named = [router for router in spoken if router.text("label") in labels]
    chosen = next(iter(named or spoken), None)
    for router in routers:
        if router is chosen:
            continue
        label = router.text("label", router.text("protocol"))
        router.say(
            None,
            f"is left out: one router counts, the first of HTTP unless gateways=[{label!r}] says that this process "
            "stands in for another"
            if router in spoken
            else "is left out: it does not speak HTTP",
        )
        router.ignore(router.keys())
    if chosen is not None:
        chosen.ignore(["label", "originator"])
        for why, keys in _NOT_OURS.items():
            chosen.without_meaning(why, *keys)
    return chosen


def _identifiers(router: Node) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    prefix = router.text("dstPrefix") or "/svc"
    raw = router.value("identifier")
    one = router.node("identifier") if isinstance(raw, dict) else None
    for node in router.nodes("identifier") if isinstance(raw, list) else [one] if one is not None else []:
        kind = node.named("kind")
        by = IDENTIFIERS.get(kind.removeprefix("io.l5d."))
        if by is None:
            node.say("kind", f"{kind} is not known here: such requests are named by their host")
            node.ignore(node.keys())
            continue
        header = node.text("header")
        fields: dict[str, Any] = {"by": by, "prefix": prefix, "header": "host" if header == ":authority" else header}
        fields |= {"segments": node.count("segments", 1), "consume": bool(node.value("consume", False))}
        path = node.text("path")
        if path is not None:
            fields["name"] = path
        fields["uris"] = bool(node.value("httpUriInDst", False))
        found.append({key: value for key, value in fields.items() if value is not None})
    return found or [{"prefix": prefix}]
