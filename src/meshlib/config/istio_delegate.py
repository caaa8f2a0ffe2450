"""Istio delegates: a rule that delegates to another VirtualService becomes that one's rules, narrowed by it.

As in Istio: what the delegate says counts, what it leaves open is the root's; of the conditions both must hold, and a
rule of the delegate that could not is ignored. Delegation goes one level deep.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .draft import Draft
from .node import Node

Rule = tuple[dict[str, Any], Node]


def delegated(
    draft: Draft, root: Rule, to: Node, namespace: str, read: Callable[[Node, str], Rule | None]
) -> list[Rule]:
    """The rules of the VirtualService that `to` names, under the rule `root`; `read` reads one of them."""
    space = to.text("namespace") or namespace
    name = to.named("name")
    spec = draft.delegates.get((space, name))
    if spec is None:
        to.say("name", f"there is no VirtualService {name} without hosts in {space}: the rule is left out")
        return []
    found: list[Rule] = []
    for node in spec.nodes("http"):
        if "delegate" in node:
            node.say("delegate", "delegation goes one level deep: the rule is left out")
            node.ignore(node.keys())
            continue
        own = read(node, space)
        if own is None:
            continue
        rule = {**root[0], **own[0]}
        rule["name"] = "-".join(filter(None, [root[0].get("name"), own[0].get("name")]))
        match = _both(root[0].get("match", []), own[0].get("match", []))
        if match is None:
            node.say("match", "does not fit into that of the rule which delegates to it: the rule is left out")
        elif not {"split", "redirect", "respond"} & set(rule):
            node.say(None, "leads nowhere: the rule is left out")
        else:
            found.append((rule | ({"match": match} if match else {}), node))
    return found


def _both(root: list[dict[str, Any]], own: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """The alternatives in which one of each side holds; None if that cannot be."""
    if not root or not own:
        return root or own
    found = [_merged(outer, inner) for inner in own for outer in root if _fits(outer, inner)]
    return found or None


def _merged(outer: dict[str, Any], inner: dict[str, Any]) -> dict[str, Any]:
    merged = {**outer, **inner}
    for key in ("headers", "query", "labels"):
        if key in outer or key in inner:
            merged[key] = {**outer.get(key, {}), **inner.get(key, {})}
    return merged


def _fits(outer: dict[str, Any], inner: dict[str, Any]) -> bool:
    """Is what `inner` asks for certainly a part of what `outer` takes?"""
    for key, condition in outer.items():
        mine = inner.get(key)
        if mine is None or mine == condition:
            continue
        if key == "path":
            if not _path_fits(condition, mine):
                return False
        elif key in ("headers", "query", "labels"):
            if any(mine.get(name, text) != text for name, text in condition.items()):
                return False
        else:
            return False
    return True


def _path_fits(outer: dict[str, Any], inner: dict[str, Any]) -> bool:
    text = inner.get("exact") or inner.get("prefix")
    return "prefix" in outer and text is not None and text.startswith(outer["prefix"])
