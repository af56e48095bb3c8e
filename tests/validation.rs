//! Every bad manifest is refused by the CRD's schema and rules and, apart from them, by the controller; every
//! good one is accepted by both.
#![cfg(feature = "sandbox")]

use chrono::DateTime;
use serde_json::{Value, json};
use tidegate::api::crd;
use tidegate::plan::validate::{InvalidReason, validate_rollout, validate_template, warn_rollout};
use tidegate::sandbox::api_server::{ApiRequest, Store};

const APIS: &str = "/apis/tidegate.dev/v1alpha1/namespaces/default";

fn rollout() -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "checkout", "namespace": "default"},
        "spec": {
            "replicas": 5,
            "selector": {"matchLabels": {"app": "checkout"}},
            "template": {
                "metadata": {"labels": {"app": "checkout"}},
                "spec": {"containers": [{"name": "app", "image": "checkout:1"}]},
            },
            "strategy": {"canary": {
                "stableService": "checkout-stable", "canaryService": "checkout-canary",
                "trafficRouting": {"nginx": {"stableIngress": "checkout"}},
                "steps": [{"setWeight": 5}, {"pause": {"duration": "2m"}},
                    {"analysis": {"templates": [{"templateName": "latency"}]}}, {"setWeight": 50}, {"pause": {}}],
            }},
        },
    })
}

fn template() -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "AnalysisTemplate",
        "metadata": {"name": "error-rate", "namespace": "default"},
        "spec": {
            "args": [{"name": "service"}],
            "metrics": [{
                "name": "error-rate", "interval": "30s", "count": 10, "failureLimit": 2,
                "successCondition": "result[0] < 0.01",
                "provider": {"prometheus": {"address": "http://prometheus:9090", "query": "sum(up)"}},
            }],
        },
    })
}

/// Sets `value` at a JSON pointer, which may name a new field; null removes it.
fn set(object: &mut Value, pointer: &str, value: &Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = object
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("no {pointer}"));
    match parent {
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value.clone(),
        _ if value.is_null() => drop(parent.as_object_mut().unwrap().remove(name)),
        _ => parent[name] = value.clone(),
    }
}

struct Server(Store);

impl Server {
    fn new() -> Self {
        let now = DateTime::UNIX_EPOCH;
        let mut store = Store::new(1, now);
        for crd in crd::all().unwrap() {
            store.install_crd(now, crd).unwrap();
        }
        Server(store)
    }

    fn send(&mut self, method: &str, path: &str, object: &Value) -> Result<(), String> {
        let mut request = ApiRequest::new(method, &format!("{APIS}/{path}?fieldValidation=Strict"));
        let is_patch = method == "PATCH";
        request.content_type = format!("application/{}json", if is_patch { "merge-patch+" } else { "" });
        request.body = serde_json::to_vec(object).unwrap();
        let response = self.0.handle(DateTime::UNIX_EPOCH, &request);
        if response.is_success() {
            Ok(())
        } else {
            Err(response.body.to_value()["message"].to_string())
        }
    }

    fn create(&mut self, object: &Value) -> Result<(), String> {
        let plural = format!("{}s", object["kind"].as_str().unwrap().to_lowercase());
        self.send("POST", &plural, object)
    }
}

fn violations(object: &Value) -> Vec<(String, String, InvalidReason)> {
    let found = match object["kind"].as_str().unwrap() {
        "Rollout" => validate_rollout(object).err(),
        _ => validate_template(object).err(),
    };
    found
        .unwrap_or_default()
        .into_iter()
        .map(|one| (one.path.clone(), one.to_string(), one.reason))
        .collect()
}

