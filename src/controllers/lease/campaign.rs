//! Reads and writes the Lease as [`Election`] says, and tells the writes and the dispatchers who leads.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::election::{Act, Election, Record, Timing};
use crate::api::failure::with_causes;
use crate::api::patch::PatchOp;
use crate::api::resource::{ObjectKey, Resource, metadata_text};
use crate::client::leadership::{Leadership, Term};
use crate::client::{Api, Expected, Failure};
use crate::clock::Clock;
use crate::controllers::metrics::Metrics;

/// How long giving the lead back may hold up the end of the process.
const RESIGN_WITHIN: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The Lease could not be read yet.
    Undecided,
    Standby,
    Leader {
        epoch: u64,
    },
}

impl Role {
    pub fn epoch(self) -> Option<u64> {
        match self {
            Role::Leader { epoch } => Some(epoch),
            Role::Undecided | Role::Standby => None,
        }
    }
}

/// Where to campaign and as whom.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    pub lease: ObjectKey,
    /// Of this process alone.
    pub identity: String,
    pub timing: Timing,
}

pub struct Campaign {
    api: Api,
    clock: Clock,
    settings: LeaseSettings,
    election: Election,
    leadership: Leadership,
    role: watch::Sender<Role>,
    /// Since when this candidate leads, for the record.
    acquired: Option<DateTime<Utc>>,
}

impl Campaign {
    /// From here on writes of `api` wait for the first term.
    pub fn new(api: &Api, clock: Clock, settings: LeaseSettings, role: watch::Sender<Role>) -> Self {
        let leadership = api.leadership().clone();
        leadership.revoke();
        role.send_replace(Role::Undecided);
        Campaign {
            // Whoever asks for the lead does not have it.
            api: Api::new(api.client().clone()),
            clock,
            election: Election::new(settings.identity.clone(), settings.timing),
            settings,
            leadership,
            role,
            acquired: None,
        }
    }

    /// Campaigns, leads, and campaigns again, for as long as it is polled.
    pub async fn run(&mut self, metrics: &Metrics) -> ! {
        loop {
            let now = self.leadership.stopwatch().elapsed();
            let act = self.election.next(now);
            self.proclaim(metrics);
            if let Act::Wait(until) = act {
                sleep(until.saturating_sub(now)).await;
            } else {
                self.carry_out(act, now).await;
            }
        }
    }

    /// Gives the lead back, so that the next one need not wait for the end of the lease. Nothing may be in flight.
    pub async fn resign(mut self, metrics: &Metrics) {
        let record = self.election.resign();
        self.proclaim(metrics);
        let Some(record) = record else { return };
        match timeout(RESIGN_WITHIN, self.vacate(&record)).await {
            Ok(Ok(_)) => tracing::info!(lease = %self.settings.lease, "gave the lead back"),
            Ok(Err(error)) => tracing::warn!(%error, "the lead was not given back; the lease will run out"),
            Err(_) => tracing::warn!("the lead was not given back in time; the lease will run out"),
        }
    }

    /// A renewal that was cut off may have been done since the record was read.
    async fn vacate(&self, record: &Record) -> Result<Record, Failure> {
        let vacant = || self.spec("", record.transitions);
        let written = self.write(record, vacant()).await;
        if written != Err(Failure::Conflict) {
            return written;
        }
        let lease = self.api.get(Resource::Lease, &self.settings.lease).await?;
        let is_ours =
            |now: &Record| now.holder == self.settings.identity && now.transitions == record.transitions;
        match lease.as_ref().map(read).filter(is_ours) {
            Some(renewed) => self.write(&renewed, vacant()).await,
            None => written,
        }
    }

