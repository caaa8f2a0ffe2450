"""Documents in code: the data of a mesh.yaml as Python objects, copied and checked to be plain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from .document import Document, Place, dotted
from .errors import shown_value
from .plain_yaml import DEEPEST, TOO_DEEP

WHOLE_DOCUMENT = "(the whole document)"


class DataDocument(Document):
    """A document that was given as data: its errors name the place in it, and no file."""

    def __init__(self, data: Any) -> None:
        super().__init__("", data, {})

    def error(self, place: Place, expected: str) -> ConfigError:
        return ConfigError(dotted(place) if place else WHOLE_DOCUMENT, expected)


def data_document(data: object) -> DataDocument:
    """A copy of `data` as mappings, lists, texts, numbers, true, false and none: what the caller does to the original
    later changes nothing here. Raises `ConfigError` with the place of anything else."""
    return DataDocument(_plain(data, ()))


def _plain(value: object, place: Place) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if len(place) > DEEPEST:  # also a mapping that holds itself
        raise DataDocument(None).error(place[:3], TOO_DEEP)
    if isinstance(value, list | tuple):
        return [_plain(item, (*place, index)) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        found = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise DataDocument(None).error(place, f"expected texts as keys, found {shown_value(key)}")
            found[key] = _plain(item, (*place, key))
        return found
    expected = f"expected a mapping, a list, a text, a number, True, False or None, found {shown_value(value)}"
    raise DataDocument(None).error(place, expected)
