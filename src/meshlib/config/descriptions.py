"""Descriptions: one sentence for each key of a mesh.yaml, by model; in the JSON Schema and in the docs."""

from __future__ import annotations

from .route_descriptions import ROUTE_SENTENCES

_SENTENCES = {
    "MeshModel": """
services: The names that callers use, each with its routing rules and the policies of the whole call.
clusters: What runs behind the services: sets of endpoints that are one version, with the policies of each attempt.
pipelines: Policies for functions under `@resilient(name)`, by name.
rollouts: Leases of running rollouts; written by `meshlib rollout`.
egress: What happens to a host that no service has: allow, refuse, a list of hosts, or rules.
dtab: Finagle's delegation tables, for hosts that no service has.
labels: The caller's own labels (app, version, env), for routing rules.
    """,
    "ServiceModel": """
hosts: Host names of the service (wildcards `*.x` and `x.*`); left out: its own name.
routes: Routing rules, tried from top to bottom; the first that matches decides.
split: Clusters with relative weights, or one cluster; left out: the cluster of the same name.
sticky: What keeps one caller on one cluster of the split: a header, cookie, query parameter or label.
timeout: Time for the whole call, with all attempts and waits.
per_try_timeout: Time for each attempt.
retry: When and how often a call is tried again; off: never.
budget: How many retries and hedges the service may send, as a share of its calls.
hedge: A second attempt while the first is still under way; off by default.
    """,
    "EgressModel": """
otherwise: What happens to all other hosts; left out: they are refused.
    """,
    "PipelineModel": """
timeout: Time for the whole call, with all attempts and waits.
per_try_timeout: Time for each attempt.
retry: When and how often a call is tried again; left out: never.
budget: How many retries and hedges the function may start, as a share of its calls.
hedge: A second attempt while the first is still under way.
breaker: The circuit breaker of the function.
throttle: Sheds calls while the server refuses or fails.
rate_limit: How many calls may start in a time.
adaptive_limit: A concurrency limit that follows the latency.
bulkhead: A fixed concurrency limit.
    """,
    "ClusterModel": """
endpoints: The addresses of the cluster: host:port, unix:/path, or mappings with weight, labels, zone and priority.
endpoints_from: Endpoints from a file, or from another cluster, chosen by labels.
balancer: How an endpoint is chosen for each attempt: the name of the algorithm, or its settings.
sticky: What ring_hash and maglev hash.
panic: Share of healthy endpoints below which ejected endpoints get calls too.
breaker: The circuit breaker of the cluster; off: none.
throttle: Sheds calls while the cluster refuses or fails.
rate_limit: How many attempts may start in a time.
adaptive_limit: A concurrency limit that follows the latency.
bulkhead: A fixed concurrency limit.
limits: Limits of connections, pending requests, requests and retries, as Envoy's thresholds.
accrual: When an endpoint is ejected for its failures, and when it is probed; off: never.
outlier: Ejection of endpoints that are worse than the others; on: with the default settings.
health_check: Active health checks by http, tcp or grpc.
tls: What callers send by http goes out by https.
tls_name: The name that certificates are checked against; left out: the host that the caller used.
max_connection_duration: A connection older than this takes no new request; left out: any age.
    """,
    "EndpointModel": """
address: host:port, [v6]:port or unix:/path.
weight: Relative weight in the cluster.
labels: Labels such as version, for endpoints_from.
zone: The zone of the endpoint.
priority: Level of the endpoint; a higher number is used when the lower levels are unhealthy.
    """,
    "EndpointsFrom": """
file: A list of addresses, or Prometheus' file_sd, in YAML or JSON; watched.
cluster: Another cluster, whose endpoints are used.
labels: Only endpoints that have all of these labels.
otherwise: What is used where no endpoint has the labels: none, any, or other labels.
    """,
    "AccrualModel": """
consecutive_failures: Failures in a row that eject an endpoint; 0: none do.
failure_share: Share of failures among recent calls that ejects an endpoint.
minimum_calls: Recent calls below which failure_share ejects no endpoint.
backoff: Shortest and longest time between two probes of an ejected endpoint.
    """,
    "UnifiedModel": """
kind: Linkerd 2's accrual.
consecutive_failures: Failures in a row that eject an endpoint.
success_rate: Success rate below which an endpoint is ejected.
window: Time over which the success rate is counted.
minimum_calls: Requests in the window below which the success rate ejects no endpoint.
backoff: Shortest and longest time between two probes of an ejected endpoint.
    """,
    "BreakerModel": """
consecutive_failures: Failures in a row that open the breaker.
failure_rate: Share of failed calls in the window that opens the breaker; null: none does.
slow_call_rate: Share of slow calls in the window that opens the breaker.
slow_call: A call that takes longer than this is slow.
window: Time over which the rates are counted.
window_calls: Number of calls over which the rates are counted, in place of a time.
minimum_calls: Calls in the window below which no rate opens the breaker.
cooldown: Time that the breaker stays open before it admits probes; or a mapping with factor, max_cooldown and jitter.
probes: Calls admitted while the breaker is half open; or a mapping with more settings.
    """,
    "CooldownModel": """
seconds: Time that the breaker stays open before it admits probes.
factor: Growth of the cooldown with each opening in a row.
max_cooldown: Longest cooldown.
jitter: Share of the cooldown that is added or taken away at random.
    """,
    "ProbesModel": """
calls: Calls admitted while the breaker is half open.
successes: Successful probes that close the breaker.
concurrency: Probes that may run at the same time.
by_rate: Whether the rates of the probes decide, in place of single outcomes.
lease: Time after which a probe without an outcome gives back its permit.
max_duration: Longest time that the breaker stays half open.
then: The state after max_duration.
automatic: Whether the breaker becomes half open by itself when the cooldown is over, not with the next call.
    """,
    "BulkheadModel": """
max_concurrent: Calls that may run at the same time.
max_queue: Calls that may wait for a slot.
max_wait: Longest wait for a slot.
    """,
    "RetryModel": """
attempts: Attempts in total, the first included.
statuses: HTTP statuses that are tried again.
backoff: Wait before the first retry; it doubles with each one, at random below that.
max_backoff: Longest wait between two attempts.
max_retry_after: Longest Retry-After of a server that is waited for.
    """,
    "BudgetModel": """
ratio: Retries and hedges per call.
min_per_second: Retries and hedges per second that are always allowed.
ttl: Time for which a call counts.
    """,
    "HedgeModel": """
delay: Time after which a second attempt is sent.
percentile: Percentile of the latency after which a second attempt is sent, in place of a delay.
max_extra_load: Hedges per call, at most.
max_hedges: Further attempts per call.
    """,
    "RateLimitModel": """
limit: Calls per time.
per: The time in which `limit` calls may start.
burst: Calls that may start at once after a pause.
max_wait: Longest wait for a permit; 0: a call over the limit is refused at once.
    """,
    "ThrottleModel": """
k: Calls that are sent for each one that the server accepts; above that, calls are shed at random.
window: Time over which calls are counted.
minimum_calls: Calls in the window below which none is shed.
    """,
    "AdaptiveLimitModel": """
by: The algorithm that moves the limit.
initial: The limit at the start.
min_limit: Lowest limit.
max_limit: Highest limit.
max_queue: Calls that may wait for a slot.
max_wait: Longest wait for a slot; null: calls over the limit are refused at once.
    """,
    "LimitsModel": """
max_connections: Connections to the cluster, at most.
max_pending: Requests that wait for a connection, at most; needs max_connections.
max_requests: Requests under way, at most.
max_retries: Retries under way, at most.
    """,
    "BalancerModel": """
kind: The algorithm.
slow_start: Time in which a new endpoint gets its full share of calls.
aggression: How fast the share grows during slow_start; 1 is linear, more is faster at the start.
overprovisioning: Factor by which a priority level may be loaded above its healthy share before the next level is used.
zone: The caller's zone; calls stay in it as far as its endpoints suffice.
callers: Shares of the callers by zone, for sharing calls among zones.
zone_weights: Fixed weights of the zones.
min_cluster_size: Endpoints of the cluster below which zones are ignored.
rate: Probes for load reports per call.
reports: Whether load reports of the servers count.
decay: Time with which latency and failures are forgotten.
deviations: Deviations above the usual latency after which an answer is overdue.
slack: Time after which an answer is overdue at the earliest.
recheck: Time without calls after which an endpoint is tried again.
choices: Endpoints that are drawn and compared for each call.
active_request_bias: Exponent with which requests under way lower the weight of an endpoint.
min_size: Fewest points of the hash ring.
max_size: Most points of the hash ring.
bound: Load above the mean at which a key goes to the next endpoint; 1.25 is a quarter above.
size: Size of Maglev's table, a prime.
pool_size: Size of the probe pool.
peers: Callers of the cluster, which share its endpoints.
peer_index: Number of this caller among its peers, from 0.
min_aperture: Fewest endpoints in the aperture.
low_load: Load per endpoint below which the aperture shrinks.
high_load: Load per endpoint above which the aperture grows.
window: Time over which the load is averaged.
removals: Probe results that are removed per call.
delta: The δ of Prequal's formula for how often a probe result may be used.
max_age: Age after which a probe result is not used.
hot_quantile: Quantile of requests in flight above which an endpoint is hot.
blackout: Time in which the reports of a new endpoint are not used.
expiration: Time after which a report is not used.
update_period: Time between two updates of the weights.
penalty: Latency that a failure counts as.
error_penalty: How much errors lower the weight of an endpoint.
shuffle: Whether the order of the endpoints is random.
    """,
    "OutlierModel": """
consecutive_5xx: Server errors in a row that eject an endpoint; 0: none do.
consecutive_gateway: Gateway errors (502, 503, 504) in a row that eject an endpoint; 0: none do.
consecutive_local: Attempts without an answer in a row that eject an endpoint, with split; 0: none do.
interval: Time between two looks at the rates.
ejection_time: How long an ejection lasts: the base time, or a mapping with max_time and jitter.
max_ejected: Share of the endpoints that may be ejected at the same time.
always_one: Whether one endpoint may be ejected in any case.
success_rate: Ejection of endpoints whose success rate is far below the mean.
failure_percentage: Ejection of endpoints by their share of failures.
split: Whether attempts without an answer (time-outs, resets) are counted apart; else they count as 5xx.
a50: Whether gRPC's rules (A50) hold in place of Envoy's.
enforce: The detections that eject; the others only count.
    """,
    "EjectionTimeModel": """
base: Ejection time, multiplied by the number of ejections.
max_time: Longest ejection time.
jitter: Time that is added to an ejection at random, at most.
    """,
    "SuccessRateModel": """
stdev_factor: Standard deviations below the mean success rate that eject an endpoint.
min_hosts: Endpoints with enough requests below which the success rate ejects none.
min_requests: Requests per interval below which an endpoint's success rate is not used.
    """,
    "FailurePercentageModel": """
threshold: Share of failures that ejects an endpoint.
min_hosts: Endpoints with enough requests below which the share of failures ejects none.
min_requests: Requests per interval below which an endpoint's share of failures is not used.
    """,
    "HealthCheckModel": """
http: Check by an HTTP request: its path, or a mapping.
tcp: Check by opening a connection.
grpc: Check by gRPC's health service.
timeout: Time for one check.
interval: Time between two checks of an endpoint.
healthy_threshold: Passed checks in a row that make an endpoint healthy.
unhealthy_threshold: Failed checks in a row that make an endpoint unhealthy.
jitter: Share of the interval that is added at random.
initial_jitter: Time before the first check, at random, at most.
unhealthy_interval: Time between two checks of an unhealthy endpoint; left out: interval.
edge_interval: Time between two checks of an endpoint whose state is about to change; left out: interval.
initially: Whether an endpoint counts as healthy before its first check.
    """,
    "HttpCheckModel": """
path: The path of the check.
host: The Host header; left out: the name of the cluster.
method: The method of the check.
statuses: Statuses that pass.
    """,
    "GrpcCheckModel": """
service: The name that the health service is asked for; empty: the whole server.
    """,
    "RolloutModel": """
to: The cluster that the rollout shifts calls to.
by: The process that runs the rollout.
until: End of the lease, in seconds since 1970.
    """,
}

DESCRIPTIONS: dict[tuple[str, str], str] = {
    (model, line.partition(": ")[0]): line.partition(": ")[2]
    for model, lines in (_SENTENCES | ROUTE_SENTENCES).items()
    for line in lines.strip().splitlines()
}
