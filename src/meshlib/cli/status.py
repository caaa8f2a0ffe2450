"""`meshlib status`: prints the state of the shared mesh file, of its copy, and of the processes that use it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.build_routes import route_table
from ..config.load import load_text
from ..discovery.file_store import FileStore
from ..discovery.process_status import running_processes
from ..discovery.store import Entry, RouteStore, StoreAway
from ..errors import ConfigError
from .routes import store


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "status",
        help="say whether the shared mesh file is there and good",
        description="Exit status 0 if the store answers with a text that makes sense, else 1.",
    )
    parser.add_argument("store", help="a path, or etcd://HOST:PORT/KEY")
    parser.add_argument(
        "--copy",
        metavar="FILE",
        help="the copy that processes start with while the store is away, and say beside what they run",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    try:
        source = store(options.store)
    except ValueError as error:
        print(f"meshlib status: {error}")
        return 1
    good = _tell("store", source)
    if options.copy is not None:
        _tell("copy", FileStore(options.copy))
        for facts, at in running_processes(Path(options.copy)):
            _tell_process(facts, at)
    return 0 if good else 1


def _tell_process(facts: Mapping[str, Any], at: float) -> None:
    """What a running process says of the store, in a sentence or two."""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    copied = "the copy, " if facts.get("copied") else ""
    runs = f"{copied}revision {facts.get('revision')}, snapshot {facts.get('snapshot')}"
    print(f"process {facts.get('pid')}: runs {runs}; as of {since}")
    if facts.get("away"):
        print(f"  its store is away, the last good snapshot stays: {facts['away']}")
    if facts.get("refused"):
        print(f"  refused the newest text, the last good snapshot stays: {facts['refused']}")


def _tell(what: str, source: RouteStore) -> bool:
    try:
        entry = source.get()
    except StoreAway as error:
        print(f"{what}: away: {error}")
        return False
    if entry is None:
        print(f"{what}: {source.name}: there is no text in it")
        return False
    written = time.strftime(", written %Y-%m-%d %H:%M:%S", time.localtime(entry.at)) if entry.at else ""
    print(f"{what}: {source.name}: revision {entry.revision}{written}")
    return _good(source.name, entry)


def _good(name: str, entry: Entry) -> bool:
    try:
        loaded = load_text(entry.text, f"{name}@{entry.revision}")
        route_table(loaded.document, loaded.model)
    except ConfigError as error:
        print(f"  makes no sense: {error}")
        return False
    model = loaded.model
    behind = sum(len(found) for found in loaded.endpoints.values())
    print(f"  {len(model.services)} services, {len(model.clusters)} clusters, {behind} endpoints")
    empty = [cluster for cluster, found in loaded.endpoints.items() if not found]
    if empty:
        print(f"  no endpoints in: {', '.join(empty)}")
    return True
