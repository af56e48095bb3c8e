//! What a person sees of the demo: lines that tell what happens and why, and on a terminal one live line below them.

use std::collections::BTreeMap;

use serde_json::json;

use super::scenario::{Outcome, Scenario, ScenarioResult};
use crate::api::analysis_run::{AnalysisRun, Measurement, Verdict};
use crate::api::rollout::Rollout;
use crate::api::rollout_status::{Phase, RolloutStatus, WaitingReason};
use crate::cli::output::{Output, OutputError};
use crate::sandbox::load::Tally;
use crate::sandbox::shop::canary_weight;
use crate::view::model::Course;
use crate::view::{Objects, build};

/// Narrower than this nothing can be laid out; wider lines are folded.
const WIDTH_MIN: usize = 40;
/// Where the text of a line about the Rollout begins: after the time and the weight.
const TEXT_COLUMN: usize = 17;

pub struct Screen {
    out: Output,
    json: bool,
    /// A live line is shown and must be wiped first.
    live: bool,
    /// What was said last about the Rollout, so that it is said once.
    last_step: String,
    last_text: String,
    /// Measurements already shown, by run and metric.
    shown: BTreeMap<String, i64>,
}

impl Screen {
    pub fn new(json: bool) -> Self {
        Screen {
            out: Output::stdio(),
            json,
            live: false,
            last_step: String::new(),
            last_text: String::new(),
            shown: BTreeMap::new(),
        }
    }

    /// A line that stays; with `--json` on standard error.
    pub fn say(&mut self, text: impl AsRef<str>) -> Result<(), OutputError> {
        if self.json {
            self.out.note(text);
            return Ok(());
        }
        self.wipe()?;
        self.out.line(text)
    }

    /// A line that is folded at the width of the terminal, what follows indented by `indent`.
    fn say_folded(&mut self, text: &str, indent: usize) -> Result<(), OutputError> {
        let width = self.out.screen.width.unwrap_or(usize::MAX).max(WIDTH_MIN);
        for line in fold(text, width, indent) {
            self.say(line)?;
        }
        Ok(())
    }

    pub fn begin(&mut self, scenario: &Scenario) -> Result<(), OutputError> {
        self.last_step.clear();
        self.last_text.clear();
        self.say("")?;
        self.say(format!("── {}: {} ──", scenario.name, scenario.story))?;
        self.say("   TIME CANARY")
    }

