//! RolloutCommands: what people and alerts ask for. Each is carried out once or answered with a reason.
//!
//! A command is carried out by the write of the Rollout's status, which also remembers its uid; only then is
//! the command itself marked. A crash between the two leaves a command that is known to be done.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use crate::api::names::Revision;
use crate::api::patch::PatchOp;
use crate::api::resource::ObjectKey;
use crate::api::rollout_command::{CommandPhase, RolloutCommand, RolloutCommandStatus, Verb};
use crate::api::rollout_status::RolloutStatus;
use crate::api::time::{from_meta, is_before};
use crate::plan::gate::{Finding, OpenGate, precondition_of};
use crate::plan::model::{Action, Kind, Subresource, Target, Write};
use crate::plan::snapshot::Snapshot;
use crate::plan::world::World;

const KEPT_COMMANDS: usize = 50;
/// How long the answer about a Rollout that is not there can be read.
const KEPT_UNADDRESSED: TimeDelta = TimeDelta::hours(1);

/// Commands not answered yet: the first that is to be carried out, and the answers that can be given now.
#[derive(Default)]
pub struct Commands<'a> {
    pub carry_out: Option<&'a RolloutCommand>,
    pub writes: Vec<Write>,
    /// Uids still to be remembered as done.
    pub handled: Vec<String>,
}

impl Commands<'_> {
    /// While something must be mended first, only an abort is carried out; who asks for anything else is told why.
    pub fn while_held(mut self, why: &str, now: DateTime<Utc>) -> Self {
        let refused = self.carry_out.filter(|command| command.spec.verb != Verb::Abort);
        if let Some(command) = refused {
            self.carry_out = None;
            self.writes
                .push(answer(command, CommandPhase::Refused, &mend_first(why), now));
        }
        self
    }

    /// Somebody insists on a version, whatever an analysis would say of it.
    pub fn insists_on_all(&self) -> bool {
        let command = self.carry_out.map(|command| &command.spec);
        command.is_some_and(|spec| spec.verb == Verb::PromoteFull && spec.force)
    }
}

fn mend_first(why: &str) -> String {
    format!("this must be mended first: {why}")
}

pub fn read_commands<'a>(world: &World<'a>, gates: &[OpenGate]) -> Commands<'a> {
    let mut commands = Commands::default();
    for command in in_order(world)
        .into_iter()
        .filter(|command| phase_of(command).is_none())
    {
        let uid = command.metadata.uid.clone().unwrap_or_default();
        if world.status.handled_commands.contains(&uid) {
            commands.writes.push(carried_out(command, world.now));
            commands.handled.push(uid);
            continue;
        }
        match refusal(world, gates, command) {
            Some((phase, message)) => commands.writes.push(answer(command, phase, &message, world.now)),
            // One at a time: the next is judged by the world that this one makes.
            None if commands.carry_out.is_none() => commands.carry_out = Some(command),
            None => {}
        }
    }
    commands
}

fn in_order<'a>(world: &World<'a>) -> Vec<&'a RolloutCommand> {
    let mut commands: Vec<&RolloutCommand> = world.snapshot.commands.values().collect();
    commands.sort_by_key(|command| (created_at(command), command.metadata.name.clone()));
    // An abort does not queue behind anything.
    commands.sort_by_key(|command| command.spec.verb != Verb::Abort);
    commands
}

fn phase_of(command: &RolloutCommand) -> Option<CommandPhase> {
    command.status.as_ref().and_then(|status| status.phase)
}

fn created_at(command: &RolloutCommand) -> Option<DateTime<Utc>> {
    command.metadata.creation_timestamp.as_ref().map(from_meta)
}

