//! Checks an object against a schema and names every field that breaks it.

use serde_json::{Map, Number, Value};

use super::field::FieldPath;
use super::text;
use super::{Reason, Violation};

/// All violations, in the order of the object's fields; CEL rules are not among them.
pub fn validate(schema: &Value, object: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    check(schema, object, None, &FieldPath::ROOT, &mut found);
    found
}

/// As [`validate`], but what is the same in the stored object is not held against the update: that is how the
/// API server lets a stricter schema come into force.
pub fn validate_update(schema: &Value, object: &Value, stored: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    check(schema, object, Some(stored), &FieldPath::ROOT, &mut found);
    found
}

fn check(
    schema: &Value,
    value: &Value,
    stored: Option<&Value>,
    path: &FieldPath<'_>,
    found: &mut Vec<Violation>,
) {
    if stored == Some(value) || value.is_null() && flag(schema, "nullable") {
        return;
    }
    if let Some(violation) = check_type(schema, value, path) {
        // Everything else would only repeat that the type is wrong.
        found.push(violation);
        return;
    }
    check_enum(schema, value, path, found);
    match value {
        Value::String(text) => check_text(schema, text, value, path, found),
        Value::Number(number) => check_number(schema, number, value, path, found),
        Value::Array(items) => check_items(schema, items, path, found),
        Value::Object(fields) => check_fields(schema, fields, value, stored, path, found),
        Value::Null | Value::Bool(_) => {}
    }
    check_junctors(schema, value, path, found);
}

fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool).unwrap_or(false)
}

fn limit(schema: &Value, name: &str) -> Option<usize> {
    schema
        .get(name)
        .and_then(Value::as_u64)
        .and_then(|limit| usize::try_from(limit).ok())
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn check_type(schema: &Value, value: &Value, path: &FieldPath<'_>) -> Option<Violation> {
    let actual = type_of(value);
    let is_whole = value.as_f64().is_some_and(|number| number.fract() == 0.0);
    let wanted = if flag(schema, "x-kubernetes-int-or-string") {
        if matches!(actual, "integer" | "string") {
            return None;
        }
        "integer,string"
    } else {
        schema.get("type").and_then(Value::as_str)?
    };
    let fits = match wanted {
        "number" => value.is_number(),
        "integer" => actual == "integer" || is_whole,
        wanted => actual == wanted,
    };
    if fits {
        return None;
    }
    let detail = format!("{path} in body must be of type {wanted}: \"{actual}\"");
    // The real server shows the type in place of an object or a list.
    let shown = match value {
        Value::Object(_) | Value::Array(_) => Value::String(actual.to_owned()),
        scalar => scalar.clone(),
    };
    Some(Violation::new(
        path.to_string(),
        Reason::TypeInvalid,
        &shown,
        detail,
    ))
}

fn check_enum(schema: &Value, value: &Value, path: &FieldPath<'_>, found: &mut Vec<Violation>) {
    let Some(allowed) = schema.get("enum").and_then(Value::as_array) else {
        return;
    };
    if !allowed.contains(value) {
        let listed: Vec<String> = allowed.iter().map(Value::to_string).collect();
        let detail = format!("supported values: {}", listed.join(", "));
        found.push(Violation::new(
            path.to_string(),
            Reason::NotSupported,
            value,
            detail,
        ));
    }
}

fn check_text(schema: &Value, text: &str, value: &Value, path: &FieldPath<'_>, found: &mut Vec<Violation>) {
    let length = text.chars().count();
    let mut invalid = |detail: String| found.push(Violation::invalid(path.to_string(), value, detail));
    if let Some(least) = limit(schema, "minLength")
        && length < least
    {
        invalid(format!("{path} in body should be at least {least} chars long"));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        match text::matches_pattern(pattern, text) {
            Ok(true) => {}
            Ok(false) => invalid(format!("{path} in body should match '{pattern}'")),
            Err(error) => invalid(format!(
                "{path} in body has an unreadable pattern '{pattern}': {error}"
            )),
        }
    }
    if let Some(format) = schema.get("format").and_then(Value::as_str)
        && !text::matches_format(format, text)
    {
        invalid(format!("{path} in body must be of type {format}: \"{text}\""));
    }
    if let Some(most) = limit(schema, "maxLength")
        && length > most
    {
        let detail = format!("may not be more than {most} bytes");
        found.push(Violation::new(path.to_string(), Reason::TooLong, value, detail));
    }
}

fn check_number(
    schema: &Value,
    number: &Number,
    value: &Value,
    path: &FieldPath<'_>,
    found: &mut Vec<Violation>,
) {
    let mut invalid = |detail: String| found.push(Violation::invalid(path.to_string(), value, detail));
    let Some(number) = number.as_f64() else { return };
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    if let Some(least) = bound("minimum") {
        if flag(schema, "exclusiveMinimum") && number <= least {
            invalid(format!("{path} in body should be greater than {least}"));
        } else if number < least {
            invalid(format!(
                "{path} in body should be greater than or equal to {least}"
            ));
        }
    }
    if let Some(most) = bound("maximum") {
        if flag(schema, "exclusiveMaximum") && number >= most {
            invalid(format!("{path} in body should be less than {most}"));
        } else if number > most {
            invalid(format!("{path} in body should be less than or equal to {most}"));
        }
    }
    if let Some(step) = bound("multipleOf")
        && step > 0.0
        && (number / step).fract() != 0.0
    {
        invalid(format!("{path} in body should be a multiple of {step}"));
    }
    let is_int32 = schema.get("format").and_then(Value::as_str) == Some("int32");
    if is_int32 && !(f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number) {
        invalid(format!("{path} in body must be of type int32: \"number\""));
    }
}

fn check_items(schema: &Value, items: &[Value], path: &FieldPath<'_>, found: &mut Vec<Violation>) {
    if let Some(least) = limit(schema, "minItems")
        && items.len() < least
    {
        let detail = format!("{path} in body should have at least {least} items");
        found.push(Violation::invalid(
            path.to_string(),
            &Value::from(items.len()),
            detail,
        ));
    }
    check_most(schema, "maxItems", items.len(), path, found);
    if let Some(item_schema) = schema.get("items") {
        for (index, item) in items.iter().enumerate() {
            check(item_schema, item, None, &path.index(index), found);
        }
    }
    match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => check_unique(items, path, found, Value::clone),
        Some("map") => {
            let keys = list_map_keys(schema);
            check_unique(items, path, found, |item| list_map_key(&keys, item));
        }
        _ if flag(schema, "uniqueItems") => check_unique(items, path, found, Value::clone),
        _ => {}
    }
}

