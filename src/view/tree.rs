//! The tree of `get`: a header that says how the release stands, then revisions, ReplicaSets, pods and AnalysisRuns.

use chrono::{DateTime, Utc};

use super::age::{Moments, format_age, format_span};
use super::model::{
    AnalysisRunView, Course, MetricView, PodView, ReplicaSetView, RevisionView, Role, RolloutView,
};
use super::paint::{Paint, Tone, phase_mark, verdict_mark};
use super::table::{self, Cell};
use crate::api::names::Weight;
use crate::api::rollout_command::CommandPhase;
use crate::api::rollout_status::AbortReason;

/// Width of the header's first column.
const LABEL: usize = 13;
/// Screens narrower than this do without the KIND column.
const WIDE: usize = 100;

/// The header stays in sight when the body is longer than the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    pub header: Vec<String>,
    pub body: Vec<String>,
}

impl Rendered {
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.header.iter().chain(&self.body).map(String::as_str)
    }

    /// At most `height` lines; the last one says how many of the body's were left out.
    pub fn fit(self, height: usize) -> Vec<String> {
        let room = height.saturating_sub(self.header.len());
        let hidden = self.body.len().saturating_sub(room);
        let mut lines = self.header;
        if hidden == 0 {
            lines.extend(self.body);
        } else {
            let shown = room.saturating_sub(1);
            let more = self.body.len() - shown.min(self.body.len());
            lines.extend(self.body.into_iter().take(shown));
            lines.push(format!("… {more} more lines"));
            lines.truncate(height);
        }
        lines
    }
}

/// `width: None` cuts nothing.
pub fn render_tree(view: &RolloutView, now: DateTime<Utc>, width: Option<usize>, paint: Paint) -> Rendered {
    let mut body = vec![String::new()];
    let mut rows = build_rows(view, now);
    if width.is_some_and(|width| width < WIDE) {
        // The mark before each name already tells the kind.
        rows.iter_mut()
            .filter(|row| row.len() > 1)
            .for_each(|row| drop(row.remove(1)));
    }
    body.extend(table::render(&rows, width, paint));
    body.extend(render_decisions(view, now, width, paint));
    Rendered {
        header: render_header(view, now, width, paint),
        body,
    }
}

fn render_header(view: &RolloutView, now: DateTime<Utc>, width: Option<usize>, paint: Paint) -> Vec<String> {
    let (mark, tone) = phase_mark(view.phase);
    let status = paint.apply(tone, &format!("{mark} {:?}", view.phase));
    let mut header = Header {
        lines: Vec::new(),
        width,
    };
    header.put("Name:", &view.name);
    header.put("Namespace:", &view.namespace);
    header.lines.push(format!("{:LABEL$}{status}", "Status:"));
    header.put_some(
        "",
        view.stale
            .then_some("the newest spec has not been seen by the controller yet"),
    );
    header.put_some("Message:", view.message.as_deref());
    header.put("Strategy:", view.strategy);
    header.put(
        "  Step:",
        &view.running_step().unwrap_or_else(|| describe_step(view)),
    );
    header.put("  Weight:", &describe_weight(view));
    for (index, image) in view.images.iter().enumerate() {
        let role = describe_role(Some(image.role));
        header.put(
            if index == 0 { "Images:" } else { "" },
            &format!("{} ({role})", image.image),
        );
    }
    header.put("Replicas:", &describe_replicas(view));
    header.put_some(
        "Waiting on:",
        view.waiting_on
            .as_ref()
            .map(|_| describe_wait(view, Moments::Spans { now }))
            .as_deref(),
    );
    header.put_some(
        "Aborted:",
        view.abort_reason
            .as_ref()
            .map(|abort| describe_abort(abort, Moments::Spans { now }))
            .as_deref(),
    );
    for command in &view.pending_commands {
        let by = command.requested_by.as_deref().unwrap_or("unknown");
        let age = format_age(command.created_at, now);
        header.put(
            "Command:",
            &format!("{:?} by {by}, {age} ago, not answered yet", command.verb),
        );
    }
    if let Some((label, text)) = describe_refusal(view, now) {
        header.put(label, &text);
    }
    header.lines
}

/// The newest command that was not carried out, until something is decided after it.
fn describe_refusal(view: &RolloutView, now: DateTime<Utc>) -> Option<(&'static str, String)> {
    let command = view.refused_commands.first()?;
    let decided = view.decisions.first().map(|entry| entry.at);
    if command.created_at <= decided {
        return None;
    }
    let by = command.requested_by.as_deref().unwrap_or("unknown");
    let age = format_age(command.created_at, now);
    let why = command.message.as_deref().unwrap_or("no reason given");
    let label = match command.phase {
        Some(CommandPhase::Expired) => "Expired:",
        _ => "Refused:",
    };
    Some((label, format!("{:?} by {by}, {age} ago: {why}", command.verb)))
}

struct Header {
    lines: Vec<String>,
    width: Option<usize>,
}

