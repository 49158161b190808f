//! Tokens that Secrets hold: when they were used is noted, and those that are marked are refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const TRACKING: &str =
    "/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking";

#[tokio::test]
async fn uses_of_a_secrets_token_are_noted_until_it_is_marked() {
    let w = world().await;
    w.server.secure(&Tasks::new(Component::ApiServer)).await.unwrap();
    let account = json!({"metadata": {"name": "robot"}, "secrets": [{"name": "key"}]});
    assert_eq!(w.post("/api/v1/namespaces/default/serviceaccounts", account).await.code, 201);
    let secret = json!({"metadata": {"name": "key", "annotations": {"kubernetes.io/service-account.name": "robot"}},
        "type": "kubernetes.io/service-account-token"});
    assert_eq!(w.post(SECRETS, secret).await.code, 201);
    let request = json!({"spec": {"boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": "key"}}});
    let made = w.post("/api/v1/namespaces/default/serviceaccounts/robot/token", request).await.body;
    let token = made["status"]["token"].as_str().unwrap().to_owned();
    // a token that is only bound to the Secret is not the Secret's
    let got = w.whoami(&token).await;
    assert_eq!((got.code, got.headers.get("warning")), (201, None), "{}", got.body);
    let held = json!({"data": {"token": STANDARD.encode(&token)}});
    let held = w.merge(&format!("{SECRETS}/key"), held).await.body;
    let from = held["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    let mut changes = w.server.store().watch("secrets", "default/key", from).unwrap();
    let got = w.whoami(&token).await;
    let warning = "299 - \"Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based tokens.\"";
    assert_eq!((got.code, got.headers["warning"].to_str().unwrap()), (201, warning));
    changes.next().await.unwrap().unwrap();
    let noted = w.get(&format!("{SECRETS}/key")).await.body;
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    assert_eq!(noted["metadata"]["labels"]["kubernetes.io/legacy-token-last-used"], today);
    let mark = json!({"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": today}}});
    w.merge(&format!("{SECRETS}/key"), mark).await;
    assert_eq!(w.whoami(&token).await.code, 401);
    let review = json!({"spec": {"token": token}});
    let told = w.post("/apis/authentication.k8s.io/v1/tokenreviews", review).await.body;
    let why = told["status"]["error"].as_str().unwrap();
    assert!(
        why.contains(
            "the token in secret default/key for service account default/robot has been marked invalid."
        ),
        "{told}"
    );
}

#[tokio::test]
async fn since_when_uses_are_noted_is_kept() {
    let w = world().await;
    let from = w.server.store().revision();
    let mut changes =
        w.server.store().watch("configmaps", "kube-system/kube-apiserver-legacy", from).unwrap();
    w.server.secure(&Tasks::new(Component::ApiServer)).await.unwrap();
    changes.next().await.unwrap().unwrap();
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    assert_eq!(w.get(TRACKING).await.body["data"], json!({"since": today}));
    let broken = w.merge(TRACKING, json!({"data": {"since": "long"}})).await;
    assert_eq!(broken.code, 200);
    changes.next().await.unwrap().unwrap();
    while w.get(TRACKING).await.body["data"]["since"] != today.as_str() {
        changes.next().await.unwrap().unwrap();
    }
}
