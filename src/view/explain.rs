//! Why a Rollout is where it is: the rule that decided, what was measured, the threshold, what comes next and when.

use serde::Serialize;

use super::age::Moments;
use super::build::{Objects, build};
use super::model::{AnalysisRunView, Course, Deadline, MetricView, RolloutView};
use super::table;
use super::tree::{describe_abort, describe_counts, describe_wait, describe_weight};
use super::warning::warn;
use crate::api::rollout_status::{Phase, WaitingReason};
use crate::plan::report::PROGRESSING;

/// The explanation as data; the text is made of the same parts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub name: String,
    pub namespace: String,
    /// One sentence: where the Rollout stands.
    pub state: String,
    /// Why, one reason a line.
    pub because: Vec<String>,
    /// What happens next, or what a person must do.
    pub next: String,
    /// When it happens by itself, where that is known.
    pub when: Option<String>,
    /// What the controller accepts and hardly anybody means, as `lint` says it.
    pub warnings: Vec<String>,
}

pub fn explain(objects: &Objects, moments: Moments) -> Explanation {
    let view = build(objects);
    Explanation {
        state: describe_state(&view),
        because: reasons(&view, moments),
        next: next_action(&view),
        when: when(&view, moments),
        warnings: warnings(objects),
        name: view.name,
        namespace: view.namespace,
    }
}

impl Explanation {
    pub fn render(&self, width: Option<usize>) -> Vec<String> {
        let mut lines = Vec::new();
        put(&mut lines, width, "", &self.state);
        for reason in &self.because {
            put(&mut lines, width, "  because  ", reason);
        }
        put(&mut lines, width, "  next     ", &self.next);
        if let Some(when) = &self.when {
            put(&mut lines, width, "  when     ", when);
        }
        for warning in &self.warnings {
            put(&mut lines, width, "  warning  ", warning);
        }
        lines
    }
}

fn put(lines: &mut Vec<String>, width: Option<usize>, label: &str, text: &str) {
    let indent = table::length(label);
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(indent).max(1));
    for (index, line) in table::wrap(text, room).into_iter().enumerate() {
        let label = if index == 0 { label } else { "" };
        lines.push(format!("{label:indent$}{line}"));
    }
}

fn describe_state(view: &RolloutView) -> String {
    let revision = view.revision.map_or_else(
        || "no revision yet".to_owned(),
        |number| format!("revision {number}"),
    );
    let step = view.running_step().map(|step| format!(", step {step}"));
    format!(
        "{} is {:?}: {revision}{}; weight: {}.",
        view.name,
        view.phase,
        step.unwrap_or_default(),
        describe_weight(view)
    )
}

fn reasons(view: &RolloutView, moments: Moments) -> Vec<String> {
    let mut reasons = Vec::new();
    if view.stale {
        reasons
            .push("the controller has not seen the newest spec yet; this is about the one before".to_owned());
    }
    reasons.extend(
        view.abort_reason
            .as_ref()
            .map(|abort| format!("aborted {}", describe_abort(abort, moments))),
    );
    reasons.extend(view.waiting_on.as_ref().map(|_| describe_wait(view, moments)));
    let held = view.waits_for(WaitingReason::Invalid);
    let invalid = view.invalid.as_ref().filter(|_| !held);
    reasons.extend(invalid.map(|invalid| format!("to be mended: {}", invalid.message)));
    let deadline = view.deadline.filter(|deadline| !moments.is_past(deadline.at));
    reasons.extend(deadline.map(|deadline| describe_deadline(deadline, moments)));
    for run in view.runs_of_interest() {
        reasons.extend(run.metrics.iter().map(|metric| describe_metric(run, metric)));
        if run.metrics.is_empty() {
            reasons.push(format!(
                "analysis {} is {:?} and has measured nothing yet",
                run.name, run.verdict
            ));
        }
    }
    for command in &view.pending_commands {
        let by = command.requested_by.as_deref().unwrap_or("unknown");
        reasons.push(format!(
            "command {} ({:?} by {by}) is not answered yet",
            command.name, command.verb
        ));
    }
    if reasons.is_empty() {
        let plain = |message: &&String| message.as_str() != PROGRESSING;
        reasons.extend(view.message.as_ref().filter(plain).cloned());
    }
    reasons
}

fn describe_deadline(deadline: Deadline, moments: Moments) -> String {
    let what = if deadline.aborts {
        "aborts the release"
    } else {
        "makes it Degraded"
    };
    format!(
        "spec.progressDeadlineSeconds {what} if nothing moves, {}",
        moments.until(deadline.at)
    )
}

