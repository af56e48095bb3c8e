//! One odd object, or one write that is refused: what else goes on all the same.

use chrono::TimeDelta;
use serde_json::{Value, json};
use tidegate::api::names::Revision;
use tidegate::api::resource::Resource;
use tidegate::clock::Clock;
use tidegate::controllers::context::{Context, Next};
use tidegate::controllers::rollout::reconcile_rollout;
use tidegate::controllers::run::{Settings, start};
use tidegate::plan::model::{Action, CLEAR_UP, CREATE, GROW, Kind, Plan, SHIFT, SHRINK, SIZE, Stage};
use tidegate::plan::snapshot::Snapshot;
use tidegate::sandbox::api_server::Fault;

use super::world::{self, World, plan, write};
use super::{echo, image, message_of, until};

fn refusal(message: &str) -> Fault {
    Fault::Refuse {
        status: 403,
        reason: "Forbidden".to_owned(),
        message: message.to_owned(),
    }
}

/// A plan that makes a ReplicaSet.
fn making(name: &str) -> Plan {
    let object = world::replica_set(name, 0);
    plan(
        vec![vec![write(Kind::ReplicaSet, name, Action::Create { object })]],
        "made",
    )
}

#[tokio::test(start_paused = true)]
async fn a_refusal_in_ever_other_words_is_told_once() {
    let world = World::new();
    let context = world.context(|_, _| making("checkout-a"));
    world.catch_up(&context).await;
    for request in 0..3 {
        world.fail_next_write(refusal(&format!("denied, request {request}")));
        reconcile_rollout(&context, &world.key).await.unwrap();
    }
    assert_eq!(world.writes(), ["patch Rollout checkout/status"]);
    let message = message_of(&world, "checkout").unwrap();
    assert!(message.ends_with("denied, request 0"), "{message}");
}

