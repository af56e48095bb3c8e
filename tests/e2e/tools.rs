//! The programs that are not built from this package; `make e2e` says where they are.

use std::path::PathBuf;

use serde_json::Value;

pub struct Tools {
    /// Folder with etcd, kube-apiserver, kube-controller-manager and kubectl.
    pub control_plane: PathBuf,
    pub traefik: PathBuf,
    pub helm: PathBuf,
    /// Folder with the CustomResourceDefinitions of the Gateway API.
    gateway_api: PathBuf,
}

impl Tools {
    pub fn find() -> Self {
        let path = |variable: &str| {
            let value = std::env::var_os(variable);
            PathBuf::from(value.unwrap_or_else(|| panic!("{variable} is not set: run `make e2e`")))
        };
        Tools {
            control_plane: path("TIDEGATE_CONTROL_PLANE"),
            traefik: path("TIDEGATE_TRAEFIK"),
            helm: path("HELM"),
            gateway_api: path("TIDEGATE_GATEWAY_API"),
        }
    }

    pub fn gateway_api_crds(&self) -> Vec<Value> {
        let files = std::fs::read_dir(&self.gateway_api).unwrap();
        let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        let documents = texts.flat_map(|text| serde_saphyr::from_multiple::<Value>(&text).unwrap());
        documents
            .filter(|document| document["kind"] == "CustomResourceDefinition")
            .collect()
    }
}
