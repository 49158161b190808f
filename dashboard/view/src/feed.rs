//! The feed: what browser and daemon say over the one websocket, `/sampan/v1/feed`.
//!
//! ```text
//! browser                                   daemon
//!    │── Open{view 1, pods, ns} ─────────────►│  list and watch as the signed-in user
//!    │◄────────────── Hello{…} ───────────────│  once, first of all
//!    │◄─ Begin{1, columns, total} ────────────│
//!    │◄─ Rows{1, …} … ────────────────────────│  the snapshot, in parts
//!    │◄─ Live{1, revision} ───────────────────│  it is whole
//!    │◄─ Change{1, gone, rows, revision} ─────│  one for all that happened in 30 ms; gone goes before rows
//!    │── Close{view 1} ──────────────────────►│
//! ```
//!
//! The browser sends [`Ask`] as JSON texts. The daemon sends [`Tell`], as postcard in binary frames or as JSON texts, as
//! the sub-protocol says. After a lost connection the browser opens its views again with the revision that it has: the
//! answer is [`Tell::Live`] with [`Tell::Change`]s of what it missed, or [`Tell::Begin`] when that is not known any more.

use serde::{Deserialize, Serialize};

use crate::{Column, Health, Row};

/// Sub-protocol of a feed with postcard in binary frames.
pub const POSTCARD: &str = "v1.feed.sampan.postcard";
/// Sub-protocol of a feed with JSON in text frames.
pub const JSON: &str = "v1.feed.sampan.json";
/// Rows in one [`Tell::Rows`] at most.
pub const ROWS: usize = 2_000;

/// Which objects a view is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kind {
    /// Empty for the core group.
    #[serde(default)]
    pub group: String,
    /// `v1`.
    pub version: String,
    /// `pods`.
    pub resource: String,
}

/// What the browser asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Ask {
    /// Show a list.
    Open {
        /// The browser's number for it.
        view: u32,
        /// What it is of.
        kind: Kind,
        /// Namespaces; empty for all, and for kinds without namespaces.
        #[serde(default)]
        namespaces: Vec<String>,
        /// A label selector of the API.
        #[serde(default)]
        label_selector: String,
        /// A field selector of the API.
        #[serde(default)]
        field_selector: String,
        /// A filter of [`crate::Filter`] that the daemon applies; a browser that has all rows filters itself.
        #[serde(default)]
        filter: String,
        /// Only tell how many there are of each health: [`Tell::Summary`] instead of rows.
        #[serde(default)]
        summary: bool,
        /// The revision that the browser has the rows of; of `since` alone what happened later is told.
        #[serde(default)]
        since: Option<String>,
    },
    /// Show one object whole, as JSON.
    Watch {
        /// The browser's number for it.
        view: u32,
        /// What it is.
        kind: Kind,
        /// Empty for kinds without namespaces.
        #[serde(default)]
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Stop a view; nothing more is told of it.
    Close {
        /// The view.
        view: u32,
    },
    /// The tab is hidden: a change a second is enough; or seen again.
    Pace {
        /// Nobody looks.
        hidden: bool,
    },
}

/// How many rows are how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Count {
    /// How they are.
    pub health: Health,
    /// How many.
    pub count: u32,
}

/// What a pod or a node uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Empty for nodes.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// Bytes.
    pub memory_bytes: u64,
}

