//! Requests for certificates (PKCS #10), and certificates made from them.
//!
//! `k8s.io/kubernetes/pkg/apis/certificates/helpers.go` and `pkg/controller/certificates/authority`. Who may have
//! which certificate is not decided here.

use jiff::{SignedDuration, Timestamp};
use rcgen::SigningKey;
use ring::rand::SecureRandom;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use x509_parser::prelude::{
    FromDer, GeneralName, ParsedCriAttribute, ParsedExtension, X509Certificate, X509CertificationRequest,
};

use super::authority::Authority;
use super::der;

const BACKDATE: SignedDuration = SignedDuration::from_secs(300);
/// Certificates that live shorter than this live as long as was asked for from now on, not from their beginning.
const SHORT: SignedDuration = SignedDuration::from_hours(8);

/// What a request says of whom it is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// CN.
    pub common_name: String,
    /// O.
    pub organizations: Vec<String>,
    /// How many DNS names, addresses, mail addresses and URIs.
    pub alternatives: Alternatives,
}

/// How many alternative names of each sort there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alternatives {
    /// DNS names.
    pub names: usize,
    /// IP addresses.
    pub addresses: usize,
    /// Mail addresses.
    pub emails: usize,
    /// URIs.
    pub uris: usize,
}

fn decode(pem: &[u8]) -> Result<CertificateSigningRequestDer<'static>, String> {
    CertificateSigningRequestDer::from_pem_slice(pem)
        .map_err(|_| "PEM block type must be CERTIFICATE REQUEST".to_owned())
}

fn parse<'a>(der: &'a CertificateSigningRequestDer<'_>) -> Result<X509CertificationRequest<'a>, String> {
    let (_, request) =
        X509CertificationRequest::from_der(der).map_err(|e| format!("malformed request: {e}"))?;
    request.verify_signature().map_err(|e| format!("the request is not signed by its key: {e}"))?;
    Ok(request)
}

/// Whom a request in PEM is for; an error if it is none, or its signature is wrong.
pub fn named(pem: &[u8]) -> Result<Named, String> {
    let der = decode(pem)?;
    let request = parse(&der)?;
    let subject = &request.certification_request_info.subject;
    let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().ok().map(str::to_owned);
    let mut named = Named {
        common_name: subject.iter_common_name().filter_map(text).last().unwrap_or_default(),
        organizations: subject.iter_organization().filter_map(text).collect(),
        alternatives: Alternatives::default(),
    };
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(_) => named.alternatives.names += 1,
                GeneralName::IPAddress(_) => named.alternatives.addresses += 1,
                GeneralName::RFC822Name(_) => named.alternatives.emails += 1,
                GeneralName::URI(_) => named.alternatives.uris += 1,
                _ => {}
            }
        }
    }
    Ok(named)
}

/// The alternative names as they were asked for.
fn alternative_names<'a>(request: &'a X509CertificationRequest<'_>) -> Option<&'a [u8]> {
    request.certification_request_info.iter_attributes().find_map(|attribute| {
        let ParsedCriAttribute::ExtensionRequest(requested) = attribute.parsed_attribute() else {
            return None;
        };
        let names = |e: &&x509_parser::extensions::X509Extension<'_>| {
            matches!(e.parsed_extension(), ParsedExtension::SubjectAlternativeName(_))
        };
        requested.extensions.iter().find(names).map(|extension| extension.value)
    })
}

/// Bits of the extension keyUsage.
fn key_usage(usage: &str) -> Option<u8> {
    let names = [
        "digital signature",
        "content commitment",
        "key encipherment",
        "data encipherment",
        "key agreement",
        "cert sign",
        "crl sign",
        "encipher only",
        "decipher only",
    ];
    let usage = if usage == "signing" { "digital signature" } else { usage };
    names.iter().position(|name| *name == usage).and_then(|bit| u8::try_from(bit).ok())
}

