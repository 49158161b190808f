#![allow(clippy::unwrap_used)]
//! Requests as their authors, approvers and signers write them, over upstream's bootstrap policy.

use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::json;

use super::*;
use crate::auth::tests::{World, world};

fn pem(group: &str) -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "eve");
    params.distinguished_name.push(DnType::OrganizationName, group);
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    base64::engine::general_purpose::STANDARD.encode(pem)
}

fn request(group: &str) -> Value {
    json!({"metadata": {"name": "r"}, "spec": {
        "request": pem(group), "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}})
}

fn write(
    world: &World,
    user: &UserInfo,
    subresource: &str,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), String> {
    let warnings = Default::default();
    let review = Review {
        operation: if old.is_some() { Operation::Update } else { Operation::Create },
        kind: sampan_api::kinds::by_resource(GROUP, "v1", REQUESTS).unwrap(),
        subresource,
        namespace: "",
        name: "r",
        user,
        old,
        dry_run: false,
        said: &Default::default(),
        store: &world.store,
        converter: &Default::default(),
        warnings: &warnings,
        notes: Default::default(),
    };
    let plugins: Vec<Box<dyn Plugin>> = vec![
        Box::new(CertificateRequests),
        Box::new(crate::admission::node_restriction::NodeRestriction),
        Box::new(CertificateApproval(world.auth.clone())),
        Box::new(CertificateSigning(world.auth.clone())),
        Box::new(CertificateSubjectRestriction),
    ];
    let words = |error: ApiError| error.message;
    plugins.iter().try_for_each(|plugin| plugin.admit(&review, object).map_err(words))?;
    plugins.iter().try_for_each(|plugin| plugin.validate(&review, object).map_err(words))
}

#[tokio::test]
async fn the_author_is_who_asks() {
    let (world, eve) = (world().await, UserInfo::new("eve", &["crew"]));
    let mut object = request("crew");
    object["spec"]["username"] = "admin".into();
    object["status"] = json!({"conditions": [{"type": "Approved", "status": "True"}]});
    write(&world, &eve, "", &mut object, None).unwrap();
    assert_eq!(
        (&object["spec"]["username"], &object["spec"]["groups"]),
        (&json!("eve"), &json!(["crew", "system:authenticated"]))
    );
    assert_eq!(object["status"], json!({}));
}

#[tokio::test]
async fn requests_are_checked() {
    let (world, eve) = (world().await, UserInfo::new("eve", &[]));
    let mut masters = request("system:masters");
    assert_eq!(
        write(&world, &eve, "", &mut masters, None).unwrap_err(),
        "certificatesigningrequests.certificates.k8s.io \"r\" is forbidden: use of kubernetes.io/kube-apiserver-client \
         signer with system:masters group is not allowed"
    );
    for (field, value, want) in [
        ("request", json!("eA=="), "PEM block type must be CERTIFICATE REQUEST"),
        ("usages", json!([]), "spec.usages: Required value"),
        ("usages", json!(["client auth", "client auth"]), "spec.usages[1]: Duplicate value: \"client auth\""),
        ("signerName", json!(""), "spec.signerName: Required value"),
        ("signerName", json!(LEGACY), "the legacy signerName is not allowed via this API version"),
        ("signerName", json!("nowhere"), "must be a fully qualified domain and path"),
        ("expirationSeconds", json!(599), "may not specify a duration less than 600 seconds (10 minutes)"),
    ] {
        let mut object = request("crew");
        object["spec"][field] = value;
        let got = write(&world, &eve, "", &mut object, None).unwrap_err();
        assert!(got.contains(want), "{got}");
    }
}

const LEGACY: &str = "kubernetes.io/legacy-unknown";

#[tokio::test]
async fn a_kubelet_asks_for_itself() {
    let (world, boat) = (world().await, UserInfo::new("system:node:eve", &["system:nodes"]));
    let mut other = request("system:nodes");
    other["spec"]["signerName"] = "kubernetes.io/kubelet-serving".into();
    let refused = write(&world, &boat, "", &mut other, None).unwrap_err();
    assert!(refused.ends_with("can only create a node CSR with CN=system:node:eve"), "{refused}");
    write(&world, &boat, "", &mut request("crew"), None).unwrap();
}

#[tokio::test]
async fn deciding_and_signing_are_separate_rights() {
    let world = world().await;
    let (eve, admin) = (UserInfo::new("eve", &[]), UserInfo::new("admin", &["system:masters"]));
    let manager = UserInfo::new("system:kube-controller-manager", &[]);
    let mut old = request("crew");
    write(&world, &eve, "", &mut old, None).unwrap();
    let mut approved = old.clone();
    approved["spec"]["signerName"] = "kubernetes.io/kubelet-serving".into();
    approved["status"] =
        json!({"conditions": [{"type": "Approved", "status": "True"}], "certificate": "eA=="});
    let refused = write(&world, &eve, "approval", &mut approved.clone(), Some(&old)).unwrap_err();
    let want =
        "user not permitted to approve requests with signerName \"kubernetes.io/kube-apiserver-client\"";
    assert!(refused.ends_with(want), "{refused}");
    write(&world, &admin, "approval", &mut approved, Some(&old)).unwrap();
    assert_eq!(approved["spec"], old["spec"]);
    assert!(approved["status"]["certificate"].is_null());
    assert!(approved["status"]["conditions"][0]["lastTransitionTime"].is_string());
    let mut signed = approved.clone();
    signed["status"] = json!({"certificate": "eA=="});
    let refused = write(&world, &eve, "status", &mut signed.clone(), Some(&approved)).unwrap_err();
    let want = "user not permitted to sign requests with signerName \"kubernetes.io/kube-apiserver-client\"";
    assert!(refused.ends_with(want), "{refused}");
    write(&world, &manager, "status", &mut signed, Some(&approved)).unwrap();
    assert_eq!(signed["status"]["conditions"], approved["status"]["conditions"], "approval stays");
    let mut denied = approved.clone();
    denied["status"]["conditions"] = json!([{"type": "Denied", "status": "True"}]);
    let refused = write(&world, &admin, "approval", &mut denied, Some(&approved)).unwrap_err();
    assert!(refused.contains("updates may not remove a condition of type \"Approved\""), "{refused}");
}
