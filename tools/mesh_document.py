"""Mesh document: writes the types of `Mesh.from_dict`'s argument from the JSON Schema: `python tools/mesh_document.py`.

tests/config/test_schema.py compares the file with what this would write.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meshlib.config.schema import mesh_schema

FILE = Path(__file__).parents[1] / "src" / "meshlib" / "config" / "document_types.py"
HEAD = '''\
"""Document types: a mesh.yaml in code, as typed dictionaries. Written by `python tools/mesh_document.py`."""

# fmt: off
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Required, TypedDict
'''
_SIMPLE = {"string": "str", "number": "float", "integer": "int", "boolean": "bool", "null": "None"}


def document_types() -> str:
    """The text of the file."""
    schema = mesh_schema()
    models = [*schema["$defs"].items(), ("MeshModel", schema)]
    return HEAD + "".join(_written(_name(name), model) for name, model in models)


def _name(model: str) -> str:
    return f"{model.removesuffix('Model')}Document"


def _written(name: str, model: dict[str, Any]) -> str:
    required = model.get("required", ())
    lines = ["", "", f"class {name}(TypedDict, total=False):"]
    if "description" in model:
        lines += [f'    """{" ".join(model["description"].split())}"""', ""]
    for key, field in model["properties"].items():
        kind = _kind(field)
        lines.append(f"    {key}: {f'Required[{kind}]' if key in required else kind}")
    return "\n".join([*lines, ""])


def _kind(schema: dict[str, Any]) -> str:
    for union in ("anyOf", "oneOf"):
        if union in schema:
            kinds = dict.fromkeys(part for one in schema[union] for part in _kind(one).split(" | "))
            return " | ".join(kinds)
    if "$ref" in schema:
        return _name(schema["$ref"].rpartition("/")[2])
    if "const" in schema or "enum" in schema:
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        return f"Literal[{', '.join(map(_literal, values))}]"
    if schema.get("type") == "array":
        if "prefixItems" in schema:
            return f"Sequence[{_kind({'anyOf': schema['prefixItems']})}]"
        return f"Sequence[{_kind(schema['items'])}]"
    if schema.get("type") == "object":
        return f"Mapping[str, {_kind(schema['additionalProperties'])}]"
    return _SIMPLE[schema["type"]]


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


if __name__ == "__main__":
    FILE.write_text(document_types(), encoding="utf-8")
