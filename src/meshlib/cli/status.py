"""`meshlib status`: is the shared mesh file there, is it good, and what would a process start with if it were not?"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from ..config.document import parse
from ..config.load import load_document
from ..config.routes import route_table
from ..discovery.file_store import FileStore
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
    parser.add_argument("--copy", metavar="FILE", help="the copy that a process starts with while the store is away")
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
    return 0 if good else 1


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
        loaded = load_document(parse(entry.text, f"{name}@{entry.revision}"), Path.cwd(), {})
        route_table(loaded.document, loaded.model)
    except ConfigError as error:
        print(f"  makes no sense: {error}")
        return False
    model = loaded.model
    behind = sum(len(found) for found in loaded.endpoints.values())
    print(f"  {len(model.services)} services, {len(model.clusters)} clusters, {behind} endpoints")
    empty = [cluster for cluster, found in loaded.endpoints.items() if not found]
    if empty:
        print(f"  nobody in: {', '.join(empty)}")
    return True
