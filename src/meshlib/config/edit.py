"""Edit: changes one value in a mesh.yaml; comments, order and layout of the rest stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from ..errors import ConfigError
from .document import Place, dotted


def with_value(text: str, place: Place, value: Any) -> str:
    """`text` with what stands at `place` replaced by `value`, written on one line. Raises ConfigError: no such place.

    A key of the top level that is not there is added at the end; None takes it away.
    """
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    found = _find(node, place)
    if found is None and len(place) == 1:
        return text if value is None else f"{text.rstrip()}\n{place[0]}: {_flow(value)}\n"
    if found is None:
        raise ConfigError(dotted(place), "expected to be written out, so that it can be changed")
    key, old = found
    if value is None:
        return text[: key.start_mark.index] + text[_end(text, old) :].lstrip("\n")
    block = isinstance(old, yaml.CollectionNode) and not old.flow_style
    tail = "\n" if block else ""
    return f"{text[: key.end_mark.index]}: {_flow(value)}{tail}{text[_end(text, old) :]}"


def _find(node: yaml.Node | None, place: Place) -> tuple[yaml.Node, yaml.Node] | None:
    key: yaml.Node | None = None
    for step in place:
        if not isinstance(node, yaml.MappingNode):
            return None
        for name, child in node.value:
            if name.value == step:
                key, node = name, child
                break
        else:
            return None
    return (key, node) if key is not None and node is not None else None


def _end(text: str, node: yaml.Node) -> int:
    """Where a value ends. A block's own end mark lies behind the comments and blank lines that follow it."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style:
        return int(node.end_mark.index)
    last = node.value[-1][1] if isinstance(node, yaml.MappingNode) else node.value[-1]
    end = text.find("\n", _end(text, last))
    return len(text) if end < 0 else end + 1


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1 << 20).strip()
    return text.removesuffix("\n...").strip()
