//! The cluster's CA, as the controllers that answer certificate requests see it.

use jiff::Timestamp;
use sampan_apiserver::pki::Pki;
use sampan_apiserver::pki::request::{self, Alternatives};
use sampan_controllers::{Certificates, Requested};

pub(super) struct Authority(pub(super) Pki);

impl Certificates for Authority {
    fn requested(&self, request: &[u8]) -> Result<Requested, String> {
        let named = request::named(request)?;
        let Alternatives { names, addresses, emails, uris } = named.alternatives;
        let (common_name, organizations) = (named.common_name, named.organizations);
        Ok(Requested { common_name, organizations, names, addresses, emails, uris })
    }

    fn sign(&self, request: &[u8], usages: &[String], seconds: i64) -> Result<String, String> {
        self.0.sign(request, usages, seconds, Timestamp::now())
    }

    fn end_of(&self, certificate: &[u8]) -> Option<Timestamp> {
        request::end_of(certificate)
    }
}
