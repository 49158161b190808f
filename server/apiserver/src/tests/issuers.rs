//! Structured authentication: tokens of an issuer that speaks HTTPS, and who is let in without any.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

use super::webhooks::{Hook, Reply, hook};
use super::*;

/// How long keys are not fetched again.
const PAUSE: Duration = Duration::from_secs(11);
/// How long a fetch may take.
const FETCHING: Duration = Duration::from_secs(31);

/// Lets time pass.
async fn after(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

struct Key {
    pair: EcdsaKeyPair,
    id: &'static str,
}

impl Key {
    fn new(id: &'static str) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        Self { pair: pair.unwrap(), id }
    }

    fn public(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let half = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.id, "x": half(1..33), "y": half(33..65)})
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({"alg": "ES256", "kid": self.id}), claims)
    }

    fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let header = header.to_string();
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// An issuer, which shows the keys that `keys` says.
async fn issuer(keys: Arc<parking_lot::Mutex<Vec<Value>>>) -> Hook {
    let own = Arc::new(parking_lot::Mutex::new(String::new()));
    let told = own.clone();
    let hook = hook(move |request| {
        let url = told.lock().clone();
        let document = match request["path"].as_str() {
            Some("/.well-known/openid-configuration") => {
                json!({"issuer": url, "jwks_uri": format!("{url}/keys")})
            }
            Some("/keys") => json!({"keys": *keys.lock()}),
            _ => return Reply::Raw(404, Bytes::new()),
        };
        Reply::Raw(200, document.to_string().into())
    })
    .await;
    *own.lock() = format!("https://{}", hook.address);
    hook
}

/// A configuration that trusts `issuer`.
fn configuration(issuer: &Hook, more: Value) -> Value {
    let pem = String::from_utf8(STANDARD.decode(&issuer.ca).unwrap()).unwrap();
    let mut all = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "jwt": [{"issuer": {"url": format!("https://{}", issuer.address), "certificateAuthority": pem,
                "audiences": ["sampan", "boats"], "audienceMatchPolicy": "MatchAny"},
            "claimMappings": {"username": {"expression": "'crew:' + claims.sub"},
                "groups": {"claim": "roles", "prefix": "crew:"},
                "extra": [{"key": "example.com/ship", "valueExpression": "claims.ship"}]},
            "claimValidationRules": [{"expression": "claims.exp - claims.iat <= 3600", "message": "too long"}],
            "userValidationRules": [{"expression": "!user.groups.exists(g, g == 'crew:pirates')"}]}]});
    for (key, value) in more.as_object().unwrap() {
        all[key] = value.clone();
    }
    all
}

impl World {
    pub(super) async fn over_tls(&self, method: &str, uri: &str, token: &str, body: &str) -> Got {
        let mut request = Request::builder().method(method).uri(uri).header("accept", "application/json");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.header("content-type", "application/json").body(Bytes::from(body.to_owned()));
        let peer = Peer::Tls { certificates: Default::default(), remote: ([127, 0, 0, 1], 1).into() };
        let response = self.server.handle(request.unwrap(), peer).await;
        let (code, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = || String::from_utf8_lossy(&bytes).into();
        Got { code, headers, body: serde_json::from_slice(&bytes).unwrap_or_else(|_| text()) }
    }

    pub(super) async fn whoami(&self, token: &str) -> Got {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let uri = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        self.over_tls("POST", uri, token, &review.to_string()).await
    }
}

async fn world_of(configuration: &Value) -> World {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), configuration.to_string()).unwrap();
    let world = world_with(|config| config.authentication = Some(file.path().to_owned())).await;
    world.server.secure(&Tasks::new(Component::ApiServer)).await.unwrap();
    world
}

