"""Random paths, name trees and dtabs for properties, and what a tree stands for."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from meshlib.routing.dtab import ANY, Dentry, Dtab, Prefix
from meshlib.routing.nametree import EMPTY, FAIL, NEG, Alt, Leaf, NameTree, Special, Union, Weighted
from meshlib.routing.path import Path

labels = st.one_of(
    st.sampled_from(["a", "svc", "#", "$", "io.l5d.fs"]),
    st.binary(min_size=1, max_size=3).map(lambda data: data.decode("utf-8", "surrogateescape")),
)
path_values = st.lists(labels, max_size=4).map(lambda parts: Path(*parts))
weights = st.one_of(st.just(1.0), st.integers(0, 100).map(float), st.floats(0, 1e6, allow_nan=False))
trees = st.recursive(
    st.one_of(path_values.map(Leaf), st.sampled_from([FAIL, NEG, EMPTY])),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda trees: Alt(tuple(trees))),
        st.lists(st.builds(Weighted, weights, inner), min_size=2, max_size=3).map(lambda arms: Union(tuple(arms))),
    ),
    max_leaves=8,
)
prefixes = st.lists(st.one_of(labels, st.just(ANY)), max_size=3).map(lambda parts: Prefix(*parts))
dtabs = st.lists(st.builds(Dentry, prefixes, trees), max_size=4).map(Dtab)


def evaluated(tree: NameTree[Any]) -> frozenset[Any] | None:
    """The set of values that the tree stands for, without weights; None if it is negative or fails."""
    result = _evaluated(tree)
    return None if isinstance(result, Special) else result


def _evaluated(tree: NameTree[Any]) -> frozenset[Any] | Special:
    if isinstance(tree, Leaf):
        return frozenset((tree.value,))
    if isinstance(tree, Alt):
        for branch in tree.trees:
            result = _evaluated(branch)
            if result is not NEG:
                return result
        return NEG
    if isinstance(tree, Union):
        if len(tree.trees) == 1:
            return _evaluated(tree.trees[0].tree)
        found = [_evaluated(arm.tree) for arm in tree.trees]
        sets = [result for result in found if not isinstance(result, Special)]
        return frozenset().union(*sets) if sets else NEG
    return frozenset() if tree is EMPTY else tree
