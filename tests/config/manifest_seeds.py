"""Manifests with nearly everything in them that is read: what the fuzzers damage."""

ISTIO = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: prod}
spec:
  hosts: [a, "*.b"]
  gateways: [mesh]
  http:
  - match:
    - {uri: {prefix: /a}, headers: {x: {exact: y}}, method: {exact: GET}, port: 80, sourceLabels: {app: z}}
    route:
    - {destination: {host: a, subset: v1, port: {number: 80}}, headers: {request: {set: {a: b}}}, weight: 9}
    - {destination: {host: b}, weight: 90}
    timeout: 2s
    retries: {attempts: 3, perTryTimeout: 1s, retryOn: "5xx,503", backoff: 10ms}
    fault: {delay: {percentage: {value: 5}, fixedDelay: 1s}, abort: {httpStatus: 500, percentage: {value: 1}}}
    mirror: {host: b}
    mirrorPercentage: {value: 5}
    rewrite: {uri: /b, authority: c}
  - redirect: {uri: /x, redirectCode: 307, port: 81}
  - {match: [{uri: {prefix: /d}}], delegate: {name: d, namespace: prod}}
  - directResponse: {status: 200, body: {bytes: YQ==}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: d, namespace: prod}
spec: {http: [{name: e, match: [{uri: {exact: /d/e}}], route: [{destination: {host: d}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec:
  host: a.prod.svc.cluster.local
  trafficPolicy:
    loadBalancer: {consistentHash: {httpCookie: {name: u, ttl: 0s}, ringHash: {minimumRingSize: 4}}}
    connectionPool: {tcp: {maxConnections: 3}, http: {http1MaxPendingRequests: 4}}
    outlierDetection: {consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 3m, maxEjectionPercent: 10}
    tls: {mode: SIMPLE, sni: x, subjectAltNames: [y]}
    portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]
  subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {simple: LEAST_CONN}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: b}
spec:
  hosts: [b]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}, {number: 443, name: tls, protocol: HTTPS}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1, ports: {http: 81}, labels: {a: b}, locality: r/z, weight: 2}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: h}
spec:
  parentRefs: [{kind: Service, name: s, port: 80}, {name: gw, sectionName: http}]
  hostnames: [h.example]
  rules:
  - matches: [{path: {type: Exact, value: /a}, headers: [{name: a, value: b}], queryParams: [{name: q, value: r}]}]
    filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}], remove: [c]}}
    - {type: URLRewrite, urlRewrite: {hostname: x, path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: m, port: 1}, fraction: {numerator: 1, denominator: 3}}}
    backendRefs: [{name: s, port: 80, weight: 3}, {name: t, port: 80, weight: 0}]
    timeouts: {request: 1s, backendRequest: 500ms}
    retry: {codes: [500], attempts: 2, backoff: 1ms}
  - matches: [{path: {type: RegularExpression, value: "/x.*"}, method: GET}]
    filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301, port: 443}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: g}
spec:
  hostnames: [g.example]
  rules:
  - matches: [{method: {service: a.B, method: C}, headers: [{name: x, value: y}]}]
    backendRefs: [{name: g, port: 1}]
"""
LINKERD_BY_PREFIX = """
namers: [{kind: io.l5d.fs, rootDir: disco}, {kind: io.l5d.consul, includeTag: true}]
routers:
- {protocol: thrift, label: old}
- protocol: h2
  label: new
  dtab: "/svc => /$/io.buoyant.rinet/80; /svc/a => 2 * /#/io.l5d.fs/users & /$/inet/127.0.0.1/7"
  interpreter: {kind: default, transformers: [{kind: io.l5d.port, port: 81}, {kind: io.l5d.specificHost, host: h}]}
  client:
    kind: io.l5d.static
    configs: [{prefix: "/#/io.l5d.fs/{x}", tls: {commonName: "{x}.y"}}, {prefix: /, loadBalancer: {kind: aperture}}]
  service:
    kind: io.l5d.static
    configs: [{prefix: /svc, totalTimeoutMs: 9}, {prefix: "/svc/*", retries: {backoff: {kind: constant, ms: 1}}}]
"""
LINKERD = """
namers: [{kind: io.l5d.fs, rootDir: disco}, {kind: io.l5d.rewrite, prefix: /r, pattern: "/{a}", name: "/svc/{a}"}]
routers:
- protocol: http
  dtab: "/svc => /#/io.l5d.fs; /svc/x => /$/inet/127.0.0.1/80"
  identifier: {kind: io.l5d.path, segments: 2, consume: true}
  client:
    loadBalancer: {kind: ewma}
    failureAccrual: {kind: io.l5d.consecutiveFailures, failures: 3, backoff: {kind: constant, ms: 10}}
  service:
    totalTimeoutMs: 500
    retries: {budget: {percentCanRetry: 0.1}, backoff: {kind: jittered, minMs: 1, maxMs: 5}}
"""
