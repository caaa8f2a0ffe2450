"""In which order do rules count that were written in no order? The Gateway API's answer, for its manifests.

Our own rules need none of this: the first that matches wins. An HTTPRoute's matches are sorted instead: exact paths,
then (our choice where the API leaves it open) regular expressions by length, then prefixes by length; then those with
a method, with more headers, with more query parameters. Sorting keeps the order of equals, so bring routes by age and
then by `namespace/name`.
"""

from __future__ import annotations

from .match import Match
from .url_path import ExactPath, PrefixPath, RegexPath


def gateway_rank(match: Match) -> tuple[int, int, int, int, int]:
    """A sort key: what counts first comes first."""
    path = match.path
    if isinstance(path, ExactPath):
        kind, length = 0, len(path.value)
    elif isinstance(path, RegexPath):
        kind, length = 1, len(path.regex.pattern)
    else:
        kind, length = 2, len(path.value) if isinstance(path, PrefixPath) else 0
    return kind, -length, -bool(match.methods), -len(match.headers), -len(match.query)


def host_rank(host: str) -> tuple[bool, int]:
    """A sort key for hostnames: those without a wildcard first, then the longer ones."""
    return "*" in host, -len(host)
