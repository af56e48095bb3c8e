//! One Rollout in one line, with the columns of `kubectl get rollouts`.

use chrono::{DateTime, Utc};

use super::age::format_age;
use super::model::{Role, RolloutView};
use super::paint::{Paint, Tone, phase_mark, verdict_mark};
use super::table::{self, Cell};

/// Which columns a list has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    pub namespace: bool,
    pub wide: bool,
}

/// Header and one row for each view, in the order given.
pub fn render_list(
    views: &[RolloutView],
    columns: Columns,
    now: DateTime<Utc>,
    width: Option<usize>,
    paint: Paint,
) -> Vec<String> {
    let body = views.iter().map(|view| build_row(view, columns, now));
    let rows: Vec<_> = std::iter::once(build_header(columns)).chain(body).collect();
    table::render(&rows, width, paint)
}

fn build_header(columns: Columns) -> Vec<Cell> {
    let namespace = columns.namespace.then_some("NAMESPACE");
    let wide = ["REVISION", "IMAGE", "WAITING-ON"]
        .into_iter()
        .filter(|_| columns.wide);
    let base = ["NAME", "STATUS", "STEP", "WEIGHT", "VERDICT", "READY", "AGE"];
    namespace
        .into_iter()
        .chain(base)
        .chain(wide)
        .map(Cell::new)
        .collect()
}

fn build_row(view: &RolloutView, columns: Columns, now: DateTime<Utc>) -> Vec<Cell> {
    let (_, phase_tone) = phase_mark(view.phase);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let verdict = view.verdict;
    let verdict_tone = verdict.map_or(Tone::Plain, |verdict| verdict_mark(verdict).1);
    let desired = view.replicas.desired.unwrap_or(view.replicas.current);
    let mut row = Vec::new();
    row.extend(columns.namespace.then(|| Cell::new(&view.namespace)));
    row.extend([
        Cell::new(&view.name),
        Cell::toned(format!("{:?}", view.phase), phase_tone),
        Cell::new(view.step_text()),
        Cell::new(or_dash(view.weight.actual.map(|weight| weight.to_string()))),
        Cell::toned(
            or_dash(verdict.map(|verdict| format!("{verdict:?}"))),
            verdict_tone,
        ),
        Cell::new(format!("{}/{desired}", view.replicas.ready)),
        Cell::new(format_age(view.created_at, now)),
    ]);
    if columns.wide {
        let image = view.images.iter().min_by_key(|image| image.role != Role::Canary);
        row.extend([
            Cell::new(or_dash(view.revision.map(|revision| revision.to_string()))),
            Cell::new(or_dash(image.map(|image| image.image.clone()))),
            Cell::new(or_dash(
                view.waiting_on
                    .as_ref()
                    .map(|waiting| format!("{:?}", waiting.reason)),
            )),
        ]);
    }
    row
}
