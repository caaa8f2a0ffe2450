"""Regular expressions: which ones does a package use, and how? Found by walking its syntax trees.

Each must be readable there: a call of `re` by its own name, with a pattern made of constants of its module. Anything
else is a complaint, so that no expression escapes the tests unseen.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

USES = frozenset({"match", "fullmatch", "search", "findall", "finditer", "split", "sub", "subn"})


class Unreadable(Exception):
    """An expression that the tests cannot see."""


class Found(NamedTuple):
    """One use of one expression; `place` is its module and line."""

    place: str
    pattern: str | bytes
    flags: int
    method: str


def expressions(package: Path) -> Iterator[Found]:
    """All uses of expressions in the modules of `package`, which can be imported. Raises Unreadable."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in sorted(package.rglob("*.py"))}
    named = _methods_by_name(trees.values())
    for path, tree in trees.items():
        parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
        module = ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(tree):
            place = f"{module}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ImportFrom) and node.module == "re" and not node.level:
                raise Unreadable(f"{place}: write `import re` and `re.compile(…)`, or the tests cannot see the pattern")
            if isinstance(node, ast.Import) and any(a.name == "re" and a.asname for a in node.names):
                raise Unreadable(f"{place}: import `re` by its own name, or the tests cannot see the pattern")
            if _is_of_re(node) and node.attr in USES | {"compile"}:  # type: ignore[attr-defined]
                yield from _used(node, parents, module, place, named)  # type: ignore[arg-type]


def _used(
    node: ast.Attribute, parents: dict[ast.AST, ast.AST], module: str, place: str, named: dict[str, set[str]]
) -> Iterator[Found]:
    call = parents[node]
    if not isinstance(call, ast.Call) or call.func is not node or not call.args:
        raise Unreadable(f"{place}: call re.{node.attr} with its pattern, or the tests cannot see it")
    place_of_flags = {"compile": 1, "split": 3, "sub": 4, "subn": 4}.get(node.attr, 2)
    given = [*call.args[place_of_flags : place_of_flags + 1], *(k.value for k in call.keywords if k.arg == "flags")]
    pattern = _value(call.args[0], module, place)
    flags = _value(given[0], module, place) if given else 0
    if not isinstance(pattern, str | bytes):
        raise Unreadable(f"{place}: the pattern is a {type(pattern).__name__}, expected text or bytes")
    if node.attr != "compile":
        methods = {node.attr}
    else:
        outside = parents[call]
        methods = {outside.attr} if isinstance(outside, ast.Attribute) else _later(call, outside, named)
    for method in sorted(methods):
        yield Found(place, pattern, int(flags), method)  # type: ignore[call-overload]


def _later(call: ast.Call, outside: ast.AST, named: dict[str, set[str]]) -> set[str]:
    """The methods of a compiled pattern that is kept under a name; all of them if it goes another way."""
    targets = outside.targets if isinstance(outside, ast.Assign) else [getattr(outside, "target", None)]
    names = [target.id if isinstance(target, ast.Name) else None for target in targets]
    if not isinstance(outside, ast.Assign | ast.AnnAssign) or None in names:
        return set(USES)
    return set().union(*(named.get(str(name), set()) for name in names)) or set(USES)


def _methods_by_name(trees: object) -> dict[str, set[str]]:
    """By the name of a thing: which methods of expressions are called on a thing of that name, wherever it is."""
    found: dict[str, set[str]] = {}
    for tree in trees:  # type: ignore[attr-defined]
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in USES:
                name = getattr(node.value, "id", None) or getattr(node.value, "attr", None)
                if name is not None:
                    found.setdefault(name, set()).add(node.attr)
    return found


def _is_of_re(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "re"


def _value(node: ast.expr, module: str, place: str) -> object:
    """The value of an expression of constants. Raises Unreadable."""
    code = compile(ast.Expression(node), place, "eval")
    try:
        return eval(code, dict(vars(importlib.import_module(module))))
    except NameError as error:
        raise Unreadable(f"{place}: make the pattern of constants of its module ({error})") from None
