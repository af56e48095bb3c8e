//! Golden output of every renderer at a narrow and a wide screen.

use super::age::Moments;
use super::explain::explain;
use super::fixture::{aborted, analysing, healthy, now};
use super::paint::Paint;
use super::row::{Columns, render_list};
use super::table::length;
use super::tree::{describe_step, describe_weight, render_tree};
use super::{Objects, build};
use crate::api::analysis_run::{Gate, Verdict};
use crate::api::condition::{Condition, ConditionStatus};
use crate::api::names::StepIndex;
use crate::api::rollout_command::CommandPhase;
use crate::api::rollout_status::{FastTrack, Phase, RolloutStatus, WaitingOn, WaitingReason};

fn tree(objects: &Objects, width: usize) -> String {
    let rendered = render_tree(&build(objects), now(), Some(width), Paint::Plain);
    let lines: Vec<_> = rendered.lines().collect();
    assert!(
        lines.iter().all(|line| length(line) <= width),
        "a line is wider than {width}"
    );
    lines.join("\n")
}

#[test]
fn tree_at_80_columns() {
    insta::assert_snapshot!(tree(&analysing(), 80));
}

#[test]
fn tree_at_200_columns() {
    insta::assert_snapshot!(tree(&analysing(), 200));
}

#[test]
fn tree_of_an_aborted_release() {
    insta::assert_snapshot!(tree(&aborted(), 80));
}

#[test]
fn list_narrow_and_wide() {
    let views = [analysing(), aborted(), healthy()].map(|objects| build(&objects));
    let narrow = render_list(&views, Columns::default(), now(), Some(80), Paint::Plain);
    let wide = render_list(
        &views,
        Columns {
            namespace: true,
            wide: true,
        },
        now(),
        Some(200),
        Paint::Plain,
    );
    insta::assert_snapshot!(format!("{}\n\n{}", narrow.join("\n"), wide.join("\n")));
}

#[test]
fn explanations() {
    let texts = [analysing(), aborted(), healthy()].map(|objects| {
        explain(&objects, Moments::Spans { now: now() })
            .render(Some(80))
            .join("\n")
    });
    insta::assert_snapshot!(texts.join("\n\n"));
}

#[test]
fn an_explanation_as_data_holds_moments_and_no_ages() {
    let of_analysis = explain(&analysing(), Moments::Absolute);
    let begin = "Analysis since 2026-03-01T11:58:00Z: ";
    assert!(of_analysis.because[0].starts_with(begin), "{of_analysis:?}");
    assert_eq!(of_analysis.when.as_deref(), Some("2026-03-01T12:01:30Z"));
    let of_abort = explain(&aborted(), Moments::Absolute);
    let begin = "aborted at 2026-03-01T11:59:00Z by Analysis";
    assert!(of_abort.because[0].starts_with(begin), "{of_abort:?}");
}

#[test]
fn json_names_are_an_interface() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&build(&analysing())).unwrap());
}

#[test]
fn order_of_the_objects_does_not_show() {
    let mut shuffled = analysing();
    shuffled.replica_sets.reverse();
    shuffled.pods.reverse();
    assert_eq!(build(&shuffled), build(&analysing()));
}

#[test]
fn garbage_in_the_revision_annotation_is_no_revision() {
    let mut objects = analysing();
    for set in &mut objects.replica_sets {
        set.metadata.annotations = Some([("tidegate.dev/revision".to_owned(), "abc".to_owned())].into());
    }
    let view = build(&objects);
    assert!(view.revisions.iter().all(|revision| revision.revision.is_none()));
    assert_eq!(view.revisions.len(), 1);
}

#[test]
fn colours_cover_the_status_only_when_asked() {
    let view = build(&aborted());
    let colour = render_tree(&view, now(), Some(80), Paint::Colour);
    assert!(
        colour
            .header
            .iter()
            .any(|line| line.contains("\u{1b}[31m✖ Degraded\u{1b}[0m"))
    );
    assert!(!tree(&aborted(), 80).contains('\u{1b}'));
}

fn with_status(mut objects: Objects, change: impl FnOnce(&mut RolloutStatus)) -> Objects {
    change(objects.rollout.status.as_mut().unwrap());
    objects
}

fn wait_on(status: &mut RolloutStatus, reason: WaitingReason) {
    status.phase = Some(Phase::Progressing);
    status.waiting_on = Some(WaitingOn {
        reason,
        message: "something".to_owned(),
        since: now(),
        until: None,
    });
}

#[test]
fn a_routed_rollout_is_not_said_to_be_approximated_by_pods() {
    let mut objects = with_status(healthy(), |status| status.canary.weights = None);
    assert_eq!(describe_weight(&build(&objects)), "not set up on the routes yet");
    let canary = objects.rollout.spec.strategy.canary.as_mut().unwrap();
    canary.traffic_routing = None;
    assert_eq!(
        describe_weight(&build(&objects)),
        "no traffic routing: approximated by pods"
    );
}

