//! Objects of custom resources from version to version.
//!
//! ```text
//!  read:  stored bytes → pruned, with the defaults of their own version → converted → pruned as the version that is read
//!  write: object → converted → pruned as the storage version → stored
//! ```
//!
//! To be converted is to get another apiVersion, or to be sent to the definition's webhook.
//!
//! Upstream asks for every object by itself and keeps what it read in a cache of each version; here what a list or a
//! watch has at hand is asked for together, and what was answered is [`kept`] for its revision, for a while. Who reads one
//! object, or is to write it, is told what the webhook says now. Everything that is synchronous (encoders, selectors, field management) is given objects that are converted already; field management,
//! which finds out on its way what it needs, notes it in a [`Memo`] and is run again.
//!
//! Ported from `apiextensions-apiserver/pkg/apiserver/conversion`.

mod kept;
mod review;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, WeakShared};
use parking_lot::Mutex;
use sampan_api::crd::{self, Version};
use sampan_api::kinds::Kind;
use sampan_api::status::{ApiError, Reason};
use sampan_store::{Entry, Store};
use serde_json::Value;

use self::kept::{Kept, Made};
use crate::dynamic::client::{Caller, Place};
use crate::registry::columns;
use crate::value::{at, set, text};

/// Upstream's timeout of calls to webhooks that say none.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Most objects, and about the most bytes, that are asked for at once.
const BATCH: (usize, usize) = (500, 1 << 20);
/// The longest answer: of the longest question, objects that became several times as long.
const LONGEST: usize = 16 << 20;

/// Asks conversion webhooks.
#[derive(Default)]
pub(crate) struct Converter {
    caller: Caller,
    kept: Mutex<Kept>,
    /// What is being converted for lists and watches; it goes with the last who waits for it.
    asking: Mutex<HashMap<Vec<Made>, WeakShared<Making>>>,
}

type Making = BoxFuture<'static, Result<Vec<Arc<Entry>>, ApiError>>;

/// 500 with nothing but the words, as upstream answers when storage cannot be read.
pub(crate) fn failure(why: String) -> ApiError {
    ApiError::new(Reason::Unknown, why)
}

/// Makes a stored object what the definition says of its own version: pruned, with that version's defaults.
pub(super) fn settle(object: &mut Value, version: &Arc<Version>) -> Result<(), String> {
    let own = text(object, &["apiVersion"]);
    let (group, name) = sampan_api::meta::group_version(own);
    let found = version.named(name).filter(|_| group == version.head.spec.group);
    let found = found.ok_or_else(|| format!("request to convert CR from an invalid group/version: {own}"))?;
    crd::prune(object, found.schema());
    crd::tidy(object, found.schema());
    crd::default(object, found.schema());
    Ok(())
}

impl Converter {
    /// Stored entries as who reads `kind` sees them. Those of built-in kinds are left as they are.
    pub async fn entries(
        self: &Arc<Self>,
        store: &Store,
        kind: &'static Kind,
        entries: Vec<Arc<Entry>>,
    ) -> Result<Vec<Arc<Entry>>, ApiError> {
        let known: Vec<Option<Arc<Entry>>> = entries.iter().map(|entry| self.at_once(kind, entry)).collect();
        let missing = entries.iter().zip(&known).filter(|(_, known)| known.is_none());
        let missing: Vec<Arc<Entry>> = missing.map(|(entry, _)| entry.clone()).collect();
        let version = kind.custom.and_then(|custom| custom.version()).filter(|_| !missing.is_empty());
        let Some(version) = version else {
            return Ok(entries.into_iter().zip(known).map(|(entry, known)| known.unwrap_or(entry)).collect());
        };
        let mut made = self.together(store, kind, version, missing).await?.into_iter();
        Ok(known.into_iter().filter_map(|known| known.or_else(|| made.next())).collect())
    }

