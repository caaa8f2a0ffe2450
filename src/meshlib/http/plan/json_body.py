"""How is a JSON body written? As httpx writes it, byte for byte, but sooner.

httpx makes an encoder for each body; one does for all. And `json` looks at each character of a text twice in order to
escape it: a text that is long, and needs no escape, is copied instead (10 KB: 5 µs in the place of 13).
"""

from __future__ import annotations

import importlib
import json
from math import nan
from types import ModuleType
from typing import Any, Final

LONG: Final = 2048  # characters of a text for which it pays to look first
_ESCAPED: Final = bytes(range(0x20)) + b'"\\'
_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def encode(value: Any) -> bytes:
    """What httpx makes of `json=value`. Raises what it raises for what is no JSON."""
    if type(value) is dict:
        for item in value.values():
            if type(item) is str and len(item) >= LONG:
                return _with_long_texts(value).encode()
    return _text(value).encode()


def _with_long_texts(value: dict[Any, Any]) -> str:
    pieces: list[str] = []
    others: dict[Any, Any] = {}
    for name, item in value.items():
        if type(item) is str and len(item) >= LONG and type(name) is str and _is_plain(item):
            if others:
                pieces.append(_text(others)[1:-1])
                others = {}
            pieces.append(f'{_text(name)}:"{item}"')
        else:
            others[name] = item
    if others:
        pieces.append(_text(others)[1:-1])
    return f"{{{','.join(pieces)}}}"


def _is_plain(text: str) -> bool:
    return text.isascii() and len(text.encode().translate(None, _ESCAPED)) == len(text)


class Json:
    """How one family, `lib`, writes JSON: by `encode`, as long as that is what it does itself."""

    __slots__ = ("_alike", "_content", "_theirs")

    def __init__(self, lib: ModuleType) -> None:
        self._content = importlib.import_module(f"{lib.__name__}._content")
        self._theirs = self._content.encode_json
        self._alike = _writes_alike(self._theirs)

    def encode(self, value: Any) -> bytes:
        if self._alike and self._content.json_dumps is json.dumps:  # some put another in its place
            return encode(value)
        return b"".join(self._theirs(value)[1])


def _writes_alike(theirs: Any) -> bool:
    sample: dict[str, Any] = {"a": [1, 2.5, None, True, {}], "é": '"\u2028'}
    try:
        theirs(nan)
    except ValueError:
        return b"".join(theirs(sample)[1]) == encode(sample)
    return False
