//! What a person sees of the demo: lines that tell what happens and why, and on a terminal one live line below them.

use serde_json::json;

use super::scenario::{Outcome, Scenario, ScenarioResult};
use crate::api::rollout_status::RolloutStatus;
use crate::cli::output::{Output, OutputError};
use crate::sandbox::load::Tally;

pub struct Screen {
    out: Output,
    json: bool,
    /// A live line is shown and must be wiped first.
    live: bool,
    last_message: String,
}

impl Screen {
    pub fn new(json: bool) -> Self {
        Screen {
            out: Output::stdio(),
            json,
            live: false,
            last_message: String::new(),
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

    pub fn begin(&mut self, scenario: &Scenario) -> Result<(), OutputError> {
        self.last_message.clear();
        self.say("")?;
        self.say(format!("── {} · {} ──", scenario.name, scenario.story))
    }

    /// What changed about the Rollout, and the live line.
    pub fn follow(
        &mut self,
        seconds: f64,
        status: &RolloutStatus,
        before: &Tally,
        now: &Tally,
    ) -> Result<(), OutputError> {
        let message = status.message.clone().unwrap_or_default();
        let step = status.step.clone().unwrap_or_default();
        let weight = status
            .canary
            .weights
            .as_ref()
            .map_or(0, |weights| weights.canary.weight.0);
        // The message of a wait changes often; its reason is the news.
        let reason = status
            .waiting_on
            .as_ref()
            .map(|waiting| format!("{:?}", waiting.reason))
            .unwrap_or_default();
        let news = format!("{:?} {step} {weight} {reason}", status.phase);
        if news != self.last_message {
            self.last_message = news;
            let phase = status.phase.unwrap_or_default();
            self.say(format!(
                "{seconds:>6.1}s  {phase:<11?} step {step:<4} weight {weight:>3}  {message}"
            ))?;
        }
        if self.out.screen.height.is_none() || self.json {
            return Ok(());
        }
        let sent = now.sent.saturating_sub(before.sent);
        let errors = now.errors.saturating_sub(before.errors);
        let lost = now.lost_total().saturating_sub(before.lost_total());
        let bar: String = (0..20)
            .map(|cell| if cell * 5 < weight { '█' } else { '░' })
            .collect();
        self.live = true;
        self.out.text(&format!(
            "\r\u{1b}[K  canary {bar} {weight:>3} %   {sent} requests   {errors} errors   {lost} lost"
        ))
    }

    pub fn result(&mut self, result: &ScenarioResult) -> Result<(), OutputError> {
        if self.json {
            return self.out.line(json!(result).to_string());
        }
        let seconds = result.seconds_to_outcome;
        let ended = match (&result.outcome, &result.abort) {
            (Outcome::Promoted, _) => "promoted".to_owned(),
            (Outcome::Aborted, Some(abort)) => format!("aborted: {}", abort.reason),
            (Outcome::Aborted, None) => "aborted".to_owned(),
        };
        let mark = if result.is_expected() { "✔" } else { "✖" };
        self.say(format!(
            "{mark} {ended} after {seconds:.1} s, {} requests, {} lost",
            result.requests, result.lost
        ))
    }

    pub fn table(&mut self, results: &[ScenarioResult]) -> Result<(), OutputError> {
        self.say("")?;
        self.say(format!(
            "{:<14} {:<9} {:>8} {:<16} {:>9} {:>8} {:>7} {:>5} {:>8}",
            "SCENARIO", "OUTCOME", "SECONDS", "WEIGHTS", "REQUESTS", "CANARY", "ERRORS", "LOST", "WRITES"
        ))?;
        for result in results {
            let weights: Vec<String> = result.weights.iter().map(i64::to_string).collect();
            self.say(format!(
                "{:<14} {:<9} {:>8.1} {:<16} {:>9} {:>8} {:>7} {:>5} {:>8}",
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
