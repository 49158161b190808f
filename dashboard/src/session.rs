//! Who is signed in. The cookie is the daemon's and no script sees it: the page only asks whether it is good.

use leptos::{prelude::*, task::spawn_local};
use serde_json::json;

use crate::{
    app::app,
    kinds,
    net::{
        api::{self, Call, Failure},
        feed,
    },
};

#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    pub user: String,
    pub profile: String,
    pub kubernetes: String,
    pub version: String,
}

const PATH: &str = "sampan/v1/session";

/// Asks who is signed in, and starts the feed for whoever is.
pub async fn resume() -> Result<(), Failure> {
    let answer = api::get(PATH).await;
    app().asked.set(true);
    if let Err(Failure { code: 401, message, .. }) = &answer
        && let Some(command) = message.split('`').nth(1)
    {
        app().command.set(command.to_owned());
    }
    let answer = answer?;
    let word = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    app().session.set(Some(Session {
        user: word("user"),
        profile: word("profile"),
        kubernetes: word("kubernetesVersion"),
        version: word("version"),
    }));
    feed::connect();
    spawn_local(kinds::discover());
    Ok(())
}

pub async fn sign_in(token: String) -> Result<(), Failure> {
    Call::new("POST", PATH).json(&json!({"token": token.trim()})).send().await?;
    resume().await
}

pub async fn sign_out() {
    app().dock.clear();
    feed::disconnect();
    let _ = Call::new("DELETE", PATH).send().await;
    app().session.set(None);
}
