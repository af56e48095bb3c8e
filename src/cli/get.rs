//! `get`: the tree of one Rollout, once or until told otherwise.

use std::time::Duration;

use super::error::{CliError, Exit};
use super::output::Output;
use super::patience::{self, Patience};
use super::plugin::Format;
use super::session::Session;
use super::target::RolloutName;
use crate::api::rollout_status::Phase;
use crate::view::RolloutView;
use crate::view::tree::render_tree;

const REFRESH: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, clap::Args)]
pub struct GetArgs {
    /// NAME or rollout/NAME
    pub name: RolloutName,
    /// Keep showing it as it changes
    #[arg(short, long, conflicts_with = "output")]
    pub watch: bool,
    /// Keep showing it until it is in this state
    #[arg(long, value_enum, conflicts_with = "output")]
    pub until: Option<Until>,
    /// Output format; json and yaml show the tree as data, wide cuts nothing
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Until {
    Healthy,
    Paused,
    Degraded,
}

impl Until {
    fn is_reached(self, view: &RolloutView) -> bool {
        let reached = match self {
            Until::Healthy => view.phase == Phase::Healthy,
            Until::Paused => view.waits_for_a_person(),
            Until::Degraded => view.phase == Phase::Degraded,
        };
        reached && !view.stale
    }
}

pub async fn run(args: &GetArgs, session: &Session, out: &mut Output) -> Result<Exit, CliError> {
    if args.watch || args.until.is_some() {
        return watch(args, session, out).await;
    }
    let view = session.get_view(&args.name).await?;
    match args.output {
        Some(Format::Json) => out.json(&view)?,
        Some(Format::Yaml) => out.yaml(&view)?,
        Some(Format::Name) => out.line(args.name.qualified())?,
        Some(Format::Wide) => print(&view, None, session, out)?,
        None => print(&view, out.screen.width, session, out)?,
    }
    Ok(Exit::Ok)
}

fn print(
    view: &RolloutView,
    width: Option<usize>,
    session: &Session,
    out: &mut Output,
) -> Result<(), CliError> {
    let rendered = render_tree(view, session.clock.now(), width, out.screen.paint);
    Ok(out.lines(rendered.lines())?)
}

/// A terminal is redrawn every second; elsewhere the tree is printed again when something other than an age changed.
async fn watch(args: &GetArgs, session: &Session, out: &mut Output) -> Result<Exit, CliError> {
    let mut shown: Option<RolloutView> = None;
    let mut patience = Patience::new(Some(patience::DEFAULT));
    loop {
        let view = match session.get_view(&args.name).await {
            Ok(view) => view,
            Err(failure) => {
                patience.bear(failure, out).await?;
                continue;
            }
        };
        patience.restore();
        out.measure();
        let screen = out.screen;
        if screen.height.is_some() || shown.as_ref() != Some(&view) {
            let rendered = render_tree(&view, session.clock.now(), screen.width, screen.paint);
            out.redraw(&rendered.fit(screen.height.unwrap_or(usize::MAX)))?;
        }
        if args.until.is_some_and(|until| until.is_reached(&view)) {
            out.line("")?;
            return Ok(Exit::Ok);
        }
        shown = Some(view);
        tokio::time::sleep(REFRESH).await;
    }
}
