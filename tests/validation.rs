//! Every bad manifest is refused by the CRD's schema and rules and, apart from them, by the controller; every
//! good one is accepted by both.
#![cfg(feature = "sandbox")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "validation/table.rs"]
mod table;

use chrono::DateTime;
use serde_json::{Value, json};
use tidegate::api::crd;
use tidegate::plan::validate::{InvalidReason, validate_rollout, validate_template, warn_rollout};
use tidegate::sandbox::api_server::{ApiRequest, Store};

use table::{Bad, rollout, set, template};

const APIS: &str = "/apis/tidegate.dev/v1alpha1/namespaces/default";

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

fn check_bad(base: &Value, rows: Vec<Bad<'_>>) {
    let mut server = Server::new();
    for Bad {
        row,
        pointer,
        value,
        path,
        part,
    } in rows
    {
        let mut object = base.clone();
        set(&mut object, &pointer, &value);
        let found = violations(&object);
        let named = found
            .iter()
            .any(|(at, sentence, _)| *at == path && sentence.contains(part));
        assert!(named, "row {row}: {path}: {part}: not in {found:#?}");
        let refusal = server
            .create(&object)
            .expect_err(&format!("row {row}: {pointer} = {value} was taken"));
        let field = path.rsplit('.').next().unwrap().split('[').next().unwrap();
        assert!(
            refusal.contains(field),
            "row {row}: {refusal} does not name {field}"
        );
    }
}

#[test]
fn bad_rollouts_are_refused_twice() {
    check_bad(&table::rollout_with_a_canary_scale(), table::rollouts());
}

#[test]
fn bad_templates_are_refused_twice() {
    check_bad(&template(), table::templates());
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

/// Of matchers a CRD knows nothing.
#[test]
fn matchers_of_alerts_are_read_by_the_controller() {
    for (matchers, path, part) in [
        (
            json!(["a=b", "alertname"]),
            "[1].matchers[1]",
            "\"alertname\" is not a matcher",
        ),
        (
            json!(["a=~\"(\""]),
            "[1].matchers[0]",
            "is not a regular expression that can be used: unclosed group",
        ),
        (
            json!(["a!=b", "c=~\".*\""]),
            "[1].matchers",
            "every alert would abort",
        ),
    ] {
        let mut object = rollout();
        let alerts = json!({"alerts": [{"matchers": ["a=b"]}, {"matchers": matchers}]});
        set(&mut object, "/spec/abortOn", &alerts);
        let found = violations(&object);
        assert_eq!(found.len(), 1, "{found:#?}");
        let (at, sentence, reason) = &found[0];
        assert_eq!(*at, format!("spec.abortOn.alerts{path}"));
        assert!(sentence.contains(part), "{sentence}");
        assert_eq!(*reason, InvalidReason::InvalidAlert);
        Server::new().create(&object).unwrap();
    }
}

/// Of hosts and of PromQL a CRD knows nothing.
#[test]
fn what_a_data_plane_is_asked_by_is_checked_by_the_controller() {
    let traefik = |url: &str| json!({"traefik": {"url": url}});
    let query = |query: &str| json!({"prometheus": {"query": query, "requests": "sum(x)"}});
    for (data_plane, field, reason) in [
        (
            traefik("http://169.254.169.254"),
            "traefik.url",
            InvalidReason::AddressNotAllowed,
        ),
        (
            traefik("https://kubernetes.default.svc"),
            "traefik.url",
            InvalidReason::AddressNotAllowed,
        ),
        (query("sum("), "prometheus.query", InvalidReason::InvalidRouting),
        (
            query("{{args.x}}"),
            "prometheus.query",
            InvalidReason::InvalidRouting,
        ),
    ] {
        let mut object = rollout();
        set(
            &mut object,
            "/spec/strategy/canary/trafficRouting/dataPlane",
            &data_plane,
        );
        let (path, _, found) = &violations(&object)[0];
        assert_eq!(
            *path,
            format!("spec.strategy.canary.trafficRouting.dataPlane.{field}")
        );
        assert_eq!(*found, reason);
    }
    for data_plane in [
        traefik("http://traefik.ingress:8080/x"),
        query("sum(a) / sum(b) or vector(0)"),
    ] {
        let mut object = rollout();
        set(
            &mut object,
            "/spec/strategy/canary/trafficRouting/dataPlane",
            &data_plane,
        );
        assert_eq!(violations(&object), []);
        Server::new().create(&object).unwrap();
    }
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

fn never_failing(enough: Value) -> Value {
    json!({"name": "n", "interval": "30s", "failureLimit": -1, "consecutiveSuccessLimit": enough,
        "successCondition": "true", "provider": {"prometheus": {"query": "up"}}})
}

#[test]
fn good_templates_are_accepted_twice() {
    for (pointer, value) in [
        ("/spec/metrics/0/interval", json!("1m30s")),
        ("/spec/metrics/0/interval", json!(1)),
        ("/spec/metrics/0/interval", json!("1000ms")),
        ("/spec/metrics/0/count", json!("{{args.count}}")),
        ("/spec/metrics/0/failureLimit", json!("{{args.limit}}")),
        ("/spec/metrics/0/failureLimit", json!(10)),
        ("/spec/metrics/0/inconclusiveLimit", json!(0)),
        (
            "/spec/metrics/0/consecutiveErrorLimit",
            json!("{{ args.errors }}"),
        ),
        ("/spec/metrics/0/consecutiveSuccessLimit", json!(10)),
        (
            "/spec/metrics",
            json!([
                never_failing(json!(3)),
                {"name": "m", "successCondition": "true", "minSamples": 1,
                    "provider": {"prometheus": {"query": "up", "samplesQuery": "up"}}},
            ]),
        ),
        ("/spec/metrics/0", never_failing(json!("{{args.enough}}"))),
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