/// "The promotion of this revision" is what follows in a release alone.
#[test]
fn what_follows_when_nothing_is_released() {
    let next = |objects: &Objects| explain(objects, Moments::Absolute).next;
    let scaling = with_status(healthy(), |status| wait_on(status, WaitingReason::StablePods));
    assert!(
        next(&scaling).starts_with("nothing is released"),
        "{}",
        next(&scaling)
    );
    let back = with_status(healthy(), |status| {
        wait_on(status, WaitingReason::Settle);
        status.fast_track = Some(FastTrack::Rollback);
    });
    let expected = "all traffic is on the stable version again";
    assert!(next(&back).starts_with(expected), "{}", next(&back));
    let first = with_status(healthy(), |status| {
        wait_on(status, WaitingReason::CanaryPods);
        status.stable_rs = None;
        status.fast_track = Some(FastTrack::FirstDeploy);
    });
    assert!(
        next(&first).contains("becomes stable without steps"),
        "{}",
        next(&first)
    );
    let mut gone = with_status(analysing(), |status| wait_on(status, WaitingReason::Settle));
    let metadata = &mut gone.rollout.metadata;
    metadata.deletion_timestamp = metadata.creation_timestamp.clone();
    assert!(
        next(&gone).ends_with("the Rollout and its ReplicaSets are gone"),
        "{}",
        next(&gone)
    );
    let contended = with_status(aborted(), |status| wait_on(status, WaitingReason::RouteContended));
    assert!(
        next(&contended).starts_with("find out who else"),
        "{}",
        next(&contended)
    );
    let done = with_status(analysing(), |status| {
        wait_on(status, WaitingReason::OldPods);
        status.current_step_index = Some(StepIndex(5));
    });
    assert_eq!(next(&done), "the promotion of this revision");
}

#[test]
fn an_explanation_leaves_out_nothing_that_keeps_it_there() {
    let because = |objects: &Objects| explain(objects, Moments::Absolute).because.join("\n");
    let invalid = Condition {
        type_: "Valid".to_owned(),
        status: ConditionStatus::False,
        reason: "ServiceNotFound".to_owned(),
        message: "Service checkout-canary: it is not there".to_owned(),
        last_transition_time: now(),
        observed_generation: None,
    };
    let broken = with_status(aborted(), |status| status.conditions = vec![invalid]);
    assert!(
        because(&broken).contains("to be mended: Service checkout-canary"),
        "{}",
        because(&broken)
    );
    let mut slow = with_status(analysing(), |status| wait_on(status, WaitingReason::CanaryPods));
    let deadline = |end: &str| {
        format!("spec.progressDeadlineSeconds {end} if nothing moves, until 2026-03-01T12:10:00Z")
    };
    assert!(
        because(&slow).contains(&deadline("makes it Degraded")),
        "{}",
        because(&slow)
    );
    slow.rollout.spec.progress_deadline_abort = Some(true);
    assert!(because(&slow).contains(&deadline("aborts the release")));
    let mut paused = healthy();
    paused.rollout.spec.paused = Some(true);
    let next = explain(&paused, Moments::Absolute).next;
    assert!(next.starts_with("spec.paused holds the next release"), "{next}");
}

/// The verdict that a retry has put aside explains nothing any more.
#[test]
fn runs_of_before_a_retry_are_not_told() {
    let gate = |name: &str| {
        Some(Gate {
            pod_template_hash: "6f9".to_owned(),
            name: name.to_owned(),
            ..Gate::default()
        })
    };
    for (name, retries, told) in [
        ("step-3", 0, true),
        ("step-3", 3, false),
        ("step-3-3", 3, true),
        ("background", 1, false),
        ("background-1", 1, true),
    ] {
        let mut retried = with_status(analysing(), |status| status.retries = retries);
        retried.analysis_runs[0].spec.gate = gate(name);
        retried.analysis_runs[0].status.as_mut().unwrap().phase = Verdict::Failed;
        let because = explain(&retried, Moments::Absolute).because.join("\n");
        assert_eq!(
            because.contains("metric p95"),
            told,
            "{name} {retries}: {because}"
        );
    }
}

#[test]
fn steps_are_counted_from_one() {
    let view = build(&analysing());
    assert_eq!(view.running_step().as_deref(), Some("4 of 5 (analysis latency)"));
    let done = with_status(analysing(), |status| {
        status.current_step_index = Some(StepIndex(5))
    });
    assert_eq!(describe_step(&build(&done)), "all 5 steps are done");
    assert_eq!(describe_step(&build(&healthy())), "no step runs");
}

#[test]
fn a_command_that_was_not_carried_out_is_shown_until_something_is_decided() {
    for (phase, label) in [
        (CommandPhase::Refused, "Refused:"),
        (CommandPhase::Expired, "Expired:"),
    ] {
        let mut objects = analysing();
        let status = objects.commands[0].status.get_or_insert_default();
        status.phase = Some(phase);
        status.message = Some("it was meant for revision 1".to_owned());
        let line = format!("{label}     Promote by alice, 2s ago: it was meant");
        let shown = tree(&objects, 200);
        assert!(shown.contains(&line), "{shown}");
        let later = with_status(objects, |status| status.history[1].at = now());
        assert!(!tree(&later, 200).contains(label));
    }
}

#[test]
fn a_long_tree_keeps_its_header_and_says_what_is_missing() {
    let rendered = render_tree(&build(&analysing()), now(), Some(80), Paint::Plain);
    let (header, body) = (rendered.header.clone(), rendered.body.len());
    let height = header.len() + 4;
    let lines = rendered.fit(height);
    assert_eq!(lines.len(), height);
    assert_eq!(lines[..header.len()], header);
    assert_eq!(lines[height - 1], format!("… {} more lines", body - 3));
}
