//! A real control plane: etcd, kube-apiserver with RBAC and an audit log, kube-controller-manager. No scheduler and no
//! kubelet: the sandbox's nodes run the pods.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::process::Process;

pub const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6443);
pub const ADMIN: &str = "admin";
const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
/// Nodes that nothing heartbeats need no controllers that act on them.
const CONTROLLERS: &str = "deployment-controller,replicaset-controller,endpointslice-controller,\
     garbage-collector-controller,namespace-controller,serviceaccount-controller,serviceaccount-token-controller,\
     root-ca-certificate-publisher-controller,horizontal-pod-autoscaler-controller,disruption-controller,\
     clusterrole-aggregation-controller,validatingadmissionpolicy-status-controller";
/// People without rights of their own.
pub const VIEWER: &str = "vera";
pub const OPERATOR: &str = "otto";
pub const EDITOR: &str = "edda";
const PEOPLE: &str = "people";
/// What the administrator and the cluster's own parts ask is of no interest.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  userGroups: [\"system:serviceaccounts:tidegate-system\", \"system:serviceaccounts:tidegate-shop\", people]
- level: None
";

/// Running; dropping it stops everything.
pub struct ControlPlane {
    directory: PathBuf,
    _etcd: Process,
    _api_server: Process,
    _controller_manager: Process,
}

impl ControlPlane {
    /// Starts what `binaries` holds; everything it writes goes below `directory`.
    pub async fn start(binaries: &Path, directory: &Path) -> Self {
        let token = |user: &str, uid: &str, groups: &str| format!("{user},{user},{uid},\"{groups}\"\n");
        let people = [VIEWER, OPERATOR, EDITOR].map(|person| token(person, person, PEOPLE));
        let tokens =
            token(ADMIN, "1", "system:masters") + &token(CONTROLLER_MANAGER, "2", "") + &people.concat();
        std::fs::write(directory.join("tokens.csv"), tokens).unwrap();
        std::fs::write(directory.join("audit.yaml"), AUDIT_POLICY).unwrap();
        let etcd = start_etcd(binaries, directory);
        let mut api_server = start_api_server(binaries, directory);
        // Its certificate is there before it answers.
        let certificate = directory.join("certificates/apiserver.crt");
        api_server
            .await_ready(async || certificate.exists() && std::net::TcpStream::connect(SERVER).is_ok())
            .await;
        let admin = write_kubeconfig(directory, SERVER, ADMIN, ADMIN);
        write_kubeconfig(directory, SERVER, CONTROLLER_MANAGER, CONTROLLER_MANAGER);
        let client = client(&admin, "test").await;
        let is_ready = async || {
            let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
            client.request_text(request).await.is_ok()
        };
        api_server.await_ready(is_ready).await;
        let controller_manager = start_controller_manager(binaries, directory);
        ControlPlane {
            directory: directory.to_owned(),
            _etcd: etcd,
            _api_server: api_server,
            _controller_manager: controller_manager,
        }
    }

    /// With all rights.
    pub fn admin(&self) -> PathBuf {
        self.directory.join(format!("{ADMIN}.kubeconfig"))
    }

    /// As this person.
    pub fn of_person(&self, name: &str) -> PathBuf {
        self.kubeconfig(name, name)
    }

    /// With the rights of whoever the token is of.
    pub fn kubeconfig(&self, name: &str, token: &str) -> PathBuf {
        write_kubeconfig(&self.directory, SERVER, name, token)
    }

    /// [`Self::admin`], by way of an address that leads here.
    pub fn admin_by(&self, address: SocketAddr) -> PathBuf {
        let name = format!("{ADMIN}-by-{}", address.port());
        write_kubeconfig(&self.directory, address, &name, ADMIN)
    }

    /// One line of JSON per request.
    pub fn audit_log(&self) -> PathBuf {
        self.directory.join("audit.log")
    }
}

/// A client whose requests carry this name as their User-Agent's.
pub async fn client(kubeconfig: &Path, name: &str) -> kube::Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut config = config.unwrap();
    config.headers.push((
        http::header::USER_AGENT,
        http::HeaderValue::from_str(&format!("e2e-{name}")).unwrap(),
    ));
    kube::Client::try_from(config).unwrap()
}

fn write_kubeconfig(directory: &Path, server: SocketAddr, name: &str, token: &str) -> PathBuf {
    let path = directory.join(format!("{}.kubeconfig", name.replace(':', "-")));
    let authority = directory.join("certificates/apiserver.crt");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: e2e\n\
         clusters:\n- name: e2e\n  cluster: {{server: \"https://{server}\", certificate-authority: \"{}\"}}\n\
         users:\n- name: e2e\n  user: {{token: \"{token}\"}}\n\
         contexts:\n- name: e2e\n  context: {{cluster: e2e, user: e2e, namespace: default}}\n",
        authority.display()
    );
    std::fs::write(&path, text).unwrap();
    path
}

fn start_etcd(binaries: &Path, directory: &Path) -> Process {
    let arguments = [
        "--name=e2e",
        "--data-dir=etcd",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=e2e=http://127.0.0.1:2380",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ];
    Process::start("etcd", &binaries.join("etcd"), arguments, &[], directory)
}

/// The key of its own certificate also signs the tokens of service accounts, so that no other key has to be made.
fn start_api_server(binaries: &Path, directory: &Path) -> Process {
    let key = directory.join("certificates/apiserver.key");
    let arguments = [
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=127.0.0.1",
        "--secure-port=6443",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        &format!("--cert-dir={}", directory.join("certificates").display()),
        "--service-cluster-ip-range=10.78.0.0/16",
        "--token-auth-file=tokens.csv",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        &format!("--service-account-key-file={}", key.display()),
        &format!("--service-account-signing-key-file={}", key.display()),
        "--disable-admission-plugins=TaintNodesByCondition",
        // As some distributions do: an owner's deletion is blocked only by who may.
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
        "--allow-privileged=true",
        "--anonymous-auth=false",
        "--audit-policy-file=audit.yaml",
        "--audit-log-path=audit.log",
        // In one piece.
        "--audit-log-maxsize=10000",
    ];
    Process::start(
        "kube-apiserver",
        &binaries.join("kube-apiserver"),
        arguments,
        &[],
        directory,
    )
}

fn start_controller_manager(binaries: &Path, directory: &Path) -> Process {
    let kubeconfig = format!("{}.kubeconfig", CONTROLLER_MANAGER.replace(':', "-"));
    let arguments = [
        &format!("--kubeconfig={kubeconfig}"),
        "--secure-port=0",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        "--service-account-private-key-file=certificates/apiserver.key",
        "--root-ca-file=certificates/apiserver.crt",
        &format!("--controllers={CONTROLLERS}"),
        // Many releases at once on one machine must not wait for it.
        "--kube-api-qps=400",
        "--kube-api-burst=800",
        "--concurrent-replicaset-syncs=16",
        "--concurrent-service-endpoint-syncs=16",
    ];
    Process::start(
        "kube-controller-manager",
        &binaries.join("kube-controller-manager"),
        arguments,
        &[],
        directory,
    )
}
