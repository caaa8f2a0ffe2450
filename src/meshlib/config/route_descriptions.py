"""Route descriptions: the sentences about routing rules and the dtab; see `descriptions`."""

from __future__ import annotations

ROUTE_SENTENCES = {
    "NamerModel": """
prefix: Names below this prefix are bound by this namer.
clusters: Clusters by their names below the prefix; left out: each cluster by its own name.
segments: Segments of a name that make up the name of a cluster.
rewrite: Binds the rest of a name to another name, by a pattern.
    """,
    "RewriteNamerModel": """
pattern: The pattern that the rest of the name must match.
name: The name that it is bound to.
    """,
    "IdentifierModel": """
by: What a request's name is made from.
prefix: The prefix of the name.
header: The header that gives the name; left out: Host, or l5d-name.
segments: Segments of the path that belong to the name.
consume: Whether these segments are taken off the path.
uris: Whether the path is part of the name (method_and_host).
name: The name of every request (static).
    """,
    "NamePolicies": """
prefix: The names that have these policies, such as `/svc/users` or `/svc/*/{any}`.
policies: The policies, as those of a service.
    """,
    "DtabModel": """
entries: The delegation table: `/prefix => destination;` for each entry.
namers: What binds names to clusters.
identifiers: How a request gets its name; tried from top to bottom.
override: Whether a request may bring entries of its own in l5d-dtab.
trust_context: Whether entries that callers send in l5d-ctx-dtab count.
policies: The policies of every call that goes by the table.
names: Policies of single names; of several that match, the last counts.
    """,
    "TextModel": """
exact: The whole text.
prefix: The beginning of the text.
suffix: The end of the text.
contains: A part of the text.
regex: A regular expression (RE2) for the whole text.
present: Whether the header, parameter or cookie must be there.
ignore_case: Whether upper and lower case are the same.
invert: Whether the condition must not hold.
    """,
    "PathModel": """
exact: The whole path.
prefix: The beginning of the path.
regex: A regular expression (RE2) for the whole path.
template: A path with variables, such as `/users/{id}/*`.
ignore_case: Whether upper and lower case are the same.
segments: Whether a prefix takes whole segments only.
    """,
    "MatchModel": """
path: The path: a text (`/v1/*`, `/users/{id}`) or a mapping.
method: One method, or a list.
host: One host, or a list.
scheme: One scheme, or a list.
port: One port, or a list.
headers: Conditions on headers, by name.
query: Conditions on query parameters, by name.
cookies: Conditions on cookies, by name.
labels: Conditions on the caller's own labels, by name.
env: The caller's `env` label.
    """,
    "KeyModel": """
header: The header that is hashed.
cookie: The cookie that is hashed.
query: The query parameter that is hashed.
label: The caller's label that is hashed.
key: Hash the key that the caller gives.
terminal: Whether nothing more is hashed after this key, if there is a value by then.
ttl: Life of a cookie that the client sets where there is none; 0: the session.
path: Path of that cookie.
    """,
    "StickyModel": """
by: One key, or a list of keys that are hashed together.
method: How the hash chooses: stable (few keys move when weights change) or modulo.
    """,
    "RewriteModel": """
host: The new host.
path: The new path.
prefix: What stands in the place of the matched prefix.
regex: A regular expression (RE2); each part of the path that matches becomes `path`.
    """,
    "RedirectModel": """
status: The status of the redirect.
scheme: The new scheme.
host: The new host.
port: The new port.
path: The new path.
prefix: What stands in the place of the matched prefix.
strip_query: Whether the query is left out.
    """,
    "RespondModel": """
status: The status of the answer.
body: The body of the answer.
headers: The headers of the answer.
    """,
    "FaultModel": """
delay: Time by which calls are delayed.
delay_ratio: Share of the calls that are delayed.
delay_header: A header in which the caller gives the delay.
abort_status: The HTTP status of aborted calls.
abort_grpc: The gRPC status of aborted calls.
abort_ratio: Share of the calls that are aborted.
abort_header: A header in which the caller gives the status.
    """,
    "HeaderEditModel": """
set: Headers that are replaced.
add: Headers that are added.
remove: Headers that are removed.
    """,
    "ArmModel": """
request_headers: Edits of the request's headers.
response_headers: Edits of the response's headers.
    """,
    "RouteModel": """
name: A name of the rule, for explain and events.
match: What the rule matches: one set of conditions, or a list of which one must hold; left out: every request.
split: Clusters with relative weights, or one cluster.
sticky: What keeps one caller on one cluster of the split.
arms: Edits of headers for single clusters of the split.
redirect: Answer with a redirect; nothing is sent.
respond: Answer with this response; nothing is sent.
outside: Send the request to its own host, beyond the mesh.
rewrite: Changes of host and path before the request is sent.
request_headers: Edits of the request's headers.
response_headers: Edits of the response's headers.
mirror: Clusters that get a copy, with the share of the requests.
fault: Delays and aborts, for tests.
timeout: Time for the whole call under this rule.
per_try_timeout: Time for each attempt under this rule.
retry: Retries under this rule; left out: the service's own.
policies: The service whose policies hold under this rule.
    """,
}
