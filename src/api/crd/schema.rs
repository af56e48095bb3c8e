//! Mends derived schemas: what the derive writes for Rust is not always what an API server should read.

use serde_json::{Map, Value};

/// Mends a whole object's schema in place.
pub(super) fn mend(root: &mut Value) {
    mend_node(root);
    // The derive describes its own wrapper; the sentence for people stands at the spec.
    let said = root
        .pointer_mut("/properties/spec")
        .and_then(|spec| spec.as_object_mut()?.remove("description"));
    if let (Some(fields), Some(said)) = (root.as_object_mut(), said) {
        fields.insert("description".to_owned(), said);
        fields.remove("title");
    }
}

fn mend_node(node: &mut Value) {
    let Some(keywords) = node.as_object_mut() else {
        return;
    };
    drop_null(keywords);
    if keywords.contains_key("x-kubernetes-int-or-string") {
        keywords.remove("anyOf");
    }
    for bound in ["minimum", "maximum"] {
        if let Some(number) = keywords.get(bound).and_then(whole) {
            keywords.insert(bound.to_owned(), number);
        }
    }
    let unsigned = keywords
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|format| format.starts_with('u'));
    if unsigned {
        keywords.remove("format");
    }
    shorten_description(keywords);
    for group in ["properties", "patternProperties"] {
        if let Some(Value::Object(children)) = keywords.get_mut(group) {
            children.values_mut().for_each(mend_node);
        }
    }
    for child in ["items", "additionalProperties"] {
        if let Some(child) = keywords.get_mut(child) {
            mend_node(child);
        }
    }
}

/// An optional field is left out, not null: the API server drops nulls that a schema does not allow, and no
/// rule has to think of them.
fn drop_null(keywords: &mut Map<String, Value>) {
    keywords.remove("nullable");
    if let Some(Value::Array(values)) = keywords.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
}

/// `100.0` as `100`.
fn whole(number: &Value) -> Option<Value> {
    let text = format!("{:.0}", number.as_f64().filter(|number| number.fract() == 0.0)?);
    text.parse::<i64>().ok().map(Value::from)
}

/// The first paragraph's first sentences, about a line of text: enough for `kubectl explain`.
fn shorten_description(keywords: &mut Map<String, Value>) {
    const ENOUGH: usize = 160;
    let Some(Value::String(text)) = keywords.get_mut("description") else {
        return;
    };
    if text.len() > ENOUGH
        && let Some((first, _)) = text.split_once(". ")
    {
        *text = format!("{first}.");
    }
}
