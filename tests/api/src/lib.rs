//! The API of the built binary, asked as no well-behaved client asks: raw requests, broken bodies, a daemon that
//! is killed. See `tests/`.

mod conversation;
mod mutate;
mod seeds;

use anyhow::{Result, ensure};
use http::Request;
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::Value;

pub use conversation::{Conversation, Message, Player, Step};
pub use mutate::{Random, mutate};
pub use seeds::{Seed, seeds};

/// What came back.
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The body, whatever it is.
    pub text: String,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// A failure has to be a client's fault and say so with a `Status` of the same code; but for what nobody serves, which is
    /// told in plain text, as upstream does.
    pub fn check(&self) -> Result<()> {
        ensure!(matches!(self.code, 200..=499), "{} {}", self.code, self.text);
        if self.code < 400 || (self.code == 404 && self.text == "404 page not found\n") {
            return Ok(());
        }
        let status = self.json();
        ensure!(status["kind"] == "Status" && status["status"] == "Failure", "no Status: {}", self.text);
        ensure!(status["code"] == self.code, "{} but {}", self.code, self.text);
        ensure!(status["message"].as_str().is_some_and(|m| !m.is_empty()), "no message: {}", self.text);
        Ok(())
    }
}

/// One raw request; the content type is left out when empty.
pub async fn ask(client: &Client, method: &str, path: &str, media: &str, body: Vec<u8>) -> Result<Answer> {
    let mut request = Request::builder().method(method).uri(path);
    if !media.is_empty() {
        request = request.header("content-type", media);
    }
    let response = client.send(request.body(Body::from(body))?).await?;
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await?.to_bytes();
    Ok(Answer { code, text: String::from_utf8_lossy(&bytes).into_owned() })
}

/// A raw GET with an `Accept`.
pub async fn get(client: &Client, path: &str, accept: &str) -> Result<Answer> {
    let request = Request::get(path).header("accept", accept).body(Body::empty())?;
    let response = client.send(request).await?;
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await?.to_bytes();
    Ok(Answer { code, text: String::from_utf8_lossy(&bytes).into_owned() })
}
