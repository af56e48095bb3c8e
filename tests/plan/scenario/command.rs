//! What people ask for.

use chrono::{DateTime, Utc};
use serde_json::json;
use tidegate::api::rollout_status::{AbortSource, Phase};

use super::{assert_released, assert_turned_back, deployed};
use crate::cluster::{Cluster, Fault};
use crate::fixture::{five_steps, nginx};

fn paused() -> Cluster {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.deploy("v2");
    cluster.run();
    assert_eq!((cluster.phase(), cluster.step()), (Phase::Paused, 3));
    cluster
}

#[test]
fn a_promote_ends_a_pause_with_a_duration_early() {
    let mut cluster = deployed(nginx(
        json!([{"setWeight": 20}, {"pause": {"duration": "1h"}}, {"pause": {}}]),
    ));
    cluster.deploy("v2");
    let begun = cluster.now;
    cluster.run_until(|cluster| cluster.step() == 1);
    cluster.command("Promote");
    cluster.run();
    assert_eq!(cluster.step(), 2);
    assert!(cluster.now - begun < chrono::Duration::minutes(5));
}

#[test]
fn promote_full_skips_what_is_left() {
    let mut cluster = paused();
    cluster.command("PromoteFull");
    cluster.run();
    assert_released(&cluster, "v2");
}

#[test]
fn each_command_is_answered_once_with_a_reason() {
    let mut cluster = deployed(nginx(five_steps()));
    let idle = ["Promote", "PromoteFull", "Abort", "Retry"].map(|verb| cluster.command(verb));
    cluster.run();
    for command in &idle {
        assert_eq!(cluster.answer(command), "Refused", "{command}");
    }
    cluster.deploy("v2");
    cluster.run();
    let wrong_step = cluster.command_with("Promote", json!({"expect": {"step": 1}}));
    let old = cluster.command_with("Abort", json!({"expect": {"revision": 1}}));
    cluster.run();
    assert_eq!(
        (
            cluster.answer(&wrong_step).as_str(),
            cluster.answer(&old).as_str()
        ),
        ("Refused", "Expired")
    );
    let right = cluster.command_with("Promote", json!({"expect": {"revision": 2, "step": 3}}));
    cluster.run();
    assert_eq!(cluster.answer(&right), "Accepted");
    assert_released(&cluster, "v2");
    assert!(cluster.status().handled_commands.is_empty());
}

#[test]
fn who_is_refused_is_told_why() {
    for (verb, extra, why) in [
        (
            "Promote",
            json!({"expect": {"revision": 1}}),
            "it was meant for revision 1, and revision 2 is current",
        ),
        (
            "Promote",
            json!({"expect": {"revision": 2, "step": 1}}),
            "it was meant for step 1, and the Rollout is at step 3",
        ),
        (
            "Abort",
            json!({"expect": {"revision": 7}}),
            "it was meant for revision 7, and revision 2 is current",
        ),
        ("Retry", json!({}), "it is not aborted; there is nothing to retry"),
    ] {
        let mut cluster = paused();
        let before = cluster.status().history;
        let command = cluster.command_with(verb, extra);
        cluster.run();
        assert_eq!(cluster.told(&command), why);
        // What was not done is no decision.
        assert_eq!(cluster.status().history, before, "{why}");
    }
    let mut cluster = paused();
    cluster.command("Abort");
    cluster.run();
    for (verb, why) in [
        ("Promote", "it is aborted; use retry"),
        ("Abort", "it is aborted already"),
    ] {
        let command = cluster.command(verb);
        cluster.run();
        let told = cluster.told(&command);
        assert!(told.starts_with(why), "{told}");
    }
}

#[test]
fn the_history_says_who_asked_and_why() {
    for (verb, what) in [
        ("Promote", "PromotionCommanded"),
        ("PromoteFull", "FullPromotionCommanded"),
        ("Abort", "Aborted"),
        ("Retry", "RetryCommanded"),
    ] {
        let mut cluster = paused();
        if verb == "Retry" {
            cluster.command("Abort");
            cluster.run();
        }
        let begun = cluster.status().history.len();
        cluster.command_with(verb, json!({"requestedBy": "otto", "reason": "I looked"}));
        cluster.run();
        let entry = &cluster.status().history[begun];
        assert_eq!((entry.who.as_str(), entry.what.as_str()), ("otto", what));
        assert!(entry.why.contains("I looked"), "{verb}: {}", entry.why);
    }
}

#[test]
fn nothing_is_promoted_while_it_is_paused() {
    let mut cluster = paused();
    cluster.edit_rollout(|rollout| rollout["spec"]["paused"] = json!(true));
    let forced = cluster.command_with("PromoteFull", json!({"force": true}));
    let commands = ["Promote", "PromoteFull"].map(|verb| cluster.command(verb));
    cluster.run();
    for command in commands.iter().chain([&forced]) {
        assert_eq!(cluster.answer(command), "Refused", "{command}");
    }
    assert_eq!((cluster.step(), cluster.weight()), (3, 50));
}

/// Another replica takes over meanwhile.
#[test]
fn an_abort_is_not_lost_while_the_controller_is_behind() {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.deploy("v2");
    cluster.now += chrono::Duration::seconds(3);
    let [promote, abort] = ["Promote", "Abort"].map(|verb| cluster.command(verb));
    cluster.now += chrono::Duration::seconds(12);
    cluster.run();
    assert_turned_back(&cluster, "v1");
    assert_eq!(cluster.answer(&abort), "Accepted");
    assert_ne!(cluster.answer(&promote), "Accepted");
}