    async fn carry_out(&mut self, act: Act, sent: Duration) {
        let patience = self.election.patience(sent);
        let answer = timeout(patience, self.ask(&act)).await;
        let now = self.leadership.stopwatch().elapsed();
        let answer = answer.unwrap_or_else(|_| {
            Err(Failure::Unknown(format!(
                "no answer within {:.1} s",
                patience.as_secs_f64()
            )))
        });
        match (act, answer) {
            (Act::Read, Ok(record)) => self.election.saw(record, now),
            (_, Ok(Some(record))) => self.election.wrote(record, sent, now),
            (_, Ok(None)) => {}
            (act, Err(failure)) => {
                // Somebody was faster, which is what a Lease is for.
                if !matches!(failure, Failure::Conflict | Failure::AlreadyExists) {
                    let lease = &self.settings.lease;
                    tracing::warn!(%lease, ?act, error = %with_causes(&failure), "no answer about the lead");
                }
                self.election.failed(&failure, now);
            }
        }
    }

    async fn ask(&mut self, act: &Act) -> Result<Option<Record>, Failure> {
        match act {
            Act::Wait(_) => Ok(None),
            Act::Read => {
                let lease = self.api.get(Resource::Lease, &self.settings.lease).await?;
                Ok(lease.as_ref().map(read))
            }
            Act::Create(epoch) => {
                self.acquired = Some(self.clock.now());
                let ObjectKey { namespace, name } = &self.settings.lease;
                let spec = self.spec(&self.settings.identity, *epoch);
                let mut lease = json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec});
                Resource::Lease.stamp(&mut lease);
                let created = self.api.create(Resource::Lease, namespace, &lease).await?;
                Ok(Some(read(&created)))
            }
            Act::Take(record, epoch) => {
                self.acquired = Some(self.clock.now());
                let spec = self.spec(&self.settings.identity, *epoch);
                self.write(record, spec).await.map(Some)
            }
            Act::Renew(record) => {
                let spec = self.spec(&self.settings.identity, record.transitions);
                self.write(record, spec).await.map(Some)
            }
        }
    }

    fn spec(&self, holder: &str, epoch: u64) -> Value {
        let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
        json!({
            "holderIdentity": holder,
            "leaseDurationSeconds": self.settings.timing.lease.as_secs(),
            "acquireTime": self.acquired.map(time),
            "renewTime": time(self.clock.now()),
            "leaseTransitions": epoch,
        })
    }

    async fn write(&self, record: &Record, spec: Value) -> Result<Record, Failure> {
        let expected = Expected {
            uid: &record.uid,
            resource_version: &record.version,
        };
        let ops = [PatchOp::add("/spec", spec)];
        let key = &self.settings.lease;
        let written = self.api.patch(Resource::Lease, key, "", expected, &ops).await?;
        Ok(read(&written))
    }

    /// Writes are stopped first and allowed last.
    fn proclaim(&self, metrics: &Metrics) {
        let term = self.election.term();
        match term {
            Some(term) => self.leadership.grant(term),
            None => self.leadership.revoke(),
        }
        let role = match term {
            Some(Term { epoch, .. }) => Role::Leader { epoch },
            None if self.election.is_undecided() => Role::Undecided,
            None => Role::Standby,
        };
        let changed = self
            .role
            .send_if_modified(|told| std::mem::replace(told, role) != role);
        if changed {
            tracing::info!(lease = %self.settings.lease, identity = %self.settings.identity, ?role, "role");
            metrics.set_leader(role.epoch());
        }
    }
}

fn read(lease: &Value) -> Record {
    let metadata = |field| metadata_text(lease, field).unwrap_or_default().to_owned();
    let spec = |field| lease.get("spec").and_then(|spec| spec.get(field));
    let text = |field| spec(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |field| spec(field).and_then(Value::as_u64);
    Record {
        uid: metadata("uid"),
        version: metadata("resourceVersion"),
        holder: text("holderIdentity"),
        duration: number("leaseDurationSeconds")
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs),
        renewed: text("renewTime"),
        transitions: number("leaseTransitions").unwrap_or(0),
    }
}