impl Header {
    fn put(&mut self, label: &str, text: &str) {
        let room = self
            .width
            .map_or(usize::MAX, |width| width.saturating_sub(LABEL).max(1));
        for (index, line) in table::wrap(text, room).iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            self.lines.push(format!("{label:LABEL$}{line}"));
        }
    }

    fn put_some(&mut self, label: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.put(label, text);
        }
    }
}

/// Without a running step all are done, or there are none.
pub fn describe_step(view: &RolloutView) -> String {
    match (view.running_step(), view.course, view.step.count) {
        (Some(step), ..) => format!("step {step}"),
        (None, Course::Release, count) if count > 0 => format!("all {count} steps are done"),
        _ => "no step runs".to_owned(),
    }
}

pub fn describe_weight(view: &RolloutView) -> String {
    let weight = &view.weight;
    let set = weight.set.map(|set| format!("set {set}, "));
    let actual = match (weight.actual, weight.verified) {
        (Some(Weight::ZERO), true) if weight.set.is_none() => "all on stable, verified".to_owned(),
        // What is verified is not what is wanted.
        (Some(actual), true) if weight.set.is_some_and(|set| set != actual) => {
            format!("actual {actual} of {}", weight.max)
        }
        (Some(actual), true) => format!("actual {actual} of {}, verified", weight.max),
        (Some(actual), false) => format!("actual {actual} of {}, not verified yet", weight.max),
        (None, _) if weight.routed => "not set up on the routes yet".to_owned(),
        (None, _) => "no traffic routing: approximated by pods".to_owned(),
    };
    set.unwrap_or_default() + &actual
}

fn describe_replicas(view: &RolloutView) -> String {
    let counts = &view.replicas;
    let desired = counts
        .desired
        .map_or_else(|| "by autoscaler".to_owned(), |desired| desired.to_string());
    format!(
        "desired {desired}, current {}, updated {}, ready {}, available {}",
        counts.current, counts.updated, counts.ready, counts.available
    )
}

/// Empty when nothing is waited for.
pub fn describe_wait(view: &RolloutView, moments: Moments) -> String {
    let Some(waiting) = &view.waiting_on else {
        return String::new();
    };
    let until = waiting.until.map(|until| format!(", {}", moments.until(until)));
    format!(
        "{:?} {}{}: {}",
        waiting.reason,
        moments.since(waiting.since),
        until.unwrap_or_default(),
        waiting.message
    )
}

pub fn describe_abort(abort: &AbortReason, moments: Moments) -> String {
    let who = abort.who.as_ref().map(|who| format!(" ({who})"));
    let by = format!("{:?}", abort.by);
    let mut text = format!(
        "{} by {by}{}: {}",
        moments.past(abort.at),
        who.unwrap_or_default(),
        abort.reason
    );
    if let (Some(rule), Some(measured)) = (&abort.rule, abort.measured) {
        let limit = abort
            .threshold
            .map(|threshold| format!(", threshold {threshold}"));
        text += &format!("; {rule} measured {measured}{}", limit.unwrap_or_default());
    }
    text
}

fn describe_role(role: Option<Role>) -> &'static str {
    match role {
        Some(Role::Canary) => "canary",
        Some(Role::Stable) => "stable",
        None => "",
    }
}

/// Columns: NAME KIND STATUS AGE INFO.
fn build_rows(view: &RolloutView, now: DateTime<Utc>) -> Vec<Vec<Cell>> {
    let (mark, tone) = phase_mark(view.phase);
    let mut rows = vec![
        ["NAME", "KIND", "STATUS", "AGE", "INFO"].map(Cell::new).to_vec(),
        vec![
            Cell::new(format!("⟳ {}", view.name)),
            Cell::new("Rollout"),
            Cell::toned(format!("{mark} {:?}", view.phase), tone),
            Cell::new(format_age(view.created_at, now)),
            Cell::default(),
        ],
    ];
    for (branch, revision) in branches(&view.revisions) {
        push_revision(&mut rows, &branch, revision, now);
    }
    rows
}

/// What stands before an entry, and before everything below it.
struct Branch {
    own: String,
    below: String,
}

impl Branch {
    fn at(prefix: &str, is_last: bool) -> Self {
        let (own, below) = if is_last {
            ("└──", "   ")
        } else {
            ("├──", "│  ")
        };
        Branch {
            own: format!("{prefix}{own}"),
            below: format!("{prefix}{below}"),
        }
    }
}

fn branches<T>(items: &[T]) -> impl Iterator<Item = (Branch, &T)> {
    let last = items.len().saturating_sub(1);
    items
        .iter()
        .enumerate()
        .map(move |(index, item)| (Branch::at("", index == last), item))
}

