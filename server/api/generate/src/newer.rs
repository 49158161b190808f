//! `wire.tsv`: what k8s-pb does not say of the messages: tags that are newer than it, and where Go keeps a zero.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// Of one field.
pub struct Wire {
    /// The path of tags, with dots between; empty where k8s-pb has it.
    pub tags: String,
    /// A pointer, or no `omitempty`.
    pub keeps_zero: bool,
}

/// By schema and JSON name.
pub fn read() -> Result<BTreeMap<(String, String), Wire>> {
    let rows = include_str!("../wire.tsv").lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| {
        let mut cells = line.split('\t').map(str::to_owned);
        let mut next = || cells.next().with_context(|| format!("wire.tsv: four cells in {line:?}"));
        let key = (next()?, next()?);
        Ok((key, Wire { tags: next()?, keeps_zero: next()? == "z" }))
    })
    .collect()
}
