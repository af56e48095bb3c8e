//! The safe path of alerts: the leader asks Alertmanager, in case that nothing can be sent to the receiver.
//!
//! One question for all Rollouts, and none while no Rollout in release asks for alerts. Only matchers count here: what
//! Alertmanager has was not sent to us, so labels that happen to name a Rollout mean nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::alerts::Source;
use super::context::Context;
use super::lease::campaign::Role;
use crate::alerts::decode::decode_alerts;
use crate::alerts::{Namespaces, Reach};
use crate::providers::AlertSource;

/// Whom to ask and how often.
#[derive(Clone)]
pub struct AlertPoll {
    pub source: Arc<dyn AlertSource>,
    pub interval: Duration,
}

/// Asks for as long as we lead; never ends.
pub async fn poll(context: &Context, settings: &AlertPoll, mut role: watch::Receiver<Role>) -> ! {
    let mut is_failing = false;
    loop {
        sleep(settings.interval).await;
        // Whoever tells the role is gone only when the controller is.
        if role.wait_for(|role| role.epoch().is_some()).await.is_err() {
            std::future::pending::<()>().await;
        }
        if !context.alerts.as_ref().is_some_and(|alerts| alerts.is_armed()) {
            continue;
        }
        let asked = ask(context, settings).await;
        context
            .metrics
            .alerts
            .count_poll(if asked.is_ok() { "ok" } else { "error" });
        // Said once, not with every question.
        match &asked {
            Err(why) if !is_failing => tracing::warn!(
                why,
                "alerts cannot be asked for, or not stored; it is tried again"
            ),
            Ok(()) if is_failing => tracing::info!("alerts can be asked for again"),
            _ => {}
        }
        is_failing = asked.is_err();
    }
}

async fn ask(context: &Context, settings: &AlertPoll) -> Result<(), String> {
    let body = settings.source.active().await?;
    let batch = decode_alerts(&body).map_err(|error| error.to_string())?;
    drop(body);
    let reach = Reach {
        namespaces: &Namespaces::All,
        labels: None,
    };
    context.metrics.alerts.count("poll", "malformed", batch.malformed);
    let taken = context.take_alerts(Source::Poll, &batch.alerts, reach).await;
    match taken.unstored {
        true => Err("not everything could be stored".to_owned()),
        false => Ok(()),
    }
}
