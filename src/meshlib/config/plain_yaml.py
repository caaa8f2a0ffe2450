"""Plain YAML: a YAML text as mappings, lists, texts, numbers, true, false and null, and nothing else.

One pass over the parser's events (libyaml's, where it is installed), without recursion, so that no nesting is too deep
for it, and other threads get their turn between any two of them. Lines are looked for in a second pass, and only when
somebody asks: most texts are good ones.

Keys are texts as they are written (`on: 1` has the key "on"), and so are dates. Tags beyond the plain ones are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from ..errors import ConfigError

Place: TypeAlias = tuple[str | int, ...]
DEEPEST = 60
LONGEST_NUMBER = 1000  # characters. To read digits takes quadratic time, and Python writes no more than 4,300 of them
MOST_COPIED = 200_000  # places that aliases may add: ten lines of them can stand for more than any memory holds
WHOLE = "(the whole file)"
TOO_DEEP = "too deep or too large"

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SCALAR, _ALIAS = yaml.ScalarEvent, yaml.AliasEvent
_MAPPING, _SEQUENCE = yaml.MappingStartEvent, yaml.SequenceStartEvent
_END = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
_TAG = "tag:yaml.org,2002:"
_MERGE: Any = object()  # the key `<<`, while its mapping is being read
_NO_KEY: Any = object()
_CONSTRUCTOR = SafeConstructor()
_MADE = {f"{_TAG}{kind}": getattr(_CONSTRUCTOR, f"construct_yaml_{kind}") for kind in ("null", "bool", "int", "float")}
_TEXTS = frozenset([None, "!", f"{_TAG}str", f"{_TAG}timestamp", f"{_TAG}value", f"{_TAG}merge"])
_CONTAINERS = {_MAPPING: (None, "!", f"{_TAG}map"), _SEQUENCE: (None, "!", f"{_TAG}seq")}


def dotted(place: Place) -> str:
    """`services.users.split`, or `clusters.a.endpoints[2]`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return text.removeprefix(".") or WHOLE


def documents(text: str, file: str) -> list[Any]:
    """The data of each document. Raises `ConfigError` with the line for what is not YAML, and for keys found twice."""
    return list(_Reading(text, file))


def lines(text: str, file: str) -> list[dict[Place, int]]:
    """For each document, the line (from 1) of each place that is written in it. Of a text that `documents` has read."""
    found: list[dict[Place, int]] = []
    stack: list[tuple[Place, Any]] = []
    place: Place = ()
    key: Any = 0  # the place of the next item in a list; in a mapping the key, or _NO_KEY
    for event in _events(text, file):
        kind = type(event)
        if kind is yaml.DocumentStartEvent:
            found.append({})
            place, key = (), None
            continue
        if kind in _END:
            place, key = stack.pop()
        elif kind is _SCALAR or kind is _ALIAS or kind in _CONTAINERS:
            if key is _NO_KEY:
                key = getattr(event, "value", "?")
                found[-1][(*place, key)] = event.start_mark.line + 1
                continue
            here = place if key is None else (*place, key)
            found[-1].setdefault(here, event.start_mark.line + 1)
            if kind in _CONTAINERS:
                stack.append((place, key))
                place, key = here, _NO_KEY if kind is _MAPPING else 0
                continue
        else:
            continue
        # A value has ended: what comes next is another item, or another key.
        key = key + 1 if isinstance(key, int) else None if key is None else _NO_KEY
    return found


def _events(text: str, file: str) -> Iterator[Any]:
    """The parser's events; what it refuses is a `ConfigError`."""
    odd = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if odd is not None:
        line = text.count("\n", 0, odd.start()) + 1
        raise ConfigError(WHOLE, f"not YAML: the character {odd.group()!r} is not allowed", file=file, line=line)
    parser = None
    given = 0
    line = 1
    try:
        parser = _Loader(text)
        while parser.check_event():
            event = parser.get_event()
            line = event.start_mark.line + 1
            given += 1
            yield event
        return
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "no YAML"
    except (RecursionError, MemoryError):
        mark, problem = None, TOO_DEEP
    except (yaml.YAMLError, ValueError) as error:
        mark, problem = None, str(error)
    finally:
        if parser is not None:
            parser.dispose()
    if mark is not None:
        yield from _ahead(text[: mark.index], given)
        line = mark.line + 1
    raise ConfigError(WHOLE, problem if problem is TOO_DEEP else f"not YAML: {problem}", file=file, line=line)


