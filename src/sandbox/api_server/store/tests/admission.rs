//! Unknown fields, schemas, CEL rules, and the validation of built-in kinds.

use super::*;

const STRICT: &str = "fieldValidation=Strict";

fn typed_spec() -> Value {
    json!({"type": "object", "properties": {
        "weight": {"type": "integer", "minimum": 0, "maximum": 100, "default": 5},
        "steps": {"type": "array", "items": {"type": "object", "properties": {"pause": {"type": "string"}}}}}})
}

#[test]
fn unknown_and_duplicate_fields() {
    let body = r#"{"apiVersion": "example.dev/v1", "kind": "Gate", "metadata": {"name": "a", "lables": {}},
        "spec": {"wieght": 1, "weight": 2, "weight": 3, "steps": [{"puase": "1m"}]}}"#;
    let unknown = [
        "unknown field \"metadata.lables\"",
        "unknown field \"spec.wieght\"",
        "unknown field \"spec.steps[0].puase\"",
    ];
    let mut desk = Desk::with_gates(typed_spec());
    let strict = desk.send("POST", &format!("{GATES}?{STRICT}"), "application/json", body);
    assert_eq!(strict.code, 400);
    assert_eq!(
        strict.body.to_value()["message"],
        "Gate in version \"v1\" cannot be handled as a Gate: strict decoding error: duplicate field \"spec.weight\""
    );
    let unique = body.replace("\"weight\": 2, ", "");
    let strict = desk.send("POST", &format!("{GATES}?{STRICT}"), "application/json", &unique);
    let text = strict.body.to_value()["message"].to_string();
    for field in ["metadata.lables", "spec.wieght", "spec.steps[0].puase"] {
        assert!(text.contains(&format!("unknown field \\\"{field}\\\"")), "{text}");
    }
    let mut warned = desk.send("POST", GATES, "application/json", body);
    assert_eq!(warned.code, 201);
    assert_eq!(warned.warnings.remove(0), "duplicate field \"spec.weight\"");
    warned.warnings.sort();
    assert_eq!(warned.warnings, [unknown[0], unknown[2], unknown[1]]);
    assert_eq!(
        warned.body.to_value()["spec"],
        json!({"weight": 3, "steps": [{}]})
    );
    let ignored = desk.send(
        "PATCH",
        &format!("{GATES}/a?fieldValidation=Ignore"),
        "application/merge-patch+json",
        "{\"x\": 1}",
    );
    assert_eq!((ignored.code, ignored.warnings.len()), (200, 0));
    let patched = desk.send(
        "PATCH",
        &format!("{GATES}/a?{STRICT}"),
        "application/merge-patch+json",
        "{\"x\": 1}",
    );
    let text = patched.body.to_value()["message"].to_string();
    assert_eq!(patched.code, 422);
    assert!(text.contains("strict decoding error: unknown field"), "{text}");
    assert_eq!(
        desk.post(
            &format!("{GATES}?fieldValidation=Maybe"),
            json!({"metadata": {"name": "c"}, "x": 1})
        )
        .0,
        400
    );
    assert_eq!(desk.send("POST", GATES, "application/json", "{").code, 400);
    assert_eq!(
        desk.send("POST", GATES, "application/vnd.kubernetes.protobuf", "k8s")
            .code,
        415
    );
}

#[test]
fn unknown_fields_of_built_in_kinds() {
    let mut desk = Desk::new();
    let mut typo = replica_set("a");
    typo["spec"]["template"]["spec"]["containers"][0]["imege"] = json!("x");
    let refused = desk.post(&format!("{SETS}?{STRICT}"), typo.clone());
    let field = "spec.template.spec.containers[0].imege";
    assert_eq!(
        message(&refused),
        format!(
            "ReplicaSet in version \"v1\" cannot be handled as a ReplicaSet: strict decoding error: unknown field \"{field}\""
        )
    );
    let (code, created) = desk.post(SETS, typo);
    assert_eq!(
        (code, created.pointer("/spec/template/spec/containers/0/imege")),
        (201, None)
    );
    let mut wrong = replica_set("b");
    wrong["spec"]["replicas"] = json!("3");
    assert_eq!(desk.post(SETS, wrong).0, 400);
}

