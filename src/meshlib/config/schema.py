"""JSON Schema: what a mesh.yaml may say, for editors, made from the models and the table of descriptions.

The models read short forms (`balancer: ring_hash`, `breaker: off`, times as text) by functions before the types.
pydantic cannot know what such a function takes, so each has its forms in `_FORMS`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeAlias

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import BeforeValidatorFunctionSchema, ModelSchema

from ..balancing import NAMES
from . import balancing_models, models, policy_models, route_models, values
from .descriptions import DESCRIPTIONS

JsonSchema: TypeAlias = dict[str, Any]
Forms: TypeAlias = Callable[["MeshSchema", JsonSchema], list[JsonSchema]]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_OFF: list[JsonSchema] = [{"const": False}, {"const": "off"}]  # YAML 1.2, which editors read, has no word `off`
_ON: list[JsonSchema] = [{"const": True}, {"const": "on"}]
# pydantic leaves these as they are where a limit stands around another type.
_KEYWORDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
_TEXT: JsonSchema = {"type": "string"}
_PLAIN: list[JsonSchema] = [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]


def mesh_schema() -> JsonSchema:
    """The JSON Schema (2020-12) of a mesh.yaml."""
    found = models.MeshModel.model_json_schema(schema_generator=MeshSchema, mode="validation")
    return {"$schema": DIALECT, "title": "mesh.yaml", **_tidy(found)}


class MeshSchema(GenerateJsonSchema):
    """pydantic's generator, with the short forms and the descriptions."""

    def function_before_schema(self, schema: BeforeValidatorFunctionSchema) -> JsonSchema:
        inner = self.generate_inner(schema["schema"])
        function: Any = schema["function"]["function"]
        if isinstance(function, partial) and function.func is policy_models.in_mapping:
            return _any_of([self.resolve_ref_schema(inner)["properties"][function.args[0]], inner])
        if function not in _FORMS:
            raise AssertionError(f"{function.__qualname__}: its short forms are missing in config/schema.py")
        return _any_of([*_FORMS[function](self, inner), inner])

    def model_schema(self, schema: ModelSchema) -> JsonSchema:
        found = super().model_schema(schema)
        kind = schema["cls"]
        for name, field in found.get("properties", {}).items():
            sentence = description(kind, name)
            if sentence is not None:
                field["description"] = sentence
        if kind is balancing_models.BalancerModel:
            found["properties"]["kind"] |= {"enum": list(NAMES)}
        return found

    def mapped(self, kind: type[values.Model]) -> JsonSchema:
        """The schema of another model, by its reference."""
        return self.generate_inner(kind.__pydantic_core_schema__)


def description(kind: type, name: str) -> str | None:
    """The sentence about a key of a model, or of the model that it extends."""
    found = (DESCRIPTIONS.get((one.__name__, name)) for one in kind.__mro__)
    return next((sentence for sentence in found if sentence), None)


def _items(_: MeshSchema, inner: JsonSchema) -> list[JsonSchema]:
    return [inner["items"]]


_FORMS: dict[Any, Forms] = {
    values.read_duration: lambda *_: [{"type": "string", "pattern": values.DURATION}],
    values.read_ratio: lambda *_: [{"type": "string", "pattern": values.RATIO}],
    policy_models.off: lambda *_: _OFF,
    balancing_models.on: lambda *_: [*_OFF, *_ON],
    balancing_models.kind: lambda *_: [{"enum": list(NAMES)}],
    balancing_models.base: lambda made, inner: [made.resolve_ref_schema(inner)["properties"]["base"]],
    balancing_models._path: lambda *_: [{"type": "string", "pattern": "^/"}, *_ON],
    models._hosts: lambda *_: [{"type": "array", "items": _TEXT}],
    route_models._listed: _items,
    route_models._text: lambda *_: _PLAIN,
    route_models._sticky: lambda made, _: [made.mapped(route_models.KeyModel)],
    route_models._split: lambda *_: [_TEXT],
    route_models._off_by_name: lambda *_: _OFF,
}


def _any_of(forms: list[JsonSchema]) -> JsonSchema:
    """One of `forms`, each once; alternatives inside them stand beside the others."""
    flat: list[JsonSchema] = []
    for form in forms:
        for one in form["anyOf"] if set(form) == {"anyOf"} else [form]:
            if one not in flat:
                flat.append(one)
    return {"anyOf": flat}


def _tidy(schema: Any, where: Literal["schema", "names"] = "schema") -> Any:
    """Without pydantic's titles, and without defaults that are none or whole mappings: editors would write them out."""
    if isinstance(schema, list):
        return [_tidy(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if where == "names":
        return {name: _tidy(one) for name, one in schema.items()}
    return {
        _KEYWORDS.get(key, key): _tidy(value, "names" if key in ("properties", "$defs") else "schema")
        for key, value in schema.items()
        if key != "title" and not (key == "default" and _long(value))
    }


def _long(default: object) -> bool:
    return default is None or default == "" or isinstance(default, dict | list)
