//! Asks whoever `trafficRouting.dataPlane` names, and says what was answered; others judge it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;

use super::traefik::Traefik;
use super::{BuildError, Prometheus, Provider, Witness};
use crate::api::address::AddressPolicy;
use crate::api::data_plane::{MeasuredShare, Question, Said};
use crate::api::duration::Duration;
use crate::api::measure::{MeasureTask, Outcome};

/// For a query, and as long again for its turn; there are two of them.
const QUERY_SECONDS: u32 = 5;
const MAX_AGE_SECONDS: u32 = 60;

pub struct DataPlaneReader {
    prometheus: Arc<Prometheus>,
    traefik: Traefik,
}

impl DataPlaneReader {
    pub fn new(prometheus: Arc<Prometheus>, policy: AddressPolicy) -> Result<Self, BuildError> {
        Ok(DataPlaneReader {
            prometheus,
            traefik: Traefik::new(policy)?,
        })
    }

    async fn measure(
        &self,
        namespace: &str,
        measured: &MeasuredShare,
        now: DateTime<Utc>,
    ) -> Result<Said, String> {
        let one = async |name: &str, query: &String| {
            let task = MeasureTask {
                metric: name.to_owned(),
                namespace: namespace.to_owned(),
                address: measured.address.clone(),
                query: query.clone(),
                samples_query: None,
                min_samples: None,
                timeout: Duration::from_seconds(QUERY_SECONDS),
                max_age: Duration::from_seconds(MAX_AGE_SECONDS),
                many_series: false,
            };
            match self.prometheus.measure(&task, now).await {
                Outcome::Samples(samples) => Ok(samples.sum()),
                Outcome::NoData(why) | Outcome::Partial(why) | Outcome::Error(why) => {
                    Err(format!("{name}: {why}"))
                }
            }
        };
        let requests = one("requests", &measured.requests).await?;
        if requests < 0.0 {
            return Err(format!("requests: {requests} is no number of requests"));
        }
        // Without requests a share is a division by 0.
        let share = match requests < 1.0 {
            true => 0.0,
            false => one("query", &measured.query).await?,
        };
        if !(0.0..=1.0).contains(&share) {
            return Err(format!("query: {share} is no share; it must be from 0 to 1"));
        }
        Ok(Said::Share { share, requests })
    }
}

impl Witness for DataPlaneReader {
    fn ask<'a>(&'a self, question: &'a Question, now: DateTime<Utc>) -> BoxFuture<'a, Said> {
        Box::pin(async move {
            let Question {
                namespace,
                data_plane,
            } = question;
            let answer = match (&data_plane.traefik, &data_plane.prometheus) {
                (Some(traefik), _) => self
                    .traefik
                    .read(namespace, &traefik.url)
                    .await
                    .map(Said::Traefik),
                (None, Some(measured)) => self.measure(namespace, measured, now).await,
                (None, None) => Err("nobody is named who could be asked".to_owned()),
            };
            answer.unwrap_or_else(Said::Nothing)
        })
    }
}