#[test]
fn causes_name_the_fields() {
    let mut desk = Desk::with_gates(typed_spec());
    let (code, status) = desk.post(GATES, json!({"metadata": {"name": "A"}, "spec": {"weight": 101}}));
    assert_eq!(code, 422);
    let causes: Vec<_> = status["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| (cause["field"].clone(), cause["reason"].clone()))
        .collect();
    let invalid = json!("FieldValueInvalid");
    assert_eq!(
        causes,
        [
            (json!("metadata.name"), invalid.clone()),
            (json!("spec.weight"), invalid)
        ]
    );
    assert_eq!(status["details"]["kind"], "Gate");
    let (_, defaulted) = desk.post(GATES, json!({"metadata": {"name": "a"}, "spec": {}}));
    assert_eq!(defaulted["spec"], json!({"weight": 5}));
}

/// What a rule on the spec says to an object that replaces another; empty when it is content.
fn judged(rule: Value, old: Option<Value>, new: Value) -> String {
    let spec = json!({"type": "object", "x-kubernetes-validations": [rule], "properties": {
        "n": {"type": "integer"}, "f": {"type": "number"}, "s": {"type": "string"}, "namespace": {"type": "string"},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"w": {"type": "integer"}}}},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "template": {"type": "object", "additionalProperties": {"type": "string"}}}}}});
    let mut desk = Desk::with_gates(spec);
    if let Some(old) = old {
        assert_eq!(
            desk.post(GATES, json!({"metadata": {"name": "a"}, "spec": old}))
                .0,
            201
        );
        let (_, mut stored) = desk.get(&format!("{GATES}/a"));
        stored["spec"] = new;
        return message(&desk.put(&format!("{GATES}/a"), stored)).to_owned();
    }
    message(&desk.post(GATES, json!({"metadata": {"name": "a"}, "spec": new}))).to_owned()
}

fn assert_judgements(table: &[(&str, Value, bool)]) {
    for (rule, spec, holds) in table {
        let said = judged(json!({"rule": rule, "message": "no"}), None, spec.clone());
        let refused = "Gate.example.dev \"a\" is invalid: spec: Invalid value: \"object\": no";
        assert_eq!(said, if *holds { "" } else { refused }, "{rule} on {spec}");
    }
}

#[test]
fn cel_rules_about_scalars() {
    assert_judgements(&[
        ("self.n > 0", json!({"n": 1}), true),
        ("self.n > 0", json!({"n": 0}), false),
        ("has(self.n) && !has(self.s)", json!({"n": 1}), true),
        ("has(self.n) != has(self.s)", json!({"n": 1, "s": ""}), false),
        ("self.f >= 0.5", json!({"f": 1}), true),
        ("double(self.n) / 2.0 == 0.5", json!({"n": 1}), true),
        ("int(self.s) == 12", json!({"s": "12"}), true),
        ("self.s.matches('^[a-z]+$')", json!({"s": "abc"}), true),
        ("self.s.matches('^[a-z]+$')", json!({"s": "ab1"}), false),
        (
            "self.s.startsWith('a') && self.s.endsWith('c') && self.s.contains('b')",
            json!({"s": "abc"}),
            true,
        ),
        (
            "size(self.s) == 3 && self.s.size() == 3",
            json!({"s": "äöü"}),
            true,
        ),
    ]);
}

#[test]
fn cel_rules_about_lists_and_maps() {
    assert_judgements(&[
        (
            "self.list.all(x, x.w <= 100)",
            json!({"list": [{"w": 1}, {"w": 101}]}),
            false,
        ),
        (
            "self.list.exists(x, has(x.w) && x.w == 2)",
            json!({"list": [{}, {"w": 2}]}),
            true,
        ),
        (
            "self.list.exists_one(x, x.w == 2)",
            json!({"list": [{"w": 2}, {"w": 2}]}),
            false,
        ),
        (
            "self.list.map(x, x.w).size() == 1",
            json!({"list": [{"w": 2}]}),
            true,
        ),
        (
            "self.list.filter(x, x.w > 1).size() == 1",
            json!({"list": [{"w": 2}, {"w": 1}]}),
            true,
        ),
        (
            "self.map.all(k, k.startsWith('a/'))",
            json!({"map": {"a/b": "x", "c": "y"}}),
            false,
        ),
        (
            "'k' in self.map && self.map['k'] == 'v'",
            json!({"map": {"k": "v"}}),
            true,
        ),
        (
            "self.open.template.app == 'a'",
            json!({"open": {"template": {"app": "a"}, "free": {"y": 1}}}),
            true,
        ),
        ("self.__namespace__ == 'x'", json!({"namespace": "x"}), true),
        ("self.n in [1, 2]", json!({"n": 3}), false),
        (
            "self.s.lowerAscii() == 'abc' && self.s.split('B').size() == 2",
            json!({"s": "ABC"}),
            true,
        ),
        ("(has(self.n) ? self.n : 7) == 7", json!({}), true),
        ("duration(self.s) < duration('1h')", json!({"s": "30m"}), true),
    ]);
}

