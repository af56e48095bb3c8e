//! Lists, pages, tables, discovery and watches.

use super::*;

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect()
}

#[test]
fn lists_are_sorted_selected_and_of_one_namespace_or_all() {
    let mut desk = Desk::new();
    desk.post("/api/v1/namespaces", named("shop"));
    for (path, name) in [
        (MAPS, "b"),
        (MAPS, "a"),
        ("/api/v1/namespaces/shop/configmaps", "c"),
    ] {
        desk.post(path, json!({"metadata": {"name": name, "labels": {"app": name}}}));
    }
    let table = [
        (MAPS.to_owned(), vec!["a", "b"]),
        ("/api/v1/configmaps".to_owned(), vec!["a", "b", "c"]),
        (format!("{MAPS}?labelSelector=app+in+(b,c)"), vec!["b"]),
        (
            "/api/v1/configmaps?fieldSelector=metadata.namespace%3Dshop".to_owned(),
            vec!["c"],
        ),
    ];
    for (path, expected) in table {
        assert_eq!(names(&desk.get(&path).1), expected, "{path}");
    }
    assert_eq!(desk.get(&format!("{MAPS}?labelSelector=a+b")).0, 400);
}

#[test]
fn pages_show_the_moment_the_list_began() {
    let mut desk = Desk::new();
    for name in ["a", "b", "c", "d"] {
        desk.post(MAPS, named(name));
    }
    let (_, first) = desk.get(&format!("{MAPS}?limit=2"));
    assert_eq!(
        (names(&first), &first["metadata"]["remainingItemCount"]),
        (vec!["a", "b"], &json!(2))
    );
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    desk.delete(&format!("{MAPS}/c"), Value::Null);
    desk.post(MAPS, named("bb"));
    let (_, second) = desk.get(&format!("{MAPS}?limit=2&continue={token}"));
    assert_eq!(names(&second), ["c", "d"]);
    assert!(second["metadata"].get("continue").is_none());
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    desk.store.compact();
    let expired = desk.get(&format!("{MAPS}?limit=2&continue={token}"));
    assert_eq!((expired.0, &expired.1["reason"]), (410, &json!("Expired")));
    assert_eq!(desk.get(&format!("{MAPS}?continue=nonsense")).0, 400);
}

#[test]
fn tables_have_the_printer_columns() {
    let mut desk = Desk::with_gates(open_spec());
    desk.post(
        GATES,
        json!({"metadata": {"name": "a"}, "spec": {"mode": "Open"}}),
    );
    desk.now += chrono::TimeDelta::minutes(5);
    let mut request = ApiRequest::new("GET", GATES);
    request.accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json".to_owned();
    let table = desk.store.handle(desk.now, &request).body.to_value();
    let columns: Vec<_> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].clone())
        .collect();
    assert_eq!(columns, ["Name", "Mode", "Since"]);
    assert_eq!(table["rows"][0]["cells"], json!(["a", "Open", "5m"]));
    assert_eq!(table["rows"][0]["object"]["metadata"]["name"], "a");
}

