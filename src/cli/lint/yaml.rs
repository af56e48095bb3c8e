//! YAML documents with the place of every field, so that a finding can say where. Duplicate keys are refused, as the
//! API server's strict decoding does.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use crate::api::schema::FieldPath;

/// Line and column, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: u64,
    pub column: u64,
}

/// One document and where its fields are.
#[derive(Clone, Debug)]
pub struct Document {
    pub value: Value,
    places: BTreeMap<String, Place>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    pub place: Place,
    pub message: String,
}

/// Every document of `text`; empty ones are left out. The first error ends the reading.
pub fn parse(text: &str) -> Result<Vec<Document>, SyntaxError> {
    let nodes: Vec<Spanned<Node>> = serde_saphyr::from_multiple(text).map_err(|error| {
        let place = error
            .location()
            .map(place_of)
            .unwrap_or(Place { line: 1, column: 1 });
        SyntaxError {
            place,
            message: describe(error.without_snippet()),
        }
    })?;
    Ok(nodes.into_iter().map(Document::of).collect())
}

/// The place stands before the message already.
fn describe(error: &serde_saphyr::Error) -> String {
    if let serde_saphyr::Error::DuplicateMappingKey { key, .. } = error {
        return format!("duplicate key {:?}", key.as_deref().unwrap_or_default());
    }
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    first.split(" at line ").next().unwrap_or(first).to_owned()
}

/// How [`FieldPath`] writes the object itself.
const ROOT_PATH: &str = "<nil>";

impl Document {
    fn of(node: Spanned<Node>) -> Self {
        let mut places = BTreeMap::new();
        let start = place_of(node.referenced);
        let value = take_apart(node.value, &FieldPath::ROOT, start, &mut places);
        Document { value, places }
    }

    /// Where the field is; where its nearest parent is, when the field itself is absent.
    pub fn place_of(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return *place;
            }
            let Some(end) = path.rfind(['.', '[']) else {
                return self.places.get(ROOT_PATH).copied().unwrap_or_default();
            };
            path = path.get(..end).unwrap_or_default();
        }
    }
}

fn place_of(location: serde_saphyr::Location) -> Place {
    Place {
        line: location.line(),
        column: location.column(),
    }
}

fn take_apart(node: Node, path: &FieldPath, place: Place, places: &mut BTreeMap<String, Place>) -> Value {
    places.insert(path.to_string(), place);
    match node {
        Node::Scalar(value) => value,
        Node::List(items) => {
            let items = items.into_iter().enumerate();
            items
                .map(|(index, item)| {
                    take_apart(item.value, &path.index(index), place_of(item.referenced), places)
                })
                .collect()
        }
        Node::Map(fields) => {
            let mut map = Map::new();
            for (key, field) in fields {
                let place = place_of(key.referenced);
                let value = take_apart(field.value, &path.child(&key.value), place, places);
                map.insert(key.value, value);
            }
            Value::Object(map)
        }
    }
}

enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(field) = fields.next_entry()? {
            map.push(field);
        }
        Ok(Node::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn knows_where_each_field_is() {
        let text =
            "a: 1\nsteps:\n- setWeight: 5\n- pause: {duration: 2m}\n---\n\n---\nb: [x, true, null, 1.5]\n";
        let documents = parse(text).unwrap();
        let values: Vec<_> = documents.iter().map(|document| &document.value).collect();
        assert_eq!(
            values,
            [
                &json!({"a": 1, "steps": [{"setWeight": 5}, {"pause": {"duration": "2m"}}]}),
                &json!({"b": ["x", true, null, 1.5]}),
            ]
        );
        let place = |path| {
            let place = documents[0].place_of(path);
            (place.line, place.column)
        };
        assert_eq!(place("steps[0].setWeight"), (3, 3));
        assert_eq!(place("steps[1].pause.duration"), (4, 11));
        assert_eq!(place("steps[1].pause.absent.more"), (4, 3));
        assert_eq!(documents[1].place_of("b").line, 8);
    }

    #[test]
    fn row_106_refuses_duplicate_keys_with_their_place() {
        let error = parse("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!(error.place, Place { line: 3, column: 1 });
        assert_eq!(error.message, "duplicate key \"a\"");
    }

    #[test]
    fn a_syntax_error_has_a_place() {
        assert_eq!(parse("a: [1\nb: 2\n").unwrap_err().place.line, 2);
    }
}
