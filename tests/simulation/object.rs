//! The objects of the simulated cluster as their users would write them, and requests in their name.

use serde_json::{Value, json};
use tidegate::api::resource::{ObjectKey, Resource};
use tidegate::sandbox::api_server::service::Outcome;
use tidegate::sandbox::api_server::{ApiRequest, ApiServer};

use super::scenario::{Routing, SETTLE_SECONDS, Scenario, StepKind};

pub const NAMESPACE: &str = "shop";
pub const NAME: &str = "checkout";
pub const STABLE: &str = "checkout-stable";
pub const CANARY: &str = "checkout-canary";
pub const TEMPLATE: &str = "quality";
pub const HOSTS: [&str; 2] = ["a.example", "b.example"];
const MERGE: &str = "application/merge-patch+json";

pub fn key(name: &str) -> ObjectKey {
    ObjectKey::new(NAMESPACE, name)
}

pub fn template(scenario: &Scenario, version: usize) -> Value {
    let (_, seconds) = scenario.versions[version];
    json!({
        "metadata": {"labels": {"app": NAME}},
        "spec": {"containers": [{
            "name": "web", "image": format!("checkout:v{version}"), "ports": [{"containerPort": 8080}],
            "env": [{"name": "START_SECONDS", "value": seconds.to_string()}],
        }]},
    })
}

fn analysis(gate: &str) -> Value {
    json!({
        "templates": [{"templateName": TEMPLATE}],
        "args": [
            {"name": "gate", "value": gate},
            {"name": "hash", "valueFrom": {"podTemplateHashValue": "Latest"}},
        ],
    })
}

pub fn steps(kinds: &[StepKind]) -> Value {
    let step = |(index, kind): (usize, &StepKind)| match kind {
        StepKind::Weight(weight) => json!({"setWeight": weight}),
        StepKind::Pause => json!({"pause": {}}),
        StepKind::PauseSeconds(seconds) => json!({"pause": {"duration": format!("{seconds}s")}}),
        StepKind::Scale(replicas) => json!({"setCanaryScale": {"replicas": replicas}}),
        StepKind::Analysis => json!({"analysis": analysis(&format!("step{index}"))}),
    };
    Value::Array(kinds.iter().enumerate().map(step).collect())
}

pub fn rollout(scenario: &Scenario) -> Value {
    let mut canary = json!({
        "steps": steps(&scenario.steps),
        "abortScaleDownDelaySeconds": 10,
    });
    let mut set = |field: &str, value: Value| canary[field] = value;
    if !scenario.dynamic {
        set("scaleDownDelaySeconds", json!(10));
    }
    if scenario.routing == Routing::None {
        set("maxSurge", json!(scenario.surge));
        set("maxUnavailable", json!(1));
    } else {
        set("stableService", json!(STABLE));
        set("canaryService", json!(CANARY));
        set("dynamicStableScale", json!(scenario.dynamic));
    }
    let routing = match scenario.routing {
        Routing::None => None,
        Routing::Nginx { ingresses } => {
            let names: Vec<&str> = HOSTS.iter().take(ingresses).copied().collect();
            Some(json!({"nginx": {"stableIngresses": names}}))
        }
        Routing::Gateway { .. } => Some(json!({"gatewayAPI": {"httpRoutes": [{"name": HOSTS[0]}]}})),
    };
    if let Some(mut routing) = routing {
        routing["settleSeconds"] = json!(SETTLE_SECONDS);
        if scenario.asked {
            // Whoever answers knows, and needs no query.
            routing["dataPlane"] = json!({"prometheus": {"query": "vector(0)", "requests": "vector(1)"}});
        }
        set("trafficRouting", routing);
    }
    if scenario.background {
        set("analysis", analysis("background"));
    }
    if scenario.bake {
        let mut bake = json!({"duration": "20s"});
        if scenario.background {
            bake["analysis"] = analysis("bake");
        }
        set("bake", bake);
    }
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "replicas": scenario.replicas,
            "selector": {"matchLabels": {"app": NAME}},
            "template": template(scenario, 0),
            "strategy": {"canary": canary},
        },
    })
}