/// Purposes of the extension extKeyUsage.
fn extended_usage(usage: &str) -> Option<&'static [u32]> {
    Some(match usage {
        "any" => &[2, 5, 29, 37, 0],
        "server auth" => &[1, 3, 6, 1, 5, 5, 7, 3, 1],
        "client auth" => &[1, 3, 6, 1, 5, 5, 7, 3, 2],
        "code signing" => &[1, 3, 6, 1, 5, 5, 7, 3, 3],
        "email protection" | "s/mime" => &[1, 3, 6, 1, 5, 5, 7, 3, 4],
        "ipsec end system" => &[1, 3, 6, 1, 5, 5, 7, 3, 5],
        "ipsec tunnel" => &[1, 3, 6, 1, 5, 5, 7, 3, 6],
        "ipsec user" => &[1, 3, 6, 1, 5, 5, 7, 3, 7],
        "timestamping" => &[1, 3, 6, 1, 5, 5, 7, 3, 8],
        "ocsp signing" => &[1, 3, 6, 1, 5, 5, 7, 3, 9],
        "microsoft sgc" => &[1, 3, 6, 1, 4, 1, 311, 10, 3, 3],
        "netscape sgc" => &[2, 16, 840, 1, 113_730, 4, 1],
        _ => return None,
    })
}

/// All that a certificate can be for, sorted.
pub const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Whether a certificate can be for this.
fn is_usage(usage: &str) -> bool {
    key_usage(usage).is_some() || extended_usage(usage).is_some()
}

fn extension(id: &[u32], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { der::TRUE } else { &[] };
    der::sequence(&[&der::oid(id), critical, &der::tlv(der::OCTET_STRING, value)])
}

fn extensions(
    usages: &[String],
    alternatives: Option<&[u8]>,
    authority_key: Option<&[u8]>,
    no_subject: bool,
) -> Vec<u8> {
    let bits: Vec<u8> = usages.iter().filter_map(|usage| key_usage(usage)).collect();
    let purposes: Vec<Vec<u8>> =
        usages.iter().filter_map(|usage| extended_usage(usage)).map(der::oid).collect();
    let mut all = Vec::new();
    if !bits.is_empty() {
        all.extend(extension(&[2, 5, 29, 15], true, &der::flags(&bits)));
    }
    if !purposes.is_empty() {
        all.extend(extension(&[2, 5, 29, 37], false, &der::tlv(der::SEQUENCE, &purposes.concat())));
    }
    // not a CA, whatever was asked for
    all.extend(extension(&[2, 5, 29, 19], true, &der::sequence(&[])));
    if let Some(key) = authority_key {
        all.extend(extension(&[2, 5, 29, 35], false, &der::sequence(&[&der::tlv(0x80, key)])));
    }
    if let Some(names) = alternatives {
        all.extend(extension(&[2, 5, 29, 17], no_subject, names));
    }
    der::explicit(3, &der::tlv(der::SEQUENCE, &all))
}

/// From when until when a certificate of so many seconds is valid, within the CA's own life.
fn validity(now: Timestamp, seconds: i64, ca_end: Timestamp) -> (Timestamp, Timestamp) {
    let begin = now.checked_sub(BACKDATE).unwrap_or(now);
    let life = SignedDuration::from_secs(seconds);
    let from = if life < SHORT { now } else { begin };
    (begin, from.checked_add(life).unwrap_or(ca_end).min(ca_end))
}

impl Authority {
    /// A certificate in PEM for a request in PEM: its subject, key and alternative names, for these usages.
    pub(super) fn sign(
        &self,
        pem: &[u8],
        usages: &[String],
        seconds: i64,
        now: Timestamp,
    ) -> Result<String, String> {
        if let Some(unknown) = usages.iter().find(|usage| !is_usage(usage)) {
            return Err(format!("unrecognized usages: [{unknown}]"));
        }
        let der = decode(pem)?;
        let request = parse(&der)?;
        let info = &request.certification_request_info;
        let ca = self.certificate();
        let (_, ca) = X509Certificate::from_der(&ca).map_err(|e| e.to_string())?;
        let key_id = ca.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
            _ => None,
        });
        let mut serial = [0u8; 16];
        ring::rand::SystemRandom::new().fill(&mut serial).map_err(|e| e.to_string())?;
        serial[0] &= 0x7f;
        let algorithm = der::sequence(&[&der::oid(&[1, 2, 840, 10045, 4, 3, 2])]);
        let (begin, end) = validity(now, seconds, self.not_after());
        let no_subject = info.subject.iter().next().is_none();
        let body = der::sequence(&[
            &der::explicit(0, &der::integer(&[2])),
            &der::integer(&serial),
            &algorithm,
            ca.subject().as_raw(),
            &der::sequence(&[&der::time(begin), &der::time(end)]),
            info.subject.as_raw(),
            info.subject_pki.raw,
            &extensions(usages, alternative_names(&request), key_id, no_subject),
        ]);
        let signature = self.key().sign(&body).map_err(|e| e.to_string())?;
        let certificate = der::sequence(&[&body, &algorithm, &der::bit_string(&signature)]);
        Ok(pem_of(&certificate))
    }
}

