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
    ("errors",),
    ("call", "events"),
    ("runtime", "parking", "native", "racing"),  # the door to time and tasks: clock, waiting, threads, racing
    ("policies",),
    ("balancing", "routing", "pipeline", "backoff"),
    ("named",),  # functions guarded by a name; a mesh offers itself to it
    ("mesh",),
    ("security",),
    ("wire",),
    ("discovery", "http", "grpc", "asgi"),
    ("config", "telemetry", "admin"),
    ("loading",),  # where config and mesh meet
    ("httpx2", "httpx"),  # doors: the public client classes over the engine
    ("testing", "sim"),
    ("cli",),
    ("__init__", "__main__"),
)
BESIDE: dict[tuple[str, str], str] = {
    ("runtime", "parking"): "the runtime's own parking place",
    ("parking", "runtime"): "the same door",
    ("native", "parking"): "the same door",
    ("testing", "sim"): "the simulator is a test tool",
    ("mesh", "loading"): "Mesh.from_file, from_dict, from_store and update, which import it when called",
    ("cli", "__init__"): "the version, for `meshlib --version`",
    ("__main__", "__init__"): "python -m meshlib",
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
    "logging": "policies tell events; they do not log",
}


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, absolute, with its line. What only type checkers read does not count."""
    package = ("meshlib", *path.relative_to(SOURCE).parts[:-1])
    tree = ast.parse(path.read_text(), str(path))
    unread = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in unread:
            continue
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


def row_of(name: str) -> int | None:
    return next((number for number, rooms in enumerate(ROWS) if name in rooms), None)


def complaints(path: Path) -> Iterator[str]:
    here = room(path)
    where = path.relative_to(SOURCE.parent)
    mine = row_of(here)
    if mine is None:
        yield f"{where}: the room {here!r} stands in no row of tests/test_layers.py: say who may import it"
        return
    for module, line in imports(path):
        top, *rest = module.split(".")
        if top != "meshlib":
            if here in PURE and top in IMPURE and path.relative_to(SOURCE).as_posix() != HEDGE_RACE:
                yield f"{where}:{line}: {here} imports {top}, but {IMPURE[top]}"
            continue
        other = rest[0] if rest else "__init__"
        if other == here:
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
        "allowed: errors, call, events, runtime, parking, native, racing",
    ]
