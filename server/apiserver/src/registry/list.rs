//! list: snapshots, selectors, pages, and the meaning of resourceVersion
//! (`k8s.io/apiserver/pkg/storage/etcd3/store.go` `GetList`,
//! `apimachinery/pkg/apis/meta/internalversion/validation`).

use std::sync::Arc;

use bytes::Bytes;
use sampan_api::go::{self, Quote as _};
use sampan_api::kinds::Kind;
use sampan_api::selector::{FieldSelector, Selector};
use sampan_api::status::{ApiError, FieldError};
use sampan_store::{Entry, Snapshot, Store};

use super::Registry;
use super::token::Token;
use crate::pipeline::query::Query;

/// How long a read waits for a revision that is announced but not here yet: upstream's `blockTimeout`.
const NEWER_WAIT: std::time::Duration = std::time::Duration::from_secs(3);

/// Which objects a list, watch or deletecollection is about.
#[derive(Clone, Debug)]
pub struct Filter {
    labels: Selector,
    fields: FieldSelector,
    /// Fields of a custom resource that the selector asks about: they are read from the object.
    custom: Vec<String>,
}

impl Filter {
    /// From `labelSelector` and `fieldSelector`.
    pub fn parse(kind: &'static Kind, query: &Query) -> Result<Self, ApiError> {
        let wrong = |why: String| ApiError::bad_request(why);
        let labels = Selector::parse(query.text("labelSelector")).map_err(wrong)?;
        let fields = FieldSelector::parse(query.text("fieldSelector")).map_err(wrong)?;
        let mut supported: Vec<&str> = super::columns::selectable(kind);
        let version = kind.custom.and_then(|custom| custom.version());
        let selectable = version.iter().flat_map(|version| version.selectable()).map(|field| field.label());
        let asked: Vec<&str> = fields.terms().iter().map(|term| &*term.field).collect();
        let custom: Vec<String> =
            selectable.clone().filter(|label| asked.contains(label)).map(str::to_owned).collect();
        supported.extend(selectable);
        if let Some(field) = fields.unsupported(&supported) {
            return Err(ApiError::bad_request(unsupported(kind, field)));
        }
        Ok(Self { labels, fields, custom })
    }
    /// Whether the entry matches.
    pub fn matches(&self, entry: &Entry) -> bool {
        let columns = &entry.columns;
        if !self.labels.matches(&columns.labels) {
            return false;
        }
        if self.custom.is_empty() {
            return self.fields.matches(&columns.fields);
        }
        let object: serde_json::Value = serde_json::from_slice(&entry.value).unwrap_or_default();
        let own = |label: &String| (label.as_str().into(), crate::crd::selected(&object, label).into());
        let fields: Vec<(Box<str>, Box<str>)> =
            columns.fields.iter().cloned().chain(self.custom.iter().map(own)).collect();
        self.fields.matches(&fields)
    }
    /// Whether an entry that is stored in another version than the one that is asked about may match: no conversion
    /// changes its name and namespace.
    pub fn may_match(&self, entry: &Entry) -> bool {
        let place = ["metadata.name", "metadata.namespace"];
        let fields = &entry.columns.fields;
        let is =
            |field: &str| fields.iter().find(|(key, _)| &**key == field).map_or("", |(_, value)| &**value);
        let mut terms = self.fields.terms().iter().filter(|term| place.contains(&&*term.field));
        terms.all(|term| (is(&term.field) == &*term.value) == term.equal)
    }
    /// Whether everything matches.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }
    /// The one name that can match, if the selector says so.
    pub fn name(&self) -> Option<&str> {
        self.fields.exact("metadata.name")
    }
}

fn unsupported(kind: &Kind, field: &str) -> String {
    match kind.storage_group {
        // kinds with a conversion function of their own use these words
        "pods"
        | "nodes"
        | "namespaces"
        | "secrets"
        | "services"
        | "events"
        | "replicationcontrollers"
        | "clustertrustbundles.certificates.k8s.io"
        | "podcertificaterequests.certificates.k8s.io" => format!("field label not supported: {field}"),
        "resourceslices.resource.k8s.io" => {
            let version = format!("{}/{}, Kind={}", kind.group, kind.version, kind.kind);
            format!("field label not supported for {version}: {field}")
        }
        _ if kind.custom.is_some() => format!("field label not supported: {field}"),
        "replicasets.apps" | "jobs.batch" => {
            format!("field label {} not supported for {}", field.quoted(), kind.kind)
        }
        _ => {
            format!(
                "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                field.quoted()
            )
        }
    }
}

/// `metav1.ListOptions`, checked.
#[derive(Clone, Debug)]
pub struct ListOptions {
    /// Selectors.
    pub filter: Filter,
    limit: usize,
    revision: String,
    exact: bool,
    not_older: bool,
    token: Option<Token>,
}

