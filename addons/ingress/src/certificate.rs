//! Certificates: out of Secrets, and the one for hosts that have none.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sampan_addon::Error;
use sampan_reconcile::{Key, Object};
use serde::Deserialize;

use crate::table::Table;

/// What the ingress keeps of a Secret: not the other keys, and nothing of what other Secrets are for.
#[derive(Clone, Default, Deserialize)]
pub struct TlsSecret {
    metadata: Metadata,
    #[serde(default)]
    data: Data,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    namespace: Option<String>,
    resource_version: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Data {
    #[serde(rename = "tls.crt")]
    chain: Option<k8s_openapi::ByteString>,
    #[serde(rename = "tls.key")]
    key: Option<k8s_openapi::ByteString>,
}

/// Says which Secret it is, and nothing of what is in it.
impl fmt::Debug for TlsSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsSecret({})", self.key())
    }
}

sampan_reconcile::decoded!(TlsSecret);

impl Object for TlsSecret {
    fn key(&self) -> Key {
        Key { namespace: self.metadata.namespace.clone(), name: self.metadata.name.clone() }
    }

    fn version(&self) -> u64 {
        self.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
    }
}

impl TlsSecret {
    /// The certificate and its key, or what is wrong with them in words that follow the Secret's name.
    pub fn certificate(&self) -> Result<Arc<CertifiedKey>, String> {
        let chain = self.data.chain.as_ref().filter(|bytes| !bytes.0.is_empty()).ok_or("has no tls.crt")?;
        let key = self.data.key.as_ref().filter(|bytes| !bytes.0.is_empty()).ok_or("has no tls.key")?;
        certified(&chain.0, &key.0)
    }
}

fn certified(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("tls.crt is not a certificate: {error}"))?;
    if chain.is_empty() {
        return Err("tls.crt is not a certificate: no PEM block CERTIFICATE".into());
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("tls.key is not a key: {error}"))?;
    let key = any_supported_type(&key).map_err(|error| format!("tls.key cannot be used: {error}"))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err("tls.key is not the key of tls.crt".into())
        }
        Err(rustls::Error::InvalidCertificate(error)) => {
            Err(format!("tls.crt is not a certificate: {error}"))
        }
        // a key that cannot say its public half is taken at its word
        _ => Ok(Arc::new(certified)),
    }
}

/// The certificate that signs itself, kept in `folder` so that who has accepted it once need not do so again.
///
/// # Errors
/// It cannot be made or written.
pub fn own(folder: &Path) -> Result<Arc<CertifiedKey>, Error> {
    let file = folder.join("default.pem");
    if let Some(kept) = std::fs::read(&file).ok().and_then(|pem| certified(&pem, &pem).ok()) {
        return Ok(kept);
    }
    let (chain, key) = make().map_err(|error| Error::Other(format!("the default certificate: {error}")))?;
    let write = |error| Error::Io { what: file.display().to_string(), error };
    std::fs::create_dir_all(folder).map_err(write)?;
    write_private(&file, format!("{chain}{key}").as_bytes()).map_err(write)?;
    certified(chain.as_bytes(), key.as_bytes()).map_err(Error::Other)
}

fn make() -> Result<(String, String), rcgen::Error> {
    let mut params = rcgen::CertificateParams::new(vec!["ingress.local".to_owned()])?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "sampan ingress default certificate");
    let key = rcgen::KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn write_private(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let open = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file);
    open?.write_all(bytes)
}

/// Gives each handshake the certificate that the table has at that moment.
pub struct Resolver(pub Arc<ArcSwap<Table>>);

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or_default();
        let table = self.0.load();
        match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => table.certificate(&name.to_ascii_lowercase()),
            false => table.certificate(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(chain: Option<&str>, key: Option<&str>) -> TlsSecret {
        let bytes = |text: Option<&str>| text.map(|text| k8s_openapi::ByteString(text.as_bytes().to_vec()));
        TlsSecret { metadata: Metadata::default(), data: Data { chain: bytes(chain), key: bytes(key) } }
    }

    #[test]
    fn what_is_not_a_certificate_is_told_apart() {
        let ((chain, key), (_, other)) = (make().unwrap(), make().unwrap());
        assert!(secret(Some(&chain), Some(&key)).certificate().is_ok());
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (chain, key, words) in [
            (None, Some(&*key), "has no tls.crt"),
            (Some(&*chain), None, "has no tls.key"),
            (Some("nonsense"), Some(&key), "tls.crt is not a certificate: no PEM block"),
            (Some(broken), Some(&key), "tls.crt is not a certificate"),
            (Some(&chain), Some("nonsense"), "tls.key is not a key"),
            (Some(&chain), Some(&other), "tls.key is not the key of tls.crt"),
        ] {
            let said = secret(chain, key).certificate().unwrap_err();
            assert!(said.starts_with(words), "{said}");
        }
    }

    #[test]
    fn our_own_is_kept_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let first = own(folder.path()).unwrap();
        assert_eq!(own(folder.path()).unwrap().cert, first.cert);
        let mode = std::fs::metadata(folder.path().join("default.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(folder.path().join("default.pem"), "cut off").unwrap();
        assert_ne!(own(folder.path()).unwrap().cert, first.cert);
    }
}
