//! Waiting has a type: it becomes `status.waitingOn`, a condition, a metric and a line of the CLI.

use chrono::{DateTime, Duration, Utc};

use crate::api::rollout_status::{WaitingOn, WaitingReason};
use crate::plan::text::shorten;
use crate::plan::world::World;

/// For so long it is looked every second whether what is not watched has come to pass, then every ten.
pub const PATIENCE: Duration = Duration::seconds(60);
const SOON: Duration = Duration::seconds(1);
const LATER: Duration = Duration::seconds(10);
const MAX_MESSAGE: usize = 2_048;

/// The next look at what is expected since `since`.
pub fn look_again(since: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    now + if now < since + PATIENCE { SOON } else { LATER }
}

/// What an action waits for; who records it adds since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    pub reason: WaitingReason,
    pub message: String,
    /// When it ends by itself.
    pub until: Option<DateTime<Utc>>,
}

impl Wait {
    /// Until something changes in the cluster.
    pub fn on(reason: WaitingReason, message: String) -> Self {
        Wait {
            reason,
            message,
            until: None,
        }
    }

    pub fn until(reason: WaitingReason, message: String, until: DateTime<Utc>) -> Self {
        Wait {
            reason,
            message,
            until: Some(until),
        }
    }

    /// For status: the beginning of a wait for the same reason is kept, so that unchanged worlds are not written.
    pub fn recorded(self, before: Option<&WaitingOn>, now: DateTime<Utc>) -> WaitingOn {
        let since = before
            .filter(|before| before.reason == self.reason)
            .map_or(now, |before| before.since);
        WaitingOn {
            reason: self.reason,
            message: shorten(self.message, MAX_MESSAGE),
            since,
            until: self.until,
        }
    }
}

/// Nothing goes forward while the user holds it.
pub fn unless_paused(world: &World) -> Result<(), Wait> {
    match world.spec_paused() {
        true => Err(Wait::on(
            WaitingReason::SpecPaused,
            "spec.paused is set".to_owned(),
        )),
        false => Ok(()),
    }
}
