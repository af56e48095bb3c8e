//! What a data plane is asked about its weights, and what it answers: the field of the Rollout that names who knows,
//! the question put to it, and the answer before anybody has judged it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Who knows what the data plane does: exactly one of `traefik` and `prometheus`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataPlane {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traefik: Option<TraefikApi>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<MeasuredShare>,
}

/// The weights in effect, by Traefik's own API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraefikApi {
    /// `http://host:port` of its API.
    #[schemars(length(max = 2048))]
    pub url: String,
}

/// The share of requests that the canary Service was given, by the data plane's own counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MeasuredShare {
    /// `http://host:port`; the controller's `--prometheus-url` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub address: Option<String>,
    /// The share, 0 to 1.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
    /// How many requests the share is made of.
    #[schemars(length(min = 1, max = 4096))]
    pub requests: String,
}

impl DataPlane {
    /// For people: who was asked, and where.
    pub fn describe(&self) -> String {
        match (&self.traefik, &self.prometheus) {
            (Some(traefik), _) => format!("Traefik at {}", traefik.url),
            (
                None,
                Some(MeasuredShare {
                    address: Some(at), ..
                }),
            ) => format!("Prometheus at {at}"),
            (None, _) => "Prometheus".to_owned(),
        }
    }
}

/// One question, with nothing left to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Of the Rollout: only what concerns it is read, and shares of the providers are per namespace.
    pub namespace: String,
    pub data_plane: DataPlane,
}

/// The newest answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataPlaneSeen {
    /// What the answer says was so at this time or later.
    pub asked_at: DateTime<Utc>,
    pub said: Said,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Said {
    Traefik(TraefikConfiguration),
    /// Finite numbers, as they came.
    Share {
        share: f64,
        requests: f64,
    },
    /// No usable answer, and why.
    Nothing(String),
}

/// Of Traefik's dynamic configuration what concerns one namespace; keys end in `@` and the name of a provider. It is
/// read from whoever answers: texts and lists are bounded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraefikConfiguration {
    pub routers: BTreeMap<String, TraefikRouter>,
    pub services: BTreeMap<String, TraefikService>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraefikRouter {
    #[serde(default, deserialize_with = "short")]
    pub service: String,
    #[serde(default, deserialize_with = "short")]
    pub status: String,
    #[serde(default)]
    pub observability: TraefikObservability,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraefikObservability {
    #[serde(default)]
    pub metadata: TraefikMetadata,
}

/// Where a router comes from; Traefik tells of Ingresses only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraefikMetadata {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<TraefikIngress>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraefikIngress {
    #[serde(default, deserialize_with = "short")]
    pub namespace: String,
    #[serde(default, deserialize_with = "short")]
    pub ingress_name: String,
    #[serde(default, deserialize_with = "short")]
    pub service_name: String,
    #[serde(default, deserialize_with = "short")]
    pub service_port: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraefikService {
    /// `None`: it is split among nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighted: Option<TraefikSplit>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraefikSplit {
    #[serde(default, deserialize_with = "few")]
    pub services: Vec<TraefikShare>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraefikShare {
    #[serde(deserialize_with = "short")]
    pub name: String,
    /// Traefik counts an absent one as 1.
    #[serde(default = "one")]
    pub weight: i64,
}

fn one() -> i64 {
    1
}

const SHORT_BYTES: usize = 1_024;
const FEW: usize = 256;

/// No name of Traefik's is longer.
fn short<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Short;
    impl Visitor<'_> for Short {
        type Value = String;

        fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
            write!(formatter, "a text of at most {SHORT_BYTES} bytes")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
            match text.len() {
                0..=SHORT_BYTES => Ok(text.to_owned()),
                length => Err(E::invalid_length(length, &self)),
            }
        }
    }
    deserializer.deserialize_str(Short)
}

/// No service is split among more.
fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TraefikShare>, D::Error> {
    struct Few;
    impl<'de> Visitor<'de> for Few {
        type Value = Vec<TraefikShare>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
            write!(formatter, "a list of at most {FEW} services")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut shares = Vec::new();
            while let Some(share) = list.next_element()? {
                shares.push(share);
                if shares.len() > FEW {
                    return Err(A::Error::invalid_length(shares.len(), &self));
                }
            }
            Ok(shares)
        }
    }
    deserializer.deserialize_seq(Few)
}
