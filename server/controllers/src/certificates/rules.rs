//! What upstream's signers ask of a request: `pkg/apis/certificates/helpers.go` and `signer.go`.

use std::collections::BTreeSet;

use super::Requested;

pub(super) const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
pub(super) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const LEGACY: &str = "kubernetes.io/legacy-unknown";

const SIGNATURE: &str = "digital signature";
const ENCIPHERMENT: &str = "key encipherment";

/// Whether a request is fit for its signer; `None` for signers that are not the cluster's own.
pub(super) fn verdict(signer: &str, requested: &Requested, usages: &[String]) -> Option<Result<(), String>> {
    Some(match signer {
        CLIENT => client(usages),
        KUBELET_CLIENT => kubelet_client(requested, usages),
        KUBELET_SERVING => kubelet_serving(requested, usages),
        LEGACY => Ok(()),
        _ => return None,
    })
}

fn client(usages: &[String]) -> Result<(), String> {
    let odd = usages.iter().find(|usage| ![SIGNATURE, ENCIPHERMENT, "client auth"].contains(&usage.as_str()));
    if let Some(usage) = odd {
        return Err(format!("invalid usage for client certificate: {usage}"));
    }
    match usages.iter().any(|usage| usage == "client auth") {
        true => Ok(()),
        false => Err("missing required usage for client certificate: client auth".into()),
    }
}

/// `digital signature`, `purpose` and, for RSA keys, `key encipherment`.
fn of_kubelet(requested: &Requested, usages: &[String], purpose: &str) -> Result<(), String> {
    if !requested.common_name.starts_with("system:node:") {
        return Err("subject common name does not begin with system:node:".into());
    }
    let said: BTreeSet<&str> = usages.iter().map(String::as_str).collect();
    let least = BTreeSet::from([SIGNATURE, purpose]);
    let with_rsa = BTreeSet::from([SIGNATURE, ENCIPHERMENT, purpose]);
    if said == least || said == with_rsa {
        return Ok(());
    }
    let wanted: Vec<&str> = with_rsa.into_iter().collect();
    Err(format!("usages did not match [{}]", wanted.join(" ")))
}

fn of_nodes(requested: &Requested) -> Result<(), String> {
    match requested.organizations.as_slice() {
        [only] if only == "system:nodes" => Ok(()),
        _ => Err("subject organization is not system:nodes".into()),
    }
}

fn none(count: usize, what: &str) -> Result<(), String> {
    if count == 0 { Ok(()) } else { Err(format!("{what} subjectAltNames are not allowed")) }
}

/// `ValidateKubeletClientCSR`.
pub(super) fn kubelet_client(requested: &Requested, usages: &[String]) -> Result<(), String> {
    of_nodes(requested)?;
    none(requested.names, "DNS")?;
    none(requested.emails, "Email")?;
    none(requested.addresses, "IP")?;
    none(requested.uris, "URI")?;
    of_kubelet(requested, usages, "client auth")
}

/// `ValidateKubeletServingCSR`.
fn kubelet_serving(requested: &Requested, usages: &[String]) -> Result<(), String> {
    of_nodes(requested)?;
    if requested.names + requested.addresses == 0 {
        return Err("DNS or IP subjectAltName is required".into());
    }
    none(requested.emails, "Email")?;
    none(requested.uris, "URI")?;
    of_kubelet(requested, usages, "server auth")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Requested {
        Requested {
            common_name: "system:node:a".into(),
            organizations: vec!["system:nodes".into()],
            ..Requested::default()
        }
    }

    #[track_caller]
    fn check(signer: &str, requested: Requested, usages: &[&str], want: Option<Result<(), &str>>) {
        let usages: Vec<String> = usages.iter().map(|usage| (*usage).to_owned()).collect();
        let got = verdict(signer, &requested, &usages);
        assert_eq!(got, want.map(|result| result.map_err(str::to_owned)));
    }

    #[test]
    fn clients() {
        check(CLIENT, Requested::default(), &["client auth", SIGNATURE], Some(Ok(())));
        let missing = "missing required usage for client certificate: client auth";
        check(CLIENT, Requested::default(), &[SIGNATURE], Some(Err(missing)));
        let invalid = "invalid usage for client certificate: server auth";
        check(CLIENT, Requested::default(), &["client auth", "server auth"], Some(Err(invalid)));
        check("example.com/mine", Requested::default(), &[], None);
    }

    #[test]
    fn kubelets() {
        check(KUBELET_CLIENT, node(), &[SIGNATURE, "client auth"], Some(Ok(())));
        let usages = "usages did not match [client auth digital signature key encipherment]";
        check(KUBELET_CLIENT, node(), &["client auth"], Some(Err(usages)));
        let group = "subject organization is not system:nodes";
        check(KUBELET_CLIENT, Requested::default(), &[], Some(Err(group)));
        let named = || Requested { names: 1, ..node() };
        let refused = "DNS subjectAltNames are not allowed";
        check(KUBELET_CLIENT, named(), &[SIGNATURE, "client auth"], Some(Err(refused)));
        check(KUBELET_SERVING, named(), &[SIGNATURE, ENCIPHERMENT, "server auth"], Some(Ok(())));
        let nameless = "DNS or IP subjectAltName is required";
        check(KUBELET_SERVING, node(), &[SIGNATURE, "server auth"], Some(Err(nameless)));
        let other = Requested { common_name: "eve".into(), ..named() };
        let name = "subject common name does not begin with system:node:";
        check(KUBELET_SERVING, other, &[SIGNATURE, "server auth"], Some(Err(name)));
    }
}
