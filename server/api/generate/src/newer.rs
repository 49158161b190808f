//! `wire.tsv`: what k8s-pb does not say of the messages: tags that are newer than it, where Go keeps a zero, and what it
//! writes of a field of which nothing was said.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// Of one field.
pub struct Wire {
    /// The path of tags, with dots between; empty where k8s-pb has it.
    pub tags: String,
    /// `z`: a pointer, or no `omitempty`. `w` or `n`: Go writes it always, its zero or null.
    pub marks: String,
}

/// What Go's errors say of fields, by schema and JSON name: the type, and what JSON inlines; each may be empty.
pub fn go_types() -> Result<BTreeMap<(String, String), [String; 2]>> {
    let rows = include_str!("../go-types.tsv").lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| {
        let cells: Vec<String> = line.split('\t').map(str::to_owned).collect();
        let cells: [String; 4] =
            cells.try_into().map_err(|_| anyhow::anyhow!("go-types.tsv: four cells in {line:?}"))?;
        let [schema, json, name, inlined] = cells;
        Ok(((schema, json), [name, inlined]))
    })
    .collect()
}

/// By schema and JSON name.
pub fn read() -> Result<BTreeMap<(String, String), Wire>> {
    let rows = include_str!("../wire.tsv").lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| {
        let mut cells = line.split('\t').map(str::to_owned);
        let mut next = || cells.next().with_context(|| format!("wire.tsv: four cells in {line:?}"));
        let key = (next()?, next()?);
        Ok((key, Wire { tags: next()?, marks: next()? }))
    })
    .collect()
}
