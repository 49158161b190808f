//! What the issuer of service account tokens publishes.

use super::*;

#[tokio::test]
async fn the_issuer_publishes_where_its_keys_are() {
    let w = world().await;
    let auth = crate::auth::Auth::new(
        w.server.registry().store.clone(),
        w.server.pki().token_key(),
        "https://issuer",
    );
    w.server.set_gate(Arc::new(auth));
    let found = w.get("/.well-known/openid-configuration").await;
    assert_eq!(found.code, 200);
    assert_eq!(found.headers["content-type"], "application/json");
    assert_eq!(found.headers["cache-control"], "public, max-age=3600");
    assert_eq!(found.body["jwks_uri"], "https://issuer/openid/v1/jwks");
    let keys = w.get("/openid/v1/jwks").await;
    assert_eq!(keys.headers["content-type"], "application/jwk-set+json");
    assert_eq!(keys.body["keys"][0]["alg"], "ES256");
}
