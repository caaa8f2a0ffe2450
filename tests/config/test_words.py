"""The words of a refusal are ours: pydantic's change with its versions, and its types of mistakes do not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from meshlib import ConfigError
from meshlib.config.document import Document, parse_document
from meshlib.config.errors import first_error
from meshlib.config.models import MeshModel
from meshlib.config.node import ConfigReport, Node
from meshlib.config.values import read_duration

NONSENSE: list[Any] = [
    *([], {}, "text", "", "-1", -1, 7, 1.5, True, None, math.inf, math.nan, 10**400, "9" * 5_000),
    *([[1]], [None], ["a"], {"a": 1}, {"kind": 3}, {"kind": "x"}, [{"kind": "x"}]),
]


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from models(part)


def every_model() -> list[type[BaseModel]]:
    found: dict[type[BaseModel], None] = {}
    left: list[type[BaseModel]] = [MeshModel]
    while left:
        if (model := left.pop()) not in found:
            found[model] = None
            left += [inner for field in model.model_fields.values() for inner in models(field.annotation)]
    return list(found)


@pytest.mark.parametrize("model", every_model(), ids=lambda model: model.__name__)
def test_no_sentence_of_pydantics_reaches_a_user(model: type[BaseModel]) -> None:
    for field in model.model_fields:
        for value in NONSENSE:
            data = {field: value}
            try:
                model.model_validate(data)
            except ValidationError as error:
                theirs = {problem["msg"].lower() for problem in error.errors() if problem["type"] != "value_error"}
                ours = first_error(Document("a.yaml", data, {}), error, model=model)
                for line in (str(ours), *getattr(ours, "__notes__", ())):
                    assert not [words for words in theirs if words in line.lower()], line


def test_a_whole_number_beyond_all_floats_is_refused_with_its_place() -> None:
    text = f"clusters: {{a: {{adaptive_limit: {{min_limit: {10**400}}}}}}}"
    document = parse_document(text, "a.yaml")
    with pytest.raises(ValidationError) as caught:
        MeshModel.model_validate(document.data)
    assert "expected at most max_limit" in str(first_error(document, caught.value, model=MeshModel))


@pytest.mark.parametrize("found", [[1], 10**400])
@pytest.mark.parametrize("read", ["seconds", "share", "number"])
def test_what_is_no_number_in_a_manifest_is_refused_in_our_words(found: Any, read: str) -> None:
    node = Node(Document("a.yaml", {"timeout": found}, {}), (), ConfigReport())
    with pytest.raises(ConfigError) as caught:
        getattr(node, read)("timeout")
    assert caught.value.expected == f"expected a number, found {found!r}"


def test_a_million_digits_are_no_time() -> None:
    """In one pass: where the text is searched for parts, this one takes hours."""
    with pytest.raises(ValueError, match="expected a time"):
        read_duration("9" * 1_000_000)
