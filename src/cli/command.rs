//! promote, abort and retry: a RolloutCommand is created and its answer awaited. The decision whether to ask at all is
//! pure and lies with the verbs; the controller decides once more, against what it knows.

use std::time::Duration;

use kube::Api;
use kube::api::ObjectMeta;

use super::error::{CliError, Exit};
use super::output::Output;
use super::patience::{self, Patience};
use super::plugin::Format;
use super::session::{Session, post_params};
use super::target::RolloutName;
use crate::api::names::{ROLLOUT_LABEL, Weight};
use crate::api::rollout::Rollout;
use crate::api::rollout_command::{CommandPhase, Expectation, RolloutCommand, RolloutCommandSpec, Verb};
use crate::api::rollout_status::RolloutStatus;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);

/// What the observed state makes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    Send(RolloutCommandSpec),
    /// It is so already; the sentence says how.
    Nothing(String),
}

/// What a verb decides on.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub name: String,
    pub status: RolloutStatus,
    pub spec_paused: bool,
    /// The controller has not seen the newest spec yet.
    pub stale: bool,
    /// A version other than the stable one is on its way.
    pub in_progress: bool,
}

impl Standing {
    pub fn of(rollout: &Rollout) -> Self {
        let status = rollout.status.clone().unwrap_or_default();
        Standing {
            name: rollout.metadata.name.clone().unwrap_or_default(),
            spec_paused: rollout.spec.paused.unwrap_or(false),
            stale: status.observed_generation < rollout.metadata.generation,
            in_progress: status.is_in_release(status.current_pod_hash.as_ref()),
            status,
        }
    }

    pub fn revision_text(&self) -> String {
        self.status
            .revision
            .map_or_else(|| "no revision".to_owned(), |number| format!("revision {number}"))
    }

    /// What the routes said when the controller last looked.
    pub fn canary_weight(&self) -> Option<Weight> {
        let weights = self.status.canary.weights.as_ref()?;
        Some(weights.canary.weight)
    }

    /// Nothing is stable yet, so there is nothing to go back to and nothing to wait for a person.
    pub fn is_first_deploy(&self) -> bool {
        self.status.stable_rs.is_none()
    }

    /// Before there is a revision nothing can be decided about one.
    pub fn require_revision(&self) -> Result<(), CliError> {
        if self.status.revision.is_some() {
            return Ok(());
        }
        let why = self
            .status
            .message
            .as_deref()
            .unwrap_or("the controller has not looked at it");
        Err(CliError::Refused(format!(
            "{} has no revision yet: {why}",
            self.name
        )))
    }

    /// A command that acts on the step must not act on what nobody has looked at.
    pub fn require_fresh(&self) -> Result<(), CliError> {
        match self.stale {
            false => Ok(()),
            true => Err(CliError::Refused(format!(
                "the controller has not seen the last change of {} yet; look at `kubectl tidegate get {}` and repeat",
                self.name, self.name
            ))),
        }
    }

    /// The command with what was observed as its precondition.
    pub fn ask(&self, verb: Verb, reason: Option<String>) -> RolloutCommandSpec {
        RolloutCommandSpec {
            rollout: self.name.clone(),
            verb,
            expect: Some(Expectation {
                revision: self.status.revision,
                step: self.status.current_step_index,
            }),
            reason,
            requested_by: None,
            alert: None,
            force: false,
        }
    }
}

/// Prints the no-op, or sends the command and reports the answer. `rollout` is what was decided on.
pub async fn carry_out(
    session: &Session,
    name: &RolloutName,
    rollout: &Rollout,
    decision: Decision,
    format: Option<Format>,
    out: &mut Output,
) -> Result<Exit, CliError> {
    let spec = match decision {
        Decision::Send(spec) => spec,
        Decision::Nothing(sentence) => {
            return out_unchanged(out, format, rollout, &name.qualified(), &sentence);
        }
    };
    let verb = spec.verb;
    let created = create(session, spec).await?;
    let command = await_answer(session, &created, out).await?;
    let label = format!(
        "rolloutcommand.tidegate.dev/{}",
        command.metadata.name.as_deref().unwrap_or_default()
    );
    let status = command.status.clone().unwrap_or_default();
    let message = status.message.unwrap_or_else(|| "no message".to_owned());
    match status.phase {
        None => Err(CliError::Refused(format!(
            "{label} is stored, but the controller has not answered within {}s; is it running? `kubectl get rolcmd {}`",
            ANSWER_TIMEOUT.as_secs(),
            command.metadata.name.as_deref().unwrap_or_default()
        ))),
        Some(CommandPhase::Refused) => Err(CliError::Refused(format!(
            "{} refused: {message}",
            verb_text(verb)
        ))),
        Some(CommandPhase::Expired) => Err(CliError::Refused(format!(
            "{} expired: {message}",
            verb_text(verb)
        ))),
        Some(CommandPhase::Accepted) => {
            let line = match format {
                None => describe_accepted(rollout, &session.get_rollout(name).await?, name, verb, &message),
                Some(format) => return out_object(out, format, &command, &label),
            };
            out.line(line)?;
            Ok(Exit::Ok)
        }
    }
}