impl ListOptions {
    /// Reads and checks the query.
    pub fn parse(kind: &'static Kind, query: &Query) -> Result<Self, ApiError> {
        let filter = Filter::parse(kind, query)?;
        let errors = list_errors(query);
        if !errors.is_empty() {
            return Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", errors));
        }
        let limit = match query.text("limit") {
            "" => 0,
            text => go::parse_int(text).map_err(ApiError::bad_request)?.max(0),
        };
        let matching = query.text("resourceVersionMatch");
        match query.text("timeoutSeconds") {
            "" => {}
            text => go::parse_int(text).map(drop).map_err(ApiError::bad_request)?,
        }
        let token = match query.text("continue") {
            "" => None,
            text => Some(Token::decode(text)?),
        };
        if token.is_some() && !matches!(query.text("resourceVersion"), "" | "0") {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        // what may be of any age comes out of upstream's cache, which gives it whole: of events it has none
        let whole = query.text("resourceVersion") == "0" && token.is_none() && kind.storage_group != "events";
        let limit = if whole { 0 } else { limit };
        Ok(Self {
            filter,
            limit: usize::try_from(limit).unwrap_or(0),
            revision: query.text("resourceVersion").to_owned(),
            exact: matching == "Exact",
            not_older: matching == "NotOlderThan",
            token,
        })
    }
}

fn list_errors(query: &Query) -> Vec<FieldError> {
    let (matching, revision) = (query.text("resourceVersionMatch"), query.text("resourceVersion"));
    let mut errors = Vec::new();
    let field = "resourceVersionMatch";
    if query.flag("sendInitialEvents") {
        errors.push(FieldError::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    if matching.is_empty() {
        return errors;
    }
    if revision.is_empty() {
        errors.push(FieldError::forbidden(
            field,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ));
    }
    if !query.text("continue").is_empty() {
        errors.push(FieldError::forbidden(
            field,
            "resourceVersionMatch is forbidden when continue is provided",
        ));
    }
    if !matches!(matching, "Exact" | "NotOlderThan") {
        errors.push(FieldError::not_supported(field, matching, &["Exact", "NotOlderThan", ""]));
    }
    if matching == "Exact" && revision == "0" {
        errors.push(FieldError::forbidden(
            field,
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        ));
    }
    errors
}

/// A page.
pub struct Page {
    /// The revision that the list shows.
    pub revision: u64,
    /// The entries.
    pub entries: Vec<Arc<Entry>>,
    /// Where to go on.
    pub token: Option<String>,
    /// How many are left, where that is known without counting.
    pub remaining: Option<usize>,
}

/// Parses a resourceVersion parameter.
pub fn parse_revision(text: &str) -> Result<u64, ApiError> {
    go::parse_uint(text)
        .map_err(|why| ApiError::invalid("", "", "", vec![FieldError::invalid("resourceVersion", text, why)]))
}

/// Waits until `revision` has been published, or says that it lies in the future.
pub async fn not_older(store: &Store, revision: u64) -> Result<(), ApiError> {
    if store.revision() >= revision || store.wait_for(revision, NEWER_WAIT).await {
        return Ok(());
    }
    Err(ApiError::too_large_resource_version(revision, store.revision()))
}

/// The page of `kind` that `options` ask for.
pub async fn page(
    registry: &Registry,
    kind: &'static Kind,
    namespace: &str,
    options: &ListOptions,
) -> Result<Page, ApiError> {
    let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
    let (snapshot, constant) = snapshot(&registry.store, kind, options).await?;
    let after = options.token.as_ref().map(|token| format!("{prefix}{}", token.after));
    let limit = if options.limit == 0 { usize::MAX } else { options.limit };
    let filter = &options.filter;
    // upstream counts only where no selector hides anything; the first page counts for all that follow
    let counted = options.token.as_ref().filter(|token| token.revision >= 0).and_then(|token| token.left);
    let count = filter.is_everything() && counted.is_none();
    let found = snapshot.prefix_after(&prefix, after.as_deref());
    // a selector asks of custom resources what they are in the version that is listed
    let (entries, rest) = if kind.custom.is_some() && !filter.is_everything() {
        let all: Vec<Arc<Entry>> = found.filter(|entry| filter.may_match(entry)).cloned().collect();
        selected(registry, kind, &all, filter, limit).await?
    } else {
        let (taken, rest) = take(found.filter(|entry| filter.matches(entry)), limit, count);
        (registry.shown(kind, taken).await?, rest)
    };
    let token = entries.last().filter(|_| rest > 0);
    let token = token.map(|last| last.key.name.trim_start_matches(prefix.as_str()).to_owned());
    let remaining = (rest > 0 && filter.is_everything()).then(|| match counted {
        Some(left) => left.saturating_sub(entries.len()).max(1),
        None => rest,
    });
    let revision = i64::try_from(constant).unwrap_or(-1);
    let token = token.map(|after| Token { revision, after, left: remaining }.encode());
    Ok(Page { revision: constant, entries, token, remaining })
}

/// How many custom resources are converted together to find those that a limited list wants.
const TOGETHER: usize = 500;

/// The first `limit` of `all`, as who lists `kind` sees them, that the filter wants, and whether there are more.
async fn selected(
    registry: &Registry,
    kind: &'static Kind,
    all: &[Arc<Entry>],
    filter: &Filter,
    limit: usize,
) -> Result<(Vec<Arc<Entry>>, usize), ApiError> {
    let mut found = Vec::new();
    for some in all.chunks(if limit < all.len() { TOGETHER } else { all.len().max(1) }) {
        let shown = registry.shown(kind, some.to_vec()).await?;
        found.extend(shown.into_iter().filter(|entry| filter.matches(entry)));
        if found.len() > limit {
            found.truncate(limit);
            return Ok((found, 1));
        }
    }
    Ok((found, 0))
}

/// The first `limit`, and how many are left, or just whether any is if nobody counts.
fn take<'a>(
    mut found: impl Iterator<Item = &'a Arc<Entry>>,
    limit: usize,
    count: bool,
) -> (Vec<Arc<Entry>>, usize) {
    let taken: Vec<Arc<Entry>> = found.by_ref().take(limit).cloned().collect();
    let rest = if count { found.count() } else { usize::from(found.next().is_some()) };
    (taken, rest)
}

async fn snapshot(
    store: &Store,
    kind: &'static Kind,
    options: &ListOptions,
) -> Result<(Snapshot, u64), ApiError> {
    let bucket = kind.storage_group;
    let at = |revision: u64| store.list_at(bucket, revision).map(|s| (s, revision));
    if let Some(token) = &options.token {
        let Ok(revision) = u64::try_from(token.revision) else {
            let now = store.list(bucket);
            let revision = now.revision;
            return Ok((now, revision));
        };
        not_older(store, revision).await?;
        return at(revision).map_err(|_| expired_token(token));
    }
    if options.revision.is_empty() || options.revision == "0" {
        let now = store.list(bucket);
        let revision = now.revision;
        return Ok((now, revision));
    }
    let revision = parse_revision(&options.revision)?;
    not_older(store, revision).await?;
    // without a match rule, a limited list at a revision is exact: etcd3's legacy semantics
    if options.exact || (!options.not_older && options.limit > 0) {
        return at(revision)
            .map_err(|_| ApiError::expired("The resourceVersion for the provided list is too old."));
    }
    let now = store.list(bucket);
    let revision = now.revision;
    Ok((now, revision))
}

/// 410 with a token to go on inconsistently: `etcd3/errors.go` `handleCompactedErrorForPaging`.
fn expired_token(token: &Token) -> ApiError {
    let mut error = ApiError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without \
         the continue parameter, or use the continue token in this response to retrieve the remainder of the results. \
         Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
         deleted between the time the first chunk was returned and now may show up in the list.",
    );
    error.continue_token = Some(Token { revision: -1, after: token.after.clone(), left: None }.encode());
    error
}

/// The list's JSON, from the stored bytes.
pub fn encode(kind: &'static Kind, page: &Page) -> Bytes {
    let bodies: Vec<Bytes> = page.entries.iter().map(|entry| super::in_version(entry, kind)).collect();
    let total: usize = bodies.iter().map(|body| body.len() + 1).sum();
    let mut out = Vec::with_capacity(total + 256);
    out.extend_from_slice(head(&kind.list_kind(), &kind.api_version(), page).as_bytes());
    // the items of a built-in kind do not say again what they are
    let said = format!("{{\"kind\":{:?},\"apiVersion\":{:?},", kind.kind, kind.api_version());
    for (i, body) in bodies.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        match body.strip_prefix(said.as_bytes()).filter(|_| kind.custom.is_none()) {
            Some(rest) => {
                out.push(b'{');
                out.extend_from_slice(rest);
            }
            None => out.extend_from_slice(body),
        }
    }
    out.extend_from_slice(b"]}");
    out.into()
}

fn head(kind: &str, api_version: &str, page: &Page) -> String {
    let metadata = list_meta(page);
    format!("{{\"kind\":{kind:?},\"apiVersion\":{api_version:?},\"metadata\":{metadata},\"items\":[")
}

/// `ListMeta`.
pub fn list_meta(page: &Page) -> serde_json::Value {
    let mut metadata = serde_json::json!({"resourceVersion": page.revision.to_string()});
    if let Some(token) = &page.token {
        metadata["continue"] = token.as_str().into();
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    metadata
}
