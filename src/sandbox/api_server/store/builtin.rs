//! The built-in resources: a table of those that the sandbox and the controller meet.
//!
//! Assumption: what is not in the table is not needed; a request for it gets 404 as for an API that is not
//! installed. Gateway API kinds are served as built-in ones, without their schema.

use super::registry::{Column, Resource, ScalePaths};

/// Flags of a row: namespaced, status subresource, scale subresource, generation counted.
const NAMESPACED: u8 = 1;
const STATUS: u8 = 2;
const SCALE: u8 = 4;
const GENERATION: u8 = 8;
const WORKLOAD: u8 = NAMESPACED | STATUS | GENERATION;

/// Group, version, plural, kind, short names (comma separated), flags.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    u8,
);

const ROWS: &[Row] = &[
    ("", "v1", "configmaps", "ConfigMap", "cm", NAMESPACED),
    ("", "v1", "events", "Event", "ev", NAMESPACED),
    ("", "v1", "namespaces", "Namespace", "ns", STATUS),
    ("", "v1", "nodes", "Node", "no", STATUS),
    ("", "v1", "pods", "Pod", "po", WORKLOAD),
    ("", "v1", "secrets", "Secret", "", NAMESPACED),
    ("", "v1", "serviceaccounts", "ServiceAccount", "sa", NAMESPACED),
    ("", "v1", "services", "Service", "svc", NAMESPACED | STATUS),
    (
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        "crd,crds",
        STATUS | GENERATION,
    ),
    (
        "apps",
        "v1",
        "deployments",
        "Deployment",
        "deploy",
        WORKLOAD | SCALE,
    ),
    ("apps", "v1", "replicasets", "ReplicaSet", "rs", WORKLOAD | SCALE),
    (
        "authentication.k8s.io",
        "v1",
        "selfsubjectreviews",
        "SelfSubjectReview",
        "",
        0,
    ),
    (
        "authorization.k8s.io",
        "v1",
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        "",
        0,
    ),
    ("batch", "v1", "jobs", "Job", "", WORKLOAD),
    ("coordination.k8s.io", "v1", "leases", "Lease", "", NAMESPACED),
    (
        "discovery.k8s.io",
        "v1",
        "endpointslices",
        "EndpointSlice",
        "",
        NAMESPACED | GENERATION,
    ),
    ("events.k8s.io", "v1", "events", "Event", "ev", NAMESPACED),
    (
        "gateway.networking.k8s.io",
        "v1",
        "gateways",
        "Gateway",
        "gtw",
        WORKLOAD,
    ),
    (
        "gateway.networking.k8s.io",
        "v1",
        "httproutes",
        "HTTPRoute",
        "",
        WORKLOAD,
    ),
    ("networking.k8s.io", "v1", "ingresses", "Ingress", "ing", WORKLOAD),
];

/// Group and plural, then name and path of each column; AGE is added to all.
type ColumnRow = (&'static str, &'static [(&'static str, &'static str)]);

const COLUMNS: &[ColumnRow] = &[
    ("Namespace", &[("Status", ".status.phase")]),
    (
        "Pod",
        &[
            ("Status", ".status.phase"),
            ("IP", ".status.podIP"),
            ("Node", ".spec.nodeName"),
        ],
    ),
    (
        "Service",
        &[("Type", ".spec.type"), ("Cluster-IP", ".spec.clusterIP")],
    ),
    (
        "ReplicaSet",
        &[
            ("Desired", ".spec.replicas"),
            ("Current", ".status.replicas"),
            ("Ready", ".status.readyReplicas"),
        ],
    ),
    (
        "Deployment",
        &[
            ("Ready", ".status.readyReplicas"),
            ("Up-to-date", ".status.updatedReplicas"),
            ("Available", ".status.availableReplicas"),
        ],
    ),
    (
        "Ingress",
        &[
            ("Class", ".spec.ingressClassName"),
            ("Hosts", ".spec.rules[*].host"),
        ],
    ),
    ("HTTPRoute", &[("Hostnames", ".spec.hostnames")]),
    (
        "EndpointSlice",
        &[
            ("AddressType", ".addressType"),
            ("Endpoints", ".endpoints[*].addresses[0]"),
        ],
    ),
    (
        "Event",
        &[
            ("Type", ".type"),
            ("Reason", ".reason"),
            ("Object", ".involvedObject.name"),
            ("Message", ".message"),
        ],
    ),
    ("Lease", &[("Holder", ".spec.holderIdentity")]),
];

pub(super) fn resources() -> Vec<Resource> {
    ROWS.iter().map(resource).collect()
}

fn resource(row: &Row) -> Resource {
    let (group, version, plural, kind, short_names, flags) = *row;
    let has = |flag: u8| flags & flag != 0;
    Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        singular: kind.to_lowercase(),
        kind: kind.to_owned(),
        list_kind: format!("{kind}List"),
        namespaced: has(NAMESPACED),
        short_names: short_names
            .split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
        categories: match kind {
            "Pod" | "Service" | "ReplicaSet" | "Deployment" | "Job" => vec!["all".to_owned()],
            _ => Vec::new(),
        },
        has_status: has(STATUS),
        scale: has(SCALE).then(|| ScalePaths {
            spec_replicas: ".spec.replicas".to_owned(),
            status_replicas: ".status.replicas".to_owned(),
            label_selector: None,
        }),
        has_generation: has(GENERATION),
        columns: columns(kind),
        custom: None,
        // Events of both groups are the same objects.
        key: if kind == "Event" {
            "/events".to_owned()
        } else {
            format!("{group}/{plural}")
        },
    }
}

fn columns(kind: &str) -> Vec<Column> {
    let listed = COLUMNS
        .iter()
        .find(|(of, _)| *of == kind)
        .map(|(_, columns)| *columns);
    let column = |name: &str, path: &str, column_type: &str| Column {
        name: name.to_owned(),
        column_type: column_type.to_owned(),
        json_path: path.to_owned(),
        priority: 0,
        description: String::new(),
    };
    let mut columns: Vec<Column> = listed
        .into_iter()
        .flatten()
        .map(|(name, path)| {
            let is_count = path.to_lowercase().ends_with("replicas");
            column(name, path, if is_count { "integer" } else { "string" })
        })
        .collect();
    columns.push(column("Age", ".metadata.creationTimestamp", "date"));
    columns
}
