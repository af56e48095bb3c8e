//! The EndpointSlice controller, and the Services and Ingresses that it and a data plane read.

use serde_json::{Value, json};

use crate::object::{pod, service};
use crate::talk::{Answer, JSON, Talk, plain};

const SLICES: &str = "endpointslices?labelSelector=kubernetes.io/service-name=web";

fn endpoints(answer: &Answer) -> Vec<&Value> {
    let endpoints = answer
        .items()
        .iter()
        .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    endpoints.collect()
}

fn condition<'a>(name: &'a str, wanted: bool) -> impl Fn(&Answer) -> bool + 'a {
    move |answer| {
        endpoints(answer)
            .iter()
            .any(|endpoint| endpoint["conditions"][name] == wanted)
    }
}

async fn pod_at(talk: &Talk<'_>, name: &str, address: &str, ready: bool) {
    talk.given("pods", &pod(name)).await;
    talk.bind(name).await;
    talk.run_pod(name, address, ready).await;
}

fn show_endpoints(talk: &mut Talk<'_>, answer: &Answer) {
    let mut lines: Vec<_> = endpoints(answer)
        .into_iter()
        .map(|endpoint| {
            let target = &endpoint["targetRef"];
            let uid = target["uid"].is_string();
            format!(
                "  {} {} {} {} uid {uid} node {}",
                endpoint["addresses"],
                plain(&endpoint["conditions"]),
                target["kind"],
                target["name"],
                endpoint["nodeName"]
            )
        })
        .collect();
    lines.sort();
    lines.into_iter().for_each(|line| talk.note(line));
}

pub async fn ready_and_unready(talk: &mut Talk<'_>) {
    talk.given("services", &service("web")).await;
    pod_at(talk, "a", "10.77.6.1", true).await;
    pod_at(talk, "b", "10.77.6.2", false).await;
    let both = |answer: &Answer| endpoints(answer).len() == 2 && condition("ready", true)(answer);
    let answer = talk.until("both are there", SLICES, both).await;
    show_endpoints(talk, &answer);
    let slice = &answer.items()[0];
    let prefix = slice["metadata"]["name"].as_str().unwrap().starts_with("web-");
    talk.note(format!(
        "  {} slices, name from the Service's: {prefix}",
        answer.items().len()
    ));
    talk.show(
        &answer,
        &[
            "/items/0/metadata/labels/kubernetes.io~1service-name",
            "/items/0/metadata/labels/endpointslice.kubernetes.io~1managed-by",
            "/items/0/addressType",
            "/items/0/ports",
            "/items/0/metadata/ownerReferences/0/kind",
            "/items/0/metadata/ownerReferences/0/name",
            "/items/0/metadata/ownerReferences/0/controller",
        ],
    );
    talk.run_pod("b", "10.77.6.2", true).await;
    let ready = |answer: &Answer| {
        endpoints(answer)
            .iter()
            .all(|endpoint| endpoint["conditions"]["ready"] == true)
    };
    talk.until("both are ready", SLICES, ready).await;
    talk.run_pod("a", "10.77.6.1", false).await;
    let answer = talk.until("one is not", SLICES, condition("ready", false)).await;
    show_endpoints(talk, &answer);
}

pub async fn a_terminating_pod(talk: &mut Talk<'_>) {
    talk.given("services", &service("web")).await;
    pod_at(talk, "a", "10.77.6.1", true).await;
    talk.until("it is ready", SLICES, condition("ready", true)).await;
    talk.ask("DELETE", "pods/a", JSON, "").await;
    let answer = talk
        .until("it terminates", SLICES, condition("terminating", true))
        .await;
    show_endpoints(talk, &answer);
    talk.run_pod("a", "10.77.6.1", false).await;
    let answer = talk
        .until("it serves no more", SLICES, condition("serving", false))
        .await;
    show_endpoints(talk, &answer);
    talk.ask(
        "DELETE",
        "pods/a",
        JSON,
        json!({"gracePeriodSeconds": 0}).to_string(),
    )
    .await;
    talk.until("it is gone", SLICES, |answer| endpoints(answer).is_empty())
        .await;
}

