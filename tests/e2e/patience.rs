//! Waiting for what others do, and saying what was seen instead when it does not come.

use std::time::Duration;

use tidegate::clock::Stopwatch;

pub const POLL: Duration = Duration::from_millis(100);
pub const PATIENCE: Duration = Duration::from_secs(240);

/// What `look` finds, as soon as it does; its error says what is there instead.
pub async fn until<T, F>(what: &str, look: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let stopwatch = Stopwatch::start();
    loop {
        let seen = match look().await {
            Ok(found) => return found,
            Err(seen) => seen,
        };
        assert!(stopwatch.elapsed() < PATIENCE, "waited until {what}: {seen}");
        tokio::time::sleep(POLL).await;
    }
}
