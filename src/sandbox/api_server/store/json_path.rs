//! The part of kubectl's JSONPath that printer columns use: fields, quoted and escaped fields, indexes, `[*]`,
//! and filters that compare one field with a text, `[?(@.type=="Ready")]`.

use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(usize),
    All,
    Filter { path: Vec<String>, equals: String },
}

/// Everything the path leads to, in order; nothing when a step does not fit or the path is not understood.
pub(super) fn select<'a>(object: &'a Value, path: &str) -> Vec<&'a Value> {
    let Some(steps) = parse(path) else {
        return Vec::new();
    };
    steps.iter().fold(vec![object], |found, step| {
        found.into_iter().flat_map(|one| take(one, step)).collect()
    })
}

fn take<'a>(value: &'a Value, step: &Step) -> Vec<&'a Value> {
    match (step, value) {
        (Step::Field(name), _) => value.get(name).into_iter().collect(),
        (Step::Index(index), _) => value.get(index).into_iter().collect(),
        (Step::All, Value::Array(items)) => items.iter().collect(),
        (Step::All, Value::Object(fields)) => fields.values().collect(),
        (Step::Filter { path, equals }, Value::Array(items)) => {
            let fits = |item: &&Value| {
                let found = path.iter().try_fold(*item, |inner, name| inner.get(name));
                found.and_then(Value::as_str) == Some(equals)
            };
            items.iter().filter(fits).collect()
        }
        _ => Vec::new(),
    }
}

fn parse(path: &str) -> Option<Vec<Step>> {
    let mut rest = path
        .trim()
        .trim_start_matches('{')
        .trim_end_matches('}')
        .trim_start_matches('$');
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (step, after) = inside.split_once(']')?;
            steps.push(parse_bracket(step)?);
            rest = after;
        } else {
            let (name, after) = read_name(rest.strip_prefix('.').unwrap_or(rest))?;
            steps.push(if name == "*" { Step::All } else { Step::Field(name) });
            rest = after;
        }
    }
    Some(steps)
}

/// A field name up to the next dot or bracket; a backslash takes the next letter as it is.
fn read_name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => name.push(letters.next()?.1),
            '.' | '[' => return (!name.is_empty()).then_some((name, text.get(at..)?)),
            other => name.push(other),
        }
    }
    (!name.is_empty()).then_some((name, ""))
}

fn parse_bracket(text: &str) -> Option<Step> {
    let text = text.trim();
    if text == "*" {
        return Some(Step::All);
    }
    if let Ok(index) = text.parse() {
        return Some(Step::Index(index));
    }
    let unquoted = |text: &str| Some(text.trim().trim_matches(['\'', '"']).to_owned());
    let Some(condition) = text.strip_prefix("?(").and_then(|inner| inner.strip_suffix(')')) else {
        return unquoted(text).map(Step::Field);
    };
    let (left, right) = condition.split_once("==")?;
    let field = left.trim().strip_prefix("@.")?;
    Some(Step::Filter {
        path: field.split('.').map(str::to_owned).collect(),
        equals: unquoted(right)?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_of_printer_columns() {
        let object = json!({
            "metadata": {"annotations": {"a.b/c": "x"}},
            "spec": {"rules": [{"host": "one"}, {"host": "two"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Valid", "status": "False"}]},
        });
        let table = [
            (".spec.rules[0].host", vec!["one"]),
            (".spec.rules[*].host", vec!["one", "two"]),
            (".status.conditions[?(@.type==\"Valid\")].status", vec!["False"]),
            (".status.conditions[?(@.type=='Ready')].status", vec!["True"]),
            (".metadata.annotations.a\\.b/c", vec!["x"]),
            (".metadata.annotations['a.b/c']", vec!["x"]),
            (".status.missing.deep", vec![]),
            (".spec.rules[", vec![]),
        ];
        for (path, expected) in table {
            let found: Vec<&str> = select(&object, path)
                .into_iter()
                .filter_map(Value::as_str)
                .collect();
            assert_eq!(found, expected, "{path}");
        }
    }
}