/// `-o` of a verb that writes: the written object, or its name.
pub fn out_object(
    out: &mut Output,
    format: Format,
    object: &impl serde::Serialize,
    label: &str,
) -> Result<Exit, CliError> {
    match format {
        Format::Json => out.json(object)?,
        Format::Yaml => out.yaml(object)?,
        Format::Name | Format::Wide => out.line(label)?,
    }
    Ok(Exit::Ok)
}

/// A no-op. With `-o` standard output is for programs, so a person reads the sentence on standard error.
pub fn out_unchanged(
    out: &mut Output,
    format: Option<Format>,
    rollout: &Rollout,
    label: &str,
    sentence: &str,
) -> Result<Exit, CliError> {
    let sentence = format!("{label} unchanged: {sentence}");
    match format {
        Some(format) => {
            out.note(sentence);
            out_object(out, format, rollout, label)
        }
        None => {
            out.line(sentence)?;
            Ok(Exit::Ok)
        }
    }
}

fn describe_accepted(
    before: &Rollout,
    after: &Rollout,
    name: &RolloutName,
    verb: Verb,
    message: &str,
) -> String {
    let standing = Standing::of(after);
    let weight = Standing::of(before)
        .canary_weight()
        .map(|weight| format!(", weight was {weight}"));
    let done = match verb {
        Verb::Promote => "promoted",
        Verb::PromoteFull => "fully promoted",
        Verb::Abort => "aborted",
        Verb::Retry => "retried",
    };
    let revision = standing.revision_text();
    format!(
        "{} {done} ({revision}{}): {message}",
        name.qualified(),
        weight.unwrap_or_default()
    )
}

fn verb_text(verb: Verb) -> &'static str {
    match verb {
        Verb::Promote => "promote",
        Verb::PromoteFull => "promote --full",
        Verb::Abort => "abort",
        Verb::Retry => "retry",
    }
}

async fn create(session: &Session, spec: RolloutCommandSpec) -> Result<RolloutCommand, CliError> {
    let spec = RolloutCommandSpec {
        requested_by: session.who_am_i().await,
        ..spec
    };
    let suffix = verb_text(spec.verb).replace(" --", "-");
    let command = RolloutCommand {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-{suffix}-", spec.rollout)),
            namespace: Some(session.namespace.clone()),
            labels: Some([(ROLLOUT_LABEL.to_owned(), spec.rollout.clone())].into()),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    };
    match session
        .api::<RolloutCommand>()
        .create(&post_params(), &command)
        .await
    {
        Ok(created) => Ok(created),
        Err(error) => Err(session
            .fail(session.request::<RolloutCommand>("create", None), error)
            .await),
    }
}

/// The command once it is answered, or as it was when patience ended.
async fn await_answer(
    session: &Session,
    created: &RolloutCommand,
    out: &mut Output,
) -> Result<RolloutCommand, CliError> {
    let name = created.metadata.name.as_deref().unwrap_or_default();
    let mut patience = Patience::new(Some(patience::DEFAULT));
    loop {
        // What the API server takes to come back is not the controller's time.
        match tokio::time::timeout(ANSWER_TIMEOUT, poll_answer(session, name)).await {
            Ok(Ok(command)) => return Ok(command),
            Ok(Err(failure)) => patience.bear(failure, out).await?,
            Err(_) => return Ok(created.clone()),
        }
    }
}

async fn poll_answer(session: &Session, name: &str) -> Result<RolloutCommand, CliError> {
    let commands: Api<RolloutCommand> = session.api();
    loop {
        let command = match commands.get(name).await {
            Ok(command) => command,
            Err(error) => {
                let request = session.request::<RolloutCommand>("get", Some(name));
                return Err(session.fail(request, error).await);
            }
        };
        let status = command.status.as_ref();
        if status.is_some_and(|status| status.phase.is_some()) {
            return Ok(command);
        }
        tokio::time::sleep(POLL).await;
    }
}