    /// One entry as [`Converter::entries`], as it is converted now, whatever was kept.
    pub async fn fresh(
        &self,
        store: &Store,
        kind: &'static Kind,
        entry: &Arc<Entry>,
    ) -> Result<Arc<Entry>, ApiError> {
        let Some(version) = kind.custom.and_then(|custom| custom.version()) else {
            return Ok(entry.clone());
        };
        // what no webhook is asked for stays what it was
        let known = match version.head.converter() {
            None => self.at_once(kind, entry),
            Some(_) => as_it_is(kind, entry),
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let made = self.make(store, kind, &version, vec![entry.clone()]).await?;
        made.into_iter().next().ok_or_else(|| ApiError::internal("a conversion without an outcome"))
    }

    /// What becomes of `missing`; who asks for the same at the same time, as watchers of one change do, shares the outcome.
    async fn together(
        self: &Arc<Self>,
        store: &Store,
        kind: &'static Kind,
        version: Arc<Version>,
        missing: Vec<Arc<Entry>>,
    ) -> Result<Vec<Arc<Entry>>, ApiError> {
        let key: Vec<Made> = missing.iter().map(|entry| Made::of(entry, kind, &version)).collect();
        let going = {
            let mut asking = self.asking.lock();
            asking.retain(|_, going| going.upgrade().is_some());
            asking.get(&key).and_then(WeakShared::upgrade).unwrap_or_else(|| {
                let (converter, store) = (self.clone(), store.clone());
                let making = async move { converter.make(&store, kind, &version, missing).await };
                let going = making.boxed().shared();
                asking.extend(going.downgrade().map(|going| (key, going)));
                going
            })
        };
        going.await
    }

    /// Converts stored entries, and keeps what becomes of them.
    async fn make(
        &self,
        store: &Store,
        kind: &'static Kind,
        version: &Arc<Version>,
        entries: Vec<Arc<Entry>>,
    ) -> Result<Vec<Arc<Entry>>, ApiError> {
        let parsed = entries.iter().map(|entry| serde_json::from_slice(&entry.value));
        let parsed = parsed.collect::<Result<Vec<Value>, _>>().map_err(ApiError::internal)?;
        let values = self.read(store, kind, version, parsed).await?;
        let mut kept = self.kept.lock();
        let made = entries.iter().zip(values).map(|(old, value)| {
            let value = bytes::Bytes::from(value.to_string());
            let columns = columns::read(&old.key, &value);
            let new = Arc::new(Entry { key: old.key.clone(), value, revision: old.revision, columns });
            kept.put(Made::of(old, kind, version), new.clone());
            new
        });
        Ok(made.collect())
    }

    /// A stored entry as who reads `kind` sees it, if that takes no time to find out.
    pub fn at_once(&self, kind: &'static Kind, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
        as_it_is(kind, entry).or_else(|| {
            let version = kind.custom.and_then(|custom| custom.version())?;
            self.kept.lock().get(&Made::of(entry, kind, &version))
        })
    }

    /// One stored object as who reads `kind` sees it.
    pub async fn stored(
        &self,
        store: &Store,
        kind: &'static Kind,
        version: &Arc<Version>,
        object: Value,
    ) -> Result<Value, ApiError> {
        let read = self.read(store, kind, version, vec![object]).await?;
        read.into_iter().next().ok_or_else(|| ApiError::internal("a conversion without an outcome"))
    }

    async fn read(
        &self,
        store: &Store,
        kind: &'static Kind,
        version: &Arc<Version>,
        mut objects: Vec<Value>,
    ) -> Result<Vec<Value>, ApiError> {
        for object in &mut objects {
            settle(object, version).map_err(failure)?;
        }
        self.convert(store, version, objects, &kind.api_version()).await
    }

    /// Objects in the version `wanted`, pruned as its schema says; those that are in it already stay what they are.
    pub async fn convert(
        &self,
        store: &Store,
        version: &Arc<Version>,
        mut objects: Vec<Value>,
        wanted: &str,
    ) -> Result<Vec<Value>, ApiError> {
        let target = version.named(sampan_api::meta::group_version(wanted).1);
        let target = target
            .ok_or_else(|| failure(format!("request to convert CR to an invalid group/version: {wanted}")))?;
        let due: Vec<usize> =
            (0..objects.len()).filter(|index| at(&objects[*index], &["apiVersion"]) != wanted).collect();
        if version.head.converter().is_none() {
            for index in due {
                renamed(&mut objects[index], wanted, &target)?;
            }
            return Ok(objects);
        }
        let mut rest = due.as_slice();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(batch(rest, &objects));
            let asked: Vec<Value> = batch.iter().map(|index| objects[*index].clone()).collect();
            let answered = self.ask(store, version, &asked, wanted).await.map_err(failure)?;
            for (index, mut object) in batch.iter().zip(answered) {
                pruned(&mut object, &target)?;
                objects[*index] = object;
            }
            rest = after;
        }
        Ok(objects)
    }

