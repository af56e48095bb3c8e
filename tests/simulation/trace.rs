//! What happened, as lines: the last of them for people, a hash of all of them for the proof that a seed is replayed.

use std::collections::VecDeque;
use std::fmt;

use tidegate::plan::model::Plan;

const KEPT_LINES: usize = 40;

pub struct Trace {
    hash: u64,
    lines: VecDeque<String>,
    echo: bool,
}

impl Trace {
    pub fn new(echo: bool) -> Self {
        Trace {
            hash: 0xcbf2_9ce4_8422_2325,
            lines: VecDeque::new(),
            echo,
        }
    }

    /// FNV-1a over every byte.
    pub fn note(&mut self, line: String) {
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.echo {
            println!("{line}");
        }
        if self.lines.len() == KEPT_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// The plan to blame, in a few lines.
pub fn describe(plan: Option<&Plan>) -> String {
    let Some(plan) = plan else {
        return "none".to_owned();
    };
    let mut text = plan.rule.clone();
    for stage in &plan.stages {
        text.push_str(&format!("\n  stage: {}", stage.purpose));
        for write in &stage.writes {
            text.push_str(&format!(
                "\n    {:?} {}: {}",
                write.target.kind, write.target.name, write.reason
            ));
        }
    }
    if let Some(waiting) = &plan.status.waiting_on {
        text.push_str(&format!(
            "\n  waits for {:?}: {}",
            waiting.reason, waiting.message
        ));
    }
    text
}