#[test]
fn discovery() {
    let mut desk = Desk::with_gates(open_spec());
    let (_, resources) = desk.get("/apis/example.dev/v1");
    let listed: Vec<_> = resources["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["name"].clone())
        .collect();
    assert_eq!(listed, ["gates", "gates/status", "gates/scale"]);
    let (_, groups) = desk.get("/apis");
    assert!(
        groups["groups"]
            .as_array()
            .unwrap()
            .iter()
            .any(|group| group["name"] == "example.dev")
    );
    assert_eq!(desk.get("/apis/none.dev/v1").0, 404);
    assert_eq!(desk.get("/version").1["minor"], "33");
    let (_, document) = desk.get("/openapi/v3/apis/example.dev/v1");
    let operation = &document["paths"]["/apis/example.dev/v1/namespaces/{namespace}/gates/{name}"]["patch"];
    assert_eq!(operation["parameters"][0]["name"], "fieldValidation");
}

#[test]
fn events_have_two_groups_and_one_storage() {
    let mut desk = Desk::new();
    let (core, new) = (
        "/api/v1/namespaces/default/events",
        "/apis/events.k8s.io/v1/namespaces/default/events",
    );
    let event = json!({"metadata": {"name": "a"}, "reason": "Promoted", "action": "Promote", "note": "done",
        "reportingController": "tidegate", "reportingInstance": "x", "type": "Normal", "eventTime": "2026-01-01T00:00:00Z",
        "regarding": {"kind": "Rollout", "name": "web"}});
    let (code, created) = desk.post(new, event);
    assert_eq!(
        (code, &created["apiVersion"], &created["note"]),
        (201, &json!("events.k8s.io/v1"), &json!("done"))
    );
    let (_, listed) = desk.get(&format!("{core}?fieldSelector=involvedObject.name%3Dweb"));
    let found = &listed["items"][0];
    assert_eq!(
        (&found["apiVersion"], &found["message"]),
        (&json!("v1"), &json!("done"))
    );
    assert_eq!(
        desk.merge(&format!("{new}/a"), json!({"note": "again"})).1["note"],
        "again"
    );
    assert_eq!(desk.get(&format!("{core}/a")).1["message"], "again");
    let mut watch = desk
        .store
        .watch(&ApiRequest::new("GET", &format!("{new}?watch=1")))
        .unwrap();
    let batch = desk.store.watch_next(desk.now, &mut watch);
    assert_eq!(batch.events[0]["object"]["regarding"]["name"], "web");
}

/// What the watcher is told, as `TYPE name`.
fn told(desk: &Desk, watch: &mut Watch) -> Vec<String> {
    let batch = desk.store.watch_next(desk.now, watch);
    let tell = |event: &Value| {
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
        format!("{} {name}", event["type"].as_str().unwrap())
            .trim_end()
            .to_owned()
    };
    batch.events.iter().map(tell).collect()
}

fn watch(desk: &Desk, query: &str) -> Result<Watch, Refusal> {
    desk.store
        .watch(&ApiRequest::new("GET", &format!("{MAPS}?watch=true&{query}")))
}

#[test]
fn a_watch_resumes_after_the_version_it_names() {
    let mut desk = Desk::new();
    let (_, first) = desk.post(MAPS, named("a"));
    let version = first["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    desk.merge(&format!("{MAPS}/a"), json!({"data": {"k": "v"}}));
    desk.post(PODS, named("not-a-map"));
    desk.delete(&format!("{MAPS}/a"), Value::Null);
    let mut resumed = watch(&desk, &format!("resourceVersion={version}")).unwrap();
    assert_eq!(told(&desk, &mut resumed), ["MODIFIED a", "DELETED a"]);
    assert_eq!(told(&desk, &mut resumed), [""; 0]);
    desk.post(MAPS, named("b"));
    assert_eq!(told(&desk, &mut resumed), ["ADDED b"]);
    let mut fresh = watch(&desk, "").unwrap();
    assert_eq!(
        told(&desk, &mut fresh),
        ["ADDED b"],
        "without a version: what there is"
    );
    let mark = desk.store.bookmark(&fresh);
    assert_eq!(
        mark["object"]["metadata"]["resourceVersion"],
        json!(desk.store.version().to_string())
    );
}

#[test]
fn history_that_is_gone_is_said_to_be_gone() {
    let mut desk = Desk::new();
    desk.post(MAPS, named("a"));
    let mut slow = watch(&desk, "resourceVersion=3").unwrap();
    desk.post(MAPS, named("b"));
    desk.store.compact();
    let mut late = watch(&desk, "resourceVersion=3").unwrap();
    for watch in [&mut slow, &mut late] {
        let batch = desk.store.watch_next(desk.now, watch);
        assert!(batch.ended);
        assert_eq!(
            (&batch.events[0]["type"], &batch.events[0]["object"]["code"]),
            (&json!("ERROR"), &json!(410))
        );
    }
    assert_eq!(watch(&desk, "sendInitialEvents=true").unwrap_err().code, 422);
    assert_eq!(watch(&desk, "resourceVersion=soon").unwrap_err().code, 400);
}

#[test]
fn an_object_that_leaves_the_selector_is_deleted_for_its_watcher() {
    let mut desk = Desk::new();
    let mut selected = watch(&desk, "labelSelector=app%3Dx").unwrap();
    let label = |app: &str| json!({"metadata": {"labels": {"app": app}}});
    desk.post(MAPS, json!({"metadata": {"name": "a", "labels": {"app": "y"}}}));
    for app in ["x", "x2", "y"] {
        desk.merge(&format!("{MAPS}/a"), label(app));
    }
    assert_eq!(told(&desk, &mut selected), ["ADDED a", "DELETED a"]);
    let mut named_one = watch(&desk, "fieldSelector=metadata.name%3Db").unwrap();
    desk.post(MAPS, named("b"));
    desk.post(MAPS, named("c"));
    assert_eq!(told(&desk, &mut named_one), ["ADDED b"]);
}
