//! What is done to all rows chosen in a list.

use std::{collections::HashSet, sync::Arc};

use leptos::{prelude::*, task::spawn_local};
use serde_json::json;

use crate::{
    kinds::Resource,
    net::api::Call,
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
    let (resource, count) = (resource.clone(), chosen.len());
    let act = move |_| {
        let (resource, chosen) = (resource.clone(), chosen.clone());
        spawn_local(async move {
            let mut done = 0;
            for row in &chosen {
                let body =
                    json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": row.uid}});
                match Call::new("DELETE", &resource.object(&row.namespace, &row.name))
                    .json(&body)
                    .send()
                    .await
                {
                    Ok(_) => done += 1,
                    Err(failure) => toast::bad(&failure),
                }
            }
            toast::good(tr!(action.deleted, count = done));
            table.chosen.set(HashSet::new());
        });
    };
    dialog::ask(Dialog {
        title: tr!(list.delete_chosen, count = count),
        text,
        verb: tr!(action.delete).to_owned(),
        danger: true,
        type_name: String::new(),
        number: None,
        act: Arc::new(act),
    });
}
