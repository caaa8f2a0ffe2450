"""Delegation tree: all steps from a name to its clusters, every branch shown, for people to read.

After Linkerd's ConfiguredNamersInterpreter.delegate and DelegateTree: unlike binding, no branch is left out because an
earlier one already answered. `to_json` gives what namerd answers at `/api/1/delegate`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

from .binding import Interpreter
from .dtab import Dentry
from .namer import Bound, Name, Pending
from .nametree import EMPTY, FAIL, NEG, Leaf, NameTree, Special, Union
from .path import EMPTY_PATH, Path

Kind: TypeAlias = Literal["delegate", "alt", "union", "leaf", "neg", "fail", "empty", "exception"]
DEEPEST_SHOWN = 150  # steps and nested trees; Python's own limit of calls must not be what ends it
MOST_SHOWN = 500  # entries; nobody reads more
_SPECIAL: dict[Special, Kind] = {NEG: "neg", FAIL: "fail", EMPTY: "empty"}
_FAIL = Path("$", "fail")


class Delegation:
    """One step: `path` was reached by `dentry` (None: it was asked for), and this is what became of it.

    `children` are the delegation (one), the alternatives or the members of a union, whose weights are in `weights`.
    A leaf has the bound name in `bound`, an exception its sentence in `error`.
    """

    __slots__ = ("bound", "children", "dentry", "error", "kind", "path", "weights")

    def __init__(
        self,
        kind: Kind,
        path: Path,
        dentry: Dentry | None = None,
        children: tuple[Delegation, ...] = (),
        *,
        weights: tuple[float, ...] = (),
        bound: Bound | None = None,
        error: str | None = None,
    ) -> None:
        self.kind = kind
        self.path: Path = path
        self.dentry: Dentry | None = dentry
        self.children: tuple[Delegation, ...] = children
        self.weights: tuple[float, ...] = weights
        self.bound: Bound | None = bound
        self.error: str | None = error

    def led_by(self, dentry: Dentry | None) -> Delegation:
        """The same step, reached by another entry."""
        return self._with(dentry=dentry)

    def simplified(self) -> Delegation:
        """An equivalent tree without steps that go nowhere: same path, single branches, alternatives of one name."""
        if self.kind == "delegate":
            (child,) = [child.simplified() for child in self.children]
            if child.kind not in ("neg", "fail", "empty") and child.path == self.path:
                return child.led_by(self.dentry)
            return self._with(children=(child,))
        if self.kind not in ("alt", "union"):
            return self
        if not self.children:
            return Delegation("neg", self.path, self.dentry)
        if len(self.children) == 1:
            return Delegation("delegate", self.path, self.dentry, self.children).simplified()
        children: list[Delegation] = []
        for child in [child.simplified() for child in self.children]:
            merge = self.kind == "alt" and child.kind == "alt" and child.path == self.path
            children += child.children if merge else (child,)
        return self._with(children=tuple(children))

    def leaves(self) -> Iterator[Bound]:
        """All bound names in the tree, in the order of reading."""
        if self.bound is not None:
            yield self.bound
        for child in self.children:
            yield from child.leaves()

    def route_to(self, id: Path) -> list[tuple[Path, str]] | None:
        """The steps (path, entry) from here to the leaf that is bound as `id`; None if there is none."""
        here = (self.path, "" if self.dentry is None else str(self.dentry))
        if self.bound is not None and self.bound.id == id:
            return [here]
        for child in self.children:
            rest = child.route_to(id)
            if rest is not None:
                return [here, *rest]
        return None

    def to_json(self) -> dict[str, Any]:
        """A dictionary in namerd's format."""
        path: str = str(self.path)
        if self.kind == "neg" and not len(self.path):
            path = "~"
        if self.kind == "fail" and not self.path.starts_with(_FAIL):
            path = "!"
        result: dict[str, Any] = {"type": self.kind, "path": path}
        if self.dentry is not None:
            dentry = str(self.dentry).partition("=>")
            result["dentry"] = {"prefix": dentry[0], "dst": dentry[2]}
        if self.bound is not None:
            result["bound"] = {"id": str(self.bound.id), "path": str(self.bound.residual)}
        if self.error is not None:
            result["message"] = self.error
        children = [child.to_json() for child in self.children]
        if self.kind == "delegate":
            result["delegate"] = children[0]
        elif self.kind == "alt":
            result["alt"] = children
        elif self.kind == "union":
            pairs = zip(self.weights, children, strict=True)
            result["union"] = [{"weight": weight, "tree": tree} for weight, tree in pairs]
        return result

    def lines(self, indent: str = "", weight: float | None = None) -> Iterator[str]:
        """The tree as indented text, one step a line."""
        by = "" if self.dentry is None else f"   ({self.dentry})"
        what = {"neg": " -> nothing known (~)", "fail": " -> fails (!)", "empty": " -> empty ($)"}.get(self.kind, "")
        if self.bound is not None:
            what = f" -> bound to {self.bound.cluster}"
            if len(self.bound.residual):
                what += f", with {self.bound.residual} left over"
        if self.error is not None:
            what = f" -> failed: {self.error}"
        if self.kind == "alt":
            what = " -> the first of these that is known:"
        if self.kind == "union":
            what = " -> all of these by weight:"
        yield f"{indent}{'' if weight is None else f'{weight:g} * '}{self.path}{what}{by}"
        weights = self.weights or (None,) * len(self.children)
        for child, share in zip(self.children, weights, strict=True):
            yield from child.lines(indent + "  ", share)

    def _with(self, **changes: Any) -> Delegation:
        values = {slot: getattr(self, slot) for slot in self.__slots__} | changes
        return Delegation(values.pop("kind"), values.pop("path"), **values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Delegation) and all(
            getattr(self, slot) == getattr(other, slot) for slot in self.__slots__
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.path, self.dentry, self.children))

    def __repr__(self) -> str:
        return "\n".join(self.lines())