/// Why a command cannot be carried out, in words that say what to do instead.
fn refusal(world: &World, gates: &[OpenGate], command: &RolloutCommand) -> Option<(CommandPhase, String)> {
    let revision = world.status.revision.unwrap_or_default();
    let expected = command.spec.expect.clone().unwrap_or_default();
    if let Some(wanted) = expected.revision.filter(|wanted| *wanted != revision) {
        let phase = if wanted < revision {
            CommandPhase::Expired
        } else {
            CommandPhase::Refused
        };
        return Some((
            phase,
            format!("it was meant for revision {wanted}, and revision {revision} is current"),
        ));
    }
    // Creation times have whole seconds. A controller that was behind has begun the revision later than people saw it:
    // an abort by a person is obeyed all the same. One that was meant for the version before costs a retry, one that is
    // not obeyed costs requests. An alert says itself since when it fires.
    let (asked, begun) = match (&command.spec.alert, command.spec.verb) {
        (Some(alert), _) => (Some(alert.starts_at), world.status.attempt_began_at()),
        (None, Verb::Abort) => (None, None),
        _ => (created_at(command), world.status.revision_started_at),
    };
    let is_bound = expected.revision.is_some() && command.spec.alert.is_none();
    if !is_bound
        && asked
            .zip(begun)
            .is_some_and(|(asked, begun)| is_before(asked, begun))
    {
        return Some((
            CommandPhase::Expired,
            format!("it is older than revision {revision}, or than its last retry"),
        ));
    }
    if let Some(step) = expected.step.filter(|step| *step != world.step_index()) {
        let now_at = world.step_index();
        return Some((
            CommandPhase::Refused,
            format!("it was meant for step {step}, and the Rollout is at step {now_at}"),
        ));
    }
    refusal_of_verb(world, command, revision)
        .or_else(|| unforced(world, gates, command))
        .map(|message| (CommandPhase::Refused, message))
}

/// Going on is no answer to an analysis that has failed, nor skipping everything that is left to one that has not
/// succeeded, unless somebody insists.
fn unforced(world: &World, gates: &[OpenGate], command: &RolloutCommand) -> Option<String> {
    let is_full = command.spec.verb == Verb::PromoteFull;
    if !(is_full || command.spec.verb == Verb::Promote) || command.spec.force {
        return None;
    }
    let name = &world.spec.name;
    let insist =
        format!("`kubectl tidegate promote {name} --full --force --reason=…` promotes it all the same");
    let against = |gate: &&OpenGate| match gate.finding(world) {
        Finding::Refused => true,
        Finding::Undecided => is_full,
        Finding::Open | Finding::Passed => false,
    };
    if let Some(gate) = gates.iter().find(against) {
        return Some(format!(
            "AnalysisRun {} is {:?}; {insist}",
            gate.run_name(),
            gate.verdict()
        ));
    }
    if !is_full {
        return None;
    }
    // Tried again after an analysis had aborted it, it has not been proven any better.
    let run_prefix = format!("{}-{}-", world.spec.name, world.current);
    let mut history = world.status.history.iter().rev();
    let abort = history.find(|entry| entry.what == "Aborted" && entry.who.starts_with(&run_prefix))?;
    Some(format!(
        "{} had it aborted before ({}); {insist}",
        abort.who, abort.why
    ))
}

fn refusal_of_verb(world: &World, command: &RolloutCommand, revision: Revision) -> Option<String> {
    if !world.is_current_known() {
        return Some("a new version was just applied; look again".to_owned());
    }
    let released = world.in_release();
    let nothing = || Some(format!("nothing is in progress: revision {revision} is stable"));
    match command.spec.verb {
        Verb::Abort if world.aborted() => Some("it is aborted already".to_owned()),
        Verb::Abort | Verb::Promote | Verb::PromoteFull if !released => nothing(),
        Verb::Retry if !world.aborted() => Some("it is not aborted; there is nothing to retry".to_owned()),
        Verb::Retry if is_before_abort(world, command) => {
            Some("it was asked for before the abort; look again".to_owned())
        }
        Verb::Promote | Verb::PromoteFull if world.aborted() => {
            Some("it is aborted; use retry to start it again, or apply another version".to_owned())
        }
        Verb::Promote | Verb::PromoteFull if world.spec_paused() => {
            Some("spec.paused is set; resume it first".to_owned())
        }
        Verb::Promote | Verb::PromoteFull if world.status.promotion.is_some() && !waits_for_person(world) => {
            Some("its steps are done and it is being promoted".to_owned())
        }
        _ => None,
    }
}