pub async fn a_changed_selector(talk: &mut Talk<'_>) {
    talk.given("services", &service("web")).await;
    pod_at(talk, "a", "10.77.6.1", true).await;
    talk.until("it is ready", SLICES, condition("ready", true)).await;
    talk.merge(
        "services/web",
        &json!({"spec": {"selector": {"app": "web", "hash": "1"}}}),
    )
    .await;
    talk.until("nothing is selected", SLICES, |answer| {
        endpoints(answer).is_empty()
    })
    .await;
    talk.merge("pods/a", &json!({"metadata": {"labels": {"hash": "1"}}}))
        .await;
    talk.until("it is selected", SLICES, condition("ready", true))
        .await;
    talk.merge("services/web", &json!({"spec": {"selector": {"hash": null}}}))
        .await;
    talk.merge("pods/a", &json!({"metadata": {"labels": {"hash": null}}}))
        .await;
    talk.pause().await;
    let answer = talk.get(SLICES).await;
    show_endpoints(talk, &answer);
}

pub async fn no_selector(talk: &mut Talk<'_>) {
    let mut object = service("web");
    object["spec"].as_object_mut().unwrap().remove("selector");
    object["spec"]["ports"][0]["targetPort"] = json!(8080);
    talk.given("services", &object).await;
    pod_at(talk, "a", "10.77.6.1", true).await;
    talk.pause().await;
    let answer = talk.get(SLICES).await;
    talk.note(format!("  {} slices", answer.items().len()));
}

pub async fn without_address(talk: &mut Talk<'_>) {
    talk.given("services", &service("web")).await;
    talk.given("pods", &pod("a")).await;
    talk.bind("a").await;
    talk.until("there is a slice", SLICES, |answer| answer.items().len() == 1)
        .await;
    talk.pause().await;
    let answer = talk.get(SLICES).await;
    show_endpoints(talk, &answer);
    let count = answer.items()[0]["ports"].as_array().map_or(0, Vec::len);
    talk.note(format!("  {count} ports"));
}

pub async fn finished_pods(talk: &mut Talk<'_>) {
    talk.given("services", &service("web")).await;
    pod_at(talk, "a", "10.77.6.1", true).await;
    talk.until("it is ready", SLICES, condition("ready", true)).await;
    let conditions =
        json!([{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    let failed = json!({"status": {"phase": "Failed", "conditions": conditions}});
    talk.merge("pods/a/status", &failed).await;
    talk.until("it is gone", SLICES, |answer| endpoints(answer).is_empty())
        .await;
}

pub async fn unready_addresses(talk: &mut Talk<'_>) {
    let mut object = service("web");
    object["spec"]["publishNotReadyAddresses"] = json!(true);
    talk.given("services", &object).await;
    pod_at(talk, "a", "10.77.6.1", false).await;
    let answer = talk
        .until("it is published", SLICES, |answer| endpoints(answer).len() == 1)
        .await;
    show_endpoints(talk, &answer);
}

pub async fn numbered_ports(talk: &mut Talk<'_>) {
    let mut object = service("web");
    object["spec"]["ports"] = json!([
        {"name": "a", "port": 80},
        {"name": "b", "port": 81, "targetPort": 8081, "protocol": "UDP"},
        {"name": "c", "port": 82, "targetPort": "none"},
        {"name": "d", "port": 83, "targetPort": "http", "appProtocol": "http"},
    ]);
    talk.given("services", &object).await;
    pod_at(talk, "a", "10.77.6.1", true).await;
    let answer = talk.until("it is ready", SLICES, condition("ready", true)).await;
    let mut ports = answer.items()[0]["ports"].as_array().cloned().unwrap_or_default();
    ports.sort_by_key(|port| port["name"].to_string());
    talk.note(format!("  {}", plain(&json!(ports))));
}

pub async fn a_deleted_service(talk: &mut Talk<'_>) {
    talk.given("services", &service("web")).await;
    pod_at(talk, "a", "10.77.6.1", true).await;
    talk.until("it is ready", SLICES, condition("ready", true)).await;
    talk.delete("services/web", &json!({})).await;
    talk.until("its slices are gone", SLICES, |answer| answer.items().is_empty())
        .await;
}

fn slice(name: &str, address: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": [{"addresses": [address]}],
        "ports": [{"name": "web", "port": 80, "protocol": "TCP"}],
    })
}

pub async fn loopback_addresses(talk: &mut Talk<'_>) {
    for address in ["127.0.0.1", "127.1.0.1"] {
        talk.create("endpointslices?dryRun=All", &slice("a", address))
            .await;
    }
}

pub async fn invalid_slices(talk: &mut Talk<'_>) {
    talk.create("endpointslices", &slice("a", "10.77.6.1")).await;
    talk.create("endpointslices?dryRun=All", &slice("b", "nonsense"))
        .await;
    for (pointer, value) in [
        ("/addressType", json!("Carrier")),
        ("/addressType", json!("")),
        ("/endpoints/0/addresses", json!([])),
        ("/ports/0/port", json!(70000)),
        ("/ports/0/protocol", json!("carrier")),
    ] {
        let mut object = slice("b", "10.77.6.1");
        *object.pointer_mut(pointer).unwrap() = value.clone();
        talk.note(format!("{pointer} {value}"));
        talk.create("endpointslices?dryRun=All", &object).await;
    }
    talk.merge("endpointslices/a", &json!({"addressType": "IPv6"}))
        .await;
}

pub async fn service_defaults(talk: &mut Talk<'_>) {
    let mut object = service("web");
    object["spec"]["ports"] = json!([{"port": 80}]);
    let created = talk.create("services", &object).await;
    talk.show(
        &created,
        &[
            "/spec/type",
            "/spec/sessionAffinity",
            "/spec/ports",
            "/spec/selector",
            "/status",
        ],
    );
    let address = created.text("/spec/clusterIP");
    talk.note(format!("  an address: {}", !address.is_empty()));
    talk.merge("services/web", &json!({"spec": {"clusterIP": "10.1.2.3"}}))
        .await;
    object["metadata"]["name"] = json!("headless");
    object["spec"]["clusterIP"] = json!("None");
    let created = talk.create("services", &object).await;
    talk.show(&created, &["/spec/clusterIP"]);
}

pub async fn invalid_services(talk: &mut Talk<'_>) {
    for (pointer, value) in [
        ("/spec/ports", json!([])),
        ("/spec/ports/0/port", json!(0)),
        ("/spec/ports/0/port", json!(70000)),
        ("/spec/ports/0/targetPort", json!("UPPER_case")),
        ("/spec/ports/0/targetPort", json!(0)),
        ("/spec/ports/0/name", json!("Bad_Name")),
        ("/spec/selector", json!({"bad key": "x"})),
        ("/spec/type", json!("Teleport")),
        ("/spec/ports", json!([{"port": 80}, {"port": 81}])),
    ] {
        let mut object = service("web");
        object["spec"]["type"] = json!("ClusterIP");
        *object.pointer_mut(pointer).unwrap() = value.clone();
        talk.note(format!("{pointer} {value}"));
        talk.create("services?dryRun=All", &object).await;
    }
}

fn ingress() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": "web.example", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}},
        ]}}]},
    })
}

