//! Keeps an informer equal to the API: list in pages, watch with bookmarks, list again on 410.
//!
//! ```text
//!          ┌──────────── 410 ─────────────┐
//!          ▼                              │
//!        list ──ok──► watch(version) ─────┤
//!          ▲  error     ▲  end, error     │
//!          └─ back-off  └──── back-off ◄──┘
//! ```

use std::time::Duration;

use futures::TryStreamExt;
use kube::core::params::{ListParams, WatchParams};
use kube::core::{Request, WatchEvent};
use serde::Deserialize;

use crate::informer::Informer;
use crate::key::{Object, parse_version};

const PAGE: u32 = 500;
/// How long one watch lives before it is resumed, in seconds; kube allows less than 295.
const WATCH_SECONDS: u32 = 290;
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// What to list and watch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    pub path: String,
    pub metadata_only: bool,
    pub labels: Option<String>,
    pub fields: Option<String>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "K: Object"))]
struct Page<K> {
    #[serde(default)]
    metadata: PageMeta,
    #[serde(default = "Option::default")]
    items: Option<Vec<K>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PageMeta {
    resource_version: Option<String>,
    #[serde(rename = "continue")]
    next: Option<String>,
}

/// How a watch ended.
#[derive(Debug, PartialEq)]
enum End {
    /// Normally, or with an error after which it can be resumed.
    Resume,
    /// The version is too old: list again.
    Expired,
}

pub(crate) struct Reflector<K> {
    pub client: kube::Client,
    pub target: Target,
    pub informer: Informer<K>,
}

impl<K: Object + std::fmt::Debug> Reflector<K> {
    /// Runs for ever; dropped at the drain.
    pub async fn run(self) {
        let mut pause = Pause::new();
        loop {
            match self.list().await {
                Ok(version) => {
                    pause = Pause::new();
                    self.watch_from(version).await;
                }
                Err(error) => {
                    tracing::warn!(path = self.target.path, %error, "list failed, trying again");
                    pause.wait().await;
                }
            }
        }
    }

    async fn list(&self) -> kube::Result<u64> {
        let request = Request::new(&self.target.path);
        let mut params = ListParams::default().limit(PAGE);
        params.label_selector.clone_from(&self.target.labels);
        params.field_selector.clone_from(&self.target.fields);
        let mut objects = Vec::new();
        loop {
            let http = if self.target.metadata_only {
                request.list_metadata(&params)
            } else {
                request.list(&params)
            };
            let page: Page<K> = self.client.request(http.map_err(kube::Error::BuildRequest)?).await?;
            objects.extend(page.items.unwrap_or_default());
            match page.metadata.next.filter(|next| !next.is_empty()) {
                Some(next) => params.continue_token = Some(next),
                None => {
                    let version = parse_version(page.metadata.resource_version.as_deref());
                    self.informer.replace(objects, version);
                    return Ok(version);
                }
            }
        }
    }

    /// Watches from `version` on, resuming as often as needed, until it has expired.
    async fn watch_from(&self, mut version: u64) {
        let mut pause = Pause::new();
        loop {
            let before = version;
            let end = self.watch(&mut version).await.unwrap_or_else(|error| self.end_of(&error));
            if end == End::Expired {
                return;
            }
            if version > before {
                pause = Pause::new();
            }
            pause.wait().await;
        }
    }

    async fn watch(&self, version: &mut u64) -> kube::Result<End> {
        let params = WatchParams {
            label_selector: self.target.labels.clone(),
            field_selector: self.target.fields.clone(),
            timeout: Some(WATCH_SECONDS),
            bookmarks: true,
            ..WatchParams::default()
        };
        let request = Request::new(&self.target.path);
        let from = version.to_string();
        let http = match self.target.metadata_only {
            true => request.watch_metadata(&params, &from),
            false => request.watch(&params, &from),
        };
        let events = self.client.request_events::<K>(http.map_err(kube::Error::BuildRequest)?).await?;
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    *version = object.version();
                    self.informer.apply(object);
                }
                WatchEvent::Deleted(object) => {
                    *version = object.version();
                    self.informer.remove(&object);
                }
                WatchEvent::Bookmark(bookmark) => {
                    *version = parse_version(Some(&bookmark.metadata.resource_version));
                    self.informer.advance(*version);
                }
                WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            }
        }
        Ok(End::Resume)
    }

    fn end_of(&self, error: &kube::Error) -> End {
        match error {
            kube::Error::Api(status) if status.code == 410 => End::Expired,
            // one undecodable object must not end the watch of the others for good: a list shows it again
            kube::Error::SerdeError(_) => {
                tracing::error!(path = self.target.path, %error, "an event could not be decoded, listing again");
                End::Expired
            }
            error => {
                tracing::debug!(path = self.target.path, %error, "watch broke, resuming");
                End::Resume
            }
        }
    }
}

/// A pause that doubles, with jitter so that many informers do not return at once.
struct Pause(Duration);

impl Pause {
    fn new() -> Self {
        Self(PAUSE_FIRST)
    }

    async fn wait(&mut self) {
        tokio::time::sleep(self.0.mul_f64(rand::random_range(0.5..1.0))).await;
        self.0 = (self.0 * 2).min(PAUSE_MAX);
    }
}
