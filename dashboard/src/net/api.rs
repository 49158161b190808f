//! Calls to the daemon, on the page's own origin and below its `<base>`. Whoever reads an error sees the API's words.

use js_sys::Uint8Array;
use leptos::{prelude::*, task::spawn_local};
use serde_json::{Value, json};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Headers, Request, RequestInit, Response};

/// A call that did not do what was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The HTTP status; 0 if the daemon was not reached.
    pub code: u16,
    /// The API's word, such as `Forbidden`.
    pub reason: String,
    /// What the API said, in English.
    pub message: String,
}

impl Failure {
    pub fn unreached(error: &JsValue) -> Self {
        let message = error.dyn_ref::<js_sys::Error>().map(|error| String::from(error.message()));
        Self { code: 0, reason: "Unreachable".to_owned(), message: message.unwrap_or_default() }
    }

    /// Reads a Kubernetes `Status`, or whatever came instead.
    fn read(code: u16, body: &str) -> Self {
        let status: Value = serde_json::from_str(body).unwrap_or_default();
        let word = |name: &str| status[name].as_str().map(str::to_owned);
        Self {
            code,
            reason: word("reason").unwrap_or_else(|| code.to_string()),
            message: word("message").unwrap_or_else(|| body.chars().take(500).collect()),
        }
    }
}

pub type Result<T> = std::result::Result<T, Failure>;

/// One call.
pub struct Call<'a> {
    method: &'a str,
    path: &'a str,
    accept: &'a str,
    body: Option<(&'a str, String)>,
    repeatable: bool,
}

/// How long after one another a call that did not get through is sent again, if it may be, in milliseconds.
const PAUSES: [i32; 5] = [0, 50, 200, 800, 2000];

impl<'a> Call<'a> {
    pub fn new(method: &'a str, path: &'a str) -> Self {
        Self { method, path, accept: "application/json", body: None, repeatable: method == "GET" }
    }

    pub fn accept(self, accept: &'a str) -> Self {
        Self { accept, ..self }
    }

    pub fn body(self, kind: &'a str, body: String) -> Self {
        Self { body: Some((kind, body)), ..self }
    }

    /// Does no harm when it is done twice.
    pub fn repeatable(self) -> Self {
        Self { repeatable: true, ..self }
    }

    pub fn json(self, value: &Value) -> Self {
        self.body("application/json", value.to_string())
    }

    /// Sends it; a refusal is an error, the body is not read yet.
    pub async fn send(self) -> Result<Response> {
        let mut response = self.fetch().await;
        // a browser ends its calls when a network of the machine changes: each pod that comes or goes is such a change
        for pause in PAUSES {
            if response.is_ok() || !self.repeatable {
                break;
            }
            sleep(pause).await;
            response = self.fetch().await;
        }
        let response = response.map_err(|error| Failure::unreached(&error))?;
        if response.ok() {
            return Ok(response);
        }
        let text = text(&response).await.unwrap_or_default();
        Err(Failure::read(response.status(), &text))
    }

    pub async fn value(self) -> Result<Value> {
        value(&self.send().await?).await
    }

    async fn fetch(&self) -> std::result::Result<Response, JsValue> {
        let init = RequestInit::new();
        init.set_method(self.method);
        let headers = Headers::new()?;
        headers.set("Accept", self.accept)?;
        if self.method != "GET" {
            headers.set("X-Sampan-Csrf", "1")?;
        }
        if let Some((kind, body)) = &self.body {
            headers.set("Content-Type", kind)?;
            init.set_body(&Uint8Array::from(body.as_bytes()).into());
        }
        init.set_headers(&headers);
        let request = Request::new_with_str_and_init(self.path, &init)?;
        let window = web_sys::window().ok_or_else(|| JsValue::from_str("no window"))?;
        JsFuture::from(window.fetch_with_request(&request)).await?.dyn_into()
    }
}

/// Waits.
pub async fn sleep(milliseconds: i32) {
    let timer = js_sys::Promise::new(&mut |done, _| {
        if let Some(window) = web_sys::window() {
            // a window that sets no timer goes away, and this call with it
            window.set_timeout_with_callback_and_timeout_and_arguments_0(&done, milliseconds).ok();
        }
    });
    JsFuture::from(timer).await.ok();
}

/// The body of an answer.
pub async fn value(response: &Response) -> Result<Value> {
    let text = text(response).await?;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).map_err(|error| Failure {
        code: 0,
        reason: "NotJSON".to_owned(),
        message: error.to_string(),
    })
}