def delegate(interpreter: Interpreter, name: Path) -> Delegation:
    """All that the dtab and the namers make of a name, simplified. Never raises: a failure is a step of its own."""
    return _Delegator(interpreter).bound(name, None, 0, 0).simplified()


class _Delegator:
    __slots__ = ("interpreter", "left")

    def __init__(self, interpreter: Interpreter) -> None:
        self.interpreter = interpreter
        self.left = MOST_SHOWN

    def bound(self, name: Path, dentry: Dentry | None, depth: int, level: int) -> Delegation:
        """What becomes of a name that `dentry` led to."""
        matches = self.interpreter.dtab.matching(name)
        self.left -= 1 + len(matches)
        if depth > self.interpreter.max_depth or level > DEEPEST_SHOWN:
            return Delegation("exception", name, dentry, error="Max recursion level reached.")
        if self.left < 0:
            return Delegation("exception", name, dentry, error=f"more than {MOST_SHOWN} entries apply to one name")
        found = tuple([self.spread(name, entry, entry.applied(name), depth + 1, level + 1) for entry in matches])
        if len(found) > 1:
            return Delegation("alt", name, dentry, found)
        if found and matches[0].tree is not NEG:
            return Delegation("delegate", name, dentry, found)
        try:
            tree = self.interpreter.named(name)
        except Exception as error:
            return Delegation("exception", name, dentry, error=str(error) or type(error).__name__)
        if isinstance(tree, Pending):
            return Delegation("exception", name, dentry, error="not known yet: the namer has not answered")
        if tree is NEG:
            return Delegation("delegate", name, dentry, found) if found else Delegation("neg", name, dentry)
        return self.spread(name, dentry, tree, depth + 1, level + 1)

    def spread(
        self, path: Path, dentry: Dentry | None, tree: NameTree[Path] | NameTree[Name], depth: int, level: int
    ) -> Delegation:
        """The tree that `dentry` has for the name `path`, as delegations."""
        if level > DEEPEST_SHOWN:
            return Delegation("exception", path, dentry, error="Max recursion level reached.")
        if isinstance(tree, Special):
            return Delegation(_SPECIAL[tree], EMPTY_PATH if tree is NEG else path, dentry)
        if isinstance(tree, Leaf):
            value = tree.value
            if isinstance(value, Bound):
                return Delegation("leaf", path, dentry, bound=value)
            return self.bound(value, dentry, depth, level)
        if isinstance(tree, Union):
            arms = tuple([self.spread(path, dentry, arm.tree, depth, level + 1) for arm in tree.trees])
            return Delegation("union", path, dentry, arms, weights=tuple([arm.weight for arm in tree.trees]))
        branches = tuple([self.spread(path, dentry, branch, depth, level + 1) for branch in tree.trees])
        return Delegation("alt", path, dentry, branches)