    /// What is new about the Rollout.
    pub fn follow(&mut self, seconds: f64, rollout: &Rollout) -> Result<(), OutputError> {
        let Some(status) = &rollout.status else {
            return Ok(());
        };
        let step = describe_step(rollout, status).filter(|_| status.phase == Some(Phase::Progressing));
        if let Some(step) = step.filter(|step| *step != self.last_step) {
            self.tell(seconds, status, &step)?;
            self.last_step = step;
        }
        match describe_state(status) {
            Some(text) if text != self.last_text => {
                self.tell(seconds, status, &text)?;
                self.last_text = text;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The measurements of an analysis that were not shown yet.
    pub fn measurements(
        &mut self,
        seconds: f64,
        rollout: &Rollout,
        run: &AnalysisRun,
    ) -> Result<(), OutputError> {
        let (Some(status), Some(run_status)) = (&rollout.status, &run.status) else {
            return Ok(());
        };
        for metric in &run.spec.metrics {
            let result = run_status
                .metric_results
                .iter()
                .find(|result| result.name == metric.name);
            let Some(result) = result.filter(|result| !result.measurements.is_empty()) else {
                continue;
            };
            let key = format!(
                "{}/{}",
                run.metadata.name.as_deref().unwrap_or_default(),
                metric.name
            );
            let taken = result.count + result.error + result.no_data;
            let before = self.shown.insert(key, taken).unwrap_or(0);
            let new = usize::try_from(taken - before).unwrap_or(0);
            let skipped = result.measurements.len().saturating_sub(new);
            for measurement in result.measurements.iter().skip(skipped) {
                let condition = metric.success_condition.as_deref().unwrap_or_default();
                let text = format!("  {}", describe_measurement(&metric.name, condition, measurement));
                self.tell(seconds, status, &text)?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, seconds: f64, status: &RolloutStatus, text: &str) -> Result<(), OutputError> {
        let weight = canary_weight(status);
        // An indented text stays indented where it is folded.
        let indent = TEXT_COLUMN + text.len() - text.trim_start().len();
        self.say_folded(&format!("{seconds:>6.1}s  {weight:>3} %   {text}"), indent)
    }

    /// The line at the bottom that changes in place; on a terminal only.
    pub fn live(&mut self, status: &RolloutStatus, before: &Tally, now: &Tally) -> Result<(), OutputError> {
        if self.out.screen.height.is_none() || self.json {
            return Ok(());
        }
        let weight = canary_weight(status);
        let sent = now.sent.saturating_sub(before.sent);
        let errors = now.errors.saturating_sub(before.errors);
        let lost = now.lost_total().saturating_sub(before.lost_total());
        let bar: String = (0..20)
            .map(|cell| if cell * 5 < weight { '█' } else { '░' })
            .collect();
        let text = format!("  canary {bar} {weight:>3} %  {sent} requests  {errors} errors  {lost} lost");
        // A line that wraps could not be wiped.
        let width = self.out.screen.width.unwrap_or(80).saturating_sub(1);
        let text: String = text.chars().take(width).collect();
        self.live = true;
        self.out.text(&format!("\r\u{1b}[K{text}"))
    }

    pub fn result(&mut self, result: &ScenarioResult) -> Result<(), OutputError> {
        if self.json {
            return self.out.line(json!(result).to_string());
        }
        let seconds = result.seconds_to_outcome;
        let ended = match result.outcome {
            Outcome::Promoted => "promoted",
            Outcome::Aborted => "aborted",
        };
        let mark = if result.is_expected() { "✔" } else { "✖" };
        let text = format!(
            "{mark} {ended} after {seconds:.1} s: {} requests, {} of them to the canary, {} lost",
            result.requests, result.canary_requests, result.lost
        );
        self.say_folded(&text, 2)
    }

    pub fn table(&mut self, results: &[ScenarioResult]) -> Result<(), OutputError> {
        self.say("")?;
        self.say(format!(
            "{:<13} {:<8} {:>7} {:<11} {:>8} {:>6} {:>6} {:>4} {:>6}",
            "SCENARIO", "OUTCOME", "SECONDS", "WEIGHTS", "REQUESTS", "CANARY", "ERRORS", "LOST", "WRITES"
        ))?;
        for result in results {
            let weights: Vec<String> = result.weights.iter().map(i64::to_string).collect();
            self.say(format!(
                "{:<13} {:<8} {:>7.1} {:<11} {:>8} {:>6} {:>6} {:>4} {:>6}",
                result.scenario,
                format!("{:?}", result.outcome),
                result.seconds_to_outcome,
                weights.join(","),
                result.requests,
                result.canary_requests,
                result.errors,
                result.lost,
                result.writes.values().sum::<u64>(),
            ))?;
        }
        Ok(())
    }

    fn wipe(&mut self) -> Result<(), OutputError> {
        if std::mem::take(&mut self.live) {
            self.out.text("\r\u{1b}[K")?;
        }
        Ok(())
    }
}

/// Where the release stands; nothing once it is over.
fn describe_step(rollout: &Rollout, status: &RolloutStatus) -> Option<String> {
    let view = build(&Objects::alone(rollout.clone()));
    match view.course {
        Course::Steady => None,
        _ if view.step.current.is_some() => view.running_step().map(|step| format!("step {step}")),
        _ if status.fast_track.is_some() => Some("this version goes out without steps".to_owned()),
        _ => Some("all steps are done: the canary becomes stable".to_owned()),
    }
}

/// How it stands, where that is news for whoever watches.
fn describe_state(status: &RolloutStatus) -> Option<String> {
    match (status.phase?, &status.waiting_on) {
        (Phase::Healthy, _) => Some("Healthy: stable carries all traffic".to_owned()),
        // What the way back waits for would repeat the reason each time.
        (Phase::Degraded, _) if status.abort => {
            let abort = status.abort_reason.as_ref()?;
            Some(format!("aborted: {}", abort.reason))
        }
        (Phase::Degraded | Phase::Paused, _) => status.message.clone(),
        (Phase::Progressing, Some(waiting)) => match waiting.reason {
            // Its measurements say more; a written weight is seen at the next look; old pods are in nobody's way.
            WaitingReason::Analysis | WaitingReason::RouteAccepted | WaitingReason::ScaleDownDelay => None,
            _ => Some(format!("  waiting: {}", waiting.message)),
        },
        (Phase::Progressing, None) => None,
    }
}

fn describe_measurement(metric: &str, condition: &str, measurement: &Measurement) -> String {
    let mark = match measurement.phase {
        Verdict::Successful => "✔".to_owned(),
        Verdict::Failed => "✖".to_owned(),
        other => format!("{other:?}"),
    };
    match (measurement.value, &measurement.message) {
        (Some(value), None) => format!("{metric}: measured {value:.3}, wanted {condition} {mark}"),
        (_, Some(message)) => format!("{metric}: {message} ({mark})"),
        (None, None) => format!("{metric}: {mark}"),
    }
}

/// Lines of at most `width` characters, broken between words; all but the first are indented.
fn fold(text: &str, width: usize, indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text.to_owned();
    while rest.chars().count() > width {
        let begins = rest.len() - rest.trim_start().len();
        let spaces = rest.char_indices().take(width + 1).filter(|(_, c)| *c == ' ');
        let Some((at, _)) = spaces.filter(|(at, _)| *at > begins).last() else {
            break;
        };
        let (line, tail) = rest.split_at(at);
        lines.push(line.trim_end().to_owned());
        rest = format!("{:indent$}{}", "", tail.trim_start());
    }
    lines.push(rest);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_folded_between_words() {
        let folded = fold("   4.9s  one two three", 14, 9);
        assert_eq!(folded, ["   4.9s  one", "         two", "         three"]);
        assert_eq!(fold("✔ one ✔ two", 7, 2), ["✔ one ✔", "  two"]);
        assert_eq!(fold("  fits", 6, 2), ["  fits"]);
        assert_eq!(fold("  unbreakable", 6, 2), ["  unbreakable"]);
    }
}
