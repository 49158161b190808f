//! What the palette can do to an object that it found: the actions of its page, and its tabs.

use std::sync::Arc;

use leptos::task::spawn_local;
use sampan_view::lower_case;

use super::{
    act::{self, Act},
    has_pods, is_node, is_pod,
};
use crate::{
    kinds::{Resource, word},
    net::api::{self, Failure},
    ui::{go, toast},
};

/// Something that can be done.
#[derive(Clone, Copy, PartialEq)]
pub enum Verb {
    Act(Act),
    Tab(&'static str),
}

impl Verb {
    /// All for objects of a kind, whatever their state.
    pub fn of(resource: &Resource) -> Vec<Verb> {
        let mut all: Vec<Verb> = act::acts(resource, None).into_iter().map(Verb::Act).collect();
        if is_pod(resource) || has_pods(resource) {
            all.push(Verb::Tab("logs"));
        }
        if is_pod(resource) || is_node(resource) {
            all.push(Verb::Tab("terminal"));
        }
        all.extend([Verb::Tab("events"), Verb::Tab("yaml")]);
        all
    }

    /// What the user reads.
    pub fn label(self) -> &'static str {
        match self {
            Verb::Act(act) => act.label(),
            Verb::Tab("logs") => tr!(detail.logs),
            Verb::Tab("terminal") => tr!(detail.terminal),
            Verb::Tab("events") => tr!(detail.events),
            Verb::Tab(_) => "YAML",
        }
    }

    /// kubectl's word for it.
    fn word(self) -> &'static str {
        match self {
            Verb::Act(act) => act.word(),
            Verb::Tab("terminal") => "shell",
            Verb::Tab("yaml") => "edit",
            Verb::Tab(tab) => tab,
        }
    }

    /// Whether the letters, in lower case, begin its label or kubectl's word.
    pub fn begins(self, letters: &str) -> bool {
        lower_case(self.label()).starts_with(letters) || self.word().starts_with(letters)
    }

    /// Asks what the object's page would ask, or goes to the tab.
    pub fn run(self, resource: &Resource, namespace: &str, name: &str) {
        match self {
            Verb::Tab(tab) => go::to(&format!("{}?tab={tab}", resource.page(namespace, name))),
            Verb::Act(act) => {
                let (resource, path) = (resource.clone(), resource.object(namespace, name));
                spawn_local(async move {
                    if let Err(failure) = ask(act, resource, &path).await {
                        toast::bad(&failure);
                    }
                });
            }
        }
    }
}

async fn ask(act: Act, resource: Resource, path: &str) -> api::Result<()> {
    let object = api::get(path).await?;
    let may = api::may(&act.wish(&resource, &object["metadata"])).await;
    if let Some(message) = may.why_not() {
        return Err(Failure { code: 403, reason: "Forbidden".to_owned(), message });
    }
    if !act::acts(&resource, Some(&object)).contains(&act) {
        let message =
            tr!(act.not_now, what = act.label().to_owned(), name = word(&object["metadata"]["name"]));
        return Err(Failure { code: 200, reason: String::new(), message });
    }
    act::question(act, resource, Arc::new(object));
    Ok(())
}
