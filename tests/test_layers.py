"""Who may import whom. Walks the syntax trees, and says why when it fails."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import meshlib

SOURCE = Path(meshlib.__file__).parent

# Each row may import from the rows above it. Rooms in one row are siblings: none imports another, but for BESIDE.
ROWS: tuple[tuple[str, ...], ...] = (
    ("errors", "forked", "loop_state"),
    ("call", "events"),
    ("runtime", "parking", "native"),  # the way to time and tasks: clock, waiting, threads
    ("policies",),
    ("balancing", "routing", "pipeline", "backoff"),
    ("named",),  # functions guarded by a name; a mesh offers itself to it
    ("mesh",),
    ("wire",),
    ("discovery", "http", "asgi"),
    ("config", "telemetry"),
    ("loading",),  # where config and mesh meet
    ("httpx2",),  # the public client classes over httpx2
    ("testing", "sim"),
    ("cli",),
    ("__init__", "__main__"),
)
BESIDE: dict[tuple[str, str], str] = {
    ("parking", "runtime"): "the same way to time and tasks",
    ("native", "parking"): "the same way to time and tasks",
    ("cli", "__init__"): "the version, for `meshlib --version`",
}
# The lazy ways up: a function of the first imports the second when it is called.
LAZY: dict[tuple[str, str], str] = {
    ("mesh.py", "loading"): "Mesh.from_file, from_dict, from_store and update are found at the mesh",
}
PURE = ("policies", "balancing", "routing", "pipeline")
HEDGE_RACE = "policies/retry/hedge_race.py"  # waits for tasks, as parking does; the decisions are in `RaceState`
IMPURE = {
    "time": "`now` is an argument",
    "random": "draws are an argument",
    "asyncio": "only runtime.py knows event loops",
    "anyio": "only runtime.py knows event loops",
    "trio": "only runtime.py knows event loops",
    "httpx": "only http/ knows httpx",
    "httpx2": "only http/ knows httpx2",
    "pydantic": "only config/ knows pydantic",
    "yaml": "only config/ knows YAML",
    "logging": "policies emit events; they do not log",
}


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, absolute, with its line. What only type checkers read does not count."""
    package = ("meshlib", *path.relative_to(SOURCE).parts[:-1])
    for node in read_nodes(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            if module == "meshlib":
                for alias in node.names:
                    inside = (SOURCE / alias.name).is_dir() or (SOURCE / f"{alias.name}.py").exists()
                    yield f"meshlib.{alias.name}" if inside else "meshlib.__init__", node.lineno
            else:
                yield module, node.lineno


def read_nodes(tree: ast.Module) -> list[ast.AST]:
    """The nodes of a file, without what only type checkers read."""
    unread = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    return [node for node in ast.walk(tree) if id(node) not in unread]


def at_import(path: Path) -> set[tuple[str, str]]:
    """The rooms that a file imports as soon as it is imported itself."""
    tree = ast.parse(path.read_text(), str(path))
    name = path.relative_to(SOURCE).as_posix()
    outside = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.level]
    return {(name, (node.module or "").partition(".")[0]) for node in outside}


def row_of(name: str) -> int | None:
    return next((number for number, rooms in enumerate(ROWS) if name in rooms), None)


def complaints(path: Path) -> Iterator[str]:
    here = room(path)
    where = path.relative_to(SOURCE.parent)
    mine = row_of(here)
    if mine is None:
        yield f"{where}: the room {here!r} stands in no row of tests/test_layers.py: say who may import it"
        return
    lazy = {pair for pair in LAZY if pair not in at_import(path)}
    for module, line in imports(path):
        top, *rest = module.split(".")
        if top != "meshlib":
            if here in PURE and top in IMPURE and path.relative_to(SOURCE).as_posix() != HEDGE_RACE:
                yield f"{where}:{line}: {here} imports {top}, but {IMPURE[top]}"
            continue
        other = rest[0] if rest else "__init__"
        if other == here or (path.relative_to(SOURCE).as_posix(), other) in lazy:
            continue
        theirs = row_of(other)
        if theirs is None:
            yield f"{where}:{line}: imports {module}, which stands in no row of tests/test_layers.py"
        elif theirs >= mine and (here, other) not in BESIDE:
            kind = "a sibling" if theirs == mine else "a room below it"
            yield f"{where}:{line}: {here} imports {other}, {kind}; allowed: {', '.join(sum(ROWS[:mine], ()))}"


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_imports_only_from_the_rows_above(path: Path) -> None:
    found = list(complaints(path))
    assert not found, "\n".join(found)


def test_the_rows_are_the_rooms_that_there_are() -> None:
    there = {path.name.removesuffix(".py") for path in SOURCE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert sorted(sum(ROWS, ())) == sorted(there - {"__pycache__"})


def test_each_exception_is_used() -> None:
    """A reason for an import that is gone would let it come back without one."""
    used = {(room(path), module.split(".")[1]) for path in SOURCE.rglob("*.py") for module in inside(path)}
    assert [pair for pair in BESIDE if pair not in used] == []
    files = {
        (path.relative_to(SOURCE).as_posix(), module.split(".")[1])
        for path in SOURCE.rglob("*.py")
        for module in inside(path)
    }
    assert [pair for pair in LAZY if pair not in files] == []


def inside(path: Path) -> list[str]:
    """The modules of ours that a file imports."""
    return [module for module, _ in imports(path) if module.startswith("meshlib.")]


def modules() -> dict[str, Path]:
    return {named(path): path for path in SOURCE.rglob("*.py")}


def named(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(("meshlib", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def graph() -> dict[str, set[str]]:
    """Which module imports which of the same room, lazily or not. `from . import x` is an import of `x`."""
    known = modules()
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        beside = {module if module in known else module.rpartition(".")[0] for module in members(path)}
        room_of = name.split(".")[1:2]
        found[name] = {one for one in beside - {name} if one in known and one.split(".")[1:2] == room_of}
    return found


def members(path: Path) -> Iterator[str]:
    """Each name that a file imports, as `module.name`."""
    package = ("meshlib", *path.relative_to(SOURCE).parts[:-1])
    tree = ast.parse(path.read_text(), str(path))
    for node in read_nodes(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = ".".join((*package[: len(package) - node.level + 1], *([node.module] if node.module else [])))
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (f"{alias.name}." for alias in node.names)


def circles(graph: dict[str, set[str]]) -> list[tuple[str, ...]]:
    """The groups of modules that reach each other."""
    reach = {name: set(direct) for name, direct in graph.items()}
    for middle in reach:
        for name in reach:
            if middle in reach[name]:
                reach[name] |= reach[middle]
    return sorted({tuple(sorted(b for b in reach[a] if a in reach[b])) for a in reach if a in reach[a]})


def test_no_modules_of_a_room_go_in_circles() -> None:
    """Also by imports inside functions: those hide a circle, and do not open it."""
    found = circles(graph())
    assert found == [], "\n".join(" <-> ".join(group) for group in found)


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [("a", "b", "c")]


def test_what_goes_wrong_is_found_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "meshlib"
    (source / "policies").mkdir(parents=True)
    (source / "mesh.py").touch()
    bad = source / "policies" / "bad.py"
    bad.write_text("import time\nfrom ..mesh import Mesh\nfrom . import good\nfrom ..call import Call\n")
    monkeypatch.setattr("test_layers.SOURCE", source)
    assert list(complaints(bad)) == [
        "meshlib/policies/bad.py:1: policies imports time, but `now` is an argument",
        "meshlib/policies/bad.py:2: policies imports mesh, a room below it; "
        "allowed: errors, forked, loop_state, call, events, runtime, parking, native",
    ]