#[test]
fn an_alert_about_the_version_before_stops_nothing() {
    for (seconds, answer) in [(-1, "Expired"), (0, "Accepted")] {
        let mut cluster = deployed(nginx(five_steps()));
        cluster.deploy("v2");
        cluster.round();
        let begun = cluster.status().revision_started_at.unwrap();
        let starts_at = begun + chrono::Duration::seconds(seconds);
        for expected in [json!({}), json!({"revision": 2})] {
            let alert = json!({"fingerprint": "f", "startsAt": starts_at});
            let asked = json!({"alert": alert, "expect": expected, "requestedBy": "alert:Down"});
            let mut cluster = cluster.clone();
            let abort = cluster.command_with("Abort", asked);
            cluster.run();
            assert_eq!(cluster.answer(&abort), answer);
            assert_eq!(cluster.status().abort, answer == "Accepted");
        }
    }
}

#[test]
fn an_alert_that_fired_before_a_retry_does_not_undo_it() {
    let mut cluster = paused();
    let starts_at = cluster.status().revision_started_at.unwrap();
    let abort = |cluster: &mut Cluster, fingerprint: &str, starts_at: DateTime<Utc>| {
        let alert = json!({"fingerprint": fingerprint, "startsAt": starts_at});
        let asked = json!({"alert": alert, "expect": {"revision": 2}, "requestedBy": "alert:Down"});
        let command = cluster.command_with("Abort", asked);
        cluster.run();
        cluster.answer(&command)
    };
    assert_eq!(abort(&mut cluster, "a", starts_at), "Accepted");
    cluster.now += chrono::Duration::seconds(60);
    cluster.command("Retry");
    cluster.run();
    assert_eq!(abort(&mut cluster, "b", starts_at), "Expired");
    assert!(!cluster.status().abort);
    let now = cluster.now;
    assert_eq!(abort(&mut cluster, "b", now), "Accepted");
}

#[test]
fn an_abort_says_which_alert_it_was() {
    let mut cluster = paused();
    let starts_at = cluster.status().revision_started_at.unwrap();
    let asked = json!({
        "alert": {"fingerprint": "6f5a", "startsAt": starts_at}, "expect": {"revision": 2},
        "requestedBy": "alert:HighErrorRate", "reason": "alert HighErrorRate fires: 12 % fail",
    });
    cluster.command_with("Abort", asked);
    cluster.run();
    let reason = cluster.status().abort_reason.unwrap();
    assert_eq!(reason.by, AbortSource::Alert);
    assert_eq!(reason.rule.as_deref(), Some("alert HighErrorRate"));
    assert_eq!(reason.who.as_deref(), Some("alert:HighErrorRate"));
    assert_eq!(reason.reason, "alert HighErrorRate fires: 12 % fail");
}

#[test]
fn two_promotes_end_two_pauses_and_one_ends_one() {
    let mut cluster = deployed(nginx(json!([{"pause": {}}, {"pause": {}}, {"pause": {}}])));
    cluster.deploy("v2");
    cluster.run();
    cluster.command("Promote");
    cluster.command("Promote");
    cluster.run();
    assert_eq!((cluster.step(), cluster.phase()), (2, Phase::Paused));
}

#[test]
fn a_command_is_carried_out_once_although_its_answer_is_lost() {
    let mut cluster = deployed(nginx(json!([{"pause": {}}, {"pause": {}}, {"pause": {}}])));
    cluster.deploy("v2");
    cluster.run();
    let command = cluster.command("Promote");
    cluster.round();
    assert_eq!(cluster.step(), 1);
    for _ in 0..3 {
        cluster.round_with(Fault::Write(0));
    }
    cluster.run();
    assert_eq!(
        (cluster.step(), cluster.answer(&command).as_str()),
        (1, "Accepted"),
        "{}",
        cluster.what_happened()
    );
    assert!(cluster.status().handled_commands.is_empty());
}

#[test]
fn an_abort_does_not_queue_behind_a_promote() {
    let mut cluster = paused();
    let promote = cluster.command("Promote");
    let abort = cluster.command("Abort");
    cluster.run();
    assert!(cluster.status().abort);
    assert_eq!(
        (cluster.answer(&promote).as_str(), cluster.answer(&abort).as_str()),
        ("Refused", "Accepted")
    );
}

#[test]
fn only_the_newest_fifty_commands_stay() {
    let mut cluster = deployed(nginx(five_steps()));
    for _ in 0..60 {
        cluster.command("Promote");
    }
    cluster.run();
    let kind = tidegate::plan::model::Kind::RolloutCommand;
    assert_eq!(
        cluster.objects.keys().filter(|(found, _)| *found == kind).count(),
        50
    );
}

#[test]
fn a_retry_from_before_an_abort_does_not_undo_it() {
    let mut cluster = paused();
    let retry = cluster.command("Retry");
    cluster.now += chrono::Duration::seconds(2);
    let abort = cluster.command("Abort");
    cluster.now += chrono::Duration::seconds(2);
    cluster.run();
    assert_eq!(
        (cluster.answer(&retry).as_str(), cluster.answer(&abort).as_str()),
        ("Refused", "Accepted")
    );
    assert!(cluster.status().abort);
    cluster.command("Retry");
    cluster.run();
    assert_eq!((cluster.phase(), cluster.step()), (Phase::Paused, 3));
}
