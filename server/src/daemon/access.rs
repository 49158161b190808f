//! The administrator's way in, for the kubeconfig.

use sampan_apiserver::ApiServer;

use crate::kubeconfig::Access;

/// Address and certificates of `server`.
pub fn of(server: &ApiServer) -> Access {
    let admin = server.pki().admin();
    Access {
        server: format!("https://127.0.0.1:{}", server.port()),
        ca_pem: server.pki().ca_pem().to_owned(),
        certificate_pem: admin.certificate_pem.clone(),
        key_pem: admin.key_pem.to_string(),
    }
}