/// What the daemon tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Tell {
    /// First of all.
    Hello {
        /// Who is signed in.
        user: String,
        /// The daemon's version; another than the page's own means that the page is old.
        version: String,
        /// Changes when the daemon starts: then revisions may have been forgotten.
        boot: String,
        /// Milliseconds since 1970 by the daemon's clock, for ages.
        now: i64,
    },
    /// A view begins, or begins anew: what was known of it is no more.
    Begin {
        /// The view.
        view: u32,
        /// Its columns.
        columns: Vec<Column>,
        /// How many rows come.
        total: u32,
    },
    /// Rows of the beginning.
    Rows {
        /// The view.
        view: u32,
        /// At most [`ROWS`].
        rows: Vec<Row>,
    },
    /// The view is whole as of a revision.
    Live {
        /// The view.
        view: u32,
        /// Where it is.
        revision: String,
    },
    /// What changed.
    Change {
        /// The view.
        view: u32,
        /// Uids of rows that went; before the new ones are put in.
        gone: Vec<String>,
        /// Rows that came or are different.
        rows: Vec<Row>,
        /// Where the view is now.
        revision: String,
    },
    /// How many there are, for a view that asked for no more.
    Summary {
        /// The view.
        view: u32,
        /// How many of each health; those without any are left out.
        counts: Vec<Count>,
    },
    /// What pods or nodes use, as of now; told anew as it is measured, and never where nothing measures. The browser
    /// shows it as columns of its own. Those not named use nothing that is known.
    Usage {
        /// The view.
        view: u32,
        /// One for each that was measured.
        usage: Vec<Usage>,
    },
    /// A watched object, whole.
    Object {
        /// The view.
        view: u32,
        /// JSON, without `managedFields`.
        json: String,
    },
    /// A watched object is no more, or is not there.
    Gone {
        /// The view.
        view: u32,
    },
    /// The view cannot be shown, or not any more.
    Refused {
        /// The view.
        view: u32,
        /// The HTTP status that the API answered: 403, 404, 410, 422; 429 for too many views.
        code: u16,
        /// The API's word, such as `Forbidden`.
        reason: String,
        /// What the API said, in English.
        message: String,
    },
    /// What the browser sent was not understood; the connection goes on.
    Confused {
        /// What is wrong with it.
        message: String,
    },
    /// The session has ended; the connection closes.
    SignedOut,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cell, Owner};

    fn all() -> Vec<Tell> {
        let row = Row {
            uid: "u".into(),
            name: "<script>\u{202e}网😀".into(),
            owner: Some(Owner::default()),
            labels: vec![("a".into(), "b".into())],
            deleting: Some(-1),
            cells: vec![
                Cell::Empty,
                Cell::Text("x".into()),
                Cell::Number(0.25, Some("250m".into())),
                Cell::Time(7),
            ],
            ..Row::default()
        };
        let column = Column { name: "Age".into(), sort: "date".into(), ..Column::default() };
        vec![
            Tell::Hello { user: "u".into(), version: "1".into(), boot: "b".into(), now: 5 },
            Tell::Begin { view: 1, columns: vec![column], total: 1 },
            Tell::Rows { view: 1, rows: vec![row.clone()] },
            Tell::Live { view: 1, revision: "9".into() },
            Tell::Change { view: 1, gone: vec!["u".into()], rows: vec![row], revision: "10".into() },
            Tell::Summary { view: 1, counts: vec![Count { health: Health::Failed, count: 3 }] },
            Tell::Usage {
                view: 1,
                usage: vec![Usage { name: "n".into(), cpu_millis: 5, ..Usage::default() }],
            },
            Tell::Object { view: 1, json: "{}".into() },
            Tell::Gone { view: 1 },
            Tell::Refused { view: 1, code: 403, reason: "Forbidden".into(), message: "no".into() },
            Tell::Confused { message: "?".into() },
            Tell::SignedOut,
        ]
    }

    #[test]
    fn both_forms_carry_everything() {
        for tell in all() {
            let bytes = postcard::to_allocvec(&tell).expect("postcard");
            assert_eq!(postcard::from_bytes::<Tell>(&bytes).expect("postcard"), tell);
            let text = serde_json::to_string(&tell).expect("json");
            assert_eq!(serde_json::from_str::<Tell>(&text).expect("json"), tell, "{text}");
        }
    }

    #[test]
    fn asks_read_as_documented() {
        let text = r#"{"open":{"view":1,"kind":{"version":"v1","resource":"pods"},"namespaces":["a"]}}"#;
        let Ask::Open { kind, namespaces, since, summary, .. } = serde_json::from_str(text).expect("reads")
        else {
            panic!("{text}");
        };
        assert_eq!((kind.group.as_str(), kind.resource.as_str(), namespaces.len()), ("", "pods", 1));
        assert!(since.is_none() && !summary);
        assert!(
            serde_json::from_str::<Ask>(
                r#"{"open":{"view":1,"kind":{"version":"v1","resource":"pods"},"x":1}}"#
            )
            .is_err()
        );
        assert_eq!(
            serde_json::to_string(&Ask::Pace { hidden: true }).expect("json"),
            r#"{"pace":{"hidden":true}}"#
        );
    }
}
