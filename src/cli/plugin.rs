//! The command line of `kubectl tidegate`: flags, dispatch and the way out.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::connect::{self, ConnectOptions};
use super::error::{CliError, Exit};
use super::output::Output;
use super::session::Session;
use super::target::parse_namespace;
use super::{
    abort, completion, explain, get, lint, list, pause, promote, restart, retry, set_image, status, undo,
    version,
};

/// Watch and steer the releases of Tidegate
#[derive(Clone, Debug, Parser)]
#[command(
    name = "kubectl-tidegate",
    bin_name = "kubectl tidegate",
    version,
    disable_help_subcommand = true
)]
pub struct Plugin {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Clone, Debug, Default, Args)]
pub struct GlobalArgs {
    /// Namespace; the context's unless set
    #[arg(short, long, global = true, value_parser = parse_namespace)]
    pub namespace: Option<String>,
    /// Context of the kubeconfig
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// Path of the kubeconfig
    #[arg(long, global = true)]
    pub kubeconfig: Option<PathBuf>,
}

impl GlobalArgs {
    pub fn connect_options(&self) -> ConnectOptions {
        let GlobalArgs {
            namespace,
            context,
            kubeconfig,
        } = self.clone();
        ConnectOptions {
            kubeconfig,
            context,
            namespace,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Json,
    Yaml,
    Wide,
    Name,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    #[command(flatten)]
    Cluster(ClusterVerb),
    #[command(flatten)]
    Local(LocalVerb),
}

/// Verbs that need a cluster.
#[derive(Clone, Debug, Subcommand)]
pub enum ClusterVerb {
    /// Show a Rollout with its revisions, pods and analyses
    Get(get::GetArgs),
    /// List Rollouts
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    /// Follow a release to its end; exit code 0 healthy, 1 error, 2 aborted or degraded, 3 paused, 124 timeout
    Status(status::StatusArgs),
    /// Say why a Rollout is where it is, what comes next and when
    Explain(explain::ExplainArgs),
    /// End the pause or skip the running step; --full skips all that is left
    Promote(promote::PromoteArgs),
    /// Give all traffic back to the stable version
    Abort(abort::AbortArgs),
    /// Start an aborted revision again
    Retry(retry::RetryArgs),
    /// Stop advancing (spec.paused); never stops an abort
    Pause(pause::PauseArgs),
    /// Advance again
    Resume(pause::PauseArgs),
    /// Go back to the pod template of an older revision
    Undo(undo::UndoArgs),
    /// Replace every pod by a new one of the same version, a few at a time
    Restart(restart::RestartArgs),
    /// Change a field of a Rollout
    #[command(subcommand)]
    Set(SetVerb),
}

/// Verbs that can do without.
#[derive(Clone, Debug, Subcommand)]
pub enum LocalVerb {
    /// Check manifests, without a cluster unless --with-cluster is given
    Lint(lint::LintArgs),
    /// Show the version
    Version(version::VersionArgs),
    /// Print the completion script of a shell
    Completion(completion::CompletionArgs),
    /// What kubectl_complete-tidegate runs
    #[command(name = "__complete", hide = true, disable_help_flag = true)]
    Complete(completion::CompleteArgs),
}

#[derive(Clone, Debug, Subcommand)]
pub enum SetVerb {
    /// Change images of containers
    Image(set_image::SetImageArgs),
}

/// The whole program, on the process's own arguments and streams.
pub fn main() -> ExitCode {
    let mut out = Output::stdio();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(std::env::args_os(), &mut out)),
        Err(error) => Err(CliError::Refused(format!("cannot start: {error}"))),
    };
    report(ended, &mut out).into()
}

/// Says what went wrong, on standard error, and turns it into the exit code.
pub fn report(ended: Result<Exit, CliError>, out: &mut Output) -> Exit {
    ended.unwrap_or_else(|error| {
        let exit = error.exit();
        if exit != Exit::Closed {
            out.note(error.to_string());
        }
        exit
    })
}

/// Parses and runs; wrong usage is exit code 1, because 2 means degraded here.
pub async fn run(arguments: impl IntoIterator<Item = OsString>, out: &mut Output) -> Result<Exit, CliError> {
    match Plugin::try_parse_from(arguments) {
        Ok(plugin) => dispatch(&plugin, out).await,
        Err(error) if error.use_stderr() => {
            out.note(error.render().to_string().trim_end());
            Ok(Exit::Error)
        }
        Err(help) => {
            out.text(&help.render().to_string())?;
            Ok(Exit::Ok)
        }
    }
}

async fn dispatch(plugin: &Plugin, out: &mut Output) -> Result<Exit, CliError> {
    match &plugin.verb {
        Verb::Local(LocalVerb::Lint(args)) => lint::run(args, &plugin.global, out).await,
        Verb::Local(LocalVerb::Version(args)) => version::run(args, out),
        Verb::Local(LocalVerb::Completion(args)) => completion::run(args, out),
        Verb::Local(LocalVerb::Complete(args)) => completion::complete(args, out).await,
        Verb::Cluster(verb) => {
            refuse_two_scopes(plugin)?;
            // Only here: a local verb reads without awaiting, and would be deaf once the signal is taken.
            tokio::select! {
                ended = connect_and_run(verb, &plugin.global, out) => ended,
                _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
            }
        }
    }
}

async fn connect_and_run(
    verb: &ClusterVerb,
    global: &GlobalArgs,
    out: &mut Output,
) -> Result<Exit, CliError> {
    let connection = connect::load(&global.connect_options()).await?;
    run_in_cluster(verb, &Session::open(&connection)?, out).await
}

/// clap sees a conflict with a global flag only when both come after the verb.
fn refuse_two_scopes(plugin: &Plugin) -> Result<(), CliError> {
    let everywhere = matches!(&plugin.verb, Verb::Cluster(ClusterVerb::List(args)) if args.all_namespaces);
    match (&plugin.global.namespace, everywhere) {
        (Some(namespace), true) => Err(CliError::Usage(format!(
            "--namespace {namespace} and --all-namespaces exclude each other; give one of them"
        ))),
        _ => Ok(()),
    }
}

/// A verb against a cluster that is connected already.
pub async fn run_in_cluster(
    verb: &ClusterVerb,
    session: &Session,
    out: &mut Output,
) -> Result<Exit, CliError> {
    match verb {
        ClusterVerb::Get(args) => get::run(args, session, out).await,
        ClusterVerb::List(args) => list::run(args, session, out).await,
        ClusterVerb::Status(args) => status::run(args, session, out).await,
        ClusterVerb::Explain(args) => explain::run(args, session, out).await,
        ClusterVerb::Promote(args) => promote::run(args, session, out).await,
        ClusterVerb::Abort(args) => abort::run(args, session, out).await,
        ClusterVerb::Retry(args) => retry::run(args, session, out).await,
        ClusterVerb::Pause(args) => pause::run(true, args, session, out).await,
        ClusterVerb::Resume(args) => pause::run(false, args, session, out).await,
        ClusterVerb::Undo(args) => undo::run(args, session, out).await,
        ClusterVerb::Restart(args) => restart::run(args, session, out).await,
        ClusterVerb::Set(SetVerb::Image(args)) => set_image::run(args, session, out).await,
    }
}