fn check_most(schema: &Value, name: &str, count: usize, path: &FieldPath<'_>, found: &mut Vec<Violation>) {
    if let Some(most) = limit(schema, name)
        && count > most
    {
        let detail = format!("must have at most {most} items");
        found.push(Violation::new(
            path.to_string(),
            Reason::TooMany,
            &Value::from(count),
            detail,
        ));
    }
}

/// The fields by which the items of a list of type `map` are told apart.
pub fn list_map_keys(schema: &Value) -> Vec<&str> {
    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
    keys.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The key fields of one item of a list of type `map`.
pub fn list_map_key(keys: &[&str], item: &Value) -> Value {
    let fields = keys
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), item.get(*key)?.clone())));
    Value::Object(fields.collect())
}

fn check_unique(
    items: &[Value],
    path: &FieldPath<'_>,
    found: &mut Vec<Violation>,
    key: impl Fn(&Value) -> Value,
) {
    let mut seen: Vec<Value> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let key = key(item);
        if seen.contains(&key) {
            let field = path.index(index).to_string();
            found.push(Violation::new(field, Reason::Duplicate, &key, ""));
        }
        seen.push(key);
    }
}

fn check_fields(
    schema: &Value,
    fields: &Map<String, Value>,
    value: &Value,
    stored: Option<&Value>,
    path: &FieldPath<'_>,
    found: &mut Vec<Violation>,
) {
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            found.push(Violation::required(path.child(name).to_string(), ""));
        }
    }
    check_most(schema, "maxProperties", fields.len(), path, found);
    if let Some(least) = limit(schema, "minProperties")
        && fields.len() < least
    {
        let detail = format!("{path} in body should have at least {least} properties");
        found.push(Violation::invalid(path.to_string(), value, detail));
    }
    let properties = schema.get("properties");
    let additional = schema
        .get("additionalProperties")
        .filter(|schema| schema.is_object());
    for (name, value) in fields {
        let property = properties.and_then(|known| known.get(name)).or(additional);
        if let Some(property) = property {
            let stored = stored.and_then(|stored| stored.get(name));
            check(property, value, stored, &path.child(name), found);
        }
    }
}

/// `allOf`, `anyOf`, `oneOf` and `not`.
fn check_junctors(schema: &Value, value: &Value, path: &FieldPath<'_>, found: &mut Vec<Violation>) {
    let branches = |name: &str| schema.get(name).and_then(Value::as_array);
    let fits = |branch: &Value| {
        let mut inner = Vec::new();
        check(branch, value, None, path, &mut inner);
        inner.is_empty()
    };
    for branch in branches("allOf").into_iter().flatten() {
        check(branch, value, None, path, found);
    }
    let mut invalid = |rule: &str| {
        let detail = format!("{path} in body must validate {rule}");
        found.push(Violation::invalid(path.to_string(), value, detail));
    };
    if branches("anyOf").is_some_and(|any| !any.iter().any(fits)) {
        invalid("at least one schema (anyOf)");
    }
    if branches("oneOf").is_some_and(|one| one.iter().filter(|branch| fits(branch)).count() != 1) {
        invalid("one and only one schema (oneOf)");
    }
    if schema.get("not").is_some_and(fits) {
        invalid("must not validate the schema (not)");
    }
}
