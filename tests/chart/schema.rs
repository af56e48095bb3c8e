//! Values that make no sense are refused, and the refusal names them.

use crate::helm::template;

fn assert_refused(value: &str, named: &str) {
    let output = template(&[value]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{value} is taken");
    assert!(
        said.contains("values don't meet the specifications"),
        "{value}: {said}"
    );
    assert!(said.contains(named), "{value}: {said}");
}

#[test]
fn a_bad_value_is_refused_by_name() {
    for (value, named) in [
        ("replica=3", "replica"),
        ("replicas=0", "replicas"),
        (r#"replicas="2""#, "replicas"),
        ("image.tags=1", "tags"),
        (r#"image.repository="""#, "repository"),
        (r#"image.tag="a b""#, "tag"),
        (r#"image.digest="sha256:1""#, "digest"),
        (r#"image.pullPolicy="Sometimes""#, "pullPolicy"),
        (r#"imagePullSecrets=["registry"]"#, "imagePullSecrets"),
        (r#"imagePullSecrets=[{"name":""}]"#, "imagePullSecrets"),
        (r#"namespaces="shop""#, "namespaces"),
        (r#"namespaces=["Shop"]"#, "namespaces"),
        (r#"namespaces=["*"]"#, "namespaces"),
        (r#"namespaces=["a","a"]"#, "namespaces"),
        (r#"clusterWide="yes""#, "clusterWide"),
        ("routers.traefik=true", "traefik"),
        (r#"prometheus.url="prometheus:9090""#, "url"),
        (r#"prometheus.url="http://user:password@prometheus""#, "url"),
        ("prometheus.insecure=true", "insecure"),
        (r#"prometheus.caConfigMap.key="""#, "key"),
        ("alerts.enabled=true", "enabled"),
        ("alerts.receiver.enabled=true", "tokensSecret"),
        ("alerts.receiver.port=443", "port"),
        (r#"alerts.receiver.tlsSecret="Alert_TLS""#, "tlsSecret"),
        (r#"alerts.alertmanager.url="alertmanager:9093""#, "url"),
        (r#"alerts.alertmanager.pollInterval="100ms""#, "pollInterval"),
        (r#"alerts.alertmanager.pollInterval="0s""#, "pollInterval"),
        ("metrics.port=80", "port"),
        (r#"metrics.host="localhost""#, "host"),
        (r#"log.format="xml""#, "format"),
        (r#"log.level="""#, "level"),
        ("crds.keep=false", "keep"),
        (r#"admissionPolicies.enabled="false""#, "enabled"),
        (
            r#"admissionPolicies.otherControllers=["tidegate"]"#,
            "otherControllers",
        ),
        ("userRoles.aggregated=false", "aggregated"),
        (r#"serviceAccount.name="default""#, "name"),
        ("serviceAccount.create=false", "create"),
        (r#"resources.limits.memory="128MB""#, "memory"),
        ("resources.limits.gpu=1", "gpu"),
        ("podAnnotations.a=1", "podAnnotations"),
        ("tolerations={}", "tolerations"),
        ("podDisruptionBudget.minAvailable=1", "minAvailable"),
        ("networkPolicy.prometheus.ports=[]", "ports"),
        (r#"networkPolicy.apiServer.cidrs=["10.0.0.1"]"#, "cidrs"),
        (r#"podMonitor.interval="often""#, "interval"),
        ("prometheusRule.rules=[]", "rules"),
        ("dashboard.labels.a=1", "labels"),
    ] {
        assert_refused(value, named);
    }
}

#[test]
fn a_bad_issuer_is_refused_by_name() {
    for (value, named) in [
        (r#"issueRef={"name":"a"}"#, "issueRef"),
        (r#"issuerRef="a""#, "issuerRef"),
        (r#"issuerRef.nam="a""#, "nam"),
        ("issuerRef.name=1", "name"),
        (r#"issuerRef.kind="Clusterissuer""#, "kind"),
        (r#"issuerRef.kind="""#, "kind"),
        (
            r#"issuerRef={"kind":"issuer","group":"certmanager.step.sm"}"#,
            "kind",
        ),
        (r#"issuerRef.group="Step""#, "group"),
        (r#"duration="1h""#, "duration"),
    ] {
        assert_refused(&format!("alerts.receiver.certManager.{value}"), named);
    }
}

/// Where the certificate comes from is a choice of two, so the refusal names both.
#[test]
fn a_receiver_without_a_certificate_is_refused() {
    let mut values = vec![
        "alerts.receiver.enabled=true",
        r#"alerts.receiver.tokensSecret="alert-tokens""#,
    ];
    let output = template(&values);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it is taken");
    for named in [
        "alerts.receiver.enabled needs a certificate",
        "set alerts.receiver.tlsSecret",
        "or alerts.receiver.certManager.issuerRef.name",
    ] {
        assert!(said.contains(named), "{said}");
    }
    values[0] = "alerts.receiver.enabled=false";
    assert!(template(&values).status.success());
}

#[test]
fn everywhere_and_somewhere_exclude_each_other() {
    let output = template(&["clusterWide=true", r#"namespaces=["shop"]"#]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("exclude each other"),
        "{said}"
    );
}
