//! `list`: one line for each Rollout.

use super::error::{CliError, Exit};
use super::output::Output;
use super::plugin::Format;
use super::session::Session;
use crate::view::row::{Columns, render_list};
use crate::view::{Objects, RolloutView, build};

#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    /// In all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Output format
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
}

pub async fn run(args: &ListArgs, session: &Session, out: &mut Output) -> Result<Exit, CliError> {
    let rollouts = session.list_rollouts(args.all_namespaces).await?;
    let views: Vec<RolloutView> = rollouts
        .into_iter()
        .map(|rollout| build(&Objects::alone(rollout)))
        .collect();
    match args.output {
        Some(Format::Json) => out.json(&views)?,
        Some(Format::Yaml) => out.yaml(&views)?,
        Some(Format::Name) => {
            out.lines(
                views
                    .iter()
                    .map(|view| format!("rollout.tidegate.dev/{}", view.name)),
            )?;
        }
        None | Some(Format::Wide) if views.is_empty() => {
            let place = format!(" in {} namespace", session.namespace);
            out.note(format!(
                "No rollouts found{}",
                if args.all_namespaces { "" } else { &place }
            ));
        }
        None | Some(Format::Wide) => {
            let wide = args.output == Some(Format::Wide);
            let columns = Columns {
                namespace: args.all_namespaces,
                wide,
            };
            let width = out.screen.width.filter(|_| !wide);
            out.lines(render_list(
                &views,
                columns,
                session.clock.now(),
                width,
                out.screen.paint,
            ))?;
        }
    }
    Ok(Exit::Ok)
}