/// An abort is carried out before what was asked for earlier, and must not be undone by it.
fn is_before_abort(world: &World, command: &RolloutCommand) -> bool {
    let (created, aborted) = (created_at(command), world.status.aborted_at);
    created
        .zip(aborted)
        .is_some_and(|(created, aborted)| is_before(created, aborted))
}

fn waits_for_person(world: &World) -> bool {
    !world.status.pause_conditions.is_empty()
}

/// Answers to those who ask something of a Rollout whose spec says nothing that could be gone by.
pub fn refuse_all(snapshot: &Snapshot, status: &RolloutStatus, why: &str, now: DateTime<Utc>) -> Vec<Write> {
    let open = snapshot.commands.values();
    let open = open.filter(|command| phase_of(command).is_none());
    let answers = open.map(|command| {
        let uid = command.metadata.uid.as_ref();
        if uid.is_some_and(|uid| status.handled_commands.contains(uid)) {
            carried_out(command, now)
        } else {
            answer(command, CommandPhase::Refused, &mend_first(why), now)
        }
    });
    answers.collect()
}

/// Answers to those who ask something of a Rollout that is not there. Nothing else takes such commands away, so each
/// goes an hour after its answer; the time is when the next one does.
pub fn plan_unaddressed(
    rollout: &ObjectKey,
    commands: &[RolloutCommand],
    now: DateTime<Utc>,
) -> (Vec<Write>, Option<DateTime<Utc>>) {
    let message = format!(
        "there is no Rollout {} in namespace {}",
        rollout.name, rollout.namespace
    );
    let (mut answers, mut writes, mut next) = (Vec::new(), Vec::new(), None);
    for command in commands {
        let status = command.status.as_ref();
        let Some(status) = status.filter(|status| status.phase.is_some()) else {
            answers.push(answer(command, CommandPhase::Refused, &message, now));
            continue;
        };
        // Without a time it was answered by somebody else.
        let goes = status.handled_at.unwrap_or_default() + KEPT_UNADDRESSED;
        if goes <= now {
            writes.push(delete(
                command,
                "answered an hour ago, for a Rollout that is not there",
            ));
        } else {
            next = next.into_iter().chain([goes]).min();
        }
    }
    // Whoever waits for an answer does not wait for what cannot be deleted.
    answers.append(&mut writes);
    (answers, next)
}

fn carried_out(command: &RolloutCommand, now: DateTime<Utc>) -> Write {
    answer(command, CommandPhase::Accepted, "carried out", now)
}

fn answer(command: &RolloutCommand, phase: CommandPhase, message: &str, now: DateTime<Utc>) -> Write {
    let status = RolloutCommandStatus {
        phase: Some(phase),
        message: Some(message.to_owned()),
        handled_at: Some(now),
    };
    let name = command.metadata.name.clone().unwrap_or_default();
    Write {
        target: Target {
            kind: Kind::RolloutCommand,
            name,
        },
        action: Action::Patch {
            precondition: precondition_of(&command.metadata),
            subresource: Some(Subresource::Status),
            ops: vec![PatchOp::add("/status", json!(status))],
        },
        reason: format!("{phase:?}: {message}"),
    }
}

/// The oldest answered commands beyond the newest 50.
pub fn expire_commands(world: &World) -> Vec<Write> {
    let mut answered: Vec<&RolloutCommand> = world
        .snapshot
        .commands
        .values()
        .filter(|command| phase_of(command).is_some())
        .collect();
    answered.sort_by_key(|command| std::cmp::Reverse((created_at(command), command.metadata.name.clone())));
    let old = answered.into_iter().skip(KEPT_COMMANDS);
    old.map(|command| delete(command, "older than the newest 50"))
        .collect()
}

fn delete(command: &RolloutCommand, reason: &str) -> Write {
    Write {
        target: Target {
            kind: Kind::RolloutCommand,
            name: command.metadata.name.clone().unwrap_or_default(),
        },
        action: Action::Delete {
            precondition: precondition_of(&command.metadata),
        },
        reason: reason.to_owned(),
    }
}
