//! The table of known differences in `docs/sandbox.md`, and what a run's findings are worth before it.

use std::collections::BTreeMap;
use std::fmt;

use crate::Found;

const DOCUMENT: &str = include_str!("../../docs/sandbox.md");
const HEADING: &str = "## Differences from a real API server";

/// The reason of each difference, by the behaviour's title.
pub struct Differences(BTreeMap<String, String>);

pub struct Verdict {
    behaviours: usize,
    agree: usize,
    listed: usize,
    pub failed: usize,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict {
            behaviours,
            agree,
            listed,
            failed,
        } = self;
        write!(
            f,
            "{behaviours} behaviours: {agree} agree, {listed} differ as listed, {failed} failed"
        )
    }
}

impl Differences {
    /// Rows of the form `| title | reason |`.
    pub fn listed() -> Self {
        let (_, section) = DOCUMENT
            .split_once(HEADING)
            .expect("docs/sandbox.md has the heading");
        let section = section.split("\n## ").next().unwrap();
        let rows = section
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
        let rows = rows.skip(1).filter_map(|row| row.split_once(" | "));
        Differences(
            rows.map(|(title, reason)| (title.trim().to_owned(), reason.trim().to_owned()))
                .collect(),
        )
    }

    /// Tells of everything that is not as it should be. A listed behaviour that agrees is not: the list would rot.
    pub fn judge(&self, found: &[Found], all: bool) -> Verdict {
        let mut verdict = Verdict {
            behaviours: found.len(),
            agree: 0,
            listed: 0,
            failed: 0,
        };
        for one in found {
            let broken = one
                .sandbox
                .iter()
                .chain(&one.real)
                .any(|line| line.starts_with("PANICKED"));
            match (one.sandbox == one.real, self.0.contains_key(&one.title)) {
                _ if broken => verdict.fail(one, "did not come to its end"),
                (true, false) => verdict.agree += 1,
                (false, true) => verdict.listed += 1,
                (true, true) => verdict.fail(one, "agrees, although docs/sandbox.md lists it as different"),
                (false, false) => verdict.fail(one, "differs, and docs/sandbox.md does not list it"),
            }
        }
        let unknown = self
            .0
            .keys()
            .filter(|title| all && !found.iter().any(|one| one.title == **title));
        for title in unknown {
            println!("FAILED {title}: docs/sandbox.md lists it, and there is no such behaviour");
            verdict.failed += 1;
        }
        verdict
    }
}

impl Verdict {
    fn fail(&mut self, found: &Found, why: &str) {
        self.failed += 1;
        println!("FAILED {}: {why}", found.title);
        if found.sandbox != found.real {
            print_difference(&found.sandbox, &found.real);
        }
    }
}

/// Lines that only the sandbox (-) or only the real server (+) said, with the nearest common line before them.
fn print_difference(sandbox: &[String], real: &[String]) {
    let common = |at: usize, of: &[String], others: &[String]| others.get(at) == of.get(at);
    if sandbox.len() == real.len() {
        for (at, (ours, theirs)) in sandbox.iter().zip(real).enumerate() {
            if !common(at, sandbox, real) {
                let before = sandbox
                    .get(..at)
                    .into_iter()
                    .flatten()
                    .rev()
                    .find(|line| !line.starts_with(' '));
                println!(
                    "    {}\n  - {ours}\n  + {theirs}",
                    before.map_or("", String::as_str)
                );
            }
        }
        return;
    }
    sandbox.iter().for_each(|line| println!("  - {line}"));
    real.iter().for_each(|line| println!("  + {line}"));
}
