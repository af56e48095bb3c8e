//! What is urgent goes first: while a round is under way that takes traffic back or does what a person asks for, the
//! requests of all other rounds wait, so that they do not stand before it in a busy API server.
//!
//! Guarantees: what is urgent waits for nobody; nobody else waits longer than [`AT_MOST`] with a request, however much is
//! urgent.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

const AT_MOST: Duration = Duration::from_millis(250);

tokio::task_local! {
    static IS_URGENT: ();
}

/// A handle to what is urgent in this process.
#[derive(Clone, Debug)]
pub struct Urgency {
    under_way: Arc<watch::Sender<usize>>,
}

impl Default for Urgency {
    fn default() -> Self {
        Urgency {
            under_way: Arc::new(watch::channel(0).0),
        }
    }
}

impl Urgency {
    /// A round before which others wait.
    pub async fn first<R: Future>(&self, round: R) -> R::Output {
        let _under_way = UnderWay::begin(&self.under_way);
        IS_URGENT.scope((), round).await
    }

    /// Waits for what is more urgent than whoever asks.
    pub async fn give_way(&self) {
        let is_urgent = IS_URGENT.try_with(|()| ()).is_ok();
        if is_urgent || *self.under_way.borrow() == 0 {
            return;
        }
        let mut under_way = self.under_way.subscribe();
        let _over_or_late = timeout(AT_MOST, under_way.wait_for(|count| *count == 0)).await;
    }
}

/// Counts for as long as it lives, however the round ends.
struct UnderWay<'a>(&'a watch::Sender<usize>);

impl<'a> UnderWay<'a> {
    fn begin(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        UnderWay(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    async fn waited(urgency: &Urgency) -> Duration {
        let begun = Instant::now();
        urgency.give_way().await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn others_wait_for_what_is_urgent_and_not_for_ever() {
        let urgency = Urgency::default();
        assert_eq!(waited(&urgency).await, Duration::ZERO);
        for (takes, waits) in [(100, 100), (10_000, 250)] {
            let round = async {
                assert_eq!(waited(&urgency).await, Duration::ZERO, "it waits for nobody");
                sleep(Duration::from_millis(takes)).await;
            };
            let ordinary = async {
                tokio::task::yield_now().await;
                waited(&urgency).await
            };
            let ((), waited) = tokio::join!(urgency.first(round), ordinary);
            assert_eq!(waited.as_millis(), waits);
        }
        let cut_off = timeout(Duration::from_millis(1), urgency.first(sleep(AT_MOST)));
        assert!(cut_off.await.is_err());
        assert_eq!(waited(&urgency).await, Duration::ZERO, "it is over");
    }
}
