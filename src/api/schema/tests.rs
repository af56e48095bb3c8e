//! The schema functions against objects that break one rule each.

use serde_json::json;

use super::*;

fn schema() -> Value {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^[a-z]*$"},
            "replicas": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 100, "default": 1},
            "ratio": {"type": "number"},
            "mode": {"type": "string", "enum": ["A", "B"]},
            "port": {"x-kubernetes-int-or-string": true},
            "note": {"type": "string", "nullable": true},
            "at": {"type": "string", "format": "date-time"},
            "labels": {"type": "object", "maxProperties": 2, "additionalProperties": {"type": "string"}},
            "template": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"known": {"type": "object", "properties": {"a": {"type": "integer"}}}}},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "minItems": 1, "maxItems": 3, "items": {"type": "object", "required": ["k"],
                    "properties": {"k": {"type": "string"}, "v": {"type": "integer", "default": 7}}}},
            "either": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        }},
    }})
}

/// Each spec breaks exactly one rule, in these words.
fn assert_violations(table: &[(Value, &str)]) {
    for (spec, expected) in table {
        let found = validate(&schema(), &json!({"spec": spec}));
        let texts: Vec<String> = found.iter().map(Violation::to_string).collect();
        assert_eq!(texts, [*expected], "{spec}");
    }
}

#[test]
fn violations_of_scalars_read_like_the_api_servers() {
    assert_violations(&[
        (json!({}), "spec.name: Required value"),
        (
            json!({"name": 3}),
            "spec.name: Invalid value: 3: spec.name in body must be of type string: \"integer\"",
        ),
        (
            json!({"name": "abcdef"}),
            "spec.name: Too long: may not be more than 5 bytes",
        ),
        (
            json!({"name": ""}),
            "spec.name: Invalid value: \"\": spec.name in body should be at least 1 chars long",
        ),
        (
            json!({"name": "A"}),
            "spec.name: Invalid value: \"A\": spec.name in body should match '^[a-z]*$'",
        ),
        (
            json!({"name": "a", "replicas": -1}),
            "spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0",
        ),
        (
            json!({"name": "a", "replicas": 101}),
            "spec.replicas: Invalid value: 101: spec.replicas in body should be less than or equal to 100",
        ),
        (
            json!({"name": "a", "replicas": 1.5}),
            "spec.replicas: Invalid value: 1.5: spec.replicas in body must be of type integer: \"number\"",
        ),
        (
            json!({"name": "a", "mode": "C"}),
            "spec.mode: Unsupported value: \"C\": supported values: \"A\", \"B\"",
        ),
        (
            json!({"name": "a", "port": true}),
            "spec.port: Invalid value: true: spec.port in body must be of type integer,string: \"boolean\"",
        ),
    ]);
}

#[test]
fn violations_of_lists_and_objects_read_like_the_api_servers() {
    assert_violations(&[
        (
            json!({"name": "a", "labels": {"x": 1}}),
            "spec.labels.x: Invalid value: 1: spec.labels.x in body must be of type string: \"integer\"",
        ),
        (
            json!({"name": "a", "labels": {"x": "", "y": "", "z": ""}}),
            "spec.labels: Too many: 3: must have at most 2 items",
        ),
        (
            json!({"name": "a", "set": ["x", "y", "x"]}),
            "spec.set[2]: Duplicate value: \"x\"",
        ),
        (
            json!({"name": "a", "map": [{"k": "x"}, {"k": "x", "v": 2}]}),
            "spec.map[1]: Duplicate value: {\"k\":\"x\"}",
        ),
        (
            json!({"name": "a", "map": []}),
            "spec.map: Invalid value: 0: spec.map in body should have at least 1 items",
        ),
        (json!({"name": "a", "map": [{}]}), "spec.map[0].k: Required value"),
        (
            json!({"name": "a", "map": "x"}),
            "spec.map: Invalid value: \"x\": spec.map in body must be of type array: \"string\"",
        ),
        (
            json!({"name": "a", "either": {"a": 1, "b": 2}}),
            "spec.either: Invalid value: {\"a\":1,\"b\":2}: spec.either in body must validate one and only one schema (oneOf)",
        ),
        (
            json!({"name": "a", "at": "noon"}),
            "spec.at: Invalid value: \"noon\": spec.at in body must be of type date-time: \"noon\"",
        ),
    ]);
}

#[test]
fn what_fits_has_no_violations() {
    let specs = [
        json!({"name": "a", "replicas": 0, "ratio": 1, "port": 80, "note": null, "mode": "A"}),
        json!({"name": "a", "port": "http", "ratio": 0.5, "at": "2026-01-01T00:00:00Z", "either": {"b": 1}}),
        json!({"name": "a", "template": {"anything": [1, {"goes": true}]}, "set": ["a", "b"]}),
    ];
    for spec in specs {
        assert_eq!(validate(&schema(), &json!({"spec": spec})), [], "{spec}");
    }
}

#[test]
fn pruning_removes_and_lists_unknown_fields() {
    let mut object = json!({
        "apiVersion": "x/v1", "kind": "X", "metadata": {"name": "a", "lables": {}}, "extra": 1,
        "spec": {"name": "a", "nmae": 1, "labels": {"free": "x"}, "map": [{"k": "x", "y": 1}],
            "template": {"free": {"deep": 1}, "known": {"a": 1, "b": 2}}},
    });
    let mut removed = prune(&schema(), &mut object);
    // The order is the object's, and that depends on whether maps keep insertion order.
    removed.sort();
    let expected = [
        "extra",
        "metadata.lables",
        "spec.map[0].y",
        "spec.nmae",
        "spec.template.known.b",
    ];
    assert_eq!(removed, expected);
    assert_eq!(
        object,
        json!({
            "apiVersion": "x/v1", "kind": "X", "metadata": {"name": "a"},
            "spec": {"name": "a", "labels": {"free": "x"}, "map": [{"k": "x"}],
                "template": {"free": {"deep": 1}, "known": {"a": 1}}},
        })
    );
}

#[test]
fn completing_fills_defaults_and_drops_forbidden_nulls() {
    let mut object = json!({"spec": {"name": null, "replicas": null, "note": null, "map": [{"k": "x"}]}});
    complete(&schema(), &mut object);
    assert_eq!(
        object,
        json!({"spec": {"replicas": 1, "note": null, "map": [{"k": "x", "v": 7}]}})
    );
    let mut absent = json!({});
    complete(&schema(), &mut absent);
    assert_eq!(absent, json!({}), "no defaults below an absent parent");
}

#[test]
fn what_was_stored_already_is_not_held_against_an_update() {
    let stored = json!({"spec": {"name": "TOO LONG", "labels": {"x": 1}, "map": [{}]}});
    let mut update = stored.clone();
    update["spec"]["replicas"] = json!(-1);
    update["spec"]["labels"]["y"] = json!(2);
    let fields: Vec<String> = validate_update(&schema(), &update, &stored)
        .into_iter()
        .map(|found| found.field)
        .collect();
    assert_eq!(fields, ["spec.labels.y", "spec.replicas"]);
}
