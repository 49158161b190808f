//! Whom a webhook's certificate has to be signed by: its `caBundle`, or the machine's authorities.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::FromDer;

use super::pem;

/// Where Debian, Alpine and Fedora keep the authorities that the machine trusts.
const SYSTEM: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// A client's configuration that trusts `bundle`, or the machine's authorities if that is empty.
pub(super) fn config(bundle: &[u8]) -> Result<Arc<ClientConfig>, String> {
    let certificates = match bundle {
        [] => system(),
        bundle => authorities(bundle)?,
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates.iter().cloned());
    if added == 0 {
        return Err("unable to load root certificates: no valid certificate authority data seen".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|why| why.to_string())?;
    let verifier = Arc::new(Verifier { inner, certificates });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| why.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The certificates of a bundle, of which there must be one: client-go's `rootCertPool`. Others are passed over.
pub(super) fn authorities(bundle: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let (mut found, mut wrong, mut rest) = (Vec::new(), None, bundle);
    while !rest.is_empty() {
        let Some((block, after)) = pem::decode(rest) else {
            wrong.get_or_insert("unable to parse bytes as PEM block");
            break;
        };
        rest = after;
        if block.label != "CERTIFICATE" || block.headers {
            continue;
        }
        match x509_parser::certificate::X509Certificate::from_der(&block.bytes) {
            Ok(([], _)) => found.push(CertificateDer::from(block.bytes)),
            _ => drop(wrong.get_or_insert("failed to parse certificate: x509: malformed certificate")),
        }
    }
    if found.is_empty() {
        let wrong = wrong.unwrap_or("no valid certificate authority data seen");
        return Err(format!("unable to load root certificates: {wrong}"));
    }
    Ok(found)
}

fn system() -> Vec<CertificateDer<'static>> {
    let text = SYSTEM.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default();
    CertificateDer::pem_slice_iter(&text).filter_map(Result::ok).collect()
}

/// As webpki, and as Go: a server may show one of the trusted certificates itself, self-signed as it may be.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn is_trusted_itself(&self, shown: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> bool {
        self.certificates.iter().any(|one| one == shown) && is_for(shown, name) && is_valid_at(shown, now)
    }
}

fn is_valid_at(shown: &CertificateDer<'_>, now: UnixTime) -> bool {
    let Ok((_, certificate)) = x509_parser::certificate::X509Certificate::from_der(shown) else {
        return false;
    };
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    validity.not_before.timestamp() <= seconds && seconds <= validity.not_after.timestamp()
}

/// Whether one of the alternative names is the server's: what webpki does for certificates that it takes for servers'.
fn is_for(shown: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    use x509_parser::extensions::GeneralName;
    let Ok((_, certificate)) = x509_parser::certificate::X509Certificate::from_der(shown) else {
        return false;
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
    names.value.general_names.iter().any(|one| match (one, name) {
        (GeneralName::DNSName(pattern), ServerName::DnsName(host)) => {
            let (pattern, host) = (pattern.to_ascii_lowercase(), host.as_ref().to_ascii_lowercase());
            let below = pattern.strip_prefix("*.").zip(host.split_once('.').map(|(_, parent)| parent));
            pattern == host || below.is_some_and(|(pattern, parent)| pattern == parent)
        }
        (GeneralName::IPAddress(bytes), ServerName::IpAddress(ip)) => match std::net::IpAddr::from(*ip) {
            std::net::IpAddr::V4(ip) => **bytes == ip.octets(),
            std::net::IpAddr::V6(ip) => **bytes == ip.octets(),
        },
        _ => false,
    })
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.inner.verify_server_cert(shown, between, name, ocsp, now).or_else(|why| {
            if self.is_trusted_itself(shown, name, now) {
                Ok(ServerCertVerified::assertion())
            } else {
                Err(why)
            }
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// A failed handshake in Go's words.
pub(super) fn describe(why: &std::io::Error) -> String {
    let tls = why.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let Some(Error::InvalidCertificate(wrong)) = tls else { return format!("tls: {why}") };
    let wrong = match wrong {
        // another authority of the same name
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::NotValidForName => "certificate is not valid for this name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            format!("certificate is valid for {}, not {}", presented.join(", "), expected.to_str())
        }
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {wrong}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_without_an_authority_are_told_of_as_client_go_does() {
        let block =
            |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        let cases = [
            ("x".to_owned(), "unable to parse bytes as PEM block"),
            (block("FOO", "YWJj"), "no valid certificate authority data seen"),
            (block("FOO", "YWJj") + "x", "unable to parse bytes as PEM block"),
            (block("CERTIFICATE", "YWJj"), "failed to parse certificate: x509: malformed certificate"),
            (
                block("FOO", "YQ==") + &block("CERTIFICATE", "YWJj"),
                "failed to parse certificate: x509: malformed certificate",
            ),
            (block("CERTIFICATE", "!!!!"), "unable to parse bytes as PEM block"),
            (block("CERTIFICATE", "a: b\n\nYWJj"), "no valid certificate authority data seen"),
        ];
        for (bundle, why) in cases {
            let said = authorities(bundle.as_bytes()).expect_err(&bundle);
            assert_eq!(said, format!("unable to load root certificates: {why}"), "{bundle}");
        }
    }
}
