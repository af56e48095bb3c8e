//! Traefik's API: the dynamic configuration that is in effect.
//!
//! `/api/rawdata` is the configuration of everything that this Traefik serves: about 2 KB for each path, so megabytes
//! in a large cluster, of which one namespace is asked for. It is therefore read as it streams, and only what
//! concerns the namespace is kept; what comes in is bounded by bytes and by time, what is kept by number and length.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::sync::mpsc::{Receiver, channel};
use url::Url;

use super::Limits;
use super::answer::printable;
use super::dial::{BuildError, Clients, next_chunk, redirection};
use crate::api::address::AddressPolicy;
use crate::api::data_plane::TraefikConfiguration;
use crate::api::failure::with_causes;

/// For the answer, and as long again for a turn.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Some 30,000 paths.
const MAX_BODY_BYTES: usize = 64 * 1_048_576;
/// Longer than any annotation, which is where long texts come from.
const MAX_STRING_BYTES: usize = 512 * 1_024;
/// No name of Traefik's is longer.
const MAX_NAME_BYTES: usize = 1_024;
/// Routers and services of one namespace.
const MAX_KEPT: usize = 4_096;
/// Parts of the answer between network and parser.
const CHUNKS_AHEAD: usize = 4;

pub struct Traefik {
    clients: Clients,
    limits: Limits,
}

impl Traefik {
    pub fn new(policy: AddressPolicy) -> Result<Self, BuildError> {
        Ok(Traefik {
            clients: Clients::new(policy)?,
            limits: Limits::default(),
        })
    }

    /// What concerns `namespace`, which is whose share of the provider is used as well.
    pub async fn read(&self, namespace: &str, address: &str) -> Result<TraefikConfiguration, String> {
        let (url, client) = self.clients.find(address)?;
        let origin = url.origin().ascii_serialization();
        let seconds = TIMEOUT.as_secs();
        let place = tokio::time::timeout(TIMEOUT, self.limits.acquire(namespace, &origin)).await;
        let _permit =
            place.map_err(|_| format!("other questions to {origin} hang: no turn within {seconds} s"))?;
        let answer = tokio::time::timeout(TIMEOUT, get(&client, &url, namespace)).await;
        answer.map_err(|_| format!("no answer within {seconds} s"))?
    }
}

async fn get(client: &Client, url: &Url, namespace: &str) -> Result<TraefikConfiguration, String> {
    let url = format!("{}/api/rawdata", url.as_str().trim_end_matches('/'));
    let mut response = client
        .get(url)
        .send()
        .await
        .map_err(|error| with_causes(&error))?;
    if let Some(why) = redirection(&response) {
        return Err(why);
    }
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err("404: it serves no API there (--api, --api.insecure)".to_owned()),
        status => return Err(status.to_string()),
    }
    let (sender, receiver) = channel(CHUNKS_AHEAD);
    let namespace = namespace.to_owned();
    let parsing = tokio::task::spawn_blocking(move || read_configuration(Chunks::new(receiver), &namespace));
    let mut read = 0usize;
    while let Some(chunk) = next_chunk(&mut response).await? {
        read = read.saturating_add(chunk.len());
        if read > MAX_BODY_BYTES {
            return Err(format!("the answer is longer than {MAX_BODY_BYTES} bytes"));
        }
        // The parser has ended: it will say why.
        if sender.send(chunk).await.is_err() {
            break;
        }
    }
    drop(sender);
    parsing
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| {
            format!(
                "not an answer of Traefik's API: {}",
                printable(&error.to_string())
            )
        })
}

/// What of an answer of `/api/rawdata` has the namespace in its name.
pub fn read_configuration(reader: impl Read, namespace: &str) -> serde_json::Result<TraefikConfiguration> {
    let mut answer = serde_json::Deserializer::from_reader(reader);
    let configuration = RawData { namespace }.deserialize(&mut answer)?;
    answer.end()?;
    Ok(configuration)
}

struct RawData<'a> {
    namespace: &'a str,
}

impl<'de> DeserializeSeed<'de> for RawData<'_> {
    type Value = TraefikConfiguration;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RawData<'_> {
    type Value = TraefikConfiguration;

    fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str("routers and services")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut configuration = TraefikConfiguration::default();
        let mut is_traefik = false;
        while let Some(section) = map.next_key::<String>()? {
            match section.as_str() {
                "routers" => configuration.routers = map.next_value_seed(Entries::of(self.namespace))?,
                "services" => configuration.services = map.next_value_seed(Entries::of(self.namespace))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            }
            is_traefik = true;
        }
        // Anything else that is JSON is no configuration without routes.
        match is_traefik {
            true => Ok(configuration),
            false => Err(A::Error::custom("it has neither routers nor services")),
        }
    }
}

/// The entries of a map whose names have the namespace.
struct Entries<'a, T> {
    namespace: &'a str,
    entries: PhantomData<T>,
}

impl<'a, T> Entries<'a, T> {
    fn of(namespace: &'a str) -> Self {
        Entries {
            namespace,
            entries: PhantomData,
        }
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Entries<'_, T> {
    type Value = BTreeMap<String, T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<'_, T> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str("a map by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut kept = Self::Value::new();
        while let Some(name) = map.next_key::<String>()? {
            if !name.contains(self.namespace) || name.len() > MAX_NAME_BYTES {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            kept.insert(name, map.next_value()?);
            if kept.len() > MAX_KEPT {
                return Err(A::Error::custom(format!(
                    "more than {MAX_KEPT} entries concern the namespace"
                )));
            }
        }
        Ok(kept)
    }
}

/// The parts of a body, one after the other, for a reader that blocks.
struct Chunks {
    receiver: Receiver<Vec<u8>>,
    current: io::Cursor<Vec<u8>>,
    strings: Strings,
}

impl Chunks {
    fn new(receiver: Receiver<Vec<u8>>) -> Self {
        Chunks {
            receiver,
            current: io::Cursor::default(),
            strings: Strings::default(),
        }
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.current.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.receiver.blocking_recv() {
                Some(chunk) => {
                    self.strings.pass(&chunk)?;
                    self.current = io::Cursor::new(chunk);
                }
                None => return Ok(0),
            }
        }
    }
}

/// Follows the strings of a document: the parser would hold one of any length in memory.
#[derive(Default)]
struct Strings {
    /// Bytes of the string that is open.
    open: Option<usize>,
    is_escaped: bool,
}

impl Strings {
    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        for byte in bytes {
            match (self.open, byte) {
                (Some(_), _) if self.is_escaped => self.is_escaped = false,
                (Some(_), b'\\') => self.is_escaped = true,
                (Some(_), b'"') => self.open = None,
                (Some(length), _) => self.open = Some(length + 1),
                (None, b'"') => self.open = Some(0),
                (None, _) => {}
            }
            if self.open.is_some_and(|length| length > MAX_STRING_BYTES) {
                let message = format!("a text in it is longer than {MAX_STRING_BYTES} bytes");
                return Err(io::Error::other(message));
            }
        }
        Ok(())
    }
}
