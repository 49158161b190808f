//! List types from k8s-openapi's `DeepMerge` code, for fields newer than k8s-pb.
//!
//! The crate wrote upstream's `x-kubernetes-list-*` down as code (`merge_strategies::list::map(&mut self.env,
//! …, &[|lhs, rhs| lhs.name == rhs.name]`). Where both a list map key and a patch merge key exist it kept the
//! latter, so that k8s-pb's markers go first.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use crate::protos::{Markers, source};

/// Markers by (schema name, field in snake case).
pub type Merges = BTreeMap<(String, String), Markers>;

/// Reads the code of v1.36.
pub fn read() -> Result<Merges> {
    let mut merges = Merges::new();
    let mut folders = vec![source("k8s-openapi")?.join("v1_36")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                file(&path, &mut merges)?;
            }
        }
    }
    Ok(merges)
}

fn file(path: &Path, merges: &mut Merges) -> Result<()> {
    let text = std::fs::read_to_string(path)?;
    let name = text.split("fn schema_name()").nth(1).and_then(|rest| rest.split('"').nth(1));
    let Some(name) = name else { return Ok(()) };
    for call in text.split("merge_strategies::list::").skip(1) {
        let call = call.split(");").next().unwrap_or_default();
        let strategy = call.split('(').next().unwrap_or_default();
        let Some(field) = call.split("&mut self.").nth(1).and_then(|rest| rest.split(',').next()) else {
            continue;
        };
        let mut markers = vec![("listType".to_owned(), strategy.to_owned())];
        let keys = call.split("lhs.").skip(1).filter_map(|rest| rest.split(' ').next());
        markers.extend(keys.map(|key| ("listMapKey".to_owned(), camel(key))));
        merges.insert((name.to_owned(), field.trim().to_owned()), markers);
    }
    Ok(())
}

/// `container_port` is `containerPort` in JSON.
fn camel(name: &str) -> String {
    let mut words = name.trim_start_matches("r#").trim_end_matches('_').split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |all, word| all + &word[..1].to_uppercase() + &word[1..])
}