/// Everything but the Rollout.
pub fn surroundings(scenario: &Scenario) -> Vec<(Resource, Value)> {
    let service = |name: &str| {
        let ports = json!([{"port": 80, "targetPort": 8080}]);
        (
            Resource::Service,
            json!({"metadata": {"name": name}, "spec": {"selector": {"app": NAME}, "ports": ports}}),
        )
    };
    let quality = json!({
        "metadata": {"name": TEMPLATE},
        "spec": {"args": [{"name": "gate"}, {"name": "hash"}], "metrics": [{
            "name": "quality", "interval": "5s", "count": 2,
            "successCondition": "result < 0.3", "failureCondition": "result > 0.7",
            "provider": {"prometheus": {
                "query": "errors{gate=\"{{args.gate}}\",hash=\"{{args.hash}}\"}",
            }},
        }]},
    });
    let mut objects = vec![(Resource::AnalysisTemplate, quality)];
    match scenario.routing {
        Routing::None => return objects,
        Routing::Nginx { ingresses } => {
            objects.extend(
                HOSTS
                    .iter()
                    .take(ingresses)
                    .map(|host| (Resource::Ingress, ingress(host))),
            );
        }
        Routing::Gateway { rules, canary_named } => {
            objects.push((Resource::HttpRoute, http_route(rules, canary_named)));
        }
    }
    objects.extend([service(STABLE), service(CANARY)]);
    objects
}

fn ingress(host: &str) -> Value {
    let backend = json!({"service": {"name": STABLE, "port": {"number": 80}}});
    let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
    json!({
        "metadata": {"name": host},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": host, "http": {"paths": paths}}]},
    })
}

fn http_route(rules: usize, canary_named: bool) -> Value {
    let mut backends = vec![json!({"name": STABLE, "port": 80, "weight": 100})];
    if canary_named {
        backends.push(json!({"name": CANARY, "port": 80, "weight": 0}));
    }
    let rule = |path: &str| json!({"matches": [{"path": {"type": "PathPrefix", "value": path}}], "backendRefs": backends.clone()});
    let rules: Vec<Value> = ["/", "/api"].into_iter().take(rules).map(rule).collect();
    json!({
        "metadata": {"name": HOSTS[0]},
        "spec": {"parentRefs": [{"name": "gateway"}], "hostnames": [HOSTS[0]], "rules": rules},
    })
}

/// Asks the API server in somebody's name; it must agree.
pub fn ask(server: &ApiServer, actor: &str, method: &str, path: &str, body: &Value) {
    let mut request = ApiRequest::new(method, path);
    request.content_type = if method == "PATCH" {
        MERGE
    } else {
        "application/json"
    }
    .to_owned();
    request.actor = actor.to_owned();
    request.body = body.to_string().into_bytes();
    match server.handle(&request) {
        Outcome::Answer(answer) if answer.code < 300 => {}
        Outcome::Answer(answer) => panic!("{method} {path}: {}", answer.body.to_value()),
        lost => panic!("{method} {path}: {lost:?}"),
    }
}

pub fn create(server: &ApiServer, resource: Resource, mut object: Value) {
    resource.stamp(&mut object);
    ask(
        server,
        "user",
        "POST",
        &resource.collection_path(NAMESPACE),
        &object,
    );
}

pub fn edit_rollout(server: &ApiServer, spec: &Value) {
    let path = Resource::Rollout.object_path(&key(NAME));
    ask(server, "user", "PATCH", &path, &json!({ "spec": spec }));
}

pub fn command(server: &ApiServer, number: usize, verb: &str) {
    let spec = json!({"rollout": NAME, "verb": verb, "requestedBy": "ann"});
    let object = json!({"metadata": {"name": format!("{}-{number}", verb.to_lowercase())}, "spec": spec});
    create(server, Resource::RolloutCommand, object);
}

pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub fn int(object: &Value, pointer: &str) -> i64 {
    object
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}
