"""Envoy export of matches: the conditions of a rule, and what a sticky split hashes, in Envoy's fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..routing.match import Match
from ..routing.split import Sticky
from ..routing.text_match import Text
from ..routing.url_path import ExactPath, PrefixPath, TemplatePath

KINDS = {"exact": "exact", "prefix": "prefix", "suffix": "suffix", "contains": "contains"}


class Unmatched(Exception):
    """A condition that Envoy cannot check."""


def export_match(alternative: Any, labels: Mapping[str, str]) -> dict[str, Any] | None:
    """Envoy's `match`; None if the caller's labels rule it out. Raises `Unmatched`."""
    if alternative is None:
        return {"prefix": "/"}
    if not isinstance(alternative, Match):
        raise Unmatched("a condition written in Python has no counterpart")
    for name, text in alternative.labels.items():
        if not text.test(labels.get(name)):
            return None
    found = _path(alternative.path)
    headers: list[dict[str, Any]] = []
    if alternative.methods:
        headers.append(_pseudo(":method", list(alternative.methods)))
    if alternative.hosts:
        headers += _hosts(alternative.hosts)
    if alternative.schemes:
        headers.append(_pseudo(":scheme", list(alternative.schemes)))
    if alternative.ports:
        raise Unmatched("the port of a URL does not reach a sidecar")
    headers += [_header(name, text) for name, text in alternative.headers.items()]
    headers += [_cookie(name, text) for name, text in alternative.cookies.items()]
    if headers:
        found["headers"] = headers
    if alternative.query:
        found["query_parameters"] = [_parameter(name, text) for name, text in alternative.query.items()]
    return found


def hash_policies(sticky: Sticky, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Envoy's `hash_policy`, which hashes as we do."""
    found: list[dict[str, Any]] = []
    for key in sticky.by:
        if key.kind == "header":
            policy: dict[str, Any] = {"header": {"header_name": key.name}}
        elif key.kind == "cookie":
            made_up = {} if key.ttl is None else {"ttl": f"{key.ttl:.6f}s", "path": key.path}
            policy = {"cookie": {"name": key.name, **made_up}}
        elif key.kind == "query":
            policy = {"query_parameter": {"name": key.name}}
        else:
            say(f"sticky by {key!r}: a sidecar does not see it, and draws")
            continue
        found.append(policy | ({"terminal": True} if key.terminal else {}))
    return found


def _path(path: Any) -> dict[str, Any]:
    if path is None:
        return {"prefix": "/"}
    case = {"case_sensitive": False} if getattr(path, "ignore_case", False) else {}
    if isinstance(path, ExactPath):
        return {"path": path.value, **case}
    if isinstance(path, PrefixPath):
        if path.segments and path.value:
            return {"path_separated_prefix": path.value, **case}
        return {"prefix": path.value or "/", **case}
    if isinstance(path, TemplatePath):
        return {"safe_regex": {"regex": _template(path.template)}}
    pattern = path.regex.pattern
    return {"safe_regex": {"regex": f"(?i){pattern}" if path.regex.ignore_case else pattern}}


def _template(template: str) -> str:
    """`/users/{id}.json` as a pattern."""
    segments = []
    for segment in template[1:].split("/"):
        if segment == "**" or segment.endswith("=**}"):
            segments.append(".*")
        else:
            before, _, rest = segment.partition("{") if "{" in segment else segment.partition("*")
            after = rest.partition("}")[2] if "{" in segment else rest
            segments.append(_quoted(before) + ("[^/]+" + _quoted(after) if before != segment else ""))
    return "/" + "/".join(segments)


def _pseudo(name: str, values: list[str]) -> dict[str, Any]:
    if len(values) == 1:
        return {"name": name, "string_match": {"exact": values[0]}}
    return {"name": name, "string_match": {"safe_regex": {"regex": "|".join(values)}}}


def _hosts(hosts: tuple[Text, ...]) -> list[dict[str, Any]]:
    if len(hosts) == 1:
        return [_header(":authority", hosts[0])]
    if any(text.kind != "exact" or text.invert for text in hosts):
        raise Unmatched("several hosts, not all of them exact")
    return [_pseudo(":authority", [_quoted(text.value) for text in hosts])]


def _string(text: Text) -> dict[str, Any]:
    if text.kind == "regex":
        value = f"(?i){text.value}" if text.ignore_case else text.value
        return {"safe_regex": {"regex": value}}
    return {KINDS[text.kind]: text.value} | ({"ignore_case": True} if text.ignore_case else {})


def _header(name: str, text: Text) -> dict[str, Any]:
    if text.kind == "present":
        return {"name": name, "present_match": text.says == "present"}
    found: dict[str, Any] = {"name": name, "string_match": _string(text)}
    return found | ({"invert_match": True, "treat_missing_header_as_empty": True} if text.invert else {})


def _parameter(name: str, text: Text) -> dict[str, Any]:
    if text.kind == "present":
        if text.says != "present":
            raise Unmatched(f"query parameter {name!r} absent")
        return {"name": name, "present_match": True}
    if text.invert:
        raise Unmatched(f"query parameter {name!r} not so")
    return {"name": name, "string_match": _string(text)}


def _cookie(name: str, text: Text) -> dict[str, Any]:
    """As a pattern of the whole header, which every version of Envoy knows."""
    quoted = _quoted(text.value) if text.kind != "regex" else text.value
    value = {
        "present": "[^;]*",
        "exact": quoted,
        "prefix": f"{quoted}[^;]*",
        "suffix": f"[^;]*{quoted}",
        "contains": f"[^;]*{quoted}[^;]*",
        "regex": f"(?:{quoted})",
    }[text.kind]
    case = "(?i)" if text.ignore_case else ""
    pattern = f'{case}(?:.*;)?\\s*{_quoted(name)}\\s*=\\s*"?{value}"?\\s*(?:;.*)?'
    found = {"name": "cookie", "string_match": {"safe_regex": {"regex": pattern}}}
    inverted = text.invert if text.kind != "present" else text.says != "present"
    return found | ({"invert_match": True, "treat_missing_header_as_empty": True} if inverted else {})


def _quoted(text: str) -> str:
    return "".join(f"\\{one}" if one in r"\.+*?()|[]{}^$" else one for one in text)
