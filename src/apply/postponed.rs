//! Statuses that were worth no write so far, by Rollout. Memory only: whatever is lost with it is found out anew.
//!
//! Guarantee: a status is handed back only beside the written one that it was made from.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::api::resource::{ObjectKey, metadata_text};
use crate::plan::model::Plan;
use crate::plan::snapshot::{Snapshot, Unwritten};

#[derive(Debug, Default)]
pub struct Postponed {
    kept: Mutex<BTreeMap<ObjectKey, Left>>,
}

#[derive(Debug)]
struct Left {
    uid: String,
    /// The status as it was written, as text: its tree takes ten times the room.
    written: Box<str>,
    unwritten: Unwritten,
}

impl Postponed {
    /// What was left unwritten about this Rollout, if nobody has written its status since.
    pub fn recall(&self, rollout: &Value) -> Option<Unwritten> {
        let kept = self.lock();
        let kept = kept.get(&ObjectKey::of(rollout)?)?;
        let same =
            metadata_text(rollout, "uid") == Some(kept.uid.as_str()) && written(rollout) == kept.written;
        same.then(|| kept.unwritten.clone())
    }

    /// After a plan was carried out.
    pub fn keep(&self, snapshot: &Snapshot, plan: &Plan, now: DateTime<Utc>) {
        let Some(key) = ObjectKey::of(&snapshot.rollout) else {
            return;
        };
        if plan.status_due.is_none() {
            return self.forget(&key);
        }
        let before = snapshot.unwritten.as_ref();
        let kept = Left {
            uid: metadata_text(&snapshot.rollout, "uid")
                .unwrap_or_default()
                .to_owned(),
            written: written(&snapshot.rollout),
            unwritten: Unwritten {
                status: plan.status.clone(),
                since: before.map_or(now, |before| before.since),
            },
        };
        self.lock().insert(key, kept);
    }

    pub fn forget(&self, rollout: &ObjectKey) {
        self.lock().remove(rollout);
    }

    /// Somebody else may have led in between, and found out other things.
    pub fn forget_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Left>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The order of its fields is that of the API server, which does not change while the status stays.
fn written(rollout: &Value) -> Box<str> {
    let status = rollout.get("status").map(Value::to_string);
    status.unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_is_handed_back_beside_the_one_it_was_made_from_only() {
        let rollout = json!({
            "metadata": {"namespace": "shop", "name": "a", "uid": "1"}, "status": {"phase": "Healthy"},
        });
        let snapshot = Snapshot {
            rollout: rollout.clone(),
            ..Snapshot::default()
        };
        let now = DateTime::UNIX_EPOCH;
        let later = Plan {
            status_due: Some(now),
            ..Plan::default()
        };
        let postponed = Postponed::default();
        assert_eq!(postponed.recall(&rollout), None);
        postponed.keep(&snapshot, &later, now);
        assert_eq!(postponed.recall(&rollout).map(|kept| kept.since), Some(now));
        for (field, value) in [("/metadata/uid", "2"), ("/status/phase", "Paused")] {
            let mut other = rollout.clone();
            *other.pointer_mut(field).unwrap() = json!(value);
            assert_eq!(postponed.recall(&other), None, "{field}");
        }
        postponed.keep(&snapshot, &Plan::default(), now);
        assert_eq!(postponed.recall(&rollout), None, "written");
    }
}