pub async fn ingress_defaults(talk: &mut Talk<'_>) {
    let created = talk.create("ingresses", &ingress()).await;
    talk.show(&created, &["/spec", "/status", "/metadata/generation"]);
    let annotations =
        json!({"metadata": {"annotations": {"nginx.ingress.kubernetes.io/canary-weight": "5"}}});
    let answer = talk.merge("ingresses/web", &annotations).await;
    talk.show(&answer, &["/metadata/generation"]);
    let answer = talk
        .merge("ingresses/web", &json!({"spec": {"ingressClassName": "other"}}))
        .await;
    talk.show(&answer, &["/metadata/generation"]);
}

pub async fn invalid_ingresses(talk: &mut Talk<'_>) {
    for (pointer, value) in [
        ("/spec/rules/0/http/paths/0/pathType", Value::Null),
        ("/spec/rules/0/http/paths/0/pathType", json!("Regex")),
        ("/spec/rules/0/http/paths/0/path", json!("relative")),
        ("/spec/rules/0/http/paths/0/path", json!("/a//b")),
        ("/spec/rules/0/http/paths", json!([])),
        ("/spec/rules/0/http/paths/0/backend", json!({})),
        ("/spec/rules/0/http/paths/0/backend/service/port", json!({})),
        (
            "/spec/rules/0/http/paths/0/backend/service/port",
            json!({"number": 80, "name": "web"}),
        ),
        ("/spec/rules/0/host", json!("10.0.0.1")),
        ("/spec/rules/0/host", json!("UPPER.example")),
        ("/spec/rules", json!([])),
    ] {
        let mut object = ingress();
        *object.pointer_mut(pointer).unwrap() = value.clone();
        talk.note(format!("{pointer} {value}"));
        talk.create("ingresses?dryRun=All", &object).await;
    }
}
