//! The serving certificate as TLS sees it: read through an atomic pointer at each handshake.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};

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

/// TLS 1.2 and 1.3; client certificates are asked for, whoever's they are.
pub(super) fn server_config(
    serving: Arc<Serving>,
    ca: &CertificateDer<'static>,
) -> Result<ServerConfig, Error> {
    let config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Crypto(e.to_string()))?
        .with_client_cert_verifier(Arc::new(Anyone(client_verifier(ca)?)))
        .with_cert_resolver(serving);
    Ok(config)
}

/// Accepts the CA's certificates.
pub(super) fn client_verifier(ca: &CertificateDer<'static>) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let failed = |e: &dyn std::fmt::Display| Error::Crypto(e.to_string());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.clone()).map_err(|e| failed(&e))?;
    let crypto: Arc<CryptoProvider> = Arc::new(provider::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto)
        .allow_unauthenticated()
        .build()
        .map_err(|e| failed(&e))
}

/// Lets any certificate through the handshake, which still proves that the client has its key.
#[derive(Debug)]
struct Anyone(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Anyone {
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }
    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
