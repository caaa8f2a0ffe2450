"""docs/troubleshooting.md: every text that a user can meet has a row there, and every row is still true.

Texts are collected from the syntax trees: what errors of ours are made of, what is given for a parameter called
`reason` or the like, and what is logged. A text that says "expected …" says what to do, and needs no row.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import meshlib
from meshlib import BreakerOpen, Bulkhead, CircuitBreaker, DeadlineExceeded, MeshError, RateLimit

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"
SOURCE = Path(meshlib.__file__).parent
FILES = {
    path: ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(SOURCE.rglob("*.py"))
    if path.relative_to(SOURCE).parts[0] not in ("testing", "sim") and "demo" not in path.parts
}
OURS = {"MeshError", "WireError"}  # and whatever is made of them
BUILTIN = {
    "RuntimeError",
    "TypeError",
    "LookupError",
    "ImportError",
}  # a ValueError says what to do: `field=value: expected …`
SAYS = {"reason", "why", "detail", "refused", "expected", "message", "problem"}  # parameters that a user will read
# attributes, variables and constants in which such a text waits
HELD = {"why", "reason", "expected", "_sentence", "REFUSED", "UNLISTED"}
RETURNS = {"order_problem", "_too_short", "describe", "_lost", "_were"}  # functions that answer with one
SELF_EXPLAINING = {"say", "without_meaning", "refuse"}  # manifests' fields that do nothing here; "… expected but …"
Texts = dict[str, str]


def plain(text: str) -> str:
    """A text with `<>` for what varies, so that the source's and the page's can be compared."""
    text = re.sub(r"`[^`]*`|'[^']*'", "<>", text)
    text = re.sub(r"(<[^<>]*>)+", "<>", text)
    return re.sub(r"\s+", " ", text).strip(" ;:,.…").lower()


def core(text: str) -> str:
    """Without the name in front of it, and what varies at its end."""
    return re.sub(r"^(<>[ :,;]*)+|([ :,;]*<>)+$", "", plain(text)).strip(" ;:,")


def words(text: str) -> int:
    return len(re.findall(r"[a-z]{2,}|\ba\b", text.replace("<>", " ")))


def alternatives(node: ast.AST) -> Iterator[str]:
    """The texts that an expression can be, if it is one; `<…>` stands for what it is made of at run time."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else ending(part) for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from alternatives(node.body)
        yield from alternatives(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from alternatives(value)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from alternatives(node.left)
        yield from alternatives(node.right)


def ending(part: ast.AST) -> str:
    """`{'' if n == 1 else 's'}` is a plural; all else varies."""
    value = part.value if isinstance(part, ast.FormattedValue) else None
    plural = value.orelse if isinstance(value, ast.IfExp) else None
    return str(plural.value) if isinstance(plural, ast.Constant) and plural.value == "s" else "<>"


def called(node: ast.Call) -> str:
    """The name of what is called; `Error.__new__(Error, …)` makes an Error, too."""
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value
        return owner.id if node.func.attr == "__new__" and isinstance(owner, ast.Name) else node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def errors_of_ours() -> set[str]:
    found = set(OURS)
    classes = [node for tree in FILES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    for _ in classes:
        more = {one.name for one in classes if {getattr(base, "id", "") for base in one.bases} & found}
        if more <= found:
            break
        found |= more
    return found


def telling() -> dict[str, set[int]]:
    """Functions and classes with parameters in SAYS: at which places their arguments are read by a user."""
    found: dict[str, set[int]] = {}
    for tree in FILES.values():
        for node in ast.walk(tree):
            inner = node.body if isinstance(node, ast.ClassDef) else []
            functions = [(node.name, one) for one in inner if getattr(one, "name", "") == "__init__"] if inner else []
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name != "__init__":
                functions = [(node.name, node)]
            for name, function in functions:
                assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
                names = [argument.arg for argument in function.args.args if argument.arg not in ("self", "cls")]
                found.setdefault(name, set()).update(at for at, one in enumerate(names) if one in SAYS)
    return {name: places for name, places in found.items() if name not in SELF_EXPLAINING}


@cache
def texts() -> Texts:
    """Each text, and where it stands."""
    found: Texts = {}
    ours, tellers = errors_of_ours(), telling()
    for path, tree in FILES.items():
        raised = {id(node.exc) for node in ast.walk(tree) if isinstance(node, ast.Raise)}
        for node in ast.walk(tree):
            said: list[ast.AST] = []
            if isinstance(node, ast.Call):
                name = called(node)
                if name not in SELF_EXPLAINING:
                    said += [keyword.value for keyword in node.keywords if keyword.arg in SAYS]
                if name in ours or (name in BUILTIN and id(node) in raised):
                    said += node.args
                elif getattr(getattr(node.func, "value", None), "id", "") == "_log":
                    said += [argument for argument in node.args if "%" in ast.unparse(argument)]
                else:
                    said += [argument for at, argument in enumerate(node.args) if at in tellers.get(name, ())]
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if any(getattr(one, "attr", getattr(one, "id", "")) in HELD for one in targets):
                    said.append(node.value)
            elif isinstance(node, ast.FunctionDef) and node.name in RETURNS:
                answers = [
                    one for one in ast.walk(node) if isinstance(one, ast.Return | ast.Yield) and one.value is not None
                ]
                said += [part for one in answers for part in getattr(one.value, "elts", [one.value])]
            for expression in said:
                for text in alternatives(expression):
                    text = re.sub(r"%[a-z]", "<>", text)
                    if words(core(text)) >= 2 and "expected" not in text and not text.startswith("("):
                        found.setdefault(core(text), f"{path.relative_to(SOURCE.parent)}:{expression.lineno}")  # type: ignore[attr-defined]
    return found


def rows() -> list[str]:
    """Every text in code type in a table's row."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [plain(f" {span} ") for line in lines for span in re.findall(r"`([^`]+)`", line)]


def first_cells() -> list[str]:
    found, lines = [], PAGE.read_text(encoding="utf-8").splitlines()
    for line in (line for line in lines if line.startswith("| `")):
        cells = [re.findall(r"`([^`]+)`", cell) for cell in line.split(" | ")]
        found += cells[1] if re.fullmatch("[A-Z][A-Za-z]+", cells[0][0]) else cells[0]
    return [plain(text) for text in found]


def forced_open() -> CircuitBreaker:
    breaker = CircuitBreaker(name="users")
    breaker.force_open()
    return breaker


def tripped() -> CircuitBreaker:
    breaker = CircuitBreaker(name="users", consecutive_failures=2, cooldown=60.0)
    for _ in range(2):
        with pytest.raises(OSError), breaker:
            raise OSError
    return breaker


def probing() -> CircuitBreaker:
    breaker = CircuitBreaker(name="users", consecutive_failures=2, cooldown=60.0)
    breaker.open(seconds=1e-9)
    breaker.enter(breaker.runtime.now() + 1.0)
    return breaker


def full() -> Bulkhead:
    bulkhead = Bulkhead(1, name="users")
    bulkhead.enter(0.0)
    return bulkhead


def used_up() -> RateLimit:
    limit = RateLimit(1, per=60.0, name="users")
    limit.enter(limit.runtime.now())
    return limit


REFUSING: list[Callable[[], CircuitBreaker | Bulkhead | RateLimit]] = [forced_open, tripped, probing, full, used_up]


def refusals() -> list[MeshError]:
    """Errors as a user meets them, for their sentences are put together from pieces."""
    found: list[MeshError] = []
    for make in REFUSING:
        gate = make()
        with pytest.raises(MeshError) as refused:
            gate.enter(gate.runtime.now())
        found.append(refused.value)
    late = [DeadlineExceeded("users", limit=0.25), DeadlineExceeded("users"), DeadlineExceeded("users", sent=False)]
    return [*found, *late]


def sentence(error: MeshError) -> str:
    """What it says, without its name and when to come back, and with `<>` for its numbers."""
    return plain(re.sub(r"\d[\d.]*( ms\b| s\b)?", "<>", str(error).removeprefix("users: ").split("; ")[0]))


def test_every_text_has_a_row() -> None:
    found = texts()
    assert len(found) > 100, "nothing is collected any more: see SAYS, HELD and RETURNS"
    known = [row for row in rows() if words(row) >= 2]
    missing = [
        f"{where}: `{text}`"
        for text, where in found.items()
        if not any(text in row or (words(row) >= 3 and core(row) in text) for row in known)
    ]
    assert not missing, (
        "docs/troubleshooting.md has no row for these. Add one, or edit the one that was reworded: its first cell is "
        "the text in `code`, with <…> for what varies (shown here as <>):\n" + "\n".join(missing)
    )


@pytest.mark.parametrize("error", refusals(), ids=sentence)
def test_what_is_raised_reads_as_the_page_says(error: MeshError) -> None:
    loose = {re.sub(r"<> s\b", "<>", row) for row in rows()}
    assert sentence(error) in loose, f"docs/troubleshooting.md: add or reword the row for `{error}`"


def test_every_row_is_still_true() -> None:
    pieces = [
        node.value
        for tree in FILES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    said = "\n".join([*map(plain, pieces), *texts(), *map(sentence, refusals())])
    stale = []
    for row in first_cells():
        parts = [part.strip(" ;:,()") for part in row.split("<>") if words(part) >= 2]
        if parts and not any(part in said for part in parts):
            stale.append(row)
    assert not stale, "docs/troubleshooting.md: no error says this any more; edit or remove:\n" + "\n".join(stale)


def test_functions_that_answer_with_a_text_are_still_there() -> None:
    names = {node.name for tree in FILES.values() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert names >= RETURNS
    assert errors_of_ours() >= {"BreakerOpen", "NoEndpoint", "ConfigError", "ReadError", "StoreAway"}
    assert issubclass(BreakerOpen, MeshError)