fn assert_refusal_shows(world: &World, context: &Context, message: &str) {
    assert_eq!(message_of(world, "checkout").as_deref(), Some(message));
    let metrics = context.metrics.encode();
    for line in [
        "tidegate_rollout_waiting{namespace=\"shop\",rollout=\"checkout\",reason=\"Refused\"} 1",
        "tidegate_rollouts{phase=\"Degraded\"} 1",
        "tidegate_api_errors_total{category=\"refused\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_shows_in_status_and_metrics() {
    let world = World::new();
    let context = world.context(|_, _| making("checkout-a"));
    world.catch_up(&context).await;
    world.fail_next_write(refusal("exceeded quota"));
    reconcile_rollout(&context, &world.key).await.unwrap();
    let message = "cannot create ReplicaSet shop/checkout-a: refused with 403: exceeded quota";
    assert_refusal_shows(&world, &context, message);
}

#[tokio::test(start_paused = true)]
async fn a_refused_read_shows_in_status_and_metrics() {
    let world = World::new();
    let context = world.context(|snapshot, _| echo(snapshot));
    world.edit(&json!({"spec": {"strategy": {"canary": {
        "stableService": "stable", "canaryService": "canary",
        "trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}]}},
    }}}}));
    world.catch_up(&context).await;
    world.close(Some("/httproutes/"));
    let Ok(Next::At(next)) = reconcile_rollout(&context, &world.key).await else {
        panic!("no time")
    };
    assert!(next > world.now());
    let message = "cannot read HTTPRoute shop/web: refused with 403: it is closed";
    assert_refusal_shows(&world, &context, message);
}

#[tokio::test(start_paused = true)]
async fn a_live_look_that_is_refused_is_put_off_as_well() {
    let world = World::new();
    let context = world.context(|snapshot, _| echo(snapshot));
    world.catch_up(&context).await;
    let observed = reconcile_rollout(&context, &world.key).await;
    assert!(matches!(observed, Ok(Next::At(_))), "{observed:?}");
    world.close(Some("/replicasets"));
    world.set_clock(world.now() + TimeDelta::minutes(6));
    for _ in 0..2 {
        let Ok(Next::At(next)) = reconcile_rollout(&context, &world.key).await else {
            panic!("no time")
        };
        let wait = next - world.now();
        assert!(
            TimeDelta::seconds(40) < wait && wait <= TimeDelta::minutes(5),
            "{wait}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_does_not_put_off_the_live_look_at_a_rollout_in_progress() {
    let world = World::new();
    let context = world.context(|_, _| making("checkout-a"));
    world.catch_up(&context).await;
    world.fail_next_write(refusal("exceeded quota: pods"));
    let Ok(Next::At(next)) = reconcile_rollout(&context, &world.key).await else {
        panic!("no time")
    };
    assert!(next <= world.now() + TimeDelta::seconds(60), "{next}");
}

fn making_for(purpose: &str, name: &str) -> Plan {
    let mut plan = making(name);
    for stage in &mut plan.stages {
        purpose.clone_into(&mut stage.purpose);
    }
    plan
}

/// The first write is refused, in a stage of this purpose; one of a later stage follows.
async fn carry_out_refused(purpose: &'static str, later: &'static str) -> World {
    let world = World::new();
    let context = world.context(move |_, _| {
        let mut plan = making_for(purpose, "checkout-a");
        let object = world::replica_set("checkout-b", 0);
        plan.stages.push(Stage {
            purpose: later.to_owned(),
            writes: vec![write(Kind::ReplicaSet, "checkout-b", Action::Create { object })],
        });
        plan.status.revision = Some(Revision(7));
        plan
    });
    world.catch_up(&context).await;
    world.fail_next_write(refusal("exceeded quota"));
    let next = reconcile_rollout(&context, &world.key).await;
    assert!(matches!(next, Ok(Next::At(_))), "{next:?}: it is tried again");
    world
}

#[tokio::test(start_paused = true)]
async fn what_does_not_rest_on_what_was_refused_goes_on() {
    for (purpose, later, goes_on, is_told) in [
        (CREATE, SHRINK, true, true),
        (SIZE, SHRINK, true, true),
        (CLEAR_UP, CLEAR_UP, true, true),
        (GROW, SHRINK, false, true),
        (GROW, CREATE, true, true),
        (SHIFT, SHRINK, false, false),
        (SHIFT, GROW, false, false),
        (SHIFT, CLEAR_UP, true, false),
        ("anything else", SHRINK, false, false),
    ] {
        let world = carry_out_refused(purpose, later).await;
        let case = format!("{purpose}, then {later}");
        assert_eq!(world.list("ReplicaSet").len(), usize::from(goes_on), "{case}");
        let status = world.object("Rollout", "checkout")["status"].clone();
        assert_eq!(status["revision"] == 7, is_told, "{case}: what was found out");
        let message = status["message"].as_str().unwrap();
        let expected = if [CLEAR_UP, SIZE].contains(&purpose) {
            "made"
        } else {
            "cannot create"
        };
        assert!(message.starts_with(expected), "{case}: {message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_beside_which_the_rest_goes_on_is_written_once() {
    let world = World::new();
    let context = world.context(|_, _| making_for(CREATE, "checkout-a"));
    world.catch_up(&context).await;
    for request in 0..3 {
        world.fail_next_write(refusal(&format!("denied, request {request}")));
        reconcile_rollout(&context, &world.key).await.unwrap();
        world.set_clock(world.now() + TimeDelta::seconds(1));
    }
    assert_eq!(world.writes(), ["patch Rollout checkout/status"]);
    let message = "cannot create ReplicaSet shop/checkout-a: refused with 403: denied, request 0";
    assert_eq!(message_of(&world, "checkout").as_deref(), Some(message));
}

#[tokio::test]
async fn a_namespace_full_of_hanging_runs_does_not_slow_down_another() {
    let world = World::at(Clock::System);
    for number in 0..260 {
        let name = format!("hanging-{number}");
        world.post(Resource::AnalysisRun, &world::run(&name, world::HANGS));
    }
    let mut run = world::run("sound", "vector(0)");
    run["metadata"]["namespace"] = json!("bank");
    run["spec"]["metrics"][0]["interval"] = json!(1);
    run["spec"]["metrics"][0]["count"] = json!(3);
    world.post_to(&Resource::AnalysisRun.collection_path("bank"), &run);
    let controller = start(world.context(|snapshot, _| echo(snapshot)), Settings::default());
    let phase = || {
        let run = world
            .server
            .inspect(|store| store.get("AnalysisRun", "bank", "sound"));
        run.unwrap().pointer("/status/phase").cloned()
    };
    until(|| phase() == Some(json!("Successful"))).await;
    drop(controller);
}

/// A Rollout whose first step is an analysis.
fn with_analysis() -> Value {
    json!({"spec": {"strategy": {"canary": {
        "steps": [{"analysis": {"templates": [{"templateName": "odd"}]}}, {"setWeight": 10}],
    }}}})
}

#[tokio::test]
async fn an_unreadable_template_holds_up_its_gate_and_no_abort() {
    let world = World::at(Clock::System);
    world.forget_schema("analysistemplates");
    let template = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "AnalysisTemplate",
        "metadata": {"name": "odd", "namespace": "shop"},
        "spec": {"metrics": [{
            "name": "errors", "interval": "30d1h", "successCondition": "result < 1",
            "provider": {"prometheus": {"query": "vector(0)"}},
        }]},
    });
    world.post(Resource::AnalysisTemplate, &template);
    world.edit(&with_analysis());
    let controller = start(world.context(tidegate::plan::plan), Settings::default());
    let status = |field: &str| {
        world
            .object("Rollout", "checkout")
            .pointer(&format!("/status/{field}"))
            .cloned()
    };
    let sized = |name: &str| world.object("ReplicaSet", name).pointer("/spec/replicas") == Some(&json!(1));
    until(|| world.list("ReplicaSet").len() == 1).await;
    let first = world.list("ReplicaSet")[0].clone();
    until(|| sized(&first)).await;
    world.report_available(&first, 1);
    until(|| status("phase") == Some(json!("Healthy"))).await;
    world.edit(&image("web:2"));
    let told = || message_of(&world, "checkout").unwrap_or_default();
    until(|| told().contains("AnalysisTemplate shop/odd cannot be understood")).await;
    let command = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "RolloutCommand",
        "metadata": {"name": "stop", "namespace": "shop"},
        "spec": {"rollout": "checkout", "verb": "Abort"},
    });
    world.post(Resource::RolloutCommand, &command);
    let answer = || {
        world
            .object("RolloutCommand", "stop")
            .pointer("/status/phase")
            .cloned()
    };
    until(|| answer() == Some(json!("Accepted"))).await;
    controller.stop().await;
}

#[tokio::test]
async fn an_unreadable_run_is_left_aside_and_not_made_again() {
    let world = World::at(Clock::System);
    world.forget_schema("analysisruns");
    let odd = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "AnalysisRun",
        "metadata": {"name": "odd", "namespace": "shop", "labels": {"tidegate.dev/rollout": "checkout"}},
        "spec": {"metrics": "several"},
    });
    world.post(Resource::AnalysisRun, &odd);
    world.post(Resource::Rollout, &world::rollout("other"));
    let seen = |snapshot: &Snapshot, _| {
        let message = format!("{:?} of {}", snapshot.unreadable_runs, snapshot.runs.len());
        plan(vec![], &message)
    };
    let controller = start(world.context(seen), Settings::default());
    until(|| message_of(&world, "checkout").as_deref() == Some("{\"odd\"} of 0")).await;
    until(|| message_of(&world, "other").as_deref() == Some("{} of 0")).await;
    let undecodable = "tidegate_api_errors_total{category=\"undecodable\"}";
    until(|| controller.context.metrics.encode().contains(undecodable)).await;
    world.remove(Resource::AnalysisRun, "odd");
    until(|| message_of(&world, "checkout").as_deref() == Some("{} of 0")).await;
    controller.stop().await;
}

