//! The tables: what is bounded, and every CEL rule. A rule may assume the types and bounds of the schema.
//! Lists and strings that a rule walks are bounded, or the API server would refuse the rule as too costly. Every rule is
//! evaluated with every write, of the status too: what is usual is asked first.

use serde_json::{Value, json};

use super::{Limit, Rule};

const ROLLOUT: &[&str] = &["Rollout"];
const COMMAND: &[&str] = &["RolloutCommand"];
const TEMPLATES: &[&str] = &["AnalysisTemplate", "ClusterAnalysisTemplate"];
const WITH_METRICS: &[&str] = &["AnalysisTemplate", "ClusterAnalysisTemplate", "AnalysisRun"];

const fn limit(kinds: &'static [&'static str], at: &'static str, keywords: fn() -> Value) -> Limit {
    Limit { kinds, at, keywords }
}

const fn rule(
    kinds: &'static [&'static str],
    at: &'static str,
    field: &'static str,
    rule: &'static str,
    message: &'static str,
) -> Rule {
    Rule {
        kinds,
        at,
        rule,
        message,
        field,
    }
}

/// Names of Services.
fn dns_label() -> Value {
    json!({"maxLength": 63, "minLength": 1, "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"})
}

/// Names of every other object. No slash: an object of another namespace cannot be named.
fn dns_subdomain() -> Value {
    json!({"maxLength": 253, "minLength": 1, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"})
}

/// A number of pods or a percentage.
fn budget() -> Value {
    json!({"minimum": 0, "maximum": 100_000, "pattern": "^(100|[1-9]?[0-9])%$"})
}

/// At least a second, in the grammar of durations.
fn at_least_a_second() -> Value {
    json!({"minimum": 1, "allOf": [{"pattern": "[1-9][0-9]*([dhs]|m([0-9]|$))|[1-9][0-9]{3,}ms"}]})
}

/// At most a minute, in the grammar of durations: as long as that, a query that hangs keeps others waiting.
fn at_most_a_minute() -> Value {
    json!({"maximum": 60, "allOf": [{"pattern": "^(1m|60s|([1-5]?[0-9]s)?([0-9]{1,3}ms)?|[0-9]{1,4}ms|[1-5][0-9]{4}ms|60000ms)$"}]})
}

/// A count, or the argument that holds it.
fn count_from_one() -> Value {
    json!({"minimum": 1, "maximum": i32::MAX, "pattern": "^(0*[1-9][0-9]*|\\{\\{ *args\\.[A-Za-z0-9_-]+ *\\}\\})$"})
}

fn count_from_zero() -> Value {
    json!({"minimum": 0, "maximum": i32::MAX, "pattern": "^([0-9]+|\\{\\{ *args\\.[A-Za-z0-9_-]+ *\\}\\})$"})
}

/// -1 switches the limit off.
fn count_or_off() -> Value {
    json!({"minimum": -1, "maximum": i32::MAX, "pattern": "^(-1|[0-9]+|\\{\\{ *args\\.[A-Za-z0-9_-]+ *\\}\\})$"})
}

fn annotation_value() -> Value {
    json!({"maxLength": 256, "pattern": "^[^\\r\\n;{}\"`\\\\]*$"})
}

/// What `api::address` says of the text alone; hosts are checked by the controller.
fn address() -> Value {
    json!({"pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@]+(/[^?#@]*)?$"})
}

fn template() -> Value {
    let labels = json!({"type": "object", "maxProperties": 64, "additionalProperties": {"type": "string", "maxLength": 63}});
    json!({"properties": {"metadata": {
        "type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"labels": labels},
    }}})
}

#[rustfmt::skip]
pub const LIMITS: &[Limit] = &[
    // Its one writer needs no account of who wrote which field, which the API server would compute anew with every write.
    limit(ROLLOUT, "status", || json!({"x-kubernetes-map-type": "atomic"})),
    limit(ROLLOUT, "spec.template", template),
    limit(ROLLOUT, "spec.selector.matchLabels", || json!({"maxProperties": 32})),
    limit(ROLLOUT, "spec.selector.matchLabels{}", || json!({"maxLength": 63})),
    limit(ROLLOUT, "spec.selector.matchExpressions", || json!({"maxItems": 16})),
    limit(ROLLOUT, "spec.selector.matchExpressions[].key", || json!({"maxLength": 317})),
    limit(ROLLOUT, "spec.selector.matchExpressions[].operator", || json!({"enum": ["In", "NotIn", "Exists", "DoesNotExist"]})),
    limit(ROLLOUT, "spec.selector.matchExpressions[].values", || json!({"maxItems": 32})),
    limit(ROLLOUT, "spec.selector.matchExpressions[].values[]", || json!({"maxLength": 63})),
    limit(ROLLOUT, "spec.strategy.canary.steps", || json!({"minItems": 1})),
    limit(ROLLOUT, "spec.strategy.canary.canaryService", dns_label),
    limit(ROLLOUT, "spec.strategy.canary.stableService", dns_label),
    limit(ROLLOUT, "spec.strategy.canary.maxSurge", budget),
    limit(ROLLOUT, "spec.strategy.canary.maxUnavailable", budget),
    limit(ROLLOUT, "spec.strategy.canary.trafficRouting.nginx.stableIngress", dns_subdomain),
    limit(ROLLOUT, "spec.strategy.canary.trafficRouting.nginx.stableIngresses[]", dns_subdomain),
    limit(ROLLOUT, "spec.strategy.canary.trafficRouting.nginx.annotationPrefix", dns_subdomain),
    limit(ROLLOUT, "spec.strategy.canary.trafficRouting.nginx.additionalIngressAnnotations", || json!({"maxProperties": 8})),
    limit(ROLLOUT, "spec.strategy.canary.trafficRouting.nginx.additionalIngressAnnotations{}", annotation_value),
    limit(ROLLOUT, "spec.strategy.canary.trafficRouting.nginx.canaryIngressAnnotations", || json!({"maxProperties": 8})),
    limit(ROLLOUT, "spec.strategy.canary.trafficRouting.nginx.canaryIngressAnnotations{}", annotation_value),
    limit(ROLLOUT, "spec.strategy.canary.trafficRouting.gatewayAPI.httpRoutes[].name", dns_subdomain),
    limit(ROLLOUT, "spec.strategy.canary.trafficRouting.dataPlane.traefik.url", address),
    limit(ROLLOUT, "spec.strategy.canary.trafficRouting.dataPlane.prometheus.address", address),
    limit(WITH_METRICS, "spec.metrics[].interval", at_least_a_second),
    limit(WITH_METRICS, "spec.metrics[].count", count_from_one),
    limit(WITH_METRICS, "spec.metrics[].failureLimit", count_or_off),
    limit(WITH_METRICS, "spec.metrics[].inconclusiveLimit", count_from_zero),
    limit(WITH_METRICS, "spec.metrics[].consecutiveErrorLimit", count_from_zero),
    limit(WITH_METRICS, "spec.metrics[].consecutiveSuccessLimit", count_from_zero),
    limit(WITH_METRICS, "spec.metrics[].provider.prometheus.timeout", at_most_a_minute),
    limit(COMMAND, "spec.alert.fingerprint", || json!({"maxLength": 256})),
];

#[rustfmt::skip]
pub const RULES: &[Rule] = &[
    rule(ROLLOUT, "", "", "size(self.metadata.name) <= 52",
        "metadata.name may have at most 52 characters, because names of ReplicaSets and pods are made from it; choose a shorter one"),
    rule(ROLLOUT, "spec", "selector",
        "!has(self.selector.matchLabels) || self.selector.matchLabels.all(k, has(self.template.metadata) && has(self.template.metadata.labels) && k in self.template.metadata.labels && self.template.metadata.labels[k] == self.selector.matchLabels[k])",
        "spec.selector.matchLabels must be among spec.template.metadata.labels; add the labels to the template"),
    rule(ROLLOUT, "spec", "selector",
        "!has(self.selector.matchExpressions) || self.selector.matchExpressions.all(e, (has(self.template.metadata) && has(self.template.metadata.labels) && e.key in self.template.metadata.labels && (e.operator in ['Exists', 'DoesNotExist'] || (has(e.values) && self.template.metadata.labels[e.key] in e.values))) == (e.operator in ['In', 'Exists']))",
        "spec.selector.matchExpressions must select the pods of spec.template; change the labels of the template"),
    rule(ROLLOUT, "spec", "minReadySeconds",
        "(has(self.minReadySeconds) ? self.minReadySeconds : 0) < (has(self.progressDeadlineSeconds) ? self.progressDeadlineSeconds : 600)",
        "spec.minReadySeconds must be less than spec.progressDeadlineSeconds (600 unless set); raise the deadline"),
    rule(ROLLOUT, "spec.selector", "",
        "(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",
        "spec.selector must not be empty; name labels of the template in matchLabels"),
    rule(ROLLOUT, "spec.selector", "", "self == oldSelf",
        "spec.selector cannot be changed; delete the Rollout and create it anew"),
    rule(ROLLOUT, "spec.strategy", "", "has(self.canary) || has(self.blueGreen)",
        "spec.strategy.canary is missing; write canary: {} for a plain rolling release"),
    rule(ROLLOUT, "spec.strategy.canary", "canaryService",
        "!has(self.canaryService) || !has(self.stableService) || self.canaryService != self.stableService",
        "spec.strategy.canary.canaryService and stableService must be two Services"),
    rule(ROLLOUT, "spec.strategy.canary", "trafficRouting",
        "!has(self.trafficRouting) || (has(self.canaryService) && has(self.stableService))",
        "spec.strategy.canary.trafficRouting needs canaryService and stableService; name both"),
    rule(ROLLOUT, "spec.strategy.canary", "maxUnavailable",
        "!has(self.maxSurge) || !has(self.maxUnavailable) || (self.maxSurge != 0 && self.maxSurge != '0%') || (self.maxUnavailable != 0 && self.maxUnavailable != '0%')",
        "spec.strategy.canary.maxSurge and maxUnavailable must not both be 0; no pod could ever be replaced"),
    rule(ROLLOUT, "spec.strategy.canary", "steps",
        "!has(self.steps) || self.steps.all(s, (!has(s.setWeight) || s.setWeight <= 100) && (!has(s.setCanaryScale) || !has(s.setCanaryScale.weight) || s.setCanaryScale.weight <= 100)) || (has(self.trafficRouting) && has(self.trafficRouting.maxTrafficWeight) && self.steps.all(s, (!has(s.setWeight) || s.setWeight <= self.trafficRouting.maxTrafficWeight) && (!has(s.setCanaryScale) || !has(s.setCanaryScale.weight) || s.setCanaryScale.weight <= self.trafficRouting.maxTrafficWeight)))",
        "spec.strategy.canary.steps[].setWeight and setCanaryScale.weight must be at most trafficRouting.maxTrafficWeight (100 unless set)"),
    rule(ROLLOUT, "spec.strategy.canary", "steps",
        "has(self.trafficRouting) || !has(self.steps) || !self.steps.exists(s, has(s.setCanaryScale))",
        "spec.strategy.canary.steps[].setCanaryScale needs trafficRouting; use setWeight"),
    rule(ROLLOUT, "spec.strategy.canary", "dynamicStableScale",
        "has(self.trafficRouting) || !has(self.dynamicStableScale) || !self.dynamicStableScale",
        "spec.strategy.canary.dynamicStableScale needs trafficRouting; remove it"),
    rule(ROLLOUT, "spec.strategy.canary", "scaleDownDelaySeconds",
        "!has(self.scaleDownDelaySeconds) || !has(self.dynamicStableScale) || !self.dynamicStableScale",
        "spec.strategy.canary.scaleDownDelaySeconds has no meaning with dynamicStableScale; remove one of them"),
    rule(ROLLOUT, "spec.strategy.canary", "bake",
        "has(self.trafficRouting) || !has(self.bake)",
        "spec.strategy.canary.bake needs trafficRouting: without it the old pods are gone by then; remove it"),
    rule(ROLLOUT, "spec.strategy.canary", "bake",
        "!has(self.bake) || !has(self.dynamicStableScale) || !self.dynamicStableScale",
        "spec.strategy.canary.bake needs the old pods, which dynamicStableScale has given up by then; remove one of them"),
    rule(ROLLOUT, "spec.strategy.canary", "minPodsPerReplicaSet",
        "has(self.trafficRouting) || !has(self.minPodsPerReplicaSet)",
        "spec.strategy.canary.minPodsPerReplicaSet needs trafficRouting; remove it"),
    rule(ROLLOUT, "spec.strategy.canary", "analysis",
        "!has(self.analysis) || !has(self.analysis.startingStep) || self.analysis.startingStep <= (has(self.steps) ? size(self.steps) : 0)",
        "spec.strategy.canary.analysis.startingStep must not be behind the last step"),
    rule(ROLLOUT, "spec.strategy.canary.replicaProgressThreshold", "value",
        "self.type != 'Percent' || self.value <= 100",
        "spec.strategy.canary.replicaProgressThreshold.value must be at most 100 for type Percent"),
    rule(ROLLOUT, "spec.strategy.canary.steps[]", "",
        "(has(self.setWeight) ? 1 : 0) + (has(self.pause) ? 1 : 0) + (has(self.setCanaryScale) ? 1 : 0) + (has(self.analysis) ? 1 : 0) == 1 || has(self.experiment) || has(self.setHeaderRoute) || has(self.setMirrorRoute) || has(self.plugin)",
        "spec.strategy.canary.steps[] must have exactly one of setWeight, pause, setCanaryScale and analysis; make two steps of it"),
    rule(ROLLOUT, "spec.strategy.canary.steps[].setCanaryScale", "",
        "[has(self.weight), has(self.replicas), has(self.matchTrafficWeight) && self.matchTrafficWeight].filter(x, x).size() == 1",
        "spec.strategy.canary.steps[].setCanaryScale must have exactly one of weight, replicas and matchTrafficWeight: true"),
    rule(ROLLOUT, "spec.strategy.canary.trafficRouting", "",
        "has(self.nginx) ? !has(self.gatewayAPI) : has(self.gatewayAPI) || has(self.istio) || has(self.alb) || has(self.smi) || has(self.ambassador) || has(self.appMesh) || has(self.traefik) || has(self.apisix) || has(self.plugins)",
        "spec.strategy.canary.trafficRouting must have exactly one of nginx and gatewayAPI"),
    rule(ROLLOUT, "spec.strategy.canary.trafficRouting.dataPlane", "",
        "has(self.traefik) != has(self.prometheus)",
        "spec.strategy.canary.trafficRouting.dataPlane must have exactly one of traefik and prometheus"),
    rule(ROLLOUT, "spec.strategy.canary.trafficRouting.nginx", "",
        "has(self.stableIngress) != (has(self.stableIngresses) && size(self.stableIngresses) > 0)",
        "spec.strategy.canary.trafficRouting.nginx must have exactly one of stableIngress and stableIngresses"),
    rule(ROLLOUT, "spec.strategy.canary.trafficRouting.nginx", "additionalIngressAnnotations",
        "!has(self.additionalIngressAnnotations) || self.additionalIngressAnnotations.all(k, k in ['canary-by-header', 'canary-by-header-value', 'canary-by-header-pattern', 'canary-by-cookie'])",
        "spec.strategy.canary.trafficRouting.nginx.additionalIngressAnnotations may only have canary-by-header, canary-by-header-value, canary-by-header-pattern and canary-by-cookie"),
    rule(ROLLOUT, "spec.strategy.canary.trafficRouting.nginx", "canaryIngressAnnotations",
        "!has(self.canaryIngressAnnotations) || self.canaryIngressAnnotations.all(k, ['canary-by-header', 'canary-by-header-value', 'canary-by-header-pattern', 'canary-by-cookie'].exists(a, k == (has(self.annotationPrefix) ? self.annotationPrefix : 'nginx.ingress.kubernetes.io') + '/' + a))",
        "spec.strategy.canary.trafficRouting.nginx.canaryIngressAnnotations may only have canary-by-header, canary-by-header-value, canary-by-header-pattern and canary-by-cookie, each with the annotation prefix and a slash before it"),
    rule(TEMPLATES, "spec", "metrics",
        "(has(self.metrics) && size(self.metrics) > 0) || (has(self.templates) && size(self.templates) > 0)",
        "spec.metrics is missing; a template without metrics or templates judges nothing"),
    rule(WITH_METRICS, "spec", "metrics",
        "!has(self.metrics) || self.metrics.all(m, self.metrics.exists_one(n, n.name == m.name))",
        "spec.metrics[].name must be unique; rename one of the metrics"),
    rule(WITH_METRICS, "spec.metrics[]", "",
        "has(self.successCondition) || has(self.failureCondition)",
        "spec.metrics[] needs successCondition or failureCondition; without one nothing could fail"),
    rule(WITH_METRICS, "spec.metrics[]", "successCondition",
        "!has(self.successCondition) || !self.successCondition.matches('(^|[^A-Za-z0-9_])(NaN|Inf|Infinity)([^A-Za-z0-9_]|$)')",
        "spec.metrics[].successCondition may not compare with NaN or Inf, which nothing ever equals; write a number, isNaN(result[0]) or isInf(result[0])"),
    rule(WITH_METRICS, "spec.metrics[]", "failureCondition",
        "!has(self.failureCondition) || !self.failureCondition.matches('(^|[^A-Za-z0-9_])(NaN|Inf|Infinity)([^A-Za-z0-9_]|$)')",
        "spec.metrics[].failureCondition may not compare with NaN or Inf, which nothing ever equals; write a number, isNaN(result[0]) or isInf(result[0])"),
    rule(WITH_METRICS, "spec.metrics[]", "noData",
        "has(self.successCondition) || !has(self.failureCondition) || has(self.noData)",
        "spec.metrics[].noData must be set when there is only a failureCondition; say what a measurement without data means: wait, inconclusive, success or fail"),
    rule(WITH_METRICS, "spec.metrics[]", "interval",
        "!has(self.count) || type(self.count) != int || int(self.count) <= 1 || has(self.interval)",
        "spec.metrics[].interval must be set when count is more than 1; write for example interval: 30s"),
    rule(WITH_METRICS, "spec.metrics[]", "count",
        "[has(self.failureLimit) && type(self.failureLimit) == int ? int(self.failureLimit) : 0, has(self.consecutiveSuccessLimit) && type(self.consecutiveSuccessLimit) == int ? int(self.consecutiveSuccessLimit) : 0].all(n, n <= (has(self.count) ? (type(self.count) == int ? int(self.count) : n) : (has(self.interval) ? n : 1)))",
        "spec.metrics[].failureLimit and consecutiveSuccessLimit must not be more than count (1 without an interval); they could never be reached"),
    rule(WITH_METRICS, "spec.metrics[]", "failureLimit",
        "!has(self.failureLimit) || (self.failureLimit != -1 && self.failureLimit != '-1') || (has(self.consecutiveSuccessLimit) && self.consecutiveSuccessLimit != 0 && self.consecutiveSuccessLimit != '0')",
        "spec.metrics[].failureLimit -1 needs consecutiveSuccessLimit; without it the metric could never decide, name it in dryRun instead"),
    rule(WITH_METRICS, "spec.metrics[]", "minSamples",
        "!has(self.provider.prometheus) || has(self.minSamples) == has(self.provider.prometheus.samplesQuery)",
        "spec.metrics[].minSamples and provider.prometheus.samplesQuery, which counts the requests, need each other"),
    rule(WITH_METRICS, "spec.metrics[].provider", "",
        "has(self.prometheus) || has(self.web) || has(self.job) || has(self.datadog) || has(self.newRelic) || has(self.wavefront) || has(self.cloudWatch) || has(self.graphite) || has(self.influxdb) || has(self.skywalking) || has(self.kayenta) || has(self.plugin)",
        "spec.metrics[].provider must have exactly one provider; write prometheus"),
    rule(COMMAND, "spec", "", "self == oldSelf",
        "spec of a RolloutCommand cannot be changed; create another one"),
    rule(COMMAND, "spec", "reason", "!has(self.force) || !self.force || (has(self.reason) && size(self.reason) > 0)",
        "spec.reason must be given with force; say why the failed analysis does not count"),
];