    async fn ask(
        &self,
        store: &Store,
        version: &Version,
        objects: &[Value],
        wanted: &str,
    ) -> Result<Vec<Value>, String> {
        let Some((webhook, first)) = version.head.converter().zip(objects.first()) else {
            return Ok(Vec::new());
        };
        let review = review::version(&webhook.conversion_review_versions)?;
        let by = format!("conversion webhook for {}", review::described(first));
        let failed = |why: String| format!("{by} failed: {why}");
        let place = Place::parse(&webhook.client_config).map_err(failed)?;
        let uid = uuid::Uuid::new_v4().to_string();
        let body = review::request(review, &uid, wanted, objects);
        let told = self.caller.post(store, &place, body, TIMEOUT, LONGEST).await.map_err(failed)?;
        let converted = review::objects(review, &uid, told).map_err(failed)?;
        if converted.len() != objects.len() {
            return Err(format!("{by} returned {} objects, expected {}", converted.len(), objects.len()));
        }
        let place = |index| review::Place { index, alone: objects.len() == 1 };
        let accepted = objects.iter().zip(converted).enumerate().map(|(index, (original, converted))| {
            review::accepted(original, converted, wanted, place(index)).map_err(|why| format!("{by} {why}"))
        });
        accepted.collect()
    }
}

/// An entry that is stored as who reads `kind` sees it.
fn as_it_is(kind: &'static Kind, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
    let version = kind.custom.and_then(|custom| custom.version());
    // written since the definition says what it says, in its only version
    let only = |version: &Version| version.head.spec.versions.len() == 1 && entry.revision > version.since;
    version.is_none_or(|version| only(&version)).then(|| entry.clone())
}

/// An object that nobody converts, in another version.
pub(super) fn renamed(object: &mut Value, wanted: &str, target: &Version) -> Result<(), ApiError> {
    set(object, &["apiVersion"], wanted);
    pruned(object, target)
}

/// What was converted, as its schema says.
fn pruned(object: &mut Value, target: &Version) -> Result<(), ApiError> {
    crd::prune(object, target.schema());
    crd::coerce(object, target.schema()).map_err(|wrong| failure(wrong.to_string()))
}

/// How many of `due` are asked for at once.
fn batch(due: &[usize], objects: &[Value]) -> usize {
    let mut bytes = 0;
    let fits = due.iter().take(BATCH.0).take_while(|index| {
        let fits = bytes < BATCH.1;
        bytes += objects[**index].to_string().len();
        fits
    });
    fits.count().max(1)
}

/// Conversions that are known, and those that somebody asked for in vain.
#[derive(Default)]
pub(crate) struct Memo {
    known: Mutex<Vec<(Value, String, Value)>>,
    missing: Mutex<Vec<(Value, String)>>,
    turn: tokio::sync::Mutex<()>,
}

impl Memo {
    fn known(&self, object: &Value, api_version: &str) -> Option<Value> {
        let known = self.known.lock();
        let found = known.iter().find(|(from, to, _)| to == api_version && from == object);
        found.map(|(_, _, converted)| converted.clone())
    }

    /// `object` in that version; what is not known is noted.
    pub fn get(&self, object: &Value, api_version: &str) -> Option<Value> {
        if at(object, &["apiVersion"]) == api_version {
            return Some(object.clone());
        }
        let found = self.known(object, api_version);
        if found.is_none() {
            self.missing.lock().push((object.clone(), api_version.to_owned()));
        }
        found
    }

    /// `object` in that version, asked for if it is not known; once, also by many at the same time.
    pub async fn convert(
        &self,
        converter: &Converter,
        store: &Store,
        version: &Arc<Version>,
        object: Value,
        api_version: &str,
    ) -> Result<Value, ApiError> {
        let _turn = self.turn.lock().await;
        if let Some(known) = self.known(&object, api_version) {
            return Ok(known);
        }
        let converted = converter.convert(store, version, vec![object.clone()], api_version).await?;
        let converted = converted.into_iter().next().unwrap_or_default();
        self.known.lock().push((object, api_version.to_owned(), converted.clone()));
        Ok(converted)
    }

    /// Whether something was asked for in vain.
    pub fn is_missing(&self) -> bool {
        !self.missing.lock().is_empty()
    }

    /// Gets what is missing.
    pub async fn fill(
        &self,
        converter: &Converter,
        store: &Store,
        version: &Arc<Version>,
    ) -> Result<(), ApiError> {
        let missing = std::mem::take(&mut *self.missing.lock());
        for (object, wanted) in missing {
            self.convert(converter, store, version, object, &wanted).await?;
        }
        Ok(())
    }
}