/// The new template calls its ports otherwise than the Services do.
#[tokio::test(start_paused = true)]
async fn pods_without_the_port_of_a_service_are_no_endpoints_of_it() {
    let world = World::new();
    let context = world.context(|snapshot, _| echo(snapshot));
    world.edit(&json!({"spec": {"strategy": {"canary": {
        "stableService": "stable", "canaryService": "canary",
    }}}}));
    for (service, ports) in [
        ("stable", json!([{"name": "", "port": 8080, "protocol": "TCP"}])),
        ("canary", json!([])),
    ] {
        let spec = json!({"selector": {"app": "checkout"}, "ports": [{"port": 80, "targetPort": "http"}]});
        let object = json!({"metadata": {"name": service}, "spec": spec});
        world.post(Resource::Service, &object);
        let slice = json!({
            "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "ports": ports,
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}],
        });
        world.post(Resource::EndpointSlice, &slice);
    }
    world.catch_up(&context).await;
    let observed = context.observer.observe_rollout(&world.key, world.now()).await;
    let endpoints = observed.unwrap().unwrap().snapshot.endpoints.unwrap();
    let ready = endpoints
        .iter()
        .map(|(name, ready)| (name.as_str(), ready.total()));
    assert_eq!(ready.collect::<Vec<_>>(), [("canary", 0), ("stable", 1)]);
}