def _ahead(text: str, given: int) -> list[Any]:
    """The events after the first `given` of a text that is too deep; none of one that is not.

    Parsers limit the nesting, too (libyaml 0.2.6: 1,000), each in its own words, and fail before they give the events
    that show it. Read again up to where the parser failed, they let `_Reading` refuse the text in our words, at its
    place.
    """
    events: list[Any] = []
    depth = read = 0
    parser = _Loader(text)
    try:
        while depth < DEEPEST + 2 and parser.check_event():
            event = parser.get_event()
            depth += (type(event) in _CONTAINERS) - (type(event) in _END)
            read += 1
            if read > given:
                events.append(event)
    except (yaml.YAMLError, ValueError, RecursionError, MemoryError):
        pass  # the text ends where it does
    finally:
        parser.dispose()
    return events if depth == DEEPEST + 2 else []


class _Wrong(Exception):
    """What cannot be read. Whoever knows the place makes a `ConfigError` of it."""

    def __init__(self, event: Any, why: str, *key: str) -> None:
        self.line = event.start_mark.line + 1
        self.why = why
        self.key = key


class _Reading:
    """One pass over a text. Iterating gives the data of its documents."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        # Open containers around the present one: container, key, its anchor, nodes before it, height of what it holds.
        self._stack: list[tuple[Any, Any, str | None, int, int]] = []
        self._known: dict[str, tuple[Any, int, int]] = {}  # anchors: value, nodes in it, its height
        self._plain: dict[str, Any] = {}  # what unquoted texts that could be more than texts turned out to be
        self._nodes = 0
        self._copied = 0

    def __iter__(self) -> Iterator[Any]:
        stack, plain, resolvers = self._stack, self._plain, Resolver.yaml_implicit_resolvers
        here: Any = None  # the open container
        key: Any = _NO_KEY
        anchor: str | None = None  # that of the open container
        before = height = 0
        try:
            for event in _events(self._text, self._file):
                kind = type(event)
                if kind is _SCALAR:
                    self._nodes += 1
                    if key is _NO_KEY and type(here) is dict:
                        key = self._key(here, event)
                        continue
                    value: Any = event.value
                    if event.tag is not None or not event.implicit[0]:
                        value = self._tagged(event) if event.tag is not None else value
                    elif value[:1] in resolvers:
                        value = plain[value] if value in plain else self._resolved(event)
                    own = 0
                    if event.anchor is not None:
                        self._known[event.anchor] = value, 1, 0
                elif kind is _ALIAS:
                    value, own = self._copy(event, key is _NO_KEY and type(here) is dict)
                elif kind in _CONTAINERS:
                    self._nodes += 1
                    self._check(event, kind, key is _NO_KEY and type(here) is dict)
                    stack.append((here, key, anchor, before, height))
                    here, key = ({} if kind is _MAPPING else []), _NO_KEY
                    anchor, before, height = event.anchor, self._nodes, 0
                    if anchor is not None:
                        self._known.pop(anchor, None)  # until it is whole, it stands for nothing
                    continue
                elif kind in _END:
                    value, own = here, height + 1
                    if type(value) is dict and _MERGE in value:
                        value = self._merged(value, event)
                    if anchor is not None:
                        self._known[anchor] = value, self._nodes - before + 1, own
                    here, key, anchor, before, height = stack.pop()
                elif kind is yaml.DocumentStartEvent:
                    self._known.clear()
                    self._nodes = self._copied = 0
                    here, key, anchor, before, height = None, _NO_KEY, None, 0, 0
                    continue
                else:
                    continue
                if own > height:
                    height = own
                if here is None:
                    yield value
                elif key is _NO_KEY:
                    here.append(value)
                elif key is _MERGE:
                    here[_MERGE].append(value)
                    key = _NO_KEY
                else:
                    here[key] = value
                    key = _NO_KEY
        except _Wrong as wrong:
            raise self._error(wrong, here, key) from None

    def _key(self, here: dict[Any, Any], event: Any) -> Any:
        key = event.value
        if key == "<<" and event.tag is None and event.implicit[0]:
            here.setdefault(_MERGE, [])
            return _MERGE
        if event.tag not in _TEXTS and event.tag not in _MADE:
            raise _Wrong(event, f"unknown tag {event.tag!r}", key)
        if key in here:
            raise _Wrong(event, "found twice, expected once", key)
        if event.anchor is not None:
            self._known[event.anchor] = key, 1, 0
        return key

    def _resolved(self, event: Any) -> Any:
        """What an unquoted text is, by its looks."""
        value = event.value
        for tag, looks in Resolver.yaml_implicit_resolvers[value[:1]]:
            if looks.match(value):
                self._plain[value] = made = self._made(event, tag)
                return made
        self._plain[value] = value
        return value

    def _tagged(self, event: Any) -> Any:
        if event.tag in _TEXTS:
            return event.value
        if event.tag not in _MADE:
            raise _Wrong(event, f"unknown tag {event.tag!r}")
        return self._made(event, event.tag)

    def _made(self, event: Any, tag: str) -> Any:
        make = _MADE.get(tag)
        if make is None:
            return event.value
        if len(event.value) > LONGEST_NUMBER:
            kind, size = tag.removeprefix(_TAG), len(event.value)
            raise _Wrong(event, f"not YAML: no {kind} of {size} characters (at most {LONGEST_NUMBER}; quote a text)")
        try:
            return make(yaml.ScalarNode(tag, event.value))
        except (ValueError, KeyError, OverflowError):
            raise _Wrong(event, f"not YAML: no {tag.removeprefix(_TAG)} {event.value[:60]!r}") from None

    def _copy(self, event: Any, is_key: bool) -> tuple[Any, int]:
        known = self._known.get(event.anchor)
        if known is None:
            raise _Wrong(event, f"not YAML: found undefined alias {event.anchor!r}")
        if is_key:
            raise _Wrong(event, "an alias cannot be a key here")
        value, nodes, own = known
        self._nodes += nodes
        self._copied += nodes
        if self._copied > MOST_COPIED or len(self._stack) + own > DEEPEST:
            raise _Wrong(event, TOO_DEEP)
        return value, own

    def _check(self, event: Any, kind: Any, is_key: bool) -> None:
        if len(self._stack) > DEEPEST:
            raise _Wrong(event, TOO_DEEP)
        if is_key:
            raise _Wrong(event, "a key that is no text")
        if event.tag not in _CONTAINERS[kind]:
            raise _Wrong(event, f"unknown tag {event.tag!r}")

    def _merged(self, value: dict[Any, Any], event: Any) -> dict[Any, Any]:
        """`<<`: what stands in the mapping itself counts more, and then what is merged first."""
        found: dict[Any, Any] = {}
        for given in value.pop(_MERGE):
            for one in given if isinstance(given, list) else [given]:
                if not isinstance(one, Mapping):
                    raise _Wrong(event, "expected a mapping to merge")
                found = {**one, **found}
        return {**found, **value}

    def _error(self, wrong: _Wrong, here: Any, key: Any) -> ConfigError:
        """The error with its place: where in the open containers we are."""
        place: list[str | int] = []
        for one, step in (*[(one, step) for one, step, *_ in self._stack], (here, key)):
            if isinstance(one, list):
                place.append(len(one))
            elif one is not None and step is not _MERGE and step is not _NO_KEY:
                place.append(step)
        return ConfigError(dotted((*place, *wrong.key)), wrong.why, file=self._file, line=wrong.line)