#[test]
fn cel_rules_between_two_versions() {
    let rule = json!({"rule": "self.n >= oldSelf.n", "messageExpression": "'not below ' + string(oldSelf.n)",
        "reason": "FieldValueForbidden", "fieldPath": ".n"});
    assert_eq!(
        judged(rule.clone(), None, json!({"n": 1})),
        "",
        "nothing to compare with on creation"
    );
    assert_eq!(judged(rule.clone(), Some(json!({"n": 1})), json!({"n": 2})), "");
    let said = judged(rule, Some(json!({"n": 2})), json!({"n": 1}));
    assert_eq!(
        said,
        "Gate.example.dev \"a\" is invalid: spec.n: Forbidden: not below 2"
    );
}

#[test]
fn a_value_that_has_not_changed_is_not_judged_again() {
    let mut desk = Desk::with_gates(open_spec());
    desk.post(
        GATES,
        json!({"metadata": {"name": "a"}, "spec": {"n": 1, "extra": {"n": 1}}}),
    );
    let rule = json!([{"rule": "self.n > 1", "message": "too small"}]);
    let number = json!({"type": "integer", "minimum": 2});
    let stricter = json!({"type": "object", "properties": {"n": number, "m": {"type": "integer"}, "extra":
        {"type": "object", "x-kubernetes-validations": rule, "properties": {"n": {"type": "integer"}, "m": {"type": "integer"}}}}});
    desk.store.install_crd(start(), definition(stricter)).unwrap();
    let path = format!("{GATES}/a");
    assert_eq!(desk.merge(&path, json!({"spec": {"m": 1}})).0, 200);
    assert_eq!(
        desk.merge(&format!("{path}/status"), json!({"status": {"x": 1}}))
            .0,
        200
    );
    let reply = desk.merge(&path, json!({"spec": {"n": 0, "extra": {"m": 1}}}));
    assert!(
        message(&reply).contains("spec.n: Invalid value: 0"),
        "{}",
        message(&reply)
    );
    let reply = desk.merge(&path, json!({"spec": {"extra": {"m": 1}}}));
    assert!(
        message(&reply).contains("spec.extra: Invalid value: \"object\": too small"),
        "{}",
        message(&reply)
    );
}

#[test]
fn a_rule_below_a_list_that_is_replaced_whole_has_no_former_value() {
    let items = json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.k == oldSelf.k"}],
        "properties": {"k": {"type": "string"}, "v": {"type": "string"}}});
    let spec = |kind: &str| {
        json!({"type": "object", "properties": {"list": {"type": "array", "x-kubernetes-list-type": kind,
            "x-kubernetes-list-map-keys": ["k"], "items": items}}})
    };
    let install = |kind: &str| Store::new(1, start()).install_crd(start(), definition(spec(kind)));
    assert!(
        install("atomic")
            .unwrap_err()
            .message
            .contains("undeclared reference to 'oldSelf'")
    );
    install("map").unwrap();
}

#[test]
fn a_rule_that_fails_to_run_is_a_broken_rule() {
    let said = judged(json!({"rule": "self.n > 0"}), None, json!({}));
    assert!(
        said.contains("No such key: n evaluating rule: self.n > 0"),
        "{said}"
    );
}

