//! May this plan lose a request? A second opinion on every plan, from the raw objects and the raw writes alone:
//! it knows the rules a release must keep, not how the planner keeps them, and shares no code with it but the hash
//! by which an analysis is known.
//!
//! Guarantee: a plan that breaks a rule is never carried out. Assumes that the snapshot is what the cluster says.

mod footprint;
mod progress;
mod scene;
mod traffic;

use std::fmt;

use crate::plan::check::scene::Scene;
use crate::plan::model::Plan;
use crate::plan::snapshot::Snapshot;

/// One rule that a plan would break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// As the rules are numbered in the docs: `S3`.
    pub rule: &'static str,
    /// Index of the write, counted through all stages; none when the status is to blame.
    pub write: Option<usize>,
    pub message: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.write {
            Some(write) => write!(f, "{} at write {write}: {}", self.rule, self.message),
            None => write!(f, "{} in the status: {}", self.rule, self.message),
        }
    }
}

/// Everything that speaks against carrying out `plan`; empty for every plan that is right.
pub fn check(snapshot: &Snapshot, plan: &Plan) -> Vec<Breach> {
    let mut breaches: Vec<Breach> = Vec::new();
    let mut scene = Scene::new(snapshot, plan);
    let mut changes = traffic::Changes::default();
    let writes = plan.stages.iter().flat_map(|stage| &stage.writes);
    for (index, write) in writes.enumerate() {
        let object = |rule: &'static str, message: String| Breach {
            rule,
            write: Some(index),
            message,
        };
        breaches.extend(footprint::judge(&scene, write).map(|message| object("S13", message)));
        let before = scene.clone();
        if let Err(message) = scene.carry_out(write) {
            breaches.push(object("S12", message));
            continue;
        }
        for (rule, message) in traffic::judge(&before, &scene, write, &mut changes) {
            breaches.push(object(rule, message));
        }
    }
    let status = progress::judge(snapshot, plan).into_iter();
    breaches.extend(status.map(|(rule, message)| Breach {
        rule,
        write: None,
        message,
    }));
    breaches
}