#[tokio::test]
async fn a_token_of_another_issuer_is_a_user() {
    let (first, second) = (Key::new("1"), Key::new("2"));
    let keys = Arc::new(parking_lot::Mutex::new(vec![first.public()]));
    let issuer = issuer(keys.clone()).await;
    let world = world_of(&configuration(&issuer, json!({}))).await;
    let now = jiff::Timestamp::now().as_second();
    let good = json!({"iss": format!("https://{}", issuer.address), "aud": "boats", "sub": "jane", "iat": now,
        "exp": now + 600, "roles": ["cook"], "ship": "Argo", "jti": "7"});
    let with = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        first.sign(&claims)
    };
    let got = world.whoami(&first.sign(&good)).await;
    assert_eq!(got.code, 201, "{}", got.body);
    let user = &got.body["status"]["userInfo"];
    assert_eq!(user["username"], "crew:jane");
    assert_eq!(user["groups"], json!(["crew:cook", "system:authenticated"]));
    let extra =
        json!({"authentication.kubernetes.io/credential-id": ["JTI=7"], "example.com/ship": ["Argo"]});
    assert_eq!(user["extra"], extra);
    assert_eq!(issuer.seen().len(), 2, "the discovery document and the keys");
    assert_eq!(world.whoami(&first.sign(&good)).await.code, 201);
    assert!(issuer.seen().is_empty(), "keys are kept");
    // who they are is not what they may
    let refused = world.over_tls("GET", PODS, &first.sign(&good), "").await;
    assert_eq!(refused.code, 403);
    assert!(
        refused.body["message"]
            .as_str()
            .unwrap()
            .contains("User \"crew:jane\" cannot list resource \"pods\"")
    );
    for (what, token) in [
        ("expired", with("exp", json!(now - 1))),
        ("not yet", with("nbf", json!(now + 1000))),
        ("for others", with("aud", json!(["others"]))),
        ("too long", with("exp", json!(now + 3601))),
        ("a pirate", with("roles", json!(["pirates"]))),
        ("of nobody", with("iss", json!("https://other.example"))),
        ("forged", Key::new("1").sign(&good)),
        ("critical", first.sign_as(&json!({"alg": "ES256", "kid": "1", "crit": ["x"], "x": 1}), &good)),
    ] {
        let got = world.whoami(&token).await;
        assert_eq!((got.code, &got.body["reason"]), (401, &json!("Unauthorized")), "{what}");
    }
    // a key that is not known is looked for
    assert_eq!(world.whoami(&second.sign(&good)).await.code, 401);
    keys.lock().push(second.public());
    assert_eq!(world.whoami(&second.sign(&good)).await.code, 401);
    assert!(issuer.seen().is_empty(), "not again at once");
    after(PAUSE).await;
    assert_eq!(world.whoami(&second.sign(&good)).await.code, 201);
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": second.sign(&good)}});
    let told = world.post("/apis/authentication.k8s.io/v1/tokenreviews", review).await.body;
    assert_eq!(told["status"]["user"]["username"], "crew:jane", "{told}");
}

/// What a token of `issuer` says.
fn claims(issuer: &Hook) -> Value {
    let now = jiff::Timestamp::now().as_second();
    json!({"iss": format!("https://{}", issuer.address), "aud": "boats", "sub": "jane", "iat": now, "exp": now + 600})
}

#[tokio::test]
async fn bad_tokens_fetch_once_together() {
    let failing = hook(|_| Reply::Raw(500, "broken".into())).await;
    let world = world_of(&configuration(&failing, json!({}))).await;
    let good = claims(&failing);
    let forged: Vec<String> = (0..8).map(|_| Key::new("1").sign(&good)).collect();
    let got = futures::future::join_all(forged.iter().map(|token| world.whoami(token))).await;
    assert!(got.iter().all(|got| got.code == 401));
    assert_eq!(failing.seen().len(), 1, "one asks, and all take its outcome");
    assert_eq!(world.whoami(&forged[0]).await.code, 401);
    assert!(failing.seen().is_empty(), "a failure is not tried again at once");
    after(PAUSE).await;
    // no key makes these good
    let key = Key::new("1");
    let with = |field: &str, value: Value| {
        let mut claims = good.clone();
        claims[field] = value;
        key.sign(&claims)
    };
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "HS256"}).to_string());
    let other = format!("{header}.{}.AAAA", URL_SAFE_NO_PAD.encode(good.to_string()));
    for token in [with("aud", json!("others")), with("exp", json!(1)), with("nbf", json!(1e12)), other] {
        assert_eq!(world.whoami(&token).await.code, 401);
    }
    assert!(failing.seen().is_empty());
    assert_eq!(world.whoami(&forged[0]).await.code, 401);
    assert_eq!(failing.seen().len(), 1);
}

#[tokio::test]
async fn an_issuer_that_hangs_is_asked_once() {
    let asked = Arc::new(tokio::sync::Notify::new());
    let told = asked.clone();
    let hanging = hook(move |_| {
        told.notify_one();
        Reply::Never
    })
    .await;
    let world = world_of(&configuration(&hanging, json!({}))).await;
    let forged: Vec<String> = (0..8).map(|_| Key::new("1").sign(&claims(&hanging))).collect();
    {
        // who asks first goes away; the fetch does not
        let mut first = Box::pin(world.whoami(&forged[0]));
        tokio::select! {
            got = &mut first => panic!("answered {}", got.code),
            () = asked.notified() => {}
        }
    }
    let mut all = Box::pin(futures::future::join_all(forged.iter().map(|token| world.whoami(token))));
    assert!(futures::poll!(&mut all).is_pending());
    after(FETCHING).await;
    assert!(all.await.iter().all(|got| got.code == 401));
    assert_eq!(hanging.seen().len(), 1);
}

