//! Questions to data planes, asked beside the rounds: a data plane that hangs must not hold up an abort. A round takes
//! the newest answer there is and leaves another question behind; what it decided to wait for brings the next round.
//!
//! Guarantee: of one Rollout one question at a time is under way. Memory only: what is forgotten is asked anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use crate::api::data_plane::{DataPlaneSeen, Question};
use crate::api::resource::ObjectKey;
use crate::providers::Witness;

#[derive(Default)]
pub struct DataPlanes {
    /// `None`: nobody can be asked, so there is never an answer.
    witness: Option<Arc<dyn Witness>>,
    known: Arc<Mutex<BTreeMap<ObjectKey, Known>>>,
}

struct Known {
    question: Question,
    newest: Option<DataPlaneSeen>,
    is_asking: bool,
    is_forgotten: bool,
}

impl DataPlanes {
    pub fn new(witness: Arc<dyn Witness>) -> Self {
        DataPlanes {
            witness: Some(witness),
            known: Arc::default(),
        }
    }

    /// The newest answer to this question; it is asked again, unless that is under way.
    pub fn ask(&self, rollout: &ObjectKey, question: Question, now: DateTime<Utc>) -> Option<DataPlaneSeen> {
        let witness = Arc::clone(self.witness.as_ref()?);
        let mut known = lock(&self.known);
        let entry = known.entry(rollout.clone()).or_insert_with(|| Known {
            question: question.clone(),
            newest: None,
            is_asking: false,
            is_forgotten: false,
        });
        entry.is_forgotten = false;
        if entry.question != question {
            entry.question = question.clone();
            entry.newest = None;
        }
        if !entry.is_asking {
            entry.is_asking = true;
            let (rollout, known) = (rollout.clone(), Arc::clone(&self.known));
            tokio::spawn(async move {
                let said = witness.ask(&question, now).await;
                take(
                    &mut lock(&known),
                    &rollout,
                    &question,
                    DataPlaneSeen { asked_at: now, said },
                );
            });
        }
        entry.newest.clone()
    }

    /// Nothing depends on it any more. A question under way is answered to nobody.
    pub fn forget(&self, rollout: &ObjectKey) {
        let mut known = lock(&self.known);
        match known.get_mut(rollout) {
            Some(entry) if entry.is_asking => {
                entry.is_forgotten = true;
                entry.newest = None;
            }
            _ => drop(known.remove(rollout)),
        }
    }
}

fn take(
    known: &mut BTreeMap<ObjectKey, Known>,
    rollout: &ObjectKey,
    question: &Question,
    answer: DataPlaneSeen,
) {
    let Some(entry) = known.get_mut(rollout) else {
        return;
    };
    entry.is_asking = false;
    // Otherwise it answers something else by now.
    if entry.question == *question {
        entry.newest = Some(answer);
    }
    if entry.is_forgotten {
        known.remove(rollout);
    }
}

fn lock(known: &Mutex<BTreeMap<ObjectKey, Known>>) -> MutexGuard<'_, BTreeMap<ObjectKey, Known>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::BoxFuture;
    use tokio::sync::Notify;

    use super::*;
    use crate::api::data_plane::{DataPlane, Said};

    /// Answers when told to, with the number of the question.
    #[derive(Default)]
    struct Slow {
        asked: AtomicUsize,
        answer: Notify,
    }

    impl Witness for Slow {
        fn ask<'a>(&'a self, _: &'a Question, _: DateTime<Utc>) -> BoxFuture<'a, Said> {
            Box::pin(async {
                let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
                self.answer.notified().await;
                Said::Nothing(number.to_string())
            })
        }
    }

    fn question(namespace: &str) -> Question {
        Question {
            namespace: namespace.to_owned(),
            data_plane: DataPlane::default(),
        }
    }

    async fn let_them_run() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_round_never_waits_and_one_question_is_under_way() {
        let slow = Arc::new(Slow::default());
        let data_planes = DataPlanes::new(slow.clone());
        let key = ObjectKey::new("shop", "checkout");
        let now = |second| DateTime::from_timestamp(second, 0).unwrap();
        for second in 0..3 {
            assert_eq!(data_planes.ask(&key, question("shop"), now(second)), None);
            let_them_run().await;
        }
        assert_eq!(slow.asked.load(Ordering::SeqCst), 1);
        slow.answer.notify_one();
        let_them_run().await;
        let answer = data_planes.ask(&key, question("shop"), now(3));
        let first = DataPlaneSeen {
            asked_at: now(0),
            said: Said::Nothing("1".to_owned()),
        };
        assert_eq!(answer, Some(first));
        let_them_run().await;
        assert_eq!(slow.asked.load(Ordering::SeqCst), 2);
        // Another question has no answer yet, and that to the old one is none.
        assert_eq!(data_planes.ask(&key, question("other"), now(4)), None);
        slow.answer.notify_one();
        let_them_run().await;
        assert_eq!(data_planes.ask(&key, question("other"), now(5)), None);
        let_them_run().await;
        slow.answer.notify_one();
        let_them_run().await;
        assert!(data_planes.ask(&key, question("other"), now(6)).is_some());
    }

    #[tokio::test]
    async fn without_a_witness_there_is_no_answer() {
        let data_planes = DataPlanes::default();
        let key = ObjectKey::new("shop", "checkout");
        assert_eq!(
            data_planes.ask(&key, question("shop"), DateTime::UNIX_EPOCH),
            None
        );
        data_planes.forget(&key);
    }
}
