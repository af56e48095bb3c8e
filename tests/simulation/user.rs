//! The users: they follow their script, each action when its time has come.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::object::{self, int, text};
use super::scenario::{Action, Trigger};
use super::world::World;

/// Longer than this nothing may go on without coming to an end: the slowest thing there is, five minutes after a
/// refused write, several times over.
const PATIENCE: TimeDelta = TimeDelta::seconds(3000);

pub struct Script {
    actions: Vec<(Trigger, Action)>,
    done: usize,
    pub last_at: DateTime<Utc>,
    /// How many writes the controller had made by then.
    pub commits_before: usize,
    pub signature: Vec<String>,
}

impl Script {
    pub fn new(actions: Vec<(Trigger, Action)>, start: DateTime<Utc>) -> Self {
        Script {
            actions,
            done: 0,
            last_at: start,
            commits_before: 0,
            signature: Vec::new(),
        }
    }

    pub fn is_over(&self) -> bool {
        self.done >= self.actions.len()
    }
}

impl World {
    /// Nothing moves any more, and somebody else would have to act.
    pub fn is_settled(&self) -> bool {
        let rollout = &self.truth.rollout;
        let current = int(rollout, "/status/observedGeneration") == int(rollout, "/metadata/generation");
        let quiet =
            self.now() > self.last_controller_commit.max(self.script.last_at) + TimeDelta::seconds(20);
        let waits = text(rollout, "/status/waitingOn/reason");
        let for_somebody = matches!(
            waits,
            "Promotion" | "NewVersion" | "InconclusiveAnalysis" | "SpecPaused"
        );
        let healthy = text(rollout, "/status/phase") == "Healthy";
        let idle = self.truth.unanswered.is_empty() && self.truth.running.is_empty();
        current && quiet && idle && (healthy || for_somebody)
    }

    fn is_due(&self, trigger: Trigger) -> bool {
        let rollout = &self.truth.rollout;
        match trigger {
            Trigger::Settled => self.is_settled(),
            Trigger::AtStep(step) => {
                let newest =
                    int(rollout, "/status/observedGeneration") == int(rollout, "/metadata/generation");
                let released = text(rollout, "/status/stableRS") != text(rollout, "/status/currentPodHash");
                let here = rollout
                    .pointer("/status/currentStepIndex")
                    .and_then(Value::as_u64)
                    == Some(step);
                newest && released && here || self.is_settled()
            }
        }
    }

    pub fn act(&mut self) {
        let Some((trigger, action)) = self.script.actions.get(self.script.done).cloned() else {
            return;
        };
        let now = self.now();
        if now > self.script.last_at + PATIENCE {
            let rule = if now < self.last_controller_commit + TimeDelta::seconds(120) {
                "S16"
            } else {
                "L1"
            };
            return self.fail(rule, format!("{trigger:?} never comes"));
        }
        if !self.is_due(trigger) {
            return;
        }
        self.script.done += 1;
        self.script.last_at = now;
        self.script.commits_before = self.controller_commits;
        let status = |field: &str| self.truth.status(field).to_owned();
        let aborted = self.truth.rollout.pointer("/status/abort").is_some();
        let moment = format!(
            "{} {} {aborted} {action:?}",
            status("stableRS"),
            status("currentPodHash")
        );
        self.note(&format!("user: {action:?}"));
        self.script.signature.push(moment);
        self.carry_out(&action);
    }

    fn carry_out(&mut self, action: &Action) {
        let number = self.script.done;
        let server = self.server.clone();
        let command = |verb: &str| object::command(&server, number, verb);
        let edit = |spec: Value| object::edit_rollout(&server, &spec);
        match action {
            Action::Image(version) => edit(json!({"template": object::template(&self.scenario, *version)})),
            Action::Abort => {
                self.break_the_canary();
                command("Abort");
            }
            Action::Retry => command("Retry"),
            Action::Promote => command("Promote"),
            Action::PromoteFull => command("PromoteFull"),
            Action::Scale(replicas) => edit(json!({"replicas": replicas})),
            Action::Paused(paused) => edit(json!({"paused": paused})),
            Action::Steps(steps) => edit(json!({"strategy": {"canary": {"steps": object::steps(steps)}}})),
        }
    }
}
