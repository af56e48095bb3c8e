//! Colour as the last step of rendering: text carries a [`Tone`], and only [`Paint`] knows escape codes, so that
//! widths are counted on plain text.

use serde::Serialize;

use crate::api::analysis_run::Verdict;
use crate::api::rollout_status::Phase;

/// What a piece of text means to the reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Tone {
    #[default]
    Plain,
    Good,
    Bad,
    Attention,
    Busy,
    Faint,
}

/// Whether colours are wanted: a terminal, and no `NO_COLOR`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Paint {
    #[default]
    Plain,
    Colour,
}

impl Paint {
    pub fn apply(self, tone: Tone, text: &str) -> String {
        let code = match (self, tone) {
            (Paint::Plain, _) | (_, Tone::Plain) => return text.to_owned(),
            (_, Tone::Good) => 32,
            (_, Tone::Bad) => 31,
            (_, Tone::Attention) => 33,
            (_, Tone::Busy) => 36,
            (_, Tone::Faint) => 90,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

pub fn phase_mark(phase: Phase) -> (&'static str, Tone) {
    match phase {
        Phase::Healthy => ("✔", Tone::Good),
        Phase::Progressing => ("◌", Tone::Busy),
        Phase::Paused => ("॥", Tone::Attention),
        Phase::Degraded => ("✖", Tone::Bad),
    }
}

pub fn verdict_mark(verdict: Verdict) -> (&'static str, Tone) {
    match verdict {
        Verdict::Successful => ("✔", Tone::Good),
        Verdict::Failed => ("✖", Tone::Bad),
        Verdict::Error | Verdict::Inconclusive | Verdict::NoData => ("⚠", Tone::Attention),
        Verdict::Running | Verdict::Pending => ("◌", Tone::Busy),
        Verdict::Terminated => ("•", Tone::Faint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_only_when_wanted_and_meaningful() {
        assert_eq!(Paint::Plain.apply(Tone::Bad, "x"), "x");
        assert_eq!(Paint::Colour.apply(Tone::Plain, "x"), "x");
        assert_eq!(Paint::Colour.apply(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
    }
}
