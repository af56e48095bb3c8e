//! What follows a release must outlive a hiccup of the API server: the release goes on meanwhile, and a pipeline
//! that ends at the first 503 takes it for failed.

use std::time::Duration;

use super::error::CliError;
use super::output::Output;
use crate::clock::Stopwatch;

/// For whoever was told no other limit.
pub const DEFAULT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);

/// How long failures in a row are put up with, if they may pass by themselves.
#[derive(Debug)]
pub struct Patience {
    limit: Option<Duration>,
    failing: Option<Stopwatch>,
}

impl Patience {
    /// Without a limit somebody else ends the waiting.
    pub fn new(limit: Option<Duration>) -> Self {
        Patience { limit, failing: None }
    }

    /// Waits a moment before another attempt; gives the failure back if it will not pass or lasts too long.
    pub async fn bear(&mut self, failure: CliError, out: &mut Output) -> Result<(), CliError> {
        let is_new = self.failing.is_none();
        let since = self.failing.get_or_insert_with(Stopwatch::start);
        let is_over = self.limit.is_some_and(|limit| since.elapsed() >= limit);
        if is_over || !failure.may_pass() {
            return Err(failure);
        }
        if is_new {
            out.note(format!("{failure}; trying again"));
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    /// An attempt has succeeded.
    pub fn restore(&mut self) {
        self.failing = None;
    }
}
