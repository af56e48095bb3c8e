//! The one home of time. Everything else takes `now` as an argument or asks a [`Clock`], so that simulations can
//! run in virtual time. What must be measured rather than dated (a latency, a rate, a benchmark) uses a
//! [`Stopwatch`], which no change of the wall clock can mislead.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

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

/// Measures how long something takes, on the monotonic clock. It never says what time it is.
///
/// Under tokio's paused time (`start_paused` in a test) it follows that virtual time, like `tokio::time::sleep`.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    started: Instant,
}

impl Stopwatch {
    pub fn start() -> Self {
        Stopwatch {
            started: Instant::now(),
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What is left of `limit`, to sleep for; nothing once it is over.
    pub fn left_of(&self, limit: Duration) -> Duration {
        limit.saturating_sub(self.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_clock_stands_still_until_it_is_set() {
        let start = DateTime::UNIX_EPOCH;
        let clock = Clock::virtual_at(start);
        let seen_elsewhere = clock.clone();
        assert_eq!(clock.now(), start);
        clock.set(start + chrono::TimeDelta::seconds(90));
        assert_eq!(seen_elsewhere.now(), start + chrono::TimeDelta::seconds(90));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopwatch_follows_tokios_virtual_time() {
        let stopwatch = Stopwatch::start();
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(stopwatch.elapsed(), Duration::from_millis(1500));
        assert_eq!(
            stopwatch.left_of(Duration::from_secs(2)),
            Duration::from_millis(500)
        );
        assert_eq!(stopwatch.left_of(Duration::from_secs(1)), Duration::ZERO);
    }
}
