//! What is done to all rows chosen in a list.

use std::collections::HashSet;

use leptos::{prelude::*, task::spawn_local};
use serde_json::json;

use super::delete;
use crate::{
    kinds::Resource,
    ui::{
        dialog::{self, Dialog},
        table::Table,
        toast,
    },
};

/// Names shown in the question; more are counted.
const NAMED: usize = 8;

/// Deletes the chosen ones, each only if it is still the same object.
pub fn delete(resource: &Resource, table: Table) {
    let chosen: Vec<_> = {
        let uids = table.chosen.read_untracked();
        table.rows.read_untracked().iter().filter(|row| uids.contains(&row.uid)).cloned().collect()
    };
    let mut text: Vec<String> =
        chosen.iter().take(NAMED).map(|row| format!("{}/{}", row.namespace, row.name)).collect();
    if chosen.len() > NAMED {
        text.push(tr!(action.and_more, count = chosen.len() - NAMED));
    }
    text.push(tr!(action.delete_owned).to_owned());
    let (resource_of, resource, count) = (resource.clone(), resource.clone(), chosen.len());
    let act = move |_| {
        let (resource, chosen) = (resource.clone(), chosen.clone());
        spawn_local(async move {
            let mut done = 0;
            for row in &chosen {
                let path = resource.object(&row.namespace, &row.name);
                match delete::send(&path, &json!({"uid": row.uid})).await {
                    Ok(()) => done += 1,
                    Err(failure) => toast::bad(&failure),
                }
            }
            toast::good(tr!(action.deleted, count = done));
            table.chosen.set(HashSet::new());
        });
    };
    let grave = delete::is_grave(&resource_of);
    dialog::ask(Dialog {
        text,
        danger: true,
        // not by a slip of the hand
        type_name: if grave { count.to_string() } else { String::new() },
        ..Dialog::new(tr!(list.delete_chosen, count = count), tr!(action.delete), act)
    });
}