#[test]
fn rules_that_cannot_be_compiled_refuse_the_definition() {
    for rule in [
        "self.n >",
        "self.n.isSorted()",
        "nonsense(self)",
        "self.typo > 1",
        "has(self.typo)",
        "slef.n > 1",
        "self.list.all(x, x.typo > 1)",
        "self.n > x",
        "self.open.x == 1",
        "self.list.all(x, x.w == oldSelf.n + y)",
    ] {
        let spec = json!({"type": "object", "x-kubernetes-validations": [{"rule": rule}], "properties": {
            "n": {"type": "integer"},
            "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "list": {"type": "array", "items": {"type": "object", "properties": {"w": {"type": "integer"}}}}}});
        let refused = Store::new(1, start())
            .install_crd(start(), definition(spec))
            .expect_err(rule);
        assert_eq!(refused.code, 422, "{rule}");
        let field =
            "spec.versions[0].schema.openAPIV3Schema.properties.spec.x-kubernetes-validations[0].rule";
        assert!(refused.message.contains(field), "{refused}");
    }
}

#[test]
fn definitions_that_are_refused() {
    let mut two = definition(open_spec());
    let mut other = two["spec"]["versions"][0].clone();
    other["name"] = json!("v2");
    two["spec"]["versions"].as_array_mut().unwrap().push(other);
    let mut misnamed = definition(open_spec());
    misnamed["metadata"]["name"] = json!("gate.example.dev");
    let mut without = definition(open_spec());
    without["spec"]["versions"][0]["schema"] = json!({});
    for (broken, field) in [
        (two, "spec.versions"),
        (misnamed, "metadata.name"),
        (without, "openAPIV3Schema"),
    ] {
        let refused = Store::new(1, start())
            .install_crd(start(), broken)
            .expect_err(field);
        assert!(refused.message.contains(field), "{refused}");
    }
}

#[test]
fn replica_sets_are_checked() {
    let table = [
        (
            "/spec/replicas",
            json!(-1),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        ("/spec/selector", json!({}), "spec.selector: Required value"),
        (
            "/spec/selector/matchLabels/app",
            json!("b"),
            "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`",
        ),
        (
            "/spec/template/spec/containers",
            json!([]),
            "spec.template.spec.containers: Required value",
        ),
        (
            "/spec/template/spec/containers/0/image",
            json!(""),
            "spec.template.spec.containers[0].image: Required value",
        ),
        (
            "/metadata/name",
            json!("Not_a_name"),
            "metadata.name: Invalid value: \"Not_a_name\": a lowercase RFC 1123 subdomain",
        ),
        (
            "/metadata/labels",
            json!({"a b": "c"}),
            "metadata.labels: Invalid value: \"a b\": name part must consist of",
        ),
    ];
    for (pointer, value, expected) in table {
        let mut object = replica_set("a");
        object["metadata"]["labels"] = json!({});
        *object.pointer_mut(pointer).unwrap() = value;
        let reply = Desk::new().post(SETS, object);
        assert_eq!(reply.0, 422, "{pointer}");
        assert!(message(&reply).contains(expected), "{}", message(&reply));
    }
    let mut desk = Desk::new();
    desk.post(SETS, replica_set("a"));
    let moved = json!({"spec": {"selector": {"matchLabels": {"app": null}, "matchExpressions": [{"key": "app", "operator": "Exists"}]}}});
    let reply = desk.merge(&format!("{SETS}/a"), moved);
    assert!(
        message(&reply).contains("field is immutable"),
        "{}",
        message(&reply)
    );
}

#[test]
fn quantities_are_checked() {
    let table = [
        ("1", true),
        ("500m", true),
        ("1.5Gi", true),
        ("1e3", true),
        ("1Gii", false),
        ("x", false),
        ("", false),
    ];
    for (text, fits) in table {
        let mut object = replica_set("a");
        object["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": text}});
        assert_eq!(Desk::new().post(SETS, object).0 == 201, fits, "{text}");
    }
    let mut object = replica_set("a");
    object["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": 2}});
    assert_eq!(
        Desk::new().post(SETS, object).0,
        201,
        "a bare number is a quantity too"
    );
}

#[test]
fn routes_services_and_slices_are_checked() {
    let ingress = |path_type: Value, path: &str| {
        json!({"metadata": {"name": "a"}, "spec": {"rules": [{"http": {"paths": [{"path": path, "pathType": path_type,
            "backend": {"service": {"name": "a", "port": {"number": 80}}}}]}}]}})
    };
    let slice = |kind: &str| json!({"metadata": {"name": "a"}, "addressType": kind, "endpoints": []});
    let service = |ports: Value| json!({"metadata": {"name": "a"}, "spec": {"ports": ports}});
    let (ingresses, slices, services) = (
        "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        "/api/v1/namespaces/default/services",
    );
    let table = [
        (ingresses, ingress(json!("Prefix"), "/"), 201),
        (ingresses, ingress(json!(""), "/"), 422),
        (ingresses, ingress(json!("Glob"), "/"), 422),
        (ingresses, ingress(json!("Exact"), "a"), 422),
        (ingresses, json!({"metadata": {"name": "a"}, "spec": {}}), 422),
        (slices, slice("IPv4"), 201),
        (slices, slice("IPv5"), 422),
        (services, service(json!([{"port": 80}])), 201),
        (services, service(json!([{"port": 0}])), 422),
        (services, service(json!([])), 422),
    ];
    for (path, object, code) in table {
        let reply = Desk::new().post(path, object.clone());
        assert_eq!(reply.0, code, "{object} {}", reply.1);
    }
}
