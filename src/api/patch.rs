//! JSON Patch (RFC 6902) as data: the operations the controller writes and the pointers they name.
//! Only the four operations we need; the API server applies them all or none.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum PatchOp {
    /// Refuses the whole patch unless the value at `path` is `value`.
    Test {
        path: String,
        value: Value,
    },
    /// Sets a key, or inserts into a list (`-` appends).
    Add {
        path: String,
        value: Value,
    },
    /// Like `Add`, for a key that must be there.
    Replace {
        path: String,
        value: Value,
    },
    Remove {
        path: String,
    },
}

impl PatchOp {
    pub fn test(path: impl Into<String>, value: impl Into<Value>) -> Self {
        PatchOp::Test {
            path: path.into(),
            value: value.into(),
        }
    }

    pub fn add(path: impl Into<String>, value: impl Into<Value>) -> Self {
        PatchOp::Add {
            path: path.into(),
            value: value.into(),
        }
    }

    pub fn replace(path: impl Into<String>, value: impl Into<Value>) -> Self {
        PatchOp::Replace {
            path: path.into(),
            value: value.into(),
        }
    }

    pub fn remove(path: impl Into<String>) -> Self {
        PatchOp::Remove { path: path.into() }
    }

    /// Sets an annotation. Its map comes with the first one: `is_bare`.
    pub fn annotate(key: &str, value: &str, is_bare: bool) -> Self {
        if is_bare {
            return Self::add("/metadata/annotations", json!({ key: value }));
        }
        Self::add(pointer(["metadata", "annotations", key]), value)
    }

    pub fn path(&self) -> &str {
        match self {
            PatchOp::Test { path, .. }
            | PatchOp::Add { path, .. }
            | PatchOp::Replace { path, .. }
            | PatchOp::Remove { path } => path,
        }
    }

    /// Takes the value at `path` from `old` to `new`, `None` being absence, and insists on `old` where it
    /// is a value. Nothing when they are equal.
    pub fn change(path: &str, old: Option<&Value>, new: Option<&Value>) -> Vec<Self> {
        match (old, new) {
            (old, new) if old == new => Vec::new(),
            (Some(old), Some(new)) => vec![Self::test(path, old.clone()), Self::replace(path, new.clone())],
            (Some(old), None) => vec![Self::test(path, old.clone()), Self::remove(path)],
            (None, Some(new)) => vec![Self::add(path, new.clone())],
            (None, None) => Vec::new(),
        }
    }
}

/// The JSON pointer (RFC 6901) through `keys`, each escaped: `/metadata/annotations/a.b~1c`.
pub fn pointer<K: AsRef<str>>(keys: impl IntoIterator<Item = K>) -> String {
    keys.into_iter()
        .flat_map(|key| ["/".to_owned(), escape(key.as_ref())])
        .collect()
}

/// One key of a JSON pointer: `~` and `/` escaped.
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pointers_escape_tilde_before_slash() {
        assert_eq!(
            pointer(["metadata", "annotations", "a.b/c~1"]),
            "/metadata/annotations/a.b~1c~01"
        );
    }

    #[test]
    fn operations_serialise_as_rfc_6902() {
        let ops = [
            PatchOp::test("/a", 1),
            PatchOp::replace("/a", "x"),
            PatchOp::remove("/b"),
        ];
        assert_eq!(
            serde_json::to_value(&ops).unwrap(),
            json!([
                {"op": "test", "path": "/a", "value": 1},
                {"op": "replace", "path": "/a", "value": "x"},
                {"op": "remove", "path": "/b"},
            ])
        );
    }

    #[test]
    fn a_change_insists_on_the_old_value() {
        let (one, two) = (json!(1), json!(2));
        assert_eq!(PatchOp::change("/a", Some(&one), Some(&one)), []);
        assert_eq!(PatchOp::change("/a", None, None), []);
        assert_eq!(
            PatchOp::change("/a", Some(&one), Some(&two)),
            [PatchOp::test("/a", 1), PatchOp::replace("/a", 2)]
        );
        assert_eq!(PatchOp::change("/a", None, Some(&two)), [PatchOp::add("/a", 2)]);
        assert_eq!(
            PatchOp::change("/a", Some(&one), None),
            [PatchOp::test("/a", 1), PatchOp::remove("/a")]
        );
    }
}
