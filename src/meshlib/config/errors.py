"""Validation errors: from pydantic's report to one sentence with the place, what was found and what was expected."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from ..errors import ConfigError
from .document import Document, Place

# What pydantic calls a mistake, in our words: its own sentences are its to change. {} are its figures.
_EXPECTED = {
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "dict_type": "expected a mapping",
    "finite_number": "expected a finite number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "greater_than": "expected more than {gt:g}",
    "greater_than_equal": "expected at least {ge:g}",
    "int_from_float": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_parsing_size": "expected a whole number of fewer digits",
    "int_type": "expected a whole number",
    "less_than": "expected less than {lt:g}",
    "less_than_equal": "expected at most {le:g}",
    "literal_error": "expected {expected}",
    "model_type": "expected a mapping",
    "string_type": "expected a text",
    "tuple_type": "expected a list",
    "union_tag_invalid": "expected one of {expected_tags}",
    "value_error": "{error}",
}
LONGEST_SHOWN = 500  # characters of what was found: more of it would hide what was expected


def shown_value(value: object) -> str:
    """What was found, as an error shows it: the beginning, and how long the whole is."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}… ({len(text)} characters)"


def first_error(
    document: Document, error: ValidationError, prefix: Place = (), model: type[BaseModel] | None = None
) -> ConfigError:
    """The first thing that is wrong; the others are noted on it."""
    problems = error.errors(include_url=False)
    first, *others = [_sentence(document, problem, prefix, model) for problem in problems]
    for other in others:
        first.add_note(str(other))
    return first


def _sentence(document: Document, problem: Any, prefix: Place, model: type[BaseModel] | None) -> ConfigError:
    place = _in_file(document, prefix, problem["loc"])
    if problem["type"] == "extra_forbidden":
        name = str(place[-1])
        near = get_close_matches(name, _keys_beside(model, problem["loc"]), n=1)
        return document.error(place, f"unknown key{f'; did you mean {near[0]!r}?' if near else ''}")
    if problem["type"] == "missing":
        return document.error(place, "missing")
    words = _EXPECTED.get(problem["type"])
    expected = words.format(**problem.get("ctx", {})) if words else str(problem["msg"])
    found = "" if isinstance(problem["input"], dict) else f", found {shown_value(problem['input'])}"
    return document.error(place, f"{expected[0].lower()}{expected[1:]}{found}")


def _in_file(document: Document, prefix: Place, steps: Place) -> Place:
    """pydantic also names the members of a union and its own wrappers; those do not stand in the file."""
    here: Any = document.data
    for step in prefix:
        here = here[step]
    place = list(prefix)
    for step in steps:
        stands = step in here if isinstance(here, dict) else isinstance(here, list) and step in range(len(here))
        if stands or not (isinstance(step, str) and ("[" in step or step.endswith("Model"))):
            place.append(step)
            here = here[step] if stands else here
    return tuple(place)


def _keys_beside(model: type[BaseModel] | None, place: tuple[Any, ...]) -> list[str]:
    """The keys that would have been right at a place: walks the model's fields down to it."""
    if model is None:
        return []
    here: Any = model
    for step in place[:-1]:
        fields = getattr(here, "model_fields", None)
        if fields is not None and step in fields:
            here = _model_in(fields[step].annotation)
    return list(getattr(here, "model_fields", {}))


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _model_in(part)
        if found is not None:
            return found
    return None
