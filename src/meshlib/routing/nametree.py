"""Name tree: alternatives and weighted unions that a name stands for (after Finagle's NameTree).

`a | b` is fail-over, `3 * a & b` a weighted union; the leaves are values, `!` fails for good, `~` knows nothing here,
and `$` is a valid answer that is empty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Leaf(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class Alt(Generic[T]):
    """Fail-over: the first branch that is not `~`."""

    trees: tuple[NameTree[T], ...]


@dataclass(frozen=True, slots=True)
class Weighted(Generic[T]):
    weight: float
    tree: NameTree[T]


@dataclass(frozen=True, slots=True)
class Union(Generic[T]):
    """All branches together, each by its weight."""

    trees: tuple[Weighted[T], ...]


class Special:
    """One of the three trees without a value. Compared by identity."""

    __slots__ = ("name", "sign")

    def __init__(self, name: str, sign: str) -> None:
        self.name: str = name
        self.sign: str = sign

    def __repr__(self) -> str:
        return self.name


FAIL = Special("FAIL", "!")
NEG = Special("NEG", "~")
EMPTY = Special("EMPTY", "$")

NameTree: TypeAlias = Leaf[T] | Alt[T] | Union[T] | Special


def mapped(tree: NameTree[T], change: Callable[[T], U]) -> NameTree[U]:
    """The same tree with each leaf changed."""
    if isinstance(tree, Leaf):
        return Leaf(change(tree.value))
    if isinstance(tree, Alt):
        return Alt(tuple([mapped(branch, change) for branch in tree.trees]))
    if isinstance(tree, Union):
        return Union(tuple([Weighted(arm.weight, mapped(arm.tree, change)) for arm in tree.trees]))
    return tree


def simplified(tree: NameTree[T]) -> NameTree[T]:
    """An equivalent tree: fail-over drops `~` and ends at `!`, unions drop both, an only child takes the place."""
    if isinstance(tree, Alt):
        if len(tree.trees) == 1:
            return simplified(tree.trees[0])
        kept: list[NameTree[T]] = []
        for branch in tree.trees:
            simple = simplified(branch)
            if simple is not NEG:
                kept.append(simple)
            if simple is FAIL:
                break
        return NEG if not kept else kept[0] if len(kept) == 1 else Alt(tuple(kept))
    if isinstance(tree, Union):
        if len(tree.trees) == 1:
            return simplified(tree.trees[0].tree)
        arms = [Weighted(arm.weight, simplified(arm.tree)) for arm in tree.trees]
        arms = [arm for arm in arms if arm.tree is not FAIL and arm.tree is not NEG]
        return NEG if not arms else arms[0].tree if len(arms) == 1 else Union(tuple(arms))
    return tree


def show_tree(tree: NameTree[T]) -> str:
    """The tree as text, with parentheses only where they are needed. Reading it again gives the same tree.

    Only unions and fail-overs with one branch are lost: they have no notation, and mean that branch.
    """
    tree = _single(tree)
    if isinstance(tree, Alt):
        return " | ".join([_show_branch(branch) for branch in tree.trees])
    return _show_branch(tree)


def _show_branch(tree: NameTree[T]) -> str:
    tree = _single(tree)
    if isinstance(tree, Union):
        return " & ".join([_show_weight(arm.weight) + _show_simple(arm.tree) for arm in tree.trees])
    return _show_simple(tree)


def _show_simple(tree: NameTree[T]) -> str:
    tree = _single(tree)
    if isinstance(tree, Leaf):
        return str(tree.value)
    return tree.sign if isinstance(tree, Special) else f"({show_tree(tree)})"


def _show_weight(weight: float) -> str:
    """Two decimals, as Finagle prints; more where two would change the weight."""
    if weight == 1:
        return ""
    short = f"{weight:.2f}"
    return f"{short if float(short) == weight else format(Decimal(repr(weight)), 'f')}*"


def _single(tree: NameTree[T]) -> NameTree[T]:
    while isinstance(tree, Alt | Union) and len(tree.trees) == 1:
        only = tree.trees[0]
        tree = only.tree if isinstance(only, Weighted) else only
    # An empty union or fail-over has no notation; it means what `~` means.
    return NEG if isinstance(tree, Alt | Union) and not tree.trees else tree