/// Row of the list of bad inputs, pointer, value, path of the violation, part of the sentence.
type Bad = (u32, &'static str, Value, &'static str, &'static str);

fn bad_rollouts() -> Vec<Bad> {
    let leak =
        |path: &str| -> &'static str { Box::leak(format!("spec.strategy.canary.{path}").into_boxed_str()) };
    let at =
        |path: &str| -> &'static str { Box::leak(format!("/spec/strategy/canary/{path}").into_boxed_str()) };
    vec![
        (
            1,
            "/spec/replicas",
            json!(-1),
            "spec.replicas",
            "greater than or equal to 0",
        ),
        (
            2,
            "/spec/replicas",
            json!(100_001),
            "spec.replicas",
            "less than or equal to 100000",
        ),
        (
            3,
            "/spec/replicas",
            json!("3"),
            "spec.replicas",
            "of type integer",
        ),
        (5, "/spec/selector", Value::Null, "spec.selector", "Required"),
        (5, "/spec/selector", json!({}), "spec.selector", "is empty"),
        (
            7,
            "/spec/selector/matchLabels/app",
            json!("x"),
            "spec.selector.matchLabels",
            "app=x is not among",
        ),
        (
            7,
            "/spec/template/metadata",
            Value::Null,
            "spec.selector.matchLabels",
            "app=checkout is not among",
        ),
        (
            12,
            "/spec/strategy/blueGreen",
            json!({}),
            "spec.strategy.blueGreen",
            "not supported by Tidegate yet",
        ),
        (
            13,
            "/spec/strategy",
            json!({}),
            "spec.strategy.canary",
            "is missing",
        ),
        (14, at("steps"), json!([]), leak("steps"), "at least 1 item"),
        (
            15,
            at("steps/0/setWeight"),
            json!(-1),
            leak("steps[0].setWeight"),
            "0",
        ),
        (
            15,
            at("steps/0/setWeight"),
            json!(101),
            leak("steps[0].setWeight"),
            "101 is more than maxTrafficWeight (100)",
        ),
        (
            15,
            at("steps/0/setWeight"),
            json!(50.5),
            leak("steps[0].setWeight"),
            "integer",
        ),
        (
            15,
            at("steps/0/setWeight"),
            json!("50"),
            leak("steps[0].setWeight"),
            "integer",
        ),
        (
            17,
            at("steps/0/pause"),
            json!({}),
            leak("steps[0]"),
            "exactly one of",
        ),
        (17, at("steps/0"), json!({}), leak("steps[0]"), "exactly one of"),
        (
            18,
            at("steps/1/pause/duration"),
            json!("-5s"),
            leak("steps[1].pause.duration"),
            "not a duration",
        ),
        (
            18,
            at("steps/1/pause/duration"),
            json!("5"),
            leak("steps[1].pause.duration"),
            "with a unit",
        ),
        (
            18,
            at("steps/1/pause/duration"),
            json!("1h30"),
            leak("steps[1].pause.duration"),
            "not a duration",
        ),
        (
            18,
            at("steps/1/pause/duration"),
            json!("999999h"),
            leak("steps[1].pause.duration"),
            "30 days",
        ),
        (
            18,
            at("steps/1/pause/duration"),
            json!("NaN"),
            leak("steps[1].pause.duration"),
            "not a duration",
        ),
        (
            18,
            at("steps/1/pause/duration"),
            json!(-5),
            leak("steps[1].pause.duration"),
            "0",
        ),
    ]
}

fn bad_canaries() -> Vec<Bad> {
    let leak =
        |path: &str| -> &'static str { Box::leak(format!("spec.strategy.canary.{path}").into_boxed_str()) };
    let at =
        |path: &str| -> &'static str { Box::leak(format!("/spec/strategy/canary/{path}").into_boxed_str()) };
    vec![
        (
            19,
            at("canaryService"),
            json!("checkout-stable"),
            leak("canaryService"),
            "same as stableService",
        ),
        (
            19,
            at("canaryService"),
            Value::Null,
            leak("trafficRouting"),
            "needs canaryService and stableService",
        ),
        (
            29,
            at("stableService"),
            json!("a.other"),
            leak("stableService"),
            "in the Rollout's namespace",
        ),
        (
            29,
            at("trafficRouting/nginx/stableIngress"),
            json!("other/a"),
            leak("trafficRouting.nginx.stableIngress"),
            "in the Rollout's namespace",
        ),
        (
            31,
            at("trafficRouting/nginx/additionalIngressAnnotations"),
            json!({"configuration-snippet": "x"}),
            leak("trafficRouting.nginx.additionalIngressAnnotations"),
            "configuration-snippet is not allowed",
        ),
        (
            31,
            at("trafficRouting/nginx/canaryIngressAnnotations"),
            json!({"other.io/canary-by-header": "x"}),
            leak("trafficRouting.nginx.canaryIngressAnnotations"),
            "other.io/canary-by-header is not allowed",
        ),
        (
            31,
            at("trafficRouting/nginx/additionalIngressAnnotations"),
            json!({"canary-by-header": "a\n}"}),
            leak("trafficRouting.nginx.additionalIngressAnnotations.canary-by-header"),
            "leave out line breaks",
        ),
        (33, at("maxSurge"), json!("150%"), leak("maxSurge"), "percentage"),
        (33, at("maxSurge"), json!("-1"), leak("maxSurge"), "percentage"),
        (
            33,
            at("maxUnavailable"),
            json!("abc"),
            leak("maxUnavailable"),
            "percentage",
        ),
        (
            34,
            "/spec/minReadySeconds",
            json!(600),
            "spec.minReadySeconds",
            "600 is not less than",
        ),
        (
            35,
            "/spec/progressDeadlineSeconds",
            json!(0),
            "spec.progressDeadlineSeconds",
            "1",
        ),
        (
            36,
            "/metadata/name",
            json!("a".repeat(53)),
            "metadata.name",
            "has 53 characters",
        ),
        (
            37,
            at("steps"),
            json!(vec![json!({"setWeight": 1}); 51]),
            leak("steps"),
            "at most 50",
        ),
        (
            38,
            at("steps/0"),
            json!({"setWieght": 5}),
            leak("steps[0].setWieght"),
            "is not a field",
        ),
        (
            39,
            "/spec/workloadRef",
            json!({"name": "x"}),
            "spec.workloadRef",
            "not supported by Tidegate yet",
        ),
        (
            0,
            at("trafficRouting/istio"),
            json!({}),
            leak("trafficRouting.istio"),
            "not supported by Tidegate yet",
        ),
        (
            0,
            at("steps/0"),
            json!({"experiment": {}}),
            leak("steps[0].experiment"),
            "not supported by Tidegate yet",
        ),
    ]
}

fn check_bad(base: Value, rows: Vec<Bad>) {
    let mut server = Server::new();
    for (row, pointer, value, path, part) in rows {
        let mut object = base.clone();
        set(&mut object, pointer, &value);
        let found = violations(&object);
        let named = found
            .iter()
            .any(|(at, sentence, _)| at == path && sentence.contains(part));
        assert!(named, "row {row}: {path}: {part}: not in {found:#?}");
        let refusal = server
            .create(&object)
            .expect_err(&format!("row {row}: the server took {pointer} = {value}"));
        let field = path.rsplit('.').next().unwrap().split('[').next().unwrap();
        assert!(
            refusal.contains(field),
            "row {row}: {refusal} does not name {field}"
        );
    }
}

#[test]
fn bad_rollouts_are_refused_twice() {
    check_bad(rollout(), bad_rollouts());
    check_bad(rollout(), bad_canaries());
}

#[test]
fn both_budgets_zero_are_refused() {
    let mut object = rollout();
    set(&mut object, "/spec/strategy/canary/maxSurge", &json!("0%"));
    set(&mut object, "/spec/strategy/canary/maxUnavailable", &json!(0));
    assert_eq!(violations(&object)[0].0, "spec.strategy.canary.maxUnavailable");
    assert!(
        Server::new()
            .create(&object)
            .unwrap_err()
            .contains("must not both be 0")
    );
}

#[test]
fn more_than_256_kib_are_refused_by_the_controller() {
    let mut object = rollout();
    set(
        &mut object,
        "/spec/template/spec/x",
        &json!("x".repeat(256 * 1024)),
    );
    assert_eq!(violations(&object)[0].2, InvalidReason::SpecTooLarge);
}

#[test]
fn everything_wrong_is_said_at_once() {
    let mut object = rollout();
    set(&mut object, "/spec/replicas", &json!(-1));
    set(
        &mut object,
        "/spec/strategy/canary/steps/0/setWeight",
        &json!(101),
    );
    set(&mut object, "/spec/restartAt", &json!("2026-01-01T00:00:00Z"));
    let paths: Vec<String> = violations(&object).into_iter().map(|found| found.0).collect();
    assert_eq!(
        paths,
        [
            "spec.restartAt",
            "spec.replicas",
            "spec.strategy.canary.steps[0].setWeight"
        ]
    );
}

#[test]
fn selector_cannot_be_changed() {
    let mut server = Server::new();
    server.create(&rollout()).unwrap();
    let labels = json!({"spec": {"template": {"metadata": {"labels": {"tier": "web"}}}}});
    server.send("PATCH", "rollouts/checkout", &labels).unwrap();
    let selector = json!({"spec": {"selector": {"matchLabels": {"tier": "web"}}}});
    let refusal = server.send("PATCH", "rollouts/checkout", &selector).unwrap_err();
    assert!(refusal.contains("spec.selector cannot be changed"), "{refusal}");
}

#[test]
fn commands_cannot_be_changed() {
    let mut server = Server::new();
    let command = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "RolloutCommand",
        "metadata": {"name": "c", "namespace": "default"}, "spec": {"rollout": "checkout", "verb": "Abort"},
    });
    server.create(&command).unwrap();
    let other = json!({"spec": {"verb": "Promote"}});
    let refusal = server.send("PATCH", "rolloutcommands/c", &other).unwrap_err();
    assert!(refusal.contains("cannot be changed"), "{refusal}");
}

