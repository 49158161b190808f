//! `sampan dashboard`: the dashboard in a browser, signed in.

use std::process::{Command, Stdio};

use serde::Deserialize;

use super::{Context, Outcome};
use crate::control::{self, Request};
use crate::messages::Message;
use crate::ui::Format;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Addresses {
    url: String,
    public_urls: Vec<String>,
}

/// Runs the verb.
pub async fn run(mut context: Context, only_url: bool) -> Outcome {
    let answer = control::ask(&context.profile.socket(), &Request::Dashboard, drop).await?;
    if context.ui.format() == Format::Json {
        context.ui.value(&answer);
        return Ok(0);
    }
    let Addresses { url, public_urls } = serde_json::from_value(answer).map_err(anyhow::Error::from)?;
    match !only_url && opened(&url) {
        true => {
            // the address with the ticket is the browser's alone
            let url = url.split("signin?").next().unwrap_or(&url).to_owned();
            context.ui.step(&Message::AddonPage { name: "dashboard".to_owned(), url });
        }
        false => {
            for url in std::iter::once(&url).chain(&public_urls) {
                context.ui.plain(url);
            }
        }
    }
    Ok(0)
}

/// Opens an address where there is a desktop; false where there is none.
pub fn opened(url: &str) -> bool {
    let desktop = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    let mut browser = Command::new("xdg-open");
    browser.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    desktop && browser.spawn().is_ok()
}
