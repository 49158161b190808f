//! Admission plugin ResourceQuota, upstream's last: what an object costs is charged with the write itself.
//!
//! Upstream writes a quota's status first and the object afterwards, and may refuse too much when the second write
//! fails. Here both go down in one transaction of the store, under a condition on the quota's revision: whatever
//! runs at the same time, at each revision `status.used` is what the objects of that revision were charged. What is
//! given back (a deletion, an ended pod) the quota controller counts anew.

use jiff::Timestamp;
use sampan_api::quota::{self, Change, Charged};
use sampan_api::status::ApiError;
use sampan_store::{Action, Condition, Entry, Write, WriteError};
use serde_json::Value;

use super::{Review, encoded};
use crate::value::{meta, set};

const BUCKET: &str = "resourcequotas";

/// The writes that charge `new` to the quotas of its namespace; an error if one of them has no room.
pub(super) fn charge(review: &Review<'_>, new: &Value) -> Result<Vec<Write>, ApiError> {
    let change = Change {
        kind: review.kind,
        subresource: review.subresource,
        new,
        old: review.old,
        now: Timestamp::now(),
    };
    if review.namespace.is_empty() || !change.may_cost() {
        return Ok(Vec::new());
    }
    let prefix = format!("{}/", review.namespace);
    let all = review.store.list(BUCKET);
    let entries: Vec<&Entry> = all.prefix(&prefix).map(|entry| &**entry).collect();
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let parsed = entries.iter().map(|entry| serde_json::from_slice(&entry.value));
    let mut quotas: Vec<Value> = parsed.collect::<Result<_, _>>().map_err(ApiError::internal)?;
    let charged = quota::charge(&quotas, &change).map_err(|why| {
        let name = if review.name.is_empty() { meta(new, "name") } else { review.name };
        ApiError::forbidden(review.kind.group, review.kind.plural, name, &why)
    })?;
    let writes = charged.into_iter().map(|(index, charged)| {
        match charged {
            Charged::Used(used) => set(&mut quotas[index], &["status", "used"], used),
            // a new revision is enough: a count that began before is refused
            Charged::Uncounted => {}
        }
        Write {
            key: entries[index].key.clone(),
            condition: Condition::Revision(entries[index].revision),
            action: Action::Put(encoded(&quotas[index])),
        }
    });
    Ok(writes.collect())
}

/// Whether a creation failed only because someone else charged one of `charges` meanwhile, or deleted the quota.
pub(super) fn is_race(error: &WriteError, charges: usize) -> bool {
    charges > 0
        && match error {
            WriteError::Changed(other) => &*other.key.bucket == BUCKET,
            WriteError::Missing => true,
            _ => false,
        }
}
