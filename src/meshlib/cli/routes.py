"""`meshlib routes …`: reads and writes the shared mesh file in its store.

A store is named by a path (`mesh.yaml`) or by `etcd://HOST:PORT/KEY`. What is written is checked first, and replaces
only the state that the writer has seen.
"""

from __future__ import annotations

import argparse
import difflib
import sys
import threading
import time
from pathlib import Path

from ..config.build_routes import route_table
from ..config.emptied import refuse_emptied
from ..config.load import load_text
from ..discovery.etcd_store import EtcdStore
from ..discovery.file_store import FileStore
from ..discovery.store import Conflict, Entry, RouteStore, StoreAway
from ..errors import ConfigError


def store(text: str) -> RouteStore:
    """The store that `text` names. Raises ValueError."""
    if text.startswith("etcd://"):
        address, slash, key = text.removeprefix("etcd://").partition("/")
        return EtcdStore(address, f"/{key}") if slash and key else EtcdStore(address)
    return FileStore(text)


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("routes", help="read and write the shared mesh file, wherever it is kept")
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    for name, run, text in (
        ("get", get, "print the text"),
        ("put", put, "replace the text by FILE (- for standard input), after checking it"),
        ("history", history, "list what it was, newest first"),
        ("watch", watch, "print each change as it comes"),
        ("diff", diff, "show what changed since REVISION (default: the one before)"),
        ("rollback", rollback, "put back REVISION (default: the one before)"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("store", help="a path, or etcd://HOST:PORT/KEY")
        action.set_defaults(run=_guarded, action=run)
        if name == "put":
            action.add_argument("file")
            action.add_argument("--expected", metavar="REVISION", help="only if this is what stands there")
        if name in ("diff", "rollback"):
            action.add_argument("revision", nargs="?")
        if name == "history":
            action.add_argument("--limit", type=int, default=20)


def _guarded(options: argparse.Namespace) -> int:
    try:
        status: int = options.action(store(options.store), options)
    except BrokenPipeError:
        raise
    except (StoreAway, Conflict, ConfigError, ValueError, OSError) as error:
        print(f"meshlib routes: {error}", file=sys.stderr)
        return 1
    return status


def get(routes: RouteStore, options: argparse.Namespace) -> int:
    entry = _present(routes)
    sys.stdout.write(entry.text)
    return 0


def put(routes: RouteStore, options: argparse.Namespace) -> int:
    text = sys.stdin.read() if options.file == "-" else Path(options.file).read_text(encoding="utf-8")
    check_route_text(text, options.file, routes.get())
    entry = routes.put(text, expected=options.expected)
    print(f"{routes.name}: revision {entry.revision}")
    return 0


def history(routes: RouteStore, options: argparse.Namespace) -> int:
    for entry in routes.history(options.limit):
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.at)) if entry.at else "-"
        print(f"{entry.revision:>16}  {when:19}  {len(entry.text.splitlines())} lines")
    return 0


def watch(routes: RouteStore, options: argparse.Namespace) -> int:
    last: list[Entry] = []

    def changed(entry: Entry) -> None:
        print(f"-- {routes.name}: revision {entry.revision}", flush=True)
        before = last[-1].text if last else ""
        sys.stdout.writelines(_diff(before, entry.text, last[-1].revision if last else "nothing", entry.revision))
        sys.stdout.flush()
        last[:] = [entry]

    end = routes.watch(changed, lambda problem: print(f"-- {problem or 'the store is back'}", flush=True))
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    finally:
        end()
    return 0


def diff(routes: RouteStore, options: argparse.Namespace) -> int:
    now, then = _present(routes), _before(routes, options.revision)
    sys.stdout.writelines(_diff(then.text, now.text, then.revision, now.revision))
    return 0


def rollback(routes: RouteStore, options: argparse.Namespace) -> int:
    now, then = _present(routes), _before(routes, options.revision)
    check_route_text(then.text, f"{routes.name}@{then.revision}", now)
    entry = routes.put(then.text, expected=now.revision)
    print(f"{routes.name}: revision {entry.revision}, the text of {then.revision}")
    return 0


def check_route_text(text: str, file: str, before: Entry | None) -> None:
    """Raise `ConfigError` if `text` could not be used, or would be refused after the text of `before`."""
    loaded = load_text(text, file, report=lambda finding: print(finding, file=sys.stderr))
    route_table(loaded.document, loaded.model)
    if before is not None:
        try:
            known = load_text(before.text, before.revision)
        except ConfigError:
            return  # no process has it
        refuse_emptied(known, loaded)


def _present(routes: RouteStore) -> Entry:
    entry = routes.get()
    if entry is None:
        raise StoreAway(f"{routes.name}: there is no text in it")
    return entry


def _before(routes: RouteStore, revision: str | None) -> Entry:
    past = routes.history(1000 if revision else 2)
    for entry in past if revision else past[1:]:
        if revision in (None, entry.revision):
            return entry
    raise ValueError(f"revision {revision or 'before this one'} is not in the history of {routes.name}")


def _diff(before: str, after: str, then: str, now: str) -> list[str]:
    return list(difflib.unified_diff(before.splitlines(True), after.splitlines(True), then, now))