#[tokio::test]
async fn a_certificate_needs_no_keys_of_others() {
    let failing = hook(|_| Reply::Raw(500, "broken".into())).await;
    let world = world_of(&configuration(&failing, json!({}))).await;
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "jane");
    let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let token = Key::new("1").sign(&claims(&failing));
    let request = Request::get("/livez").header("authorization", format!("Bearer {token}"));
    let peer = Peer::Tls {
        certificates: vec![certificate.der().clone()].into(),
        remote: ([127, 0, 0, 1], 1).into(),
    };
    let response = world.server.handle(request.body(Bytes::new()).unwrap(), peer).await;
    assert_ne!(response.status(), 401);
    assert!(failing.seen().is_empty());
}

#[tokio::test]
async fn who_needs_no_credentials_is_configured() {
    let issuer = issuer(Arc::default()).await;
    let anonymous = json!({"anonymous": {"enabled": true, "conditions": [{"path": "/livez"}]}});
    let world = world_of(&configuration(&issuer, anonymous)).await;
    assert_eq!(world.over_tls("GET", "/livez", "", "").await.code, 200);
    assert_eq!(world.over_tls("GET", "/healthz", "", "").await.code, 401);
    let world = world_of(&configuration(&issuer, json!({"anonymous": {"enabled": true}}))).await;
    assert_eq!(world.over_tls("GET", "/healthz", "", "").await.code, 200);
    let refused = world.over_tls("GET", PODS, "", "").await;
    assert_eq!(refused.code, 403);
    assert!(refused.body["message"].as_str().unwrap().contains("User \"system:anonymous\" cannot list"));
    let world = world_of(&configuration(&issuer, json!({"anonymous": {"enabled": false}}))).await;
    assert_eq!(world.over_tls("GET", "/livez", "", "").await.code, 401);
}

#[tokio::test]
async fn a_configuration_that_changes_counts_from_then_on() {
    let (key, keys) = (Key::new("1"), Arc::new(parking_lot::Mutex::new(Vec::new())));
    keys.lock().push(key.public());
    let issuer = issuer(keys).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authentication.json");
    std::fs::write(&file, configuration(&issuer, json!({"jwt": []})).to_string()).unwrap();
    let world = world_with(|config| config.authentication = Some(file.clone())).await;
    world.server.secure(&Tasks::new(Component::ApiServer)).await.unwrap();
    let mut good = claims(&issuer);
    (good["roles"], good["ship"]) = (json!(["cook"]), json!("Argo"));
    let token = key.sign(&good);
    assert_eq!(world.whoami(&token).await.code, 401);
    let mut reloads = world.server.auth().reloads.subscribe();
    let mut after = async |change: &dyn Fn()| {
        change();
        reloads.changed().await.unwrap();
        let reloads = *reloads.borrow_and_update();
        (reloads.taken, reloads.refused)
    };
    // written in place
    let trusted = configuration(&issuer, json!({})).to_string();
    assert_eq!(after(&|| std::fs::write(&file, &trusted).unwrap()).await, (1, 0));
    assert_eq!(world.whoami(&token).await.code, 201);
    // what is wrong leaves what was there
    assert_eq!(after(&|| std::fs::write(&file, "jwt: [").unwrap()).await, (1, 1));
    let open = configuration(&issuer, json!({"jwt": [], "anonymous": {"enabled": true}})).to_string();
    assert_eq!(after(&|| std::fs::write(&file, &open).unwrap()).await, (1, 2));
    assert_eq!(world.whoami(&token).await.code, 201);
    // replaced by another
    let replace = || {
        let other = folder.path().join("other.json");
        std::fs::write(&other, configuration(&issuer, json!({"jwt": []})).to_string()).unwrap();
        std::fs::rename(&other, &file).unwrap();
    };
    assert_eq!(after(&replace).await, (2, 2));
    assert_eq!(world.whoami(&token).await.code, 401);
}

#[tokio::test]
async fn a_configuration_that_is_wrong_stops_the_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let content = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt: [{issuer: {url: 'http://a', audiences: [a]}, claimMappings: {username: {claim: sub, prefix: ''}}}]\n";
    std::fs::write(file.path(), content).unwrap();
    let why = crate::check_authentication(Some(file.path())).map(|_| ()).unwrap_err().to_string();
    let wanted = format!(
        "--authentication-config={}: jwt[0].issuer.url: Invalid value: \"http://a\": URL scheme must be https",
        file.path().display()
    );
    assert_eq!(why, wanted);
    let missing = crate::check_authentication(Some(std::path::Path::new("/nowhere.yaml"))).map(|_| ());
    assert!(missing.unwrap_err().to_string().contains("No such file"));
}