fn push_revision(rows: &mut Vec<Vec<Cell>>, branch: &Branch, revision: &RevisionView, now: DateTime<Utc>) {
    let number = revision
        .revision
        .map_or_else(|| "unknown".to_owned(), |revision| revision.to_string());
    rows.push(vec![Cell::new(format!("{}# revision:{number}", branch.own))]);
    let count = revision.replica_sets.len() + revision.analysis_runs.len();
    for (index, replica_set) in revision.replica_sets.iter().enumerate() {
        push_replica_set(
            rows,
            &Branch::at(&branch.below, index + 1 == count),
            replica_set,
            now,
        );
    }
    for (index, run) in revision.analysis_runs.iter().enumerate() {
        let is_last = revision.replica_sets.len() + index + 1 == count;
        rows.push(run_row(&Branch::at(&branch.below, is_last), run, now));
    }
}

fn push_replica_set(rows: &mut Vec<Vec<Cell>>, branch: &Branch, view: &ReplicaSetView, now: DateTime<Utc>) {
    let (status, tone) = match (view.desired, view.available) {
        (0, _) => ("• ScaledDown", Tone::Faint),
        (desired, available) if available >= desired => ("✔ Healthy", Tone::Good),
        _ => ("◌ Progressing", Tone::Busy),
    };
    let mut info: Vec<String> = Vec::new();
    info.extend(view.role.map(|role| describe_role(Some(role)).to_owned()));
    info.extend((view.desired > 0).then(|| format!("{}/{} available", view.available, view.desired)));
    info.extend(
        view.scale_down_at
            .filter(|at| *at > now && view.desired > 0)
            .map(|at| format!("goes to 0 in {}", format_span(at - now))),
    );
    rows.push(vec![
        Cell::new(format!("{}⧉ {}", branch.own, view.name)),
        Cell::new("ReplicaSet"),
        Cell::toned(status, tone),
        Cell::new(format_age(view.created_at, now)),
        Cell::new(info.join(", ")),
    ]);
    for (index, pod) in view.pods.iter().enumerate() {
        rows.push(pod_row(
            &Branch::at(&branch.below, index + 1 == view.pods.len()),
            pod,
            now,
        ));
    }
}

fn pod_row(branch: &Branch, pod: &PodView, now: DateTime<Utc>) -> Vec<Cell> {
    let (mark, tone) = match (pod.status.as_str(), pod.ready) {
        ("Running" | "Succeeded", true) => ("✔", Tone::Good),
        ("Running" | "Pending" | "ContainerCreating" | "PodInitializing", _) => ("◌", Tone::Busy),
        ("Terminating" | "Completed", _) => ("•", Tone::Faint),
        _ => ("✖", Tone::Bad),
    };
    let restarts = (pod.restarts > 0).then(|| format!(", {} restarts", pod.restarts));
    let ready = if pod.ready { "ready" } else { "not ready" };
    vec![
        Cell::new(format!("{}□ {}", branch.own, pod.name)),
        Cell::new("Pod"),
        Cell::toned(format!("{mark} {}", pod.status), tone),
        Cell::new(format_age(pod.created_at, now)),
        Cell::new(format!("{ready}{}", restarts.unwrap_or_default())),
    ]
}

fn run_row(branch: &Branch, run: &AnalysisRunView, now: DateTime<Utc>) -> Vec<Cell> {
    let (mark, tone) = verdict_mark(run.verdict);
    let metrics: Vec<_> = run.metrics.iter().map(describe_counts).collect();
    vec![
        Cell::new(format!("{}α {}", branch.own, run.name)),
        Cell::new("AnalysisRun"),
        Cell::toned(format!("{mark} {:?}", run.verdict), tone),
        Cell::new(format_age(run.created_at, now)),
        Cell::new(metrics.join(", ")),
    ]
}

/// `error-rate ✔ 3 ✖ 1 ⚠ 2 (4 of 12)`, without the marks that count nothing.
pub fn describe_counts(metric: &MetricView) -> String {
    let counts = [
        ("✔", metric.successful),
        ("✖", metric.failed),
        ("⚠", metric.undecided),
    ];
    let counts: String = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(mark, count)| format!(" {mark} {count}"))
        .collect();
    let count = metric
        .count
        .map(|count| format!(" ({} of {count})", metric.counted));
    let dry_run = if metric.dry_run { " (dry run)" } else { "" };
    format!("{}{counts}{}{dry_run}", metric.name, count.unwrap_or_default())
}

fn render_decisions(
    view: &RolloutView,
    now: DateTime<Utc>,
    width: Option<usize>,
    paint: Paint,
) -> Vec<String> {
    if view.decisions.is_empty() {
        return Vec::new();
    }
    let header = ["DECISION", "AGO", "BY", "WHY"].map(Cell::new).to_vec();
    let rows = view.decisions.iter().map(|entry| {
        let revision = entry.revision.map(|revision| format!("revision {revision}: "));
        vec![
            Cell::new(&entry.what),
            Cell::new(format_span(now - entry.at)),
            Cell::new(&entry.who),
            Cell::toned(
                format!("{}{}", revision.unwrap_or_default(), entry.why),
                Tone::Faint,
            ),
        ]
    });
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    std::iter::once(String::new())
        .chain(table::render(&rows, width, paint))
        .collect()
}
