//! The certificate authority, and the certificates it issues.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use ring::rand::SecureRandom;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::Error;
use super::files::Folder;

const CA_YEARS: i64 = 10;
const LEAF_DAYS: i64 = 365;
/// Certificates are valid a little before they are made, for clocks that run behind.
const BACKDATE_SECONDS: i64 = 300;

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Authenticates a client.
    Client,
    /// Authenticates a server.
    Server,
}

/// Whom a certificate names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// CN: the user's name.
    pub common_name: String,
    /// O: the user's groups.
    pub organizations: Vec<String>,
    /// DNS names.
    pub names: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// What for.
    pub profile: Profile,
}

impl Subject {
    /// A client named `name` in `groups`.
    pub fn client(name: &str, groups: &[&str]) -> Self {
        Self {
            common_name: name.to_owned(),
            organizations: groups.iter().map(|g| (*g).to_owned()).collect(),
            names: Vec::new(),
            addresses: Vec::new(),
            profile: Profile::Client,
        }
    }
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Issued {
    /// Certificate, PEM.
    pub certificate_pem: String,
    /// Key (PKCS #8), PEM.
    pub key_pem: String,
    certificate: CertificateDer<'static>,
    subject: BTreeSet<String>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("subject", &self.subject)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Issued {
    fn parse(certificate_pem: String, key_pem: String) -> Result<Self, String> {
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|e| format!("no certificate: {e}"))?;
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|e| format!("no certificate: {e}"))?;
        let validity = parsed.validity();
        let time =
            |t: x509_parser::time::ASN1Time| Timestamp::from_second(t.timestamp()).map_err(|e| e.to_string());
        let (not_before, not_after) = (time(validity.not_before)?, time(validity.not_after)?);
        let subject = words_of(&parsed);
        Ok(Self {
            certificate_pem,
            key_pem,
            subject,
            not_before,
            not_after,
            certificate: certificate.into_owned(),
        })
    }

    pub(super) fn load(folder: &Folder, name: &str) -> Result<Option<Self>, Error> {
        let (certificate, key) = (folder.read(&format!("{name}.crt"))?, folder.read(&format!("{name}.key"))?);
        let (Some(certificate), Some(key)) = (certificate, key) else { return Ok(None) };
        // a leaf that cannot be read is simply made again
        Ok(Self::parse(certificate, key).ok().filter(|issued| issued.private_key().is_some()))
    }

    pub(super) fn store(&self, folder: &Folder, name: &str) -> Result<(), Error> {
        folder.write(&format!("{name}.key"), &self.key_pem)?;
        folder.write(&format!("{name}.crt"), &self.certificate_pem)
    }

    /// The certificate.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// The key, if it can be read.
    pub fn private_key(&self) -> Option<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).ok()
    }

    /// When it ends.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// When it is to be re-issued: at two thirds of its life.
    pub fn due(&self) -> Timestamp {
        let life = self.not_after.as_second() - self.not_before.as_second();
        Timestamp::from_second(self.not_before.as_second() + life / 3 * 2).unwrap_or(self.not_after)
    }

    /// Whether it names exactly what `subject` does.
    pub fn good_for(&self, subject: &Subject) -> bool {
        self.subject == words(subject)
    }
}

/// A subject as a set of words, to compare a stored certificate with a wanted one.
fn words(subject: &Subject) -> BTreeSet<String> {
    let mut words = BTreeSet::from([format!("CN={}", subject.common_name)]);
    words.extend(subject.organizations.iter().map(|o| format!("O={o}")));
    words.extend(subject.names.iter().map(|n| format!("DNS={n}")));
    words.extend(subject.addresses.iter().map(|a| format!("IP={a}")));
    words
}

fn words_of(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let subject = certificate.subject();
    let mut words = BTreeSet::new();
    words.extend(subject.iter_common_name().filter_map(|a| a.as_str().ok()).map(|v| format!("CN={v}")));
    words.extend(subject.iter_organization().filter_map(|a| a.as_str().ok()).map(|v| format!("O={v}")));
    let names = certificate.subject_alternative_name().ok().flatten();
    for name in names.iter().flat_map(|n| &n.value.general_names) {
        match name {
            GeneralName::DNSName(name) => words.extend([format!("DNS={name}")]),
            GeneralName::IPAddress(bytes) => words.extend(address(bytes).map(|a| format!("IP={a}"))),
            _ => {}
        }
    }
    words
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// The CA.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    not_after: Timestamp,
}