async fn text(response: &Response) -> Result<String> {
    let promise = response.text().map_err(|error| Failure::unreached(&error))?;
    let text = JsFuture::from(promise).await.map_err(|error| Failure::unreached(&error))?;
    Ok(text.as_string().unwrap_or_default())
}

pub async fn get(path: &str) -> Result<Value> {
    Call::new("GET", path).value().await
}

/// All objects of a kind, in some namespaces or in all, and the last refusal of those there were.
pub async fn list_of(version: &str, plural: &str, namespaces: &[String]) -> (Vec<Value>, Option<Failure>) {
    let (mut all, mut refused) = (Vec::new(), None);
    let places = namespaces.iter().map(|namespace| format!("namespaces/{namespace}/"));
    let places = if namespaces.is_empty() { vec![String::new()] } else { places.collect() };
    for place in places {
        match get(&format!("{version}/{place}{plural}")).await {
            Ok(found) => all.extend(found["items"].as_array().cloned().unwrap_or_default()),
            Err(failure) => refused = Some(failure),
        }
    }
    (all, refused)
}

/// A merge patch under the dashboard's own name.
pub async fn merge(path: &str, patch: &Value) -> Result<Value> {
    let path = format!("{path}?fieldManager=sampan-dashboard");
    Call::new("PATCH", &path).body("application/merge-patch+json", patch.to_string()).value().await
}

/// Whether the signed-in user may do something.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum May {
    /// The API server has not answered yet.
    #[default]
    Asking,
    Yes,
    /// The permission that is missing.
    No(String),
    /// The permission that could not be asked for, and why.
    Unknown(String, String),
}

impl May {
    /// What a disabled button says.
    pub fn why_not(&self) -> Option<String> {
        match self {
            Self::Yes => None,
            Self::Asking => Some(tr!(may.asking).to_owned()),
            Self::No(permission) => Some(tr!(act.forbidden, permission = permission.clone())),
            Self::Unknown(permission, why) => {
                Some(tr!(may.unknown, permission = permission.clone(), why = why.clone()))
            }
        }
    }
}

/// What somebody wants to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    pub verb: &'static str,
    pub group: String,
    pub resource: String,
    pub subresource: &'static str,
    pub namespace: String,
    /// Empty for any.
    pub name: String,
}

impl Wish {
    /// As a permission is named.
    fn permission(&self) -> String {
        let slash = if self.subresource.is_empty() { "" } else { "/" };
        let dot = if self.group.is_empty() { "" } else { "." };
        format!("{} {}{slash}{}{dot}{}", self.verb, self.resource, self.subresource, self.group)
    }
}

/// Asks the API server whether the signed-in user may.
pub async fn may(wish: &Wish) -> May {
    let attributes = json!({"resourceAttributes": {"verb": wish.verb, "group": wish.group, "resource": wish.resource,
        "subresource": wish.subresource, "namespace": wish.namespace, "name": wish.name}});
    reviewed(wish.permission(), attributes).await
}

async fn reviewed(permission: String, attributes: Value) -> May {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": attributes});
    let path = "k8s/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    match Call::new("POST", path).json(&review).repeatable().value().await {
        Ok(answer) if answer["status"]["allowed"] == true => May::Yes,
        Ok(_) => May::No(permission),
        Err(failure) => May::Unknown(permission, failure.message),
    }
}

/// Whether a path that is no object's may be asked: `post`, `/sampan/v1/addons/dns/enable`.
pub fn path_allowed(verb: &'static str, path: String) -> RwSignal<May> {
    let answer = RwSignal::new(May::Asking);
    spawn_local(async move {
        let attributes = json!({"nonResourceAttributes": {"verb": verb, "path": path}});
        answer.try_set(reviewed(format!("{verb} {path}"), attributes).await);
    });
    answer
}

/// The answer to a wish, once it is there.
pub fn allowed(wish: Wish) -> RwSignal<May> {
    let answer = RwSignal::new(May::Asking);
    spawn_local(async move {
        answer.try_set(may(&wish).await);
    });
    answer
}

/// Whether all of some wishes, which change, are allowed; if not, the first that is not.
pub fn all_allowed(wishes: Memo<Vec<Wish>>) -> RwSignal<May> {
    let answer = RwSignal::new(May::Asking);
    Effect::new(move |_| {
        let asked = wishes.get();
        answer.set(May::Asking);
        spawn_local(async move {
            let mut all = May::Yes;
            for wish in &asked {
                all = may(wish).await;
                if all != May::Yes {
                    break;
                }
            }
            // the answer to what is not asked any more is none
            if wishes.try_get_untracked().is_some_and(|now| now == asked) {
                answer.try_set(all);
            }
        });
    });
    answer
}
