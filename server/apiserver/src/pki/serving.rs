//! The serving certificate as TLS sees it: read through an atomic pointer at each handshake.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use super::{Error, Issued};

/// The current serving certificate.
pub(super) struct Serving {
    current: ArcSwap<Issued>,
    tls: ArcSwap<CertifiedKey>,
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").field("current", &self.current.load()).finish()
    }
}

impl Serving {
    pub(super) fn new(issued: Issued, ca: &CertificateDer<'static>) -> Result<Self, Error> {
        let tls = ArcSwap::from_pointee(certified(&issued, ca)?);
        Ok(Self { current: ArcSwap::from_pointee(issued), tls })
    }

    pub(super) fn replace(&self, issued: Issued, ca: &CertificateDer<'static>) -> Result<(), Error> {
        self.tls.store(Arc::new(certified(&issued, ca)?));
        self.current.store(Arc::new(issued));
        Ok(())
    }

    pub(super) fn current(&self) -> Arc<Issued> {
        self.current.load_full()
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.tls.load_full())
    }
}

fn certified(issued: &Issued, ca: &CertificateDer<'static>) -> Result<CertifiedKey, Error> {
    let key = issued.private_key().ok_or_else(|| Error::Crypto("the key cannot be read".into()))?;
    let key = provider::sign::any_ecdsa_type(&key).map_err(|e| Error::Crypto(e.to_string()))?;
    Ok(CertifiedKey::new(vec![issued.certificate(), ca.clone()], key))
}

/// TLS 1.2 and 1.3; client certificates are asked for and, when shown, must be the CA's.
pub(super) fn server_config(
    serving: Arc<Serving>,
    ca: &CertificateDer<'static>,
) -> Result<ServerConfig, Error> {
    let failed = |e: &dyn std::fmt::Display| Error::Crypto(e.to_string());
    let crypto: Arc<CryptoProvider> = Arc::new(provider::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.clone()).map_err(|e| failed(&e))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| failed(&e))?;
    let config = ServerConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .map_err(|e| failed(&e))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(serving);
    Ok(config)
}