#[test]
fn bad_templates_are_refused_twice() {
    let m = "/spec/metrics/0";
    let at = |path: &str| -> &'static str { Box::leak(format!("{m}/{path}").into_boxed_str()) };
    let without_success = |mut metric: Value| {
        set(&mut metric, "/successCondition", &Value::Null);
        metric
    };
    let metric = template()["spec"]["metrics"][0].clone();
    let mut failure_only = without_success(metric.clone());
    set(&mut failure_only, "/failureCondition", &json!("result[0] > 1"));
    let metrics = vec![metric.clone(); 21];
    check_bad(
        template(),
        vec![
            (37, "/spec/metrics", json!(metrics), "spec.metrics", "at most 20"),
            (
                45,
                m,
                without_success(metric.clone()),
                "spec.metrics[0]",
                "successCondition or failureCondition",
            ),
            (46, m, failure_only, "spec.metrics[0].noData", "must be set"),
            (
                47,
                at("provider/prometheus/query"),
                json!(""),
                "spec.metrics[0].provider.prometheus.query",
                "1",
            ),
            (
                49,
                "/spec/metrics",
                json!([metric, metric]),
                "spec.metrics[1].name",
                "earlier metric",
            ),
            (52, at("interval"), json!(0), "spec.metrics[0].interval", "1"),
            (
                52,
                at("interval"),
                json!("0s"),
                "spec.metrics[0].interval",
                "at least 1s",
            ),
            (
                52,
                at("interval"),
                json!("500ms"),
                "spec.metrics[0].interval",
                "at least 1s",
            ),
            (53, at("count"), json!(0), "spec.metrics[0].count", "1"),
            (
                53,
                at("count"),
                json!("many"),
                "spec.metrics[0].count",
                "write a number from 1",
            ),
            (
                53,
                at("interval"),
                Value::Null,
                "spec.metrics[0].interval",
                "count is more than 1",
            ),
            (
                54,
                at("failureLimit"),
                json!(11),
                "spec.metrics[0].failureLimit",
                "11 is more than count (10)",
            ),
            (
                57,
                at("provider"),
                json!({"graphite": {}}),
                "spec.metrics[0].provider.graphite",
                "use prometheus",
            ),
            (
                57,
                at("provider"),
                json!({"psychic": {}}),
                "spec.metrics[0].provider.psychic",
                "is not a field",
            ),
            (
                57,
                at("provider"),
                json!({}),
                "spec.metrics[0].provider",
                "has no provider",
            ),
        ],
    );
}

