"""One name per thing: no public class or function is defined twice, and no two modules of a room are near twins."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import meshlib

SOURCE = Path(meshlib.__file__).parent
DEFINES = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

# Names that two rooms may share, and why.
SHARED: dict[str, str] = {
    "MeshClient": "the client over httpx and the same client over httpx2",
    "SyncMeshClient": "the client over httpx and the same client over httpx2",
    "main": "the entry point of a program: the command, and a server of the demo",
    "add": "each command adds its own arguments to the parser",
    "run": "each command runs by a function of this name",
}


def definitions() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith(
                "_"
            ):
                found[node.name].append(path.relative_to(SOURCE).as_posix())
    return found


def test_a_public_name_is_defined_once() -> None:
    twice = {name: places for name, places in definitions().items() if len(places) > 1 and name not in SHARED}
    assert twice == {}, "give each its own name, or add it to SHARED with a reason"


def test_a_shared_name_is_still_shared() -> None:
    found = definitions()
    assert [name for name in SHARED if len(found.get(name, ())) < 2] == []


def test_no_two_modules_of_a_room_differ_by_an_underscore_or_an_s() -> None:
    rooms: dict[tuple[Path, str], list[str]] = defaultdict(list)
    for path in SOURCE.rglob("*.py"):
        rooms[path.parent, path.stem.replace("_", "").rstrip("s")].append(path.name)
    assert [sorted(twins) for twins in rooms.values() if len(twins) > 1] == []