impl Authority {
    /// The stored CA, or a new one (and `true`).
    pub(super) fn load_or_create(folder: &Folder, now: Timestamp) -> Result<(Self, bool), Error> {
        match (folder.read("ca.crt")?, folder.read("ca.key")?) {
            (Some(certificate), Some(key)) => Self::parse(certificate, key)
                .map(|a| (a, false))
                .map_err(|why| folder.unusable("ca.crt", why)),
            (None, None) => {
                let (certificate, key) = create(now)?;
                // the key first: a certificate without its key would not be noticed as half a CA
                folder.write("ca.key", &key)?;
                folder.write("ca.crt", &certificate)?;
                let authority = Self::parse(certificate, key).map_err(Error::Crypto)?;
                Ok((authority, true))
            }
            // a crash between the two writes of the first start: nothing was signed yet
            (None, Some(_)) => {
                std::fs::remove_file(folder.path("ca.key")).map_err(|e| folder.unusable("ca.key", e))?;
                Self::load_or_create(folder, now)
            }
            (Some(_), None) => Err(folder.unusable("ca.key", "the CA's key is missing")),
        }
    }

    fn parse(pem: String, key: String) -> Result<Self, String> {
        let key = KeyPair::from_pem(&key).map_err(|e| format!("ca.key: {e}"))?;
        let parsed = Issued::parse(pem.clone(), String::new())?;
        let issuer = Issuer::from_ca_cert_der(&parsed.certificate, key).map_err(|e| e.to_string())?;
        Ok(Self { issuer, pem, not_after: parsed.not_after, certificate: parsed.certificate })
    }

    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    pub(super) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    pub(super) fn key(&self) -> &KeyPair {
        self.issuer.key()
    }

    pub(super) fn not_after(&self) -> Timestamp {
        self.not_after
    }

    pub(super) fn issue(&self, subject: &Subject, now: Timestamp) -> Result<Issued, Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(crypto)?;
        let end = now.saturating_add((LEAF_DAYS * 24).hours()).unwrap_or(self.not_after).min(self.not_after);
        let mut params = params(&subject.common_name, &subject.organizations, now, end)?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![match subject.profile {
            Profile::Client => ExtendedKeyUsagePurpose::ClientAuth,
            Profile::Server => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        params.subject_alt_names = alternative_names(subject)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(crypto)?;
        Issued::parse(certificate.pem(), key.serialize_pem()).map_err(Error::Crypto)
    }
}

fn alternative_names(subject: &Subject) -> Result<Vec<SanType>, Error> {
    let mut names = Vec::new();
    for name in &subject.names {
        names.push(SanType::DnsName(name.as_str().try_into().map_err(crypto)?));
    }
    names.extend(subject.addresses.iter().map(|a| SanType::IpAddress(*a)));
    Ok(names)
}

fn create(now: Timestamp) -> Result<(String, String), Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(crypto)?;
    let end = now.saturating_add((CA_YEARS * 365 * 24).hours()).unwrap_or(Timestamp::MAX);
    let mut params = params("kubernetes", &[], now, end)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
    ];
    let certificate = params.self_signed(&key).map_err(crypto)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn params(name: &str, groups: &[String], now: Timestamp, end: Timestamp) -> Result<CertificateParams, Error> {
    let mut serial = [0u8; 16];
    ring::rand::SystemRandom::new().fill(&mut serial).map_err(crypto)?;
    serial[0] &= 0x7f;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for group in groups {
        params.distinguished_name.push(DnType::OrganizationName, group.as_str());
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let seconds = |t: i64| Duration::from_secs(u64::try_from(t).unwrap_or(0));
    params.not_before = epoch + seconds(now.as_second() - BACKDATE_SECONDS);
    params.not_after = epoch + seconds(end.as_second());
    Ok(params)
}

fn crypto(error: impl std::fmt::Display) -> Error {
    Error::Crypto(error.to_string())
}