fn pem_of(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        (0..text.len()).step_by(64).filter_map(|at| text.get(at..text.len().min(at + 64))).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// When a certificate in PEM ends.
pub fn end_of(pem: &[u8]) -> Option<Timestamp> {
    let der = CertificateDer::from_pem_slice(pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::super::{Config, Pki};
    use super::*;

    fn request(groups: &[&str], names: &[&str]) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<String>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "eve");
        if let Some(group) = groups.first() {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.serialize_request(&key).unwrap().pem().unwrap().into_bytes()
    }

    fn pki(folder: &std::path::Path) -> Pki {
        Pki::open(Config {
            folder: folder.join("pki"),
            node_name: "boat".into(),
            addresses: Vec::new(),
            service_ip: "10.96.0.1".parse().unwrap(),
            cluster_domain: "cluster.local".into(),
        })
        .unwrap()
    }

    #[test]
    fn a_request_says_whom_it_is_for() {
        let named = named(&request(&["crew"], &["a.b", "10.0.0.1"])).unwrap();
        assert_eq!((named.common_name.as_str(), named.organizations), ("eve", vec!["crew".to_owned()]));
        assert_eq!(named.alternatives, Alternatives { names: 1, addresses: 1, ..Alternatives::default() });
        assert_eq!(super::named(b"x").unwrap_err(), "PEM block type must be CERTIFICATE REQUEST");
    }

    #[test]
    fn a_signed_request_is_a_certificate_of_the_cluster() {
        let folder = tempfile::tempdir().unwrap();
        let pki = pki(folder.path());
        let usages = ["digital signature", "client auth"].map(str::to_owned);
        let now = Timestamp::now();
        let pem = pki.sign(&request(&["crew"], &["a.b"]), &usages, 3600, now).unwrap();
        assert_eq!(end_of(pem.as_bytes()).unwrap().as_second(), now.as_second() + 3600);
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        pki.client_verifier()
            .unwrap()
            .verify_client_cert(&der, &[], rustls::pki_types::UnixTime::now())
            .unwrap();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(certificate.subject().to_string(), "CN=eve, O=crew");
        assert!(!certificate.is_ca());
        let usage = certificate.key_usage().unwrap().unwrap().value;
        assert!(usage.digital_signature() && !usage.key_encipherment());
        let purposes = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(purposes.client_auth && !purposes.server_auth);
        let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.len();
        assert_eq!(names, 1);
        let wrong = pki.sign(&request(&[], &[]), &["flying".to_owned()], 3600, now).unwrap_err();
        assert_eq!(wrong, "unrecognized usages: [flying]");
    }

    #[test]
    fn every_usage_has_a_bit_or_a_purpose() {
        assert!(USAGES.is_sorted() && USAGES.iter().all(|usage| is_usage(usage)));
        assert!(!is_usage("flying"));
    }

    #[test]
    fn a_tampered_request_is_refused() {
        let pem = String::from_utf8(request(&["crew"], &[])).unwrap();
        let mut lines: Vec<String> = pem.lines().map(str::to_owned).collect();
        let at = lines.len() - 2;
        let line = lines[at].clone();
        let flipped = if line.starts_with('A') { 'B' } else { 'A' };
        lines[at] = format!("{flipped}{}", &line[1..]);
        assert!(named(lines.join("\n").as_bytes()).is_err());
    }

    #[test]
    fn long_lives_begin_with_the_certificate_and_short_ones_now() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let end = |seconds: i64, ca: i64| {
            validity(now, seconds, Timestamp::from_second(ca).unwrap()).1.as_second() - now.as_second()
        };
        assert_eq!(end(600, 9_000_000), 600);
        assert_eq!(end(86_400, 9_000_000), 86_400 - 300);
        assert_eq!(end(86_400, 1_000_050), 50);
    }
}