#[test]
fn good_templates_are_accepted_twice() {
    for (pointer, value) in [
        ("/spec/metrics/0/interval", json!("1m30s")),
        ("/spec/metrics/0/interval", json!(1)),
        ("/spec/metrics/0/interval", json!("1000ms")),
        ("/spec/metrics/0/count", json!("{{args.count}}")),
        ("/spec/metrics/0/failureLimit", json!(-1)),
    ] {
        let mut object = template();
        set(&mut object, pointer, &value);
        assert_eq!(violations(&object), [], "{value}");
        Server::new().create(&object).unwrap();
    }
}

/// Manifests in the style of Argo Rollouts' own examples, `apiVersion` changed.
#[test]
fn canaries_of_argo_rollouts_are_accepted_twice() {
    let canaries = [
        json!({}),
        json!({"maxSurge": "25%", "maxUnavailable": 0, "steps": [
            {"setWeight": 20}, {"pause": {"duration": 60}}, {"setWeight": 40}, {"pause": {"duration": "1h"}}, {"pause": {}}]}),
        json!({"canaryService": "c", "stableService": "s", "dynamicStableScale": true, "minPodsPerReplicaSet": 2,
            "abortScaleDownDelaySeconds": 0, "maxSurge": 2,
            "replicaProgressThreshold": {"type": "Percent", "value": 80},
            "trafficRouting": {"maxTrafficWeight": 1000, "nginx": {"stableIngresses": ["a", "b.c"],
                "additionalIngressAnnotations": {"canary-by-header": "X-Canary", "canary-by-header-value": "iwantsit"}}},
            "analysis": {"templates": [{"templateName": "success-rate", "clusterScope": true}], "startingStep": 2, "args": [
                {"name": "service", "value": "checkout.shop.svc.cluster.local"},
                {"name": "hash", "valueFrom": {"podTemplateHashValue": "Latest"}},
                {"name": "region", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['region']"}}}]},
            "steps": [{"setCanaryScale": {"replicas": 1}}, {"setWeight": 995}, {"setCanaryScale": {"matchTrafficWeight": true}},
                {"analysis": {"templates": [{"templateName": "a"}], "dryRun": [{"metricName": "m"}]}}]}),
        json!({"canaryService": "c", "stableService": "s",
            "trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "checkout"}]}}, "steps": [{"setWeight": 1}]}),
    ];
    for canary in canaries {
        let mut object = rollout();
        set(&mut object, "/spec/strategy/canary", &canary);
        assert_eq!(violations(&object), [], "{canary}");
        Server::new().create(&object).unwrap();
    }
}

#[test]
fn defaults_are_those_of_argo_rollouts() {
    let valid = validate_rollout(&rollout()).unwrap();
    assert_eq!(valid.revision_history_limit, 10);
    assert_eq!(valid.progress_deadline.unwrap().to_string(), "10m");
    let canary = &valid.canary;
    assert_eq!(canary.scale_down_delay.to_string(), "30s");
    assert_eq!(canary.abort_scale_down_delay.unwrap().to_string(), "30s");
    let budgets = canary.resolve_budgets(10);
    assert_eq!((budgets.surge, budgets.unavailable), (3, 2));
    let budgets = canary.resolve_budgets(1);
    assert_eq!((budgets.surge, budgets.unavailable), (1, 0));
    assert_eq!(canary.routing.as_ref().unwrap().max_surge, None);
    assert_eq!(canary.steps.len(), canary.raw_steps.len());
}

#[test]
fn a_falling_weight_is_a_warning() {
    let mut object = rollout();
    set(&mut object, "/spec/strategy/canary/steps/3/setWeight", &json!(3));
    let warnings = warn_rollout(&validate_rollout(&object).unwrap());
    assert_eq!(warnings[0].path, "spec.strategy.canary.steps[3].setWeight");
    assert!(warn_rollout(&validate_rollout(&rollout()).unwrap()).is_empty());
}
