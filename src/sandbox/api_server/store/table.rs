//! Objects as rows of text: the `Table` that `kubectl get` prints.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::answer::Body;
use super::registry::{Column, Resource};
use super::request::ApiRequest;
use super::{json_path, meta};

/// The objects in `body` as a Table; the columns are the resource's own after the name.
pub(super) fn render(now: DateTime<Utc>, request: &ApiRequest, resource: &Resource, body: &Body) -> Body {
    let (metadata, objects) = match body {
        Body::Object(object) => (
            json!({"resourceVersion": meta::text(object, "resourceVersion")}),
            std::slice::from_ref(object),
        ),
        Body::List { metadata, items, .. } => (metadata.clone(), items.as_slice()),
    };
    let include = request.param("includeObject").unwrap_or("Metadata");
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| json!({"cells": cells(now, resource, object), "object": shown(include, object)}))
        .collect();
    Body::from(json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": definitions(resource), "rows": rows,
    }))
}

/// The objects in `body` without anything but their metadata.
pub(super) fn metadata_alone(body: &Body) -> Body {
    match body {
        Body::Object(object) => Body::from(shown("Metadata", object)),
        Body::List { metadata, items, .. } => Body::List {
            kind: "PartialObjectMetadataList".to_owned(),
            api_version: "meta.k8s.io/v1".to_owned(),
            metadata: metadata.clone(),
            items: items
                .iter()
                .map(|item| Arc::new(shown("Metadata", item)))
                .collect(),
        },
    }
}

fn definitions(resource: &Resource) -> Vec<Value> {
    let name = json!({"name": "Name", "type": "string", "format": "name", "priority": 0,
        "description": "Name must be unique within a namespace."});
    let own = resource.columns.iter().map(|column| {
        json!({"name": column.name, "type": column.column_type, "format": "",
            "priority": column.priority, "description": column.description})
    });
    std::iter::once(name).chain(own).collect()
}

fn shown(include: &str, object: &Value) -> Value {
    match include {
        "None" => Value::Null,
        "Object" => object.clone(),
        _ => json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": object.get("metadata")}),
    }
}

fn cells(now: DateTime<Utc>, resource: &Resource, object: &Value) -> Vec<Value> {
    let name = json!(meta::text(object, "name"));
    std::iter::once(name)
        .chain(
            resource
                .columns
                .iter()
                .map(|column| match cell(now, column, object) {
                    // Their types know no absent number.
                    Value::Null if column.column_type == "integer" && resource.custom.is_none() => json!(0),
                    cell => cell,
                }),
        )
        .collect()
}

fn cell(now: DateTime<Utc>, column: &Column, object: &Value) -> Value {
    let found = json_path::select(object, &column.json_path);
    let (Some(first), several) = (found.first(), found.len() > 1) else {
        return Value::Null;
    };
    match (column.column_type.as_str(), first) {
        ("date", Value::String(text)) => json!(age(now, text)),
        ("string", Value::String(text)) if !several => json!(text),
        ("string", _) => json!(
            found
                .iter()
                .map(|value| plain(value))
                .collect::<Vec<_>>()
                .join(",")
        ),
        _ => (*first).clone(),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn age(now: DateTime<Utc>, timestamp: &str) -> String {
    match DateTime::parse_from_rfc3339(timestamp) {
        Ok(then) => human_duration(now - then.with_timezone(&Utc)),
        Err(_) => "<invalid>".to_owned(),
    }
}

/// A duration as kubectl writes ages: two units while they are small, then one.
fn human_duration(age: TimeDelta) -> String {
    let (seconds, minutes, hours, days) = (
        age.num_seconds().max(0),
        age.num_minutes(),
        age.num_hours(),
        age.num_days(),
    );
    let pair = |high: i64, high_unit: char, low: i64, low_unit: char| match low {
        0 => format!("{high}{high_unit}"),
        low => format!("{high}{high_unit}{low}{low_unit}"),
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, 'm', seconds % 60, 's'),
        () if hours < 3 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => pair(days, 'd', hours % 24, 'h'),
        () if days < 730 => format!("{days}d"),
        () => pair(days / 365, 'y', days % 365, 'd'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_as_kubectl_writes_them() {
        let table = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (121, "2m1s"),
            (600, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 60, "3h1m"),
            (47 * 3600, "47h"),
            (48 * 3600, "2d"),
            (400 * 86400, "400d"),
        ];
        for (seconds, expected) in table {
            assert_eq!(human_duration(TimeDelta::seconds(seconds)), expected, "{seconds}");
        }
    }
}