fn describe_metric(run: &AnalysisRunView, metric: &MetricView) -> String {
    let measured = metric.measured.map(|value| format!(": measured {value}"));
    let threshold = metric.threshold.map(|value| format!(", threshold {value}"));
    let condition = metric
        .condition
        .as_ref()
        .map(|condition| format!(", must hold: {condition}"));
    let message = metric.message.as_ref().map(|message| format!(" ({message})"));
    format!(
        "metric {} in {} is {:?}{}{}{}{}",
        describe_counts(metric),
        run.name,
        metric.verdict,
        measured.unwrap_or_default(),
        threshold.unwrap_or_default(),
        condition.unwrap_or_default(),
        message.unwrap_or_default()
    )
}

fn next_action(view: &RolloutView) -> String {
    let name = &view.name;
    let Some(waiting) = &view.waiting_on else {
        return match view.phase {
            Phase::Healthy if view.paused => {
                format!("spec.paused holds the next release: `kubectl tidegate resume {name}` lets it go on")
            }
            Phase::Healthy => "nothing: a change of the pod template starts the next release".to_owned(),
            Phase::Degraded => {
                format!("a new version, or `kubectl tidegate retry {name}` to start this one again")
            }
            Phase::Progressing | Phase::Paused => way_on(view),
        };
    };
    let needs_mending = matches!(
        waiting.reason,
        WaitingReason::NewVersion | WaitingReason::Invalid | WaitingReason::RouteContended
    );
    if view.course == Course::Abort && waiting.reason == WaitingReason::ScaleDownDelay {
        return format!(
            "the pods of the aborted version go; a new version or `kubectl tidegate retry {name}` goes on at any time"
        );
    }
    if matches!(view.course, Course::Abort | Course::Deletion) && !needs_mending {
        return way_on(view);
    }
    match waiting.reason {
        WaitingReason::Invalid => {
            "mend what the message names; the controller holds pods and weights".to_owned()
        }
        WaitingReason::Promotion => {
            format!(
                "`kubectl tidegate promote {name}` goes on with {}",
                step_after(view)
            )
        }
        WaitingReason::ScaledToZero => "scale it up".to_owned(),
        WaitingReason::SpecPaused => format!("`kubectl tidegate resume {name}`"),
        WaitingReason::InconclusiveAnalysis => format!(
            "a person decides: `kubectl tidegate promote {name}` goes on, `kubectl tidegate abort {name}` goes back"
        ),
        WaitingReason::NewVersion => {
            format!("a new version, or `kubectl tidegate retry {name}` to start this one again")
        }
        WaitingReason::RouteContended => {
            "find out who else writes the route, its weights or the rest of it; it is left alone until then"
                .to_owned()
        }
        WaitingReason::PauseDuration => format!("goes on with {}", step_after(view)),
        WaitingReason::Analysis => format!("success goes on with {}, failure aborts", step_after(view)),
        WaitingReason::CanaryPods
        | WaitingReason::StablePods
        | WaitingReason::Endpoints
        | WaitingReason::RouteAccepted
        | WaitingReason::Settle
        | WaitingReason::DataPlane
        | WaitingReason::OldPods => way_on(view),
        WaitingReason::ScaleDownDelay => "the old ReplicaSet goes to 0".to_owned(),
        WaitingReason::Bake => "the bake ends; the old ReplicaSet goes to 0".to_owned(),
    }
}

/// What follows once nothing is waited for.
fn way_on(view: &RolloutView) -> String {
    let name = &view.name;
    match (view.course, &view.step.current) {
        (Course::Deletion, _) => {
            "the weight is verified at 0, then the Rollout and its ReplicaSets are gone".to_owned()
        }
        (Course::Abort, _) => format!(
            "the weight is verified at 0, then a new version or `kubectl tidegate retry {name}` goes on"
        ),
        (Course::Rollback, _) => {
            "all traffic is on the stable version again, then the pods of the other one go".to_owned()
        }
        (Course::Steady, _) => {
            "nothing is released: the stable version gets the pods that spec.replicas asks for".to_owned()
        }
        (Course::FirstDeploy, _) => "this revision, the first, becomes stable without steps".to_owned(),
        (Course::Release, Some(current)) => format!("the running step: {current}"),
        (Course::Release, None) => "the promotion of this revision".to_owned(),
    }
}

fn step_after(view: &RolloutView) -> String {
    view.steps_ahead
        .get(1)
        .cloned()
        .unwrap_or_else(|| "the promotion to all traffic".to_owned())
}

fn when(view: &RolloutView, moments: Moments) -> Option<String> {
    let of_analysis = || {
        let awaited = view.awaited_run.as_ref();
        let mut runs = view.runs_of_interest();
        runs.find(|run| Some(&run.name) == awaited)?.ends_at
    };
    let at = view.waiting_on.as_ref()?.until.or_else(of_analysis)?;
    Some(moments.ahead(at))
}

fn warnings(objects: &Objects) -> Vec<String> {
    let rollout = serde_json::to_value(&objects.rollout).unwrap_or_default();
    let warnings = warn(&rollout).into_iter();
    warnings
        .map(|warning| format!("{}: {}", warning.path, warning.message))
        .collect()
}
