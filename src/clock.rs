//! The one home of wall-clock time. Everything else takes `now` as an argument or asks a [`Clock`],
//! so that simulations can run in virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};

/// Where `now` comes from: the system, or a test that turns the hands itself.
#[derive(Clone, Debug)]
pub enum Clock {
    System,
    /// Milliseconds since the Unix epoch, moved by [`Clock::set`].
    Virtual(Arc<AtomicI64>),
}

impl Clock {
    pub fn virtual_at(now: DateTime<Utc>) -> Self {
        Clock::Virtual(Arc::new(AtomicI64::new(now.timestamp_millis())))
    }

    pub fn now(&self) -> DateTime<Utc> {
        match self {
            Clock::System => Utc::now(),
            Clock::Virtual(millis) => {
                DateTime::from_timestamp_millis(millis.load(Ordering::SeqCst)).unwrap_or(DateTime::UNIX_EPOCH)
            }
        }
    }

    /// Moves a virtual clock; the system clock does not listen.
    pub fn set(&self, now: DateTime<Utc>) {
        if let Clock::Virtual(millis) = self {
            millis.store(now.timestamp_millis(), Ordering::SeqCst);
        }
    }
}
