//! Who may send alerts: bearer tokens, each for a set of namespaces. Only their hashes are kept.

use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

use super::Namespaces;

/// The one in use and the one that takes its place.
const MAX_TOKENS: usize = 2;
const MAX_FILE_BYTES: usize = 256 * 1_024;
const PREFIX: &str = "sha256:";
const ALL: &str = "*";

#[derive(Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    #[error("it is longer than {MAX_FILE_BYTES} bytes")]
    TooLong,
    #[error("it is not a YAML list of namespaces and tokens: {0}")]
    Yaml(String),
    #[error("entry {0}: name at least one namespace, or \"*\" alone for all of them")]
    Namespaces(usize),
    #[error("entry {0}: give one token, or two while one takes the place of the other")]
    Count(usize),
    #[error("entry {0}: a token is written as sha256: and the 64 hexadecimal digits of its hash")]
    Hash(usize),
    #[error("entry {0}: the same token stands twice")]
    Twice(usize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    namespaces: Vec<String>,
    tokens: Vec<String>,
}

/// Every token that is valid.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tokens(Vec<([u8; 32], Namespaces)>);

impl Tokens {
    pub fn parse(file: &[u8]) -> Result<Self, TokenError> {
        if file.len() > MAX_FILE_BYTES {
            return Err(TokenError::TooLong);
        }
        let entries: Vec<Entry> = serde_saphyr::from_slice(file).map_err(|error| {
            TokenError::Yaml(error.to_string().lines().next().unwrap_or_default().to_owned())
        })?;
        let mut tokens = Tokens::default();
        for (index, entry) in entries.into_iter().enumerate() {
            let namespaces = read_namespaces(entry.namespaces).ok_or(TokenError::Namespaces(index))?;
            if !(1..=MAX_TOKENS).contains(&entry.tokens.len()) {
                return Err(TokenError::Count(index));
            }
            for token in &entry.tokens {
                let hash = read_hash(token).ok_or(TokenError::Hash(index))?;
                if tokens.0.iter().any(|(known, _)| *known == hash) {
                    return Err(TokenError::Twice(index));
                }
                tokens.0.push((hash, namespaces.clone()));
            }
        }
        Ok(tokens)
    }

    /// How far a token reaches. Every hash is compared, and each to its end, so that the time tells nothing.
    pub fn reach_of(&self, token: &str) -> Option<&Namespaces> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let all = self
            .0
            .iter()
            .map(|(known, namespaces)| (known.ct_eq(&hash), namespaces));
        all.fold(None, |found, (is_it, namespaces)| match bool::from(is_it) {
            true => Some(namespaces),
            false => found,
        })
    }
}

fn read_namespaces(names: Vec<String>) -> Option<Namespaces> {
    if names == [ALL] {
        return Some(Namespaces::All);
    }
    let are_names = !names.is_empty() && names.iter().all(|name| !name.is_empty() && name != ALL);
    are_names.then(|| Namespaces::These(names.into_iter().collect()))
}

fn read_hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == 64)?;
    let digits: Option<Vec<u8>> = digits
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16)?).ok())
        .collect();
    let bytes = digits?
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect::<Vec<u8>>();
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(token: &str) -> String {
        let digest = Sha256::digest(token);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{PREFIX}{hex}")
    }

    #[test]
    fn a_token_reaches_the_namespaces_of_its_entry_and_no_other() {
        let file = format!(
            "- namespaces: [shop, bank]\n  tokens: ['{}', '{}']\n- namespaces: ['*']\n  tokens: ['{}']\n",
            hash_of("old"),
            hash_of("new"),
            hash_of("all")
        );
        let tokens = Tokens::parse(file.as_bytes()).unwrap();
        for token in ["old", "new"] {
            let reach = tokens.reach_of(token).unwrap();
            assert!(reach.reach("shop") && reach.reach("bank") && !reach.reach("other"));
        }
        assert_eq!(tokens.reach_of("all"), Some(&Namespaces::All));
        for token in ["", "OLD", "old ", &hash_of("old")] {
            assert_eq!(tokens.reach_of(token), None, "{token}");
        }
        assert_eq!(Tokens::parse(b"[]").unwrap().reach_of(""), None);
    }

    #[test]
    fn a_file_with_a_mistake_is_not_taken_in_part() {
        let hash = hash_of("x");
        for (file, expected) in [
            ("a: 1".to_owned(), "YAML"),
            ("- namespaces: [shop]\n  tokens: []".to_owned(), "one token"),
            (format!("- namespaces: []\n  tokens: ['{hash}']"), "one namespace"),
            (
                format!("- namespaces: ['*', shop]\n  tokens: ['{hash}']"),
                "one namespace",
            ),
            (
                "- namespaces: [shop]\n  tokens: [plain]".to_owned(),
                "64 hexadecimal",
            ),
            (
                "- namespaces: [shop]\n  tokens: ['sha256:12']".to_owned(),
                "64 hexadecimal",
            ),
            (format!("- namespaces: [shop]\n  token: ['{hash}']"), "YAML"),
            (
                format!("- namespaces: [shop]\n  tokens: ['{hash}', '{hash}']"),
                "twice",
            ),
            (
                format!(
                    "- namespaces: [shop]\n  tokens: ['{}', '{}', '{hash}']",
                    hash_of("1"),
                    hash_of("2")
                ),
                "or two",
            ),
        ] {
            let error = Tokens::parse(file.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{file}: {error}");
        }
        assert_eq!(
            Tokens::parse(&vec![b'#'; MAX_FILE_BYTES + 1]),
            Err(TokenError::TooLong)
        );
    }
}
